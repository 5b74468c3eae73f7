"""The figures and tables of chapter 2, from frames of `synaug.chapters.targeted_augmentation` (``recorded`` may be None).

A gain is the test error of the original set minus an arm's, of the same seed and setting, in points.
"""

from itertools import product

import pandas as pd

from synaug.plots import Panel, forest, lines
from synaug.run.results import describe_runs, experiment_of, recordings
from synaug.statistics import paired_interval, ratio_interval
from synaug.statistics.claims import load_published
from synaug.statistics.contrasts import differences, paired, select

#: What arms must share to be compared with their original.
SETTING = ("regime", "optimizer", "architecture", "augment", "budget")
ARMS = {"upsampled": "upsampled", "generated": "generated", "fresh": "fresh real images"}
#: A pilot takes the fewest of its steps at which fresh real images gain this many points.
CEILING_GAIN = 1.5
#: Points: a difference whose whole 95 % interval lies this near to 0 counts as none, as in the claims.
NEGLIGIBLE = 0.2
#: (arm, budget) at the largest k: what differs from usual generation. Of other budgets the original is another, too.
ABLATIONS = {
    ("generated, oracle generator", 1.0): "an oracle generator", ("generated, from noise", 1.0): "images from noise alone",
    ("generated, from noise, oracle generator", 1.0): "an oracle generator, from noise alone",
    ("generated, several strengths", 1.0): "several strengths in turn",
    ("generated, near-copies dropped", 1.0): "near-copies dropped",
    ("generated, off-class dropped", 1.0): "off-class images dropped", ("generated", 0.5): "half the steps",
    ("generated", 2.0): "twice the steps"}  # fmt: skip
SELECTIONS = {
    "generated": "slow clusters", "generated, random": "random, as many", "generated, all": "all",
    "generated, high loss": "highest loss, as many", "generated, misclassified": "misclassified",
    "upsampled": "slow clusters, upsampled", "fresh": "fresh real images for the slow",
    "fresh, all": "fresh real images for all"}  # fmt: skip


def base(frame, *free):
    """Columns and values of the setting of most comparisons, but for those that are free."""
    p = frame.attrs["provenance"]["parameters"]
    found = {"regime": "small", "optimizer": "sgd", "architecture": p["architecture"], "augment": p.get("augment", "flip"),
             "budget": 1.0}  # fmt: skip
    return {name: value for name, value in found.items() if name not in free}


def gains(frame, metric="test_error"):
    """Rows of all arms but the originals; value: their gain."""
    return differences(frame, {"kind": "original"}, pair=(*SETTING, "seed"), metric=metric, sign=-1)


def comparisons(frame, **where):
    """Every arm against the original of its setting, over paired seeds, as `synaug.statistics.contrasts.paired` (Holm over
    all, before those of ``where`` are selected); estimate: its gain."""
    found = paired(frame, {"kind": "original"}, (*SETTING, "arm", "x"), "test_error", (*SETTING, "seed"), sign=-1)
    return select(found, **where).assign(kind=lambda rows: rows["arm"].str.split(",").str[0])


def error_against_k(live, recorded=None, metric="test_error"):
    """Test error against k, and the gain over the original, for copies, generated and fresh images."""
    best, arms = load_published("nguyen2025")["optimum"], {"original": "original", **ARMS}
    upright = {f"published best k, {arm}": best[f"{arm}_k"] for arm in ("upsampled", "generated")}
    shown = [Panel(metric, f"{metric.replace('_', ' ')} (%)", {"arm": list(arms)}, upright=upright),
             Panel("gain", "gain (points, paired by seed)", {"arm": list(arms)}, upright=upright, line=0.0)]  # fmt: skip
    frames = [frame if frame is None else select(pd.concat(
        [frame, gains(frame, metric).assign(metric="gain")]), **base(frame)) for frame in (live, recorded)]  # fmt: skip
    return lines(*frames, shown, hue="arm", names=arms, xlabel="k, times a slow example occurs", xticks=range(1, 6))


def at_smallest_k(frame, names):
    """Gains at k = 2, a row per arm; names: {arm: what it is}, to which the images that it adds are added."""
    added = select(frame, metric="added_share", x=2, **base(frame)).groupby("arm")["value"].mean()
    names = {arm: f"{name} (+{added[arm]:.0f}\u00a0%)" for arm, name in names.items() if arm in added}
    return forest(comparisons(frame, x=2, **base(frame)), label="arm", names=names, hue="kind",
                  xlabel="gain over the original set (points)")  # fmt: skip


def strengths(frame):
    """Gain by the denoising strength, and from noise alone, beside copies."""
    made = select(frame, kind="generated", x=2).dropna(subset="strength").sort_values("strength")
    made = made[made["arm"].str.fullmatch("generated(, strength .*)?")].drop_duplicates("arm")
    return at_smallest_k(frame, {row.arm: f"{row.strength:g} of 100 steps, σ = {row.sigma:.2g}" for row in made.itertuples()}
                         | {"generated, from noise": "from noise alone", "upsampled": "upsampled"})  # fmt: skip


