"""What frames of `synaug.experiments.mechanism` say, in words to read."""

from synaug.statistics.rules import VERDICTS
from synaug.run.results import describe_runs


def describe(live, recorded=None):
    """What the runs behind the section are, as a Markdown list."""
    def words(frame, p):
        share = frame.loc[frame["metric"] == "slow_fraction", "value"].iloc[0]
        images = "all" if p["n_images"] is None else f"the first {p['n_images']:,}"
        return (f"{p['seeds']} networks ({p['classifier']}) of {p['classifier_steps']:,} steps on {images} images that "
                f"the generator `{p['generator']}` was trained on, {share:.0%} of them slow; k = "
                f"{', '.join(map(str, p['ks']))}; copies generated at σ = {', '.join(f'{s:g}' for s in p['sigmas'])}")

    return describe_runs(live, recorded, words)


def by_verdict(verdicts):
    """The statements of a `claims.verdict_table` under their verdicts, as a Markdown list, from the strongest."""
    lines = []
    for verdict in reversed(VERDICTS):
        found = [f"{row.statement.rstrip('.')} ({row.source.split(', ', 1)[-1]})"
                 for row in verdicts[verdicts["verdict"] == verdict].itertuples()]
        if found:
            lines.append(f"- *{verdict}* ({len(found)}): {'; '.join(found)}")
    return "\n".join(lines)
