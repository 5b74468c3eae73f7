"""What chapter 2 shows of its confirmatory run: the six contrasts, the draws, and what is secondary."""

import pandas as pd
from scipy.stats import false_discovery_control

from synaug.chapters.reading import said
from synaug.plots import Panel, forest, lines
from synaug.statistics.claims import judge, load_claims
from synaug.statistics.contrasts import differences, paired, select
from synaug.statistics.frames import bare
from synaug.statistics.intervals import draws_interval

NAMES = {
    "draws-generation-helps": "generated, k = 5, over the original",
    "draws-generation-beats-upsampling": "generated, k = 5, over copies, k = 2",
    "draws-generation-beats-upsampling-same-k": "generated over copies, k = 5",
    "draws-upsampling-best-at-2": "copies, k = 2, over k = 5",
    "draws-from-real-beats-from-noise": "from real images over from noise",
    "draws-slow-beats-random": "for slow over for random examples",
}
#: Of a draw's generator.
QUALITY = {"frechet_distance": "Fréchet distance", "precision": "precision", "recall": "recall", "coverage": "coverage"}


def primaries(frames: dict) -> pd.DataFrame:
    """The six contrasts of each run, {data set: frame}: claim, dataset, estimate, low, high, verdict; those measured."""
    rows = [{"dataset": dataset, **row} for dataset, frame in frames.items() for row in six(bare(frame))]
    return pd.DataFrame(rows, columns=["claim", "dataset", "estimate", "low", "high", "verdict"])


def six(rows):
    """The contrasts of one run that are measured."""
    families: dict = {}
    for claim in load_claims("targeted_draws").values():
        verdict = judge(claim, rows, families)
        if found := verdict.numbers["part 1"].get("contrast"):
            words = verdict.words.replace("the margin", f"{claim.parts[0]['negligible']:g} points")
            yield {"claim": NAMES[claim.id], **vars(found), "verdict": words}


def by_steps(frame) -> pd.DataFrame:
    """The six contrasts where all arms have the same number of steps, on the seeds that have all of them, and where each
    is stopped at its least validation loss."""
    rows = titled(select(frame, role="primary"))
    runs = {f"{budget:g} times the steps": own.assign(chosen=True) for budget, own in at_all_budgets(rows).groupby("budget")}
    early = select(rows, metric="test_error_early", chosen=True)
    runs = {"as chosen": select(rows, chosen=True), **runs, "stopped early": early.assign(metric="test_error")}
    return (
        pd.DataFrame({name: {row.claim: said(row) for row in pd.DataFrame(six(own)).itertuples()} for name, own in runs.items()})
        .rename_axis("contrast")
        .reset_index()
    )


def at_all_budgets(rows):
    """Of `titled` rows, the seeds that an arm was trained with at every number of steps."""
    return rows[rows.groupby(["draw", "title", "seed", "metric"])["budget"].transform("nunique") == rows["budget"].nunique()]


def titled(rows):
    """Rows of arms with what each is called as ``title``."""
    usual = rows["augment"].min()  # the other is with TrivialAugment
    names = rows["arm"].where(rows["arm"] == "original", rows["arm"] + rows["x"].map(", k = {:g}".format))
    return rows.assign(title=names.where(rows["augment"] == usual, "TrivialAugment"))


def forest_of(rows):
    """The six contrasts, a panel per data set."""
    return forest(rows, label="claim", panel="dataset", xlabel="points of test error, over draws")


def trivial_over_flips(frame, budget, metric="test_error"):
    """What TrivialAugment gains over flips on the original set of a run, both at a budget, by a kind of error: a row of `paired`."""
    rows = select(frame, metric=metric, arm="original", budget=budget)
    return next(paired(rows, {"augment": "flip"}, ("augment",), correct=None, sign=-1).itertuples())


def pilot_table(pilot) -> pd.DataFrame:
    """The mean validation error (%) of each arm of a pilot at each number of steps, the least of each arm marked by a star."""
    rows = titled(select(pilot, metric="validation_error", role="primary"))
    mean = rows.pivot_table(index=["place", "title"], columns="steps", values="value")
    least = mean.eq(mean.min(axis=1), axis=0)
    return pd.DataFrame(
        {
            "arm": mean.index.get_level_values("title"),
            **{f"{steps:g} steps": [f"{value:.2f}" + " *" * best for value, best in zip(mean[steps], least[steps])] for steps in mean},
        }
    )