def selections(frame):
    """Gain of generated images for examples chosen in five ways, beside copies and fresh real images."""
    return at_smallest_k(frame, SELECTIONS)


def settings(frame):
    """Gains of upsampling (k = 2), of generation and fresh real images (largest k) by optimizer, augmentation, network,
    regime and steps, with the original's error; below, the published ones of two networks."""
    found = comparisons(frame, arm=list(ARMS))
    found = found[found["x"] == found["arm"].map({"upsampled": 2}).fillna(frame["x"].max())].assign(run="measured")
    errors = select(frame, metric="test_error", kind="original").groupby(list(SETTING))["value"].mean()
    rows = [{**row, "label": f"{setting_name(row)} ({errors[tuple(row[name] for name in SETTING)]:.1f}\u00a0%)"}
            for row in found.to_dict("records")]  # fmt: skip
    published = load_published("nguyen2025")["modern_networks"]
    for arm, (name, error) in product(("upsampled", "generated"), enumerate(published["original"])):
        rows.append({"label": f"published, CIFAR-10, {published['columns'][name]} ({error[0]:.1f}\u00a0%)", "arm": arm,
                     "run": "published", "estimate": error[0] - published[arm][name][0]})  # fmt: skip
    return forest(pd.DataFrame(rows), hue="arm", run="run", xlabel="gain over the original set of the same row (points)")


def setting_name(row):
    """In words: regime, optimizer, architecture, augmentation, and what else is unusual."""
    augment = {"none": "not augmented", "flip": "flips", "flip_trivial": "TrivialAugment", "flip_crop": "flips, shifts",
               "flip_crop_trivial": "shifts, TrivialAugment"}[row["augment"]]  # fmt: skip
    budget = [] if row["budget"] == 1 else [f"{row['budget']:g} times the steps"]
    return ", ".join([row["regime"], row["optimizer"].upper(), row["architecture"], augment, *budget])


def ablated(frame):
    """A row per ablation that the run holds, against usual generation at the largest k, over paired seeds: the columns of
    `paired` (Holm over these rows), change, and reading: "helps", "hurts", "no difference" or "not resolved"."""
    rows = select(gains(frame), x=frame["x"].max(), **base(frame, "budget"))
    keys = pd.Series(list(zip(rows["arm"], rows["budget"])), index=rows.index)
    found = paired(rows[keys.isin([*ABLATIONS, ("generated", 1.0)])], {"arm": "generated", "budget": 1.0}, ("arm", "budget"))

    def reading(row):
        if max(-row.low, row.high) < NEGLIGIBLE:
            return "no difference"
        return "not resolved" if not row.adjusted < 0.05 else "helps" if row.estimate > 0 else "hurts"

    found = found.assign(change=[ABLATIONS[row.arm, row.budget] for row in found.itertuples()])
    found = found.sort_values("change", key=lambda names: names.map(list(ABLATIONS.values()).index))
    return found.assign(reading=[reading(row) for row in found.itertuples()])


def ablations(frame):
    """What each ablation gains over usual generation, and for comparison what fresh real images and copies do."""
    rows = select(gains(frame), x=frame["x"].max(), **base(frame))
    others = paired(rows, {"arm": "generated"}).query("arm in ('fresh', 'upsampled')").assign(change=lambda t: t["arm"].map(ARMS))
    found = pd.concat([ablated(frame).assign(arm="generated"), others])
    return forest(found, label="change", hue="arm", xlabel="gain over usual generation (points, largest k)")


def shares(frame):
    """Ratios at the largest k, with intervals, where what is below is told from 0: by regime, what generation gains of
    what fresh real images do; and what ablations gain more of what lies between those two."""
    wide, found = gains(frame).query("x == x.max() and budget == 1"), []
    wide = select(wide, **base(frame, "regime")).pivot(index=["regime", "seed"], columns="arm", values="value")
    ratios = {"generation, of the gain of fresh real images": ("generated", None), **{
        f"{change}, of the gap to fresh real images": (arm, "generated") for (arm, budget), change in ABLATIONS.items()
        if budget == 1}}  # fmt: skip
    for (regime, own), (name, (arm, start)) in product(wide.groupby("regime", sort=False), ratios.items()):
        if not {arm, "fresh", start or arm} <= set(own):
            continue
        pairs = own[[arm, "fresh"]].sub(own[start] if start else 0.0, axis=0).dropna()
        if len(pairs) > 1 and paired_interval(pairs["fresh"]).low > 0:
            ratio = ratio_interval(pairs[arm], pairs["fresh"])
            found.append({"regime": regime, "share of the ceiling": name, "seeds": ratio.n, "%, 95 % interval":
                          f"{100 * ratio.estimate:.0f} [{100 * ratio.low:.0f}, {100 * ratio.high:.0f}]"})  # fmt: skip
    return pd.DataFrame(found)


