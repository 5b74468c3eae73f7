"""What chapter 2 shows of its confirmatory run: the six contrasts, the draws, and what is secondary."""

import pandas as pd
from scipy.stats import false_discovery_control

from synaug.chapters.reading import within
from synaug.plots import Panel, forest, lines
from synaug.statistics.claims import judge, load_claims
from synaug.statistics.contrasts import differences, select
from synaug.statistics.frames import bare
from synaug.statistics.intervals import draws_interval

NAMES = {"draws-generation-helps": "generated, k = 5, over the original",
         "draws-generation-beats-upsampling": "generated, k = 5, over copies, k = 2",
         "draws-generation-beats-upsampling-same-k": "generated over copies, k = 5",
         "draws-upsampling-best-at-2": "copies, k = 2, over k = 5",
         "draws-from-real-beats-from-noise": "from real images over from noise",
         "draws-slow-beats-random": "for slow over for random examples"}
#: Of a draw's generator.
QUALITY = {"frechet_distance": "Fréchet distance", "precision": "precision", "recall": "recall", "coverage": "coverage"}


def primaries(frames: dict) -> pd.DataFrame:
    """The six contrasts of each run, {data set: frame}: claim, dataset, estimate, low, high, verdict; those measured."""
    rows = []
    for dataset, frame in frames.items():
        families, own = {}, bare(frame)
        for claim in load_claims("targeted_draws").values():
            verdict = judge(claim, own, families)
            if found := verdict.numbers["part 1"].get("contrast"):
                rows.append({"claim": NAMES[claim.id], "dataset": dataset, "estimate": found.value, "low": found.low,
                             "high": found.high, "verdict": verdict.words})
    return pd.DataFrame(rows, columns=["claim", "dataset", "estimate", "low", "high", "verdict"])


def forest_of(rows):
    """The six contrasts, a panel per data set."""
    return forest(rows, label="claim", panel="dataset", xlabel="points of test error, over draws")


def pilot_table(pilot) -> pd.DataFrame:
    """The mean validation error (%) of each arm of a pilot at each number of steps, the least of each arm marked by a star."""
    rows = select(pilot, metric="validation_error", role="primary")
    mean = rows.pivot_table(index=["place", "arm", "x", "augment"], columns="steps", values="value")
    usual = rows["augment"].min()
    names = ["TrivialAugment" if how != usual else arm if arm == "original" else f"{arm}, k = {x:g}" for _, arm, x, how in mean.index]
    least = mean.eq(mean.min(axis=1), axis=0)
    return pd.DataFrame({"arm": names, **{f"{steps:g} steps": [f"{value:.2f}" + " *" * best for value, best in zip(mean[steps], least[steps])]
                                          for steps in mean}})


def secondaries(frame) -> pd.DataFrame:
    """The gain of each primary arm over the original set with flips, over draws: arm, estimate, low, high, p_value, and
    adjusted by Benjamini and Hochberg's method, which bounds the share of false ones among those found."""
    rows = select(bare(frame), role="primary", chosen=True)
    augment = rows["augment"].min()  # that of the original; the other is with TrivialAugment
    gains = differences(rows, {"arm": "original", "augment": augment}, pair=("draw", "seed"), metric="test_error", sign=-1)
    table = []
    for (arm, x, how), own in gains.groupby(["arm", "x", "augment"]):
        found = draws_interval([values.to_numpy() for _, values in own.groupby("draw")["value"]])
        name = "TrivialAugment" if how != augment else f"{arm}, k = {x:g}"
        table.append({"arm": name, **{key: getattr(found, key) for key in ("estimate", "low", "high", "p_value")}})
    return pd.DataFrame(table).assign(adjusted=lambda found: false_discovery_control(found["p_value"]))


def found(frame) -> str:
    """The arms whose gain is told from 0 once adjusted, in words."""
    rows = secondaries(frame)
    rows = rows[rows["adjusted"] < 0.05]
    return "; ".join(f"{row.arm} {within(row.estimate, row.low, row.high)}" for row in rows.itertuples()) + "." if len(rows) else "none."


def others(frame):
    """`secondaries` as a figure."""
    return forest(secondaries(frame), label="arm", xlabel="gain over the original set (points, over draws)")


def budgets(frame):
    """Test error of each primary arm by its steps, at the end and where the least validation error would have stopped it."""
    rows = select(bare(frame), role="primary").assign(seed=lambda rows: rows["draw"].astype(str) + " " + rows["seed"].astype(str))
    names = {arm: arm for arm in rows["arm"].unique()}
    return lines(None, rows.assign(x=rows["budget"]), [Panel("test_error", "test error (%)", title="at the end"), Panel(
        "test_error_early", "test error (%)", title="stopped early")], hue="arm", names=names, xlabel="steps, over the usual number",
        xscale="log", xticks=sorted(rows["budget"].unique()))


def draws_table(frame) -> pd.DataFrame:
    """A row per draw: what its generator's samples score, and fresh real images in their place."""
    rows = select(bare(frame), role="quality", metric=list(QUALITY))
    table = rows.pivot_table(index="draw", columns=["metric", "arm"], values="value")
    shown = {f"{name}{', real' * (arm != 'samples')}": table[metric, arm] for metric, name in QUALITY.items()
             for arm in ("samples", "fresh real") if (metric, arm) in table}
    return pd.DataFrame(shown).rename_axis("draw").reset_index()


def takeaways(frames: dict) -> str:
    """What the confirmatory runs decide, in lines of Markdown."""
    rows, lines_of = primaries(frames), []
    for dataset, own in rows.groupby("dataset", sort=False):
        decided = own[own["verdict"] != "inconclusive"]
        told = "; ".join(f"{row.claim} {within(row.estimate, row.low, row.high)}, {row.verdict}" for row in own.itertuples())
        lines_of.append(f"- **{dataset}: {len(decided)} of {len(own)} contrasts are decided over draws.** {told}.")
    return "\n".join(lines_of)
