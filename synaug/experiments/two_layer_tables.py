"""What frames of `synaug.experiments.two_layer_cnn` say, as tables and text to read."""

import pandas as pd

from synaug.experiments.two_layer_regimes import REFERENCE_K, against_reference
from synaug.run.results import describe_runs


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        return (f"{p['seeds']} seeds everywhere; the toy with {p['n']:,} examples and {p['steps']} steps; "
                f"{frame['regime'].nunique()} regimes at k = {', '.join(map(str, p['ks']))}, {p['regime_steps']:,} steps "
                f"each, early is step {p['early']}")

    return describe_runs(live, recorded, words)


def practical_table(frame):
    """What Theorem 4.3 amounts to in a practical training, in per cent: a row a k."""
    rows = frame[frame["part"] == "practical"].pivot(index="x", columns="metric", values="value").reset_index()
    return pd.DataFrame({"k": rows["x"].map("{:g}".format),
                         "copies add to the variance": rows["duplicate_term"].map("{:.2%}".format),
                         "excess variance tolerated": rows["excess_tolerance"].map("{:.2%}".format)})


def search_summary(frame):
    """In words: in which regimes and at which stages upsampling is worse, or better, beyond k = 2."""
    table = against_reference(frame)
    lines = [f"Of {len(table)} comparisons over {table['regime'].nunique()} regimes, {table['n'].min()} paired seeds:"]
    for found, said in (("worse", "upsampling *degrades*"), ("better", "it is *better* than at k = 2")):
        own = table[table["found"] == found]
        where = "; ".join(f"{regime} ({stage}: k = {', '.join(f'{k:g}' for k in rows['k'])})"
                          for (regime, stage), rows in own.groupby(["regime", "stage"], sort=False))
        lines.append(f"- {said} in {len(own)}{': ' + where if where else ''}.")
    return "\n".join([*lines, f"- not resolved in {(table['found'] == 'not resolved').sum()}."])


def search_table(frame, arm="upsampled", metric="test_error"):
    """`against_reference` to read, a row a regime and stage, a column a k: difference in points, interval, finding."""
    found = against_reference(frame, arm, metric)
    text = [f"{100 * r.value:+.2f} [{100 * r.low:+.2f}, {100 * r.high:+.2f}] {r.found}" for r in found.itertuples()]
    wide = found.assign(text=text).pivot(index=["regime", "stage"], columns="k", values="text")
    wide = wide.reindex(pd.MultiIndex.from_frame(found[["regime", "stage"]].drop_duplicates()))
    return wide.rename(columns=lambda k: f"k = {k:g} minus k = {REFERENCE_K}").reset_index()