def table(found, unit="gain in points", **columns):
    """Rows of `paired` to read, below columns that say what they are."""
    said = [f"{row.estimate:+.2f} [{row.low:+.2f}, {row.high:+.2f}]" for row in found.itertuples()]
    return pd.DataFrame({**{name.replace("_", " "): list(values) for name, values in columns.items()}, "seeds":
                         list(found["n"]), f"{unit}, 95 % interval": said, "adjusted p": list(found["adjusted"])})  # fmt: skip


def comparison_table(frame):
    """All gains over the original set."""
    found = comparisons(frame)
    return table(found, setting=map(setting_name, found.to_dict("records")), arm=found["arm"], k=found["x"])


def ablation_table(frame):
    """`ablated` to read."""
    found = ablated(frame)
    return table(found, "gain over usual generation", what_was_changed=found["change"], reading=found["reading"])


def runs_table(live):
    """The main comparison in every recorded run of the live frame's experiment, else in itself."""
    found = []
    for name, frame in (recordings(experiment_of(live)) or {"this build": live}).items():
        found.append(comparisons(frame, **base(frame), arm=list(ARMS)).assign(run=f"{frame['dataset'].iloc[0]}, {n_real(frame):,} images ({name})"))
    found = pd.concat(found)
    return table(found, run=found["run"], arm=found["arm"], k=found["x"])


def pilot_table(frame):
    """What fresh real images gain on validation images, by number of steps, and which the rule takes."""
    rows, columns = select(frame, kind="pilot"), ["regime", "steps"]
    found = paired(rows, {"arm": "pilot, original"}, columns, pair=(*columns, "seed"), sign=-1).sort_values(columns)
    rule = found[found["estimate"] >= CEILING_GAIN].groupby("regime")["steps"].min()
    takes = (found["steps"] == found["regime"].map(rule)).map({True: "yes", False: ""})
    return table(found, regime=found["regime"], steps=found["steps"], the_rule_takes=takes)


def warm_up_table(frame):
    """What warm-ups took and found, mean over seeds."""
    names = {"passes": "passes", "error": "training error (%)", "slow_share": "slow (%)", "seconds": "seconds",
             "slow_overlap": "slow for the next seed, too, over chance"}  # fmt: skip
    rows = select(frame, kind="warm-up", metric=list(names))
    found = rows.pivot_table(index=["regime", "architecture"], columns="metric", values="value")[list(names)]
    return found.rename(columns=names).reset_index()


def cost_table(frame):
    """Arms of the base setting and SAM: images added, seconds, gain over the original set under SGD, and extra seconds for
    each point: of the warm-up where examples are chosen, of generation, and of training beyond the original's."""
    setting, keys = base(frame, "optimizer"), ["optimizer", "arm", "x"]
    rows = select(frame, metric=["added_share", "generation_seconds", "training_seconds"], **setting)
    means = rows.pivot_table(index=keys, columns="metric", values="value", sort=False)
    found = paired(frame=select(frame, metric="test_error", **setting), against={"arm": "original", "optimizer": "sgd"},
                   by=keys, sign=-1).join(means, on=keys)  # fmt: skip
    found = found[~found["arm"].str.contains("oracle|dropped|several|fresh")]  # what nobody would make
    warm_up = select(frame, kind="warm-up", metric=["seconds", "selection_seconds"], **base(frame, "augment"))
    chosen = warm_up.groupby("metric")["value"].mean().sum() * (found["arm"] != "original")
    longer = found["training_seconds"] - means.loc[("sgd", "original", 1.0), "training_seconds"]
    extra = (chosen + found["generation_seconds"] + longer) / found["estimate"]
    return table(found, optimizer=found["optimizer"].str.upper(), arm=found["arm"], k=found["x"],
                 images_added=found["added_share"].map("{:.0f} %".format)).assign(**{
                     "generation (s)": list(found["generation_seconds"].round(1)),
                     "training (s)": list(found["training_seconds"].round(1)),
                     "extra seconds per point": list(extra.where(found["low"] > 0).round())})  # fmt: skip


def n_real(frame, regime="small"):
    return int(select(frame, regime=regime)["n_real"].iloc[0])


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    return describe_runs(live, recorded, lambda frame, p: (
        f"{frame['dataset'].iloc[0]}, {n_real(frame):,} real images, {p['architecture']}; k = {', '.join(map(str, p['ks']))}; "
        f"studies: {', '.join(p['studies'])}; {p['k_seeds']} paired seeds in those of k and of ablations, {p['seeds']} in "
        f"others; {(frame['metric'] == 'test_error').sum()} classifiers"))  # fmt: skip
