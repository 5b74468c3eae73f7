"""What chapter 8 shows: audits of sets whose gain is known, what predicts the gain, and a choice among images."""

from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML
from scipy.stats import t as student_t

from synaug.auditing.page import MEANINGS
from synaug.auditing.prediction import LEAST_CORRELATION
from synaug.auditing.report import MENDED, THRESHOLDS
from synaug.chapters import will_it_help_me as chapter
from synaug.chapters.reading import dataset_name, network_name, said, signed, within
from synaug.chapters.tasks import training_record
from synaug.chapters.will_it_help_me import CHOICES, LONGER, POOLS, PREDICTORS, PRIMARY, REFERENCE, gains
from synaug.metrics.encoders import encoder_label
from synaug.plots import forest, image_grid, scatter
from synaug.run.results import recordings
from synaug.statistics.contrasts import paired, select
from synaug.statistics.prediction import LEAST_GROUPS, left_out_predictions, rank_correlation, rank_correlations

NAMES = {name: MEANINGS[name][0] for name in PREDICTORS if name in MEANINGS} | {"gradient_alignment": "Gradient alignment"}


def audited(s, get) -> pd.DataFrame:
    """The audit of each set at the sizes of these settings. get: gives the results of tasks (`synaug.run.Store.get`)."""
    found = {name: get(chapter.audited(s, name)) for name in s.pools}
    return pd.DataFrame([{"set": name, "what the audit advises": one["advice"], "passed": "yes" if one["passed"] else "no"} for name, one in found.items()])


def full_page(report) -> HTML:
    """An audit's own page, with its galleries, within a notebook."""
    return HTML(f'<iframe title="Audit" style="width: 100%; height: 80vh; border: 0" srcdoc="{escape(report.html())}"></iframe>')


def sets(s, get):
    """An image of each class of each set of these settings."""
    made = {name: get(chapter.pool(s, name)) for name in s.pools}
    classes = next(iter(made.values())).class_names
    rows = [data.images[[int((data.labels == c).nonzero()[0]) for c in range(len(classes))]] for data in made.values()]
    return image_grid(rows, list(made), classes)


def measured_gains(frame) -> pd.DataFrame:
    """The gain with each set, points, with limits over paired seeds: the columns of `paired`."""
    return paired(select(frame, role="gain"), {"arm": "original"}, ["family", "arm"], "test_error", sign=-1)


def variants(frame) -> dict:
    """The recorded variants of the recorded run, by name; none where the frame is another run."""
    runs = recordings(chapter.EXPERIMENT.name, ("standard",))
    main = runs.pop("standard", None)
    return runs if main is not None and main.attrs["provenance"] == frame.attrs["provenance"] else {}


def further_run(frame):
    """The sets of all `variants` of a run, with its own original set; None without any."""
    more = [beside(frame, run) for run in variants(frame).values() if len(select(run, role="measure"))]
    return pd.concat([select(frame, role="gain", arm="original"), *more], ignore_index=True) if more else None


#: Measures whose code changed between the recorded runs, so that they are not ranked over several.
CHANGED = ("two_sample_auc", "near_copies")


def over_another(frame, further):
    """The rows of a further run, whose errors differ from those of the original set of another run by as much as from their own."""
    start = [select(run, role="gain", arm="original").set_index("seed")["value"] for run in (frame, further)]
    more = select(further, role=["gain", "measure", "choice"])
    more = more[more["arm"] != "original"].copy()
    more["value"] += more["seed"].map(start[0] - start[1]).where(more["role"] != "measure", 0.0)
    return more


def beside(frame, further):
    """The sets of a further run, whose gains stay those over their own original set where that of another run takes its
    place. Those of other data are a family of their own."""
    more = over_another(frame, further)
    data = more["dataset"].iloc[0]
    if data != frame["dataset"].iloc[0]:
        more = more.assign(arm=f"{dataset_name(data)}: " + more["arm"], family=dataset_name(data))
    return more