def secondaries(frame) -> pd.DataFrame:
    """The gain of each primary arm over the original set with flips, over draws, and of secondary ones that differ from
    it in k alone: arm, estimate, low, high, n (draws), p_value, and adjusted by Benjamini and Hochberg's method, which
    bounds the share of false ones among those found."""
    rows = titled(select(frame, role="primary", chosen=True))
    if len(further := select(frame, role="secondary")):
        (base,) = select(rows, title="original")[["augment", "optimizer", "architecture"]].drop_duplicates().to_dict("records")
        rows = pd.concat([rows, titled(select(further, **base, budget=1.0))])
    gains = differences(rows, {"title": "original"}, pair=("draw", "seed"), metric="test_error", sign=-1)
    table = [{"arm": title, **vars(draws_interval([values for _, values in own.groupby("draw")["value"]]))} for title, own in gains.groupby("title")]
    return pd.DataFrame(table).assign(adjusted=lambda found: false_discovery_control(found["p_value"]))


def found(frame) -> str:
    """The arms whose gain is told from 0 once adjusted, in words."""
    rows = secondaries(frame)
    rows = rows[rows["adjusted"] < 0.05]
    return "; ".join(f"{row.arm} {said(row)}" for row in rows.itertuples()) + "." if len(rows) else "none."


def answers(frames: dict) -> pd.DataFrame:
    """Each arm's gain over the original set, over draws, and what it costs, {data set: frame}: by data set, in points and in
    minutes of training and generation."""
    columns = {}
    for dataset, frame in frames.items():
        found = secondaries(frame).set_index("arm")
        columns[f"{dataset}: gain (points)"] = {arm: said(row) for arm, row in found.iterrows()}
        rows = titled(select(frame, role="primary", chosen=True, metric=["training_seconds", "generation_seconds"]))
        seconds = rows.groupby(["title", "metric"])["value"].mean().groupby("title").sum()
        columns[f"{dataset}: minutes"] = {arm: f"{seconds[arm] / 60:.1f}" for arm in found.index if arm in seconds}
    return pd.DataFrame(columns).rename_axis("arm").reset_index()


def others(frame):
    """`secondaries` as a figure."""
    return forest(secondaries(frame), label="arm", xlabel="gain over the original set (points, over draws)")


def budgets(frame):
    """Test error of each primary arm by its steps, at the end and where the least validation loss would have stopped it, over
    the means of draws."""
    rows = titled(select(frame, role="primary", metric=["test_error", "test_error_early"]))
    means = at_all_budgets(rows).groupby(["metric", "title", "budget", "draw"], as_index=False)["value"].mean()
    means = means.assign(x=means["budget"], seed=means["draw"].astype("category").cat.codes, swept="budget")
    names = {title: title for title in rows["title"].unique()}
    return lines(
        None,
        means,
        [Panel("test_error", "test error (%)", title="at the end"), Panel("test_error_early", "test error (%)", title="stopped early")],
        hue="title",
        names=names,
        xlabel="steps, over the usual number",
        xscale="log",
        xticks=sorted(rows["budget"].unique()),
    )


def draws_table(frame, pilot=None) -> pd.DataFrame:
    """A row per draw, of the run and of a pilot by the committed generator: what its generator's samples score, over fresh
    real images where that is a distance."""
    rows = pd.concat([select(run, role="quality", metric=list(QUALITY)) for run in (frame, pilot) if run is not None])
    table = rows.pivot_table(index="draw", columns=["metric", "arm"], values="value", sort=False)
    shown = {
        f"{name}{', real' * (arm != 'samples')}": table[metric, arm]
        for metric, name in QUALITY.items()
        for arm in ("samples", "fresh real")
        if (metric, arm) in table
    }
    if {("frechet_distance", arm) for arm in ("samples", "fresh real")} <= set(table):
        shown = {"Fréchet distance over that of real ones": table["frechet_distance", "samples"] / table["frechet_distance", "fresh real"], **shown}
    return pd.DataFrame(shown).rename_axis("draw").reset_index()


def takeaways(frames: dict) -> str:
    """What the confirmatory runs decide, in lines of Markdown."""
    rows, lines_of = primaries(frames), []
    for dataset, own in rows.groupby("dataset", sort=False):
        decided = own[own["verdict"] != "inconclusive"]
        told = "; ".join(f"{row.claim} {said(row)}, {row.verdict}" for row in own.itertuples())
        lines_of.append(f"- **{dataset}: {len(decided)} of {len(own)} contrasts are decided over draws.** {told}.")
    return "\n".join(lines_of)