def joined(frame, further):
    """A run with the sets of `further_run` beside its own; what predicts their gains, without `CHANGED` measures."""
    if frame is None or further is None:
        return frame
    rows = pd.concat([select(frame, role=["gain", "measure", "choice"]), further[further["arm"] != "original"]], ignore_index=True)
    changed = rows["metric"].isin(CHANGED)
    both = pd.concat([chapter.finish(rows[~changed]), rows[changed]], ignore_index=True)
    both.attrs = frame.attrs
    return both


def foretold(frame, further) -> pd.DataFrame:
    """Of each set of a further run what it gained, and what the line said that was fitted to the sets of another: set, gained
    and said, each with 95 % limits, and whether the former is within the latter's."""
    line = fitted(frame)
    x = select(further, role="measure", metric=line["measure"]).set_index("arm")["value"]
    rows = measured_gains(further)
    said = line["intercept"] + line["slope"] * x.loc[rows["arm"]].to_numpy()
    return rows.assign(said=said, said_low=said - line["within"], said_high=said + line["within"], held=(rows["estimate"] - said).abs() <= line["within"])


def foretold_table(frame, further) -> pd.DataFrame:
    """`foretold`, to read."""
    return pd.DataFrame(
        [
            {
                "set": row.arm,
                "gained (points)": said(row),
                "the line said": within(row.said, row.said_low, row.said_high),
                "within": "yes" if row.held else "no",
            }
            for row in foretold(frame, further).itertuples()
        ]
    )


def foretold_said(frame, further, both) -> str:
    """How often the line held, and the best measure's rank correlation over the sets of `joined` runs: sentences, empty without
    a further run."""
    if further is None:
        return ""
    rows, line, over, texts = foretold(frame, further), fitted(frame), fitted(both), numbers(both)
    return (
        f"{(rows['estimate'] < 0).sum()} of {len(rows)} sets lost accuracy on average, {(rows['high'] < 0).sum()} of them with the whole interval below 0; "
        f"the line predicted a loss for {(rows['said'] < 0).sum()}. Of the {len(rows)} gains {rows['held'].sum()} lie within its limits, "
        f"which are {line['within']:.1f} points away on either side. Over all {over['sets']} sets, each family left out in turn, "
        f"the best measure is {NAMES[over['measure']]}, with a rank correlation of {within(*over['correlation'])} (families resampled; chosen on these sets). "
        f"The Fréchet distance has {texts[f'correlation, {NAMES[REFERENCE]}']}, a constant {signed(of_a_constant(both))}; a "
        f"perfect measure could be expected to have {texts['correlation, noise ceiling']}. {fitted_anew(both)}"
    )


def gained(frame):
    """The gain with each set, in groups by family."""
    rows = measured_gains(frame)
    return forest(rows, label="arm", group="family", xlabel="gain over the real images alone (points)")


def left_out(frame, predictor: str) -> pd.DataFrame:
    """Of each set its family, its mean gain, and what the predictor says of it, fitted to the other families."""
    mean, _ = gains(frame)
    table = select(frame, role="measure", metric=predictor).set_index("arm")["value"]
    if mean["family"].nunique() < LEAST_GROUPS or not set(mean["arm"]) <= set(table.index):
        return mean.iloc[:0].assign(said=0.0)
    return mean.assign(said=left_out_predictions(table[mean["arm"]], mean["value"], mean["family"]))


def predicted(frame):
    """Gains as the probe says them, and as they were measured; None for too few families."""
    if best_row(frame) is None:
        return None
    both = pd.concat([left_out(frame, name).assign(by=NAMES[name]) for name in (PRIMARY, REFERENCE)])
    return scatter(
        both.rename(columns={"said": "predicted gain (points)", "value": "measured gain (points)"}),
        x="predicted gain (points)",
        y="measured gain (points)",
        hue="family",
        panel="by",
    )


def correlations(frame):
    """The rank correlation of what each predictor says with the gains, beside that of a constant; None for too few families."""
    if best_row(frame) is None:
        return None
    rows = select(frame, role="prediction", metric="rank_correlation").rename(columns={"value": "estimate"})
    names = {name: NAMES[name] for name in rows.sort_values("estimate")["arm"] if name in NAMES}
    return forest(rows, label="arm", names=names, xlabel="rank correlation of predicted with measured gain", zero=round(of_a_constant(frame), 2))


def ranked_said(frame) -> str:
    """What is to be known beside `correlations`, in sentences."""
    if best_row(frame) is None:
        return "Too few families of sets to leave one out."
    return (
        f"These are correlations of predicted with measured gains; a constant has {signed(of_a_constant(frame))}. "
        f"{fitted_anew(frame)} The measure with the largest correlation is "
        f"{NAMES[best_row(frame)['arm']]}. Gains have noise of their own: a perfect measure could be expected to have "
        f"{numbers(frame).get('correlation, noise ceiling', 'more')}."
    )


def of_measures(frame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The mean gain with each set, and what was measured of it, a column per measure."""
    mean, _ = gains(frame)
    return mean, select(frame, role="measure").pivot(index="arm", columns="metric", values="value").loc[mean["arm"]].reset_index(drop=True)


def plain_correlations(frame) -> dict[str, pd.DataFrame]:
    """The rank correlation of each measure itself with the gains, of all sets and of those that a generator made; limits by
    resampled families, whose sets are alike."""
    mean, table = of_measures(frame)
    made = ~mean["arm"].map(lambda arm: POOLS[arm.rpartition(": ")[2]].source in ("real", "fresh"))  # other data's name comes first
    ranked = select(frame, role="prediction", metric="rank_correlation", arm=list(table))["arm"].tolist()
    if not ranked:
        return {}
    return {
        name: rank_correlations(table.loc[own, ranked].to_dict("list"), mean.loc[own, "value"], REFERENCE, groups=mean.loc[own, "family"]).set_index(
            "predictor"
        )
        for name, own in {ALL: made | True, GENERATED: made}.items()
        if own.sum() >= 4
    }


def faults(frame) -> pd.DataFrame:
    """Of each set the audit's thresholds that the values of its measures, less their baselines, lie beyond, and what it gained:
    the columns of `paired`, faults. Of shares to be dropped, near-copies alone were recorded."""
    rows, (mean, table) = measured_gains(frame), of_measures(frame)
    table = table.set_index(mean["arm"])
    beyond = {"near_copies": table["near_copies"] > THRESHOLDS["near_copies"]} | {
        name: table[name] < -THRESHOLDS[limit] for limit in THRESHOLDS if limit not in MENDED for name in ["probe_gain_all" if limit == "probe_loss" else limit]
    }
    return rows.assign(faults=[", ".join(NAMES[name] for name, own in beyond.items() if own[arm]) for arm in rows["arm"]])


def faults_table(frame) -> pd.DataFrame:
    """`faults`, to read."""
    return pd.DataFrame([{"set": row.arm, "beyond the threshold": row.faults or "none", "gained (points)": said(row)} for row in faults(frame).itertuples()])


def faults_said(frame) -> str:
    """Whether sets with a measure beyond a threshold lose, and those with none gain: two sentences."""
    rows = faults(frame)
    none, some = rows[rows["faults"] == ""], rows[rows["faults"] != ""]
    return (
        f"Of {len(none)} sets with no measure beyond a threshold, the gain's whole interval lies above 0 for {(none['low'] > 0).sum()}. "
        f"Of the {len(some)} others "
        f"it lies above 0 for {(some['low'] > 0).sum()} and below 0 for {(some['high'] < 0).sum()}, and holds 0 for "
        f"{len(some) - (some['low'] > 0).sum() - (some['high'] < 0).sum()}."
    )


def fitted_anew(frame, n_bootstrap=400) -> str:
    """What the probe's correlation has over the Fréchet distance's, with limits where lines are fitted anew to each resample of
    sets: a sentence."""
    mean, table = of_measures(frame)
    y, family, rng = mean["value"].to_numpy(), mean["family"].to_numpy(), np.random.default_rng(0)

    def correlation(x, places=slice(None)):
        return rank_correlation(left_out_predictions(x[places], y[places], family[places]), y[places])

    probe, distance = (table[name].to_numpy() for name in (PRIMARY, REFERENCE))
    drawn = [places for places in rng.integers(len(y), size=(n_bootstrap, len(y))) if len(set(family[places])) >= LEAST_GROUPS]
    low, high = np.quantile([correlation(probe, places) - correlation(distance, places) for places in drawn], (0.025, 0.975))
    over = correlation(probe) - correlation(distance)
    return f"With lines fitted anew to each resample, the probe's correlation is {within(over, low, high)} above that of the Fréchet distance."


def of_a_constant(frame) -> float:
    """The rank correlation of a measure that knows nothing: the mean gain of the other families."""
    mean, _ = gains(frame)
    return rank_correlation(left_out_predictions(np.zeros(len(mean)), mean["value"], mean["family"]), mean["value"])


def plain(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`plain_correlations`, to read."""
    order = next(iter(found.values()))["value"].abs().sort_values(ascending=False).index
    return pd.DataFrame(
        {
            "measure": [NAMES[name] for name in order],
            **{title: [within(row.value, row.low, row.high) for row in rows.loc[order].itertuples()] for title, rows in found.items()},
        }
    )


def plain_said(found: dict[str, pd.DataFrame]) -> str:
    """The measures whose intervals leave out 0, the three strongest by name. found: `plain_correlations`."""

    def told(title):
        rows = found[title]
        sure = rows[(rows["low"] > 0) | (rows["high"] < 0)].sort_values("value", key=abs, ascending=False)
        named = ", ".join(f"{NAMES[name]} ({within(row['value'], row['low'], row['high'])})" for name, row in sure[:3].iterrows())
        return (named or "none") + f", and {len(sure) - 3} more" * (len(sure) > 3)

    return " ".join(f"Measures whose interval leaves out 0, over {title}: {told(title)}." for title in found)


#: Titles of `plain`; kinds of images in `decisions`, by the names of their sets.
ALL, GENERATED = "all sets", "generated sets"
KINDS = {
    "fresh real images": ["fresh real images"],
    "fresh real images, spoilt": [name for name, how in POOLS.items() if how.source == "fresh" and how.changed],
    "copies of your images": ["copies"],
    "made from your images, also filtered": [name for name, how in POOLS.items() if how.family in ("from real images", "filtered")],
    "from noise": ["from noise"],
    "from noise, too few steps": ["from noise, few steps"],
    "a generator with a wrong score": [name for name, how in POOLS.items() if how.family == "wrong score"],
    "a generator stopped early": [name for name, how in POOLS.items() if how.family == "early generator"],
    "made by a VAE": [name for name, how in POOLS.items() if how.family == "VAE"],
    "made by a GAN": [name for name, how in POOLS.items() if how.family == "GAN"],
    "a generator that saw more images": [name for name, how in POOLS.items() if how.family == "oracle"],
    "a weak generator of CIFAR-10": ["CIFAR-10: from noise", "CIFAR-10: strength 50"],
}
#: What to do where all, some or none of a kind's sets gain for sure, or all lose: from the intervals alone.
SURE, SOME, NONE, LOST = (
    "gained: try them, paired",
    "some sets gained: audit, then try the best, paired",
    "no gain could be shown: do not add them",
    "lost: do not add them",
)


def decisions(frame) -> pd.DataFrame:
    """What each kind of images gained, of the gain of fresh real images of the same data, and what follows."""
    rows, found = measured_gains(frame).set_index("arm"), []
    for kind, names in KINDS.items():
        own = rows.loc[[name for name in names if name in rows.index]]
        if own.empty:
            continue
        mean, sure = own["estimate"].mean(), int((own["low"] > 0).sum())
        data, colon, _ = names[0].rpartition(": ")  # of other data than the run's
        ceiling = rows["estimate"].get(f"{data}{colon}fresh real images", np.nan)
        spread = f" ({signed(own['estimate'].min())} to {signed(own['estimate'].max())})" if len(own) > 1 else ""
        share = f"{signed(100 * mean / ceiling, 0, '-')}\u00a0%" if ceiling > 0 else ""
        advice = (
            "collect them first"
            if kind == "fresh real images" and sure
            else SURE
            if sure == len(own)
            else SOME
            if sure
            else LOST
            if (own["high"] < 0).all()
            else NONE
        )
        found.append(
            {"images": kind, "gain": signed(mean) + spread, "of fresh real images' gain": share, "sets above 0": f"{sure} of {len(own)}", "what to do": advice}
        )
    return pd.DataFrame(found)


def fitted(frame: pd.DataFrame) -> dict:
    """The line by which an audit predicts gains, as `synaug.auditing.prediction` keeps it: of the measure of the largest
    rank correlation among those that an audit has. within: half the width of a 95 % interval, points, by Student's t with
    two degrees of freedom fewer than families, of the errors on families of sets that a line was not fitted to.
    correlation: with limits by resampled families."""
    mean, table = of_measures(frame)
    p, names = frame.attrs["provenance"]["parameters"], [name for name in PREDICTORS if name != "gradient_alignment"]
    found = best_row(frame, names)
    x, y = table[found["arm"]].to_numpy(), mean["value"].to_numpy()
    slope, intercept = np.polyfit(x, y, 1)
    said = left_out_predictions(x, y, mean["family"])
    error = np.sqrt(((said - y) ** 2).mean())
    numbers = {"slope": slope, "intercept": intercept, "within": error * student_t.ppf(0.975, mean["family"].nunique() - 2)}
    correlation = rank_correlations({found["arm"]: said}, y, found["arm"], groups=mean["family"])[["value", "low", "high"]].iloc[0]
    of = select(frame, role="measure").drop_duplicates("arm")["dataset"].map(dataset_name).value_counts()
    real = {
        dataset_name(run["dataset"].iloc[0]): training_record(run.attrs["provenance"]["parameters"]["generator"])["recipe"]["subset_size"]
        for run in recordings(chapter.EXPERIMENT.name, ("standard",)).values()
    }
    return {
        "measure": found["arm"],
        **{name: round(float(value), 4) for name, value in numbers.items()},
        "correlation": correlation.round(4).tolist(),
        "sets": len(y),
        "added": p["added"],
        "data": " and ".join(f"{n} of {data} (beside {real[data]:,} real images)" for data, n in of.items()),
        "network": network_name(p["architecture"]),
        "encoder": encoder_label(p["encoder"]),
    }


def choices(frame):
    """The gain over the original set where one of several images is chosen."""
    rows = paired(select(frame, role=["choice", "gain"], arm=["original", *CHOICES]), {"arm": "original"}, ("arm",), "test_error", sign=-1)
    return forest(rows, label="arm", names={name: name for name in CHOICES}, xlabel="gain over the original set (points)")


def same_cost(frame):
    """What the choices gain over a random one whose training has the early network's steps as well, and how many these are: the
    columns of `paired` by arm; None where that was not recorded beside this run."""
    if (longer := variants(frame).get("standard.same_cost")) is None:
        return None
    both = pd.concat([over_another(frame, longer), select(frame, role="choice")])
    rows = paired(both, {"arm": LONGER}, ("arm",), "test_error", sign=-1, correct=None).set_index("arm")
    return rows.loc[list(CHOICES[1:])], longer.attrs["provenance"]["parameters"]["early_steps"]


def same_cost_said(frame) -> str:
    """The same in a sentence; empty where it was not recorded."""
    if (found := same_cost(frame)) is None:
        return ""
    rows, steps = found
    return (
        f" Where the random choice's training has the early network's {steps} steps as well, so that all cost the same, "
        f"these are {' and '.join(said(row) for row in rows.itertuples())} (recorded later)."
    )


def chosen(frame) -> pd.DataFrame:
    """What each choice of images gains over a random one: the columns of `paired`."""
    return paired(select(frame, role="choice"), {"arm": CHOICES[0]}, ("arm",), "test_error", sign=-1)


def numbers(frame) -> dict[str, str]:
    """What the chapter says in numbers, {name: text}."""
    texts = {f"gain, {row.arm}": said(row) for row in measured_gains(frame).itertuples()}
    for row in select(frame, role="prediction", metric="rank_correlation").itertuples():
        texts[f"correlation, {NAMES.get(row.arm, row.arm)}"] = signed(row.value) if pd.isna(row.low) else within(row.value, row.low, row.high)
    for row in select(frame, role="prediction", metric="rank_correlation_over_reference", arm=PRIMARY).itertuples():
        texts["over the reference"] = within(row.value, row.low, row.high)
    return texts | {f"chosen {row.arm}": said(row) for row in chosen(frame).itertuples()}


def best_row(frame, names=PREDICTORS):
    """The row of the largest rank correlation among these measures; None where none is there."""
    rows = select(frame, role="prediction", metric="rank_correlation", arm=list(names))
    return None if rows.empty else rows.loc[rows["value"].idxmax()]


def takeaways(frame, recorded, everything) -> str:
    """The chapter in three lines of Markdown; where no larger run is recorded, what is planned. everything: the run with further
    ones beside it."""
    p, texts = frame.attrs["provenance"]["parameters"], numbers(frame)
    if recorded is None:
        return (
            "**No larger run is recorded yet.** The figures below show that the code runs, at sizes that answer nothing. The "
            "recorded run will say which measure of synthetic images predicts their gain, and whether choosing among them helps."
        )
    row, lines = best_row(frame), []
    if row is not None:
        over = fitted(everything)
        later = (
            f" Over all {over['sets']} sets, those measured later among them, the "
            f"best has {within(*over['correlation'])} ({NAMES[over['measure']]}; exploratory)."
        )
        lines += [
            f"**{'One measure' if row['low'] > LEAST_CORRELATION else 'No measure'} was shown to predict the gain of a new family of images.** Each "
            f"family of {len(p['pools'])} sets was left out in turn. The best of {len(PREDICTORS)} measures then has a "
            f"rank correlation of {texts[f'correlation, {NAMES[row.arm]}']} "
            f"({NAMES[row.arm]}), the Fréchet distance {texts[f'correlation, {NAMES[REFERENCE]}']}, a constant guess "
            f"{signed(of_a_constant(frame))} (below 0, for a reason told below). A perfect one could be expected to have "
            f"{texts.get('correlation, noise ceiling', 'not measured')}.{later if over['sets'] > len(p['pools']) else ''}",
            f"**Sets within the audit's thresholds gained.** {faults_said(everything)} This is no test: thresholds were set so that such images "
            "pass, and nearness to real images became a measure when results were known. "
            "The sets within all thresholds are of one generator and its oracle, or real.",
        ]
    far = select(frame, role="measure", metric=REFERENCE).set_index("arm")["value"]
    if lines and {"fresh, blurred", "from noise", "copies"} <= set(far.index):
        near = plain_correlations(everything)[GENERATED].loc[REFERENCE]
        lines[-1] += (
            " Nearness to real images alone does not order the sets. Fresh real images gain "
            f"{texts['gain, fresh, blurred']} points even when blurred, at a Fréchet "
            f"distance {far['fresh, blurred']:,.0f} above that of real images. Images from noise gain {texts['gain, from noise']} at "
            f"{far['from noise']:,.0f} above it, copies {texts['gain, copies']} at {far['copies']:,.0f} above it. "
            f"Among generated sets the nearer ones gained more: {within(*near[['value', 'low', 'high']])}, a rank correlation (exploratory)."
        )
    if "chosen by alignment" in texts:
        equal = same_cost(frame)
        better = [row.low > 0 for row in (chosen(frame) if equal is None else equal[0]).itertuples()]
        choice = f"{'A' if any(better) else 'No'} rule of choice was shown to beat chance{'' if equal is None else ' at equal cost'}."
        lines.append(
            f"**{choice}** Over a random choice at the same number, gradient alignment gains {texts['chosen by alignment']} points, "
            f"the early network's uncertainty {texts['chosen by uncertainty']}.{same_cost_said(frame)}"
        )
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
