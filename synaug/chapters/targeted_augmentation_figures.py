"""The figures and tables of chapter 2, from frames of its experiment (``recorded`` may be None).

A gain is the test error of the original set minus an arm's, of the same seed and setting, in points.
"""

from itertools import product

import pandas as pd

from synaug.chapters.reading import interval, said, signed, values, verdict_of
from synaug.chapters.targeted_augmentation import DECAY
from synaug.plots import Panel, forest, lines
from synaug.run.results import experiment_of, recordings
from synaug.statistics import paired_interval, ratio_interval
from synaug.statistics.claims import load_published
from synaug.statistics.contrasts import differences, paired, select

#: What arms must share to be compared with their original.
SETTING = ["regime", "optimizer", "architecture", "augment", "budget"]
ARMS = {"upsampled": "upsampled", "generated": "generated", "fresh": "fresh real images"}
#: A pilot takes the fewest of its steps at which fresh real images gain this many points.
CEILING_GAIN = 1.5
#: Points: a difference whose whole 95 % interval lies this near to 0 counts as none, as in the claims.
NEGLIGIBLE = 0.2
#: (arm, budget) at the largest k: what differs from usual generation. Of other budgets the original is another, too.
ABLATIONS = {
    ("generated, oracle generator", 1): "an oracle generator",
    ("generated, from noise", 1): "images from noise alone",
    ("generated, from noise, oracle generator", 1): "an oracle generator, from noise alone",
    ("generated, several strengths", 1): "several strengths in turn",
    ("generated, near-copies dropped", 1): "near-copies dropped",
    ("generated, off-class dropped", 1): "off-class images dropped",
    ("generated", 0.5): "half the steps",
    ("generated", 2): "twice the steps",
}
SELECTIONS = {
    "generated": "slow clusters",
    "generated, random": "random, as many",
    "generated, all": "all",
    "generated, high loss": "highest loss, as many",
    "generated, misclassified": "misclassified",
    "upsampled": "slow clusters, upsampled",
    "fresh": "fresh real images for the slow",
    "fresh, all": "fresh real images for all",
    "upsampled, few": "few of the slow, upsampled",
    "generated, few": "few of the slow",
    "fresh, few": "fresh real images for as few",
}


def base(frame, *free):
    """Columns and values of the setting of most comparisons, but for those that are free."""
    p = frame.attrs["provenance"]["parameters"]
    found = dict(zip(SETTING, ("small", "sgd", p["architecture"], p.get("augment", "flip"), 1.0)))
    return {name: value for name, value in found.items() if name not in free}


def gains(frame, metric="test_error"):
    """Rows of all arms but the originals; value: their gain."""
    return differences(frame, {"kind": "original"}, pair=(*SETTING, "seed"), metric=metric, sign=-1)


def comparisons(frame, **where):
    """Every arm against the original of its setting, see `synaug.statistics.contrasts.paired`, with its kind, and its
    setting in words; estimate: its gain. Limits are not adjusted for their number."""
    found = paired(frame, {"kind": "original"}, (*SETTING, "arm", "x"), "test_error", (*SETTING, "seed"), sign=-1, correct=None)
    names = {
        "none": "not augmented",
        "flip": "flips",
        "flip_trivial": "TrivialAugment",
        "flip_crop": "flips, shifts",
        "flip_crop_trivial": "shifts, TrivialAugment",
    }
    words = [
        f"{row.regime}, {row.optimizer.upper()}, {row.architecture}, {names[row.augment]}" + f", {row.budget:g} times the steps" * (row.budget != 1)
        for row in found.itertuples()
    ]
    return select(found.assign(setting=words, kind=found["arm"].str.split(",").str[0]), **where)


#: Names of `numbers`.
TRIVIAL, ON_TRIVIAL = "TrivialAugment, no new images", "generated on top of TrivialAugment"
BEST, MARGIN, SHARE = "best generated arm", "TrivialAugment over it", "share of the gain of fresh real images (%)"
OF_FRESH = "generation, of the gain of fresh real images"


def trivial_augment(frame):
    """What TrivialAugment gains without any new image, over the original, and over each arm of a generator that has
    seen no other images: rows of `paired`, of the arms "original" and those; their best is the one that gains most."""
    own = select(frame, kind="original", augment=trivial_name(frame), **base(frame, "augment"))
    others = select(frame, kind=["original", "generated"], **base(frame))
    others = others[~others["arm"].str.contains("oracle")]
    return paired(pd.concat([own.assign(arm=TRIVIAL, x=0.0), others]), {"arm": TRIVIAL}, ("arm", "x"), "test_error", correct=None)


def numbers(frame):
    """What the chapter says in numbers, {name: text}: gains over the original set in points, as far as measured."""
    found, largest = comparisons(frame, **base(frame)), frame["x"].max()
    errors = select(frame, metric="test_error", kind="original", **base(frame))["value"]
    texts = {"test error of the original set (%)": f"{errors.mean():.2f}"}
    texts |= {f"{row.arm}, k = {row.x:g}": said(row) for row in found.itertuples()}
    slow = paired(frame, {"kind": "original"}, (*SETTING, "arm", "x"), "test_error_slow", (*SETTING, "seed"), sign=-1)
    texts |= {f"{row.arm}, k = {row.x:g}, slow test images": said(row) for row in select(slow, arm=list(ARMS), x=largest, **base(frame)).itertuples()}
    share = select(shares(frame), **{"regime": "small", "share of the ceiling": OF_FRESH})["%, 95 % interval"]
    texts |= {SHARE: share.item()} if len(share) else {}
    usual = select(found, arm="generated")["x"].min()
    rows = select(gains(frame), x=usual, **base(frame))
    texts |= {f"{row.arm}, k = {usual:g}, over the usual": said(row) for row in paired(rows, {"arm": "generated"}, correct=None).itertuples()}
    trivial = trivial_augment(frame)
    if len(trivial):
        best = found[(found["kind"] == "generated") & ~found["arm"].str.contains("oracle")]
        best = best.loc[best["estimate"].idxmax()]
        texts |= {
            TRIVIAL: said(select(trivial, arm="original").iloc[0]),
            BEST: f"{best['arm']}, k = {best['x']:g}",
            MARGIN: said(select(trivial, arm=best["arm"], x=best["x"]).iloc[0]),
        }
        on = comparisons(frame, arm="generated", augment=trivial_name(frame), **base(frame, "augment"))
        texts |= {ON_TRIVIAL: said(list(on.itertuples())[-1])} if len(on) else {}
    return texts


def trivial_name(frame):
    return f"{base(frame)['augment']}_trivial"


def takeaways(found, poor):
    """The chapter in three lines of Markdown; found, poor: `numbers` of the recorded runs of the two data sets."""
    return "\n".join(
        (
            f"1. **Classical augmentation gains more than any set of this chapter that a generator of the same images adds to flips.** TrivialAugment "
            f"gains {found[TRIVIAL]} points of test accuracy without any new image, ten times the weight decay "
            f"{said(weight_decay())}. The best of those images ({found[BEST].removeprefix('generated, ')}) gain {found[found[BEST]]}. "
            f"With ten times the weight decay, images from noise are {noise_and_decay()} against TrivialAugment. An oracle's images from noise come "
            "near it, and so do many more images from noise ([chapter 5](05_how_much_and_how_mixed.html)); these differences were not tested.",
            f"2. **Generated images bring a fraction of what real ones would.** Made from the slow examples at k = 5, "
            f"they gain {found['generated, k = 5']} points; as many fresh real images gain {found['fresh, k = 5']}, copies "
            f"{found['upsampled, k = 5']}. On CIFAR-10, with a small generator, they change "
            f"accuracy by {poor['generated, k = 5']}.",
            "3. **On Fashion-MNIST, where many are added, images from noise gain at least as much as images made from real ones at half "
            "of the denoising steps.** Those of the generator of the same images gain "
            f"{found['generated, from noise, k = 5']} points at k = 5, those of an oracle, trained on five times as many real images and "
            f"longer, {found['generated, from noise, oracle generator, k = 5']}. At k = 2, where the paper's claim stands, those of the same images "
            f"gain {found['generated, from noise, k = 2']}. Some 3,000 from noise gain, over as many made from real ones: {noise_over_real()}.",
        )
    )


def noise_over_real():
    """What some 3,000 images from noise gain over as many made from real ones, in three pools of the same generator: a
    sentence, of the recorded runs of chapters 2, 5 and 8."""
    own, mixing, pools = (recordings(name)["standard"] for name in ("targeted_augmentation", "how_much_and_how_mixed", "will_it_help_me"))
    p = mixing.attrs["provenance"]["parameters"]
    shared = {"mixing": "shuffled", "x": p["compared"], "n_real": p["n_real"], "width": p["width"]}
    compared = {
        "here": (own, "generated", "generated, from noise", {"x": 5, **base(own)}),
        "in chapter 5": (mixing, "reconstruction", "from noise", shared),
        "in chapter 8": (pools, "strength 50", "from noise", {"role": "gain"}),
    }
    return "; ".join(
        f"{said(interval(*(values(frame, metric='test_error', arm=arm, **where) for arm in (real, noise))))} {chapter}"
        for chapter, (frame, real, noise, where) in compared.items()
    )


def strengths_elsewhere():
    """What versions of all real images gain by strength in chapter 8's recorded run: a sentence."""
    frame = recordings("will_it_help_me")["standard"]
    base = values(frame, role="gain", metric="test_error", arm="original")
    gains = {n: interval(base, values(frame, role="gain", metric="test_error", arm=f"strength {n}")) for n in (20, 50, 80)}
    return (
        "In [chapter 8](08_will_it_help_me.html), where versions of all images are added, "
        + ", ".join(f"{n} steps gain {said(g)}" for n, g in gains.items())
        + "."
    )


def settings_won(frame):
    """In how many settings an arm's whole interval of the gain lies above 0, at the largest k: {arm: "n of m"}."""
    found = comparisons(frame, arm=["generated", "fresh"], x=frame["x"].max())
    return {arm: f"{(own['low'] > 0).sum()} of {len(own)}" for arm, own in found.groupby("arm")}


def readings(frame):
    """The ablations by what they do, in words."""
    found = ablated(frame)
    return " ".join(f"{reading.capitalize()}: {'; '.join(own['change'])}." for reading, own in found.groupby("reading", sort=False))


def error_against_k(live, recorded=None, metric="test_error"):
    """Test error against k, and the gain over the original, for copies, generated and fresh images."""
    best, arms = load_published("nguyen2025")["optimum"], {"original": "original", **ARMS}
    shared = {"where": {"arm": list(arms)}, "upright": {f"published best k, {arm}": best[f"{arm}_k"] for arm in ("upsampled", "generated")}}
    shown = [
        Panel(metric, "test error (%)" if metric == "test_error" else "test error, slow test images (%)", **shared),
        Panel("gain", "gain (points, paired by seed)", line=0.0, **shared),
    ]
    frames = [frame if frame is None else select(pd.concat([frame, gains(frame, metric).assign(metric="gain")]), **base(frame)) for frame in (live, recorded)]
    return lines(*frames, shown, hue="arm", names=arms, xlabel="k, times a slow example occurs", xticks=range(1, 6))


def at_smallest_k(frame, names):
    """Gains at k = 2, a row per arm; names: {arm: what it is}, to which the images that it adds are added."""
    added = select(frame, metric="added_share", x=2, **base(frame)).groupby("arm")["value"].mean()
    names = {arm: f"{name} (+{added[arm]:.0f}\u00a0%)" for arm, name in names.items() if arm in added}
    return forest(comparisons(frame, x=2, **base(frame)), label="arm", names=names, xlabel="gain over the original set (points)")


def strengths(frame):
    """Gain by the denoising strength, and from noise alone, beside copies."""
    made = select(frame, kind="generated", x=2).dropna(subset="strength").sort_values("strength")
    made = made[made["arm"].str.fullmatch("generated(, strength .*)?")].drop_duplicates("arm")
    names = {row.arm: f"{row.strength:g} of 100 steps, σ = {row.sigma:.2g}" for row in made.itertuples()}
    return at_smallest_k(frame, {**names, "generated, from noise": "from noise alone", "upsampled": "upsampled"})


def selections(frame):
    """Gain of generated images for examples chosen in five ways, beside copies and fresh real images."""
    return at_smallest_k(frame, SELECTIONS)


def settings(frame):
    """Gains of upsampling (k = 2), of generation and fresh real images (largest k) in each setting, with the original's
    error; below, the published ones of two networks."""
    found = comparisons(frame, arm=list(ARMS))
    found = found[found["x"] == found["arm"].map({"upsampled": 2}).fillna(frame["x"].max())]
    errors = select(frame, metric="test_error", kind="original").groupby(SETTING)["value"].mean().rename("error")
    rows = [found.join(errors, on=SETTING).assign(run="measured")]
    published = load_published("nguyen2025")["modern_networks"]
    for arm, (i, name) in product(("upsampled", "generated"), enumerate(published["columns"])):
        error = published["original"][i][0]
        rows.append(
            pd.DataFrame(
                {"setting": f"published, CIFAR-10, {name}", "error": error, "arm": arm, "run": "published", "estimate": [error - published[arm][i][0]]}
            )
        )
    rows = pd.concat(rows)
    label = [f"{row.setting} ({row.error:.1f}\u00a0%)" for row in rows.itertuples()]
    return forest(rows.assign(label=label), hue="arm", run="run", xlabel="gain over the row's original set (points)")


def published_gains():
    """Test accuracy of real and generated images, and of TrivialAugment, as the paper of chapter 1 reports it."""
    table = load_published("yamaguchi2024")["table4"]
    rows = {
        "real images": "real_only",
        "real, TrivialAugment": "TrivialAugment",
        "real and generated": "naive_x5",
        "real and reconstructed": "recon_rand(50,100)_x5",
        "generated alone": "synthetic_x5",
    }
    return pd.DataFrame(
        [
            {"training set": name, **{data: f"{mean:.1f} ± {error:.1f}" for data, (mean, error) in zip(table["columns"], table[row])}}
            for name, row in rows.items()
        ]
    )


#: Arms of the study of baselines, some of them with TrivialAugment or more weight decay: what each is.
BASELINES = {
    "regularised, label smoothing": "label smoothing",
    "oracle's images": "all real images of the oracle",
    "generated, from noise, oracle generator": "images from the oracle's noise",
    "original": "no new images",
    "upsampled": "copies",
    "generated": "images from real ones",
    "generated, from noise": "images from noise",
    "fresh": "fresh real images",
}


TEN_TIMES = "ten times the weight decay"


def by_setting(frame):
    """Test errors of the study of baselines; arm: an arm of ``BASELINES``, decay: whether it had ten times the weight decay,
    group: its setting in words."""
    rows = select(frame, metric="test_error", **base(frame, "augment", "budget"))
    apart = rows["arm"].str.removesuffix(f", {DECAY}").replace("regularised", "original")
    rows = select(rows.assign(decay=rows["arm"].str.endswith(DECAY), arm=apart), arm=list(BASELINES))
    groups = [
        ("TrivialAugment" if row.augment.endswith("trivial") else "flips")
        + {0.5: ", half the steps", 1: "", 2: ", twice the steps"}[row.budget]
        + f", {TEN_TIMES}" * row.decay
        for row in rows.itertuples()
    ]
    return rows.assign(group=groups)


def over_flips(frame):
    """Gains of the study of baselines over the original set with flips and the usual steps: the columns of `paired`, group."""
    by = ["augment", "budget", "decay"]
    found = paired(by_setting(frame), {"arm": "original", "group": "flips"}, (*by, "group", "arm", "x"), correct=None, sign=-1)
    return found.sort_values(by, kind="stable")


def baselines(frame):
    """`over_flips`, in groups by setting."""
    return forest(over_flips(frame), label="arm", group="group", names=BASELINES, xlabel="gain over flips alone (points)")


def baselines_said(frame):
    """What is gained over flips alone without any image, by TrivialAugment, and with the oracle's or fresh images."""
    found = over_flips(frame).sort_values("estimate")
    found = found.assign(name=found["group"].str.removeprefix("flips, ").where(found["arm"] == "original", found["arm"].map(BASELINES)))
    alone, flips = found["arm"].str.match("original|regularised"), found["group"].str.startswith("flips")
    sentences = {
        "Gains over flips alone, in points, without any new image": found[alone & flips],
        "By classical transforms": found[alone & ~flips],
        "By other images": select(found, group="flips", arm=["oracle's images", "generated, from noise, oracle generator", "fresh"]),
    }
    return " ".join(f"{what}: {'; '.join(f'{row.name} {said(row)}' for row in rows.itertuples())}." for what, rows in sentences.items() if len(rows))


def weight_decay():
    """What ten times the weight decay gains over the original set of the recorded baselines: a row of `paired`."""
    return next(select(over_flips(recordings("targeted_augmentation")["standard.baselines"]), group=f"flips, {TEN_TIMES}", arm="original").itertuples())


def noise_and_decay(digits=2):
    """What images from noise and ten times the weight decay gain over TrivialAugment without any new image, with its interval."""
    rows = by_setting(recordings("targeted_augmentation")["standard.baselines"])
    found = paired(rows, {"arm": "original", "group": "TrivialAugment"}, ("group", "arm", "x"), correct=None, sign=-1)
    return said(next(select(found, arm="generated, from noise", group=f"flips, {TEN_TIMES}").itertuples()), digits=digits)


def on_top(frame):
    """What new images gain in three settings of the study of baselines, over the original set of the same setting:
    {setting: {arm: row of `paired`}}."""
    rows = by_setting(frame)
    groups = {"TrivialAugment": "TrivialAugment", "TrivialAugment at twice the steps": "TrivialAugment, twice the steps", TEN_TIMES: f"flips, {TEN_TIMES}"}
    return {
        name: {row.arm: row for row in paired(select(rows, group=group), {"arm": "original"}, ("arm", "x"), correct=None, sign=-1).itertuples()}
        for name, group in groups.items()
    }


def on_top_said(frame):
    """The same in sentences, one per setting."""
    return " ".join(
        f"On top of {title}: {', '.join(f'{name} {said(own[arm])}' for arm, name in BASELINES.items() if arm in own)}." for title, own in on_top(frame).items()
    )


def ablated(frame):
    """A row per ablation that the run holds, against usual generation at the largest k, over paired seeds: the columns
    of `paired`, change, and reading by its interval: "helps", "hurts", "no difference" or "not resolved"."""
    rows = select(gains(frame), x=frame["x"].max(), **base(frame, "budget"))
    wanted = [key in ABLATIONS or key == ("generated", 1) for key in zip(rows["arm"], rows["budget"])]
    found = paired(rows[wanted], {"arm": "generated", "budget": 1}, ("arm", "budget"), correct=None)

    found = found.assign(
        change=[ABLATIONS[row.arm, row.budget] for row in found.itertuples()],
        reading=[verdict_of(row, "helps", "hurts", "no difference", "not resolved", NEGLIGIBLE) for row in found.itertuples()],
    )
    return found.sort_values("change", key=lambda names: names.map(list(ABLATIONS.values()).index))


def ablations(frame):
    """What each ablation gains over usual generation, and for comparison what fresh real images and copies do."""
    rows = select(gains(frame), x=frame["x"].max(), arm=list(ARMS), **base(frame))
    others = paired(rows, {"arm": "generated"}).assign(change=lambda found: found["arm"].map(ARMS))
    return forest(pd.concat([ablated(frame), others]), label="change", xlabel="gain over usual generation (points, largest k)")


def shares(frame):
    """Ratios at the largest k, where what is below is told from 0: by regime, what generation gains of what fresh real
    images do; and what ablations gain more of what lies between those two."""
    rows, found = select(gains(frame), x=frame["x"].max(), **base(frame, "regime")), []
    ratios = {
        OF_FRESH: ("generated", None),
        **{f"{change}, of the gap to fresh real images": (arm, "generated") for (arm, budget), change in ABLATIONS.items() if budget == 1},
    }
    for (regime, own), (name, (arm, start)) in product(rows.groupby("regime", sort=False), ratios.items()):
        own = own.pivot(index="seed", columns="arm", values="value")
        if {arm, "fresh", start or arm} <= set(own):
            pairs = own[[arm, "fresh"]].sub(own[start] if start else 0.0, axis=0).dropna()
            if len(pairs) > 1 and paired_interval(pairs["fresh"]).low > 0:
                ratio = ratio_interval(pairs[arm], pairs["fresh"])
                found.append((regime, name, ratio.n, said(ratio, "-", 0, 100)))
    return pd.DataFrame(found, columns=["regime", "share of the ceiling", "seeds", "%, 95 % interval"])


def table(found, unit="gain in points", **columns):
    """Rows of `paired` to read. columns: those that say what they are, by title."""
    shown = {**columns, "seeds": "n", f"{unit}, 95 % interval": "said"}
    found = found.assign(said=[said(row) for row in found.itertuples()])
    return pd.DataFrame({title.replace("_", " "): found[name] for title, name in shown.items()})


def runs_table(live):
    """The main comparison in every recorded run of the live frame's experiment, else in itself."""
    runs = {name: frame for name, frame in recordings(experiment_of(live)).items() if "k" in frame.attrs["provenance"]["parameters"]["studies"]} or {
        "this build": live
    }
    return table(
        pd.concat(comparisons(frame, arm=list(ARMS), **base(frame)).assign(run=f"{images_of(frame)} ({name})") for name, frame in runs.items()),
        run="run",
        arm="arm",
        k="x",
    )


def few_seeds_table(frame):
    """Each arm of a run of a few seeds: images added, and the gain of each seed and of their mean, in points."""
    added = select(frame, metric="added").groupby(["arm", "x"])["value"].mean()
    own = gains(frame).pivot_table(index=["arm", "x"], columns="seed", values="value")
    return pd.DataFrame(
        {
            "arm": [arm for arm, _ in own.index],
            "k": [f"{k:g}" for _, k in own.index],
            "images added": [f"{added[at]:,.0f}" for at in own.index],
            **{f"gain, seed {seed}": [signed(value) for value in own[seed]] for seed in own},
            "mean gain": [signed(value) for value in own.mean(axis=1)],
        }
    )


def few_seeds_said(frame):
    """The same in sentences: what the largest k and as few fresh real images as there are do, and why."""
    own = gains(frame).pivot_table(index=["arm", "x"], columns="seed", values="value")
    errors = select(frame, metric=["test_error", "real_error"]).groupby(["metric", "arm", "x"])["value"].mean()
    top, seeds = frame["x"].max(), own.shape[1]

    def both(arm, k):
        values = own.loc[arm, k]
        return f"{signed(values.mean(), 1)} ({signed(values.min(), 1)} to {signed(values.max(), 1)})"

    made = [at for at in own.index if at[0].startswith("generated")]
    lose = [at for at in made if (own.loc[at] < 0).all()]
    return (
        f"Over {seeds} seeds, classifiers trained on the original set err on {errors['test_error', 'original', 1]:.1f}\u00a0% of the test images. "
        f"At k = {top:g} generated images change accuracy by {both('generated', top)} points, copies by {both('upsampled', top)}; "
        f"the few fresh real images that there are, by {both('fresh, few', 2)}. Generated images lose in every seed in {len(lose)} of "
        f"{len(made)} arms. The error on the real training images themselves rises from {errors['real_error', 'original', 1]:.1f} to "
        f"{errors['real_error', 'generated', top]:.1f}\u00a0%: the real images are seen less often in as many steps. Whether that is the cause was not tested."
    )


def pilot_table(frame):
    """What fresh real images gain on validation images, by number of steps, and which the rule takes."""
    rows, by = select(frame, kind="pilot"), ["regime", "steps"]
    found = paired(rows, {"arm": "pilot, original"}, by, pair=(*by, "seed"), sign=-1, correct=None).sort_values(by)
    rule = found[found["estimate"] >= CEILING_GAIN].groupby("regime")["steps"].min()
    takes = (found["steps"] == found["regime"].map(rule)).map({True: "yes", False: ""})
    return table(found.assign(takes=takes), regime="regime", steps="steps", the_rule_takes="takes")


def warm_up_table(frame):
    """What warm-ups took and found, mean over seeds."""
    names = {
        "passes": "passes",
        "error": "training error (%)",
        "slow_share": "slow (%)",
        "seconds": "seconds",
        "slow_overlap": "overlap with the next seed's slow examples, over chance",
    }
    rows = select(frame, kind="warm-up", metric=list(names))
    found = rows.pivot_table(index=["regime", "architecture"], columns="metric", values="value")[list(names)]
    return found.rename(columns=names).reset_index()


def cost_table(frame):
    """Arms of the base setting and SAM: images added, seconds, gain over the original set under SGD, and extra seconds
    for each point: of the warm-up where examples are chosen, of generation, of training beyond the original's."""
    setting, by = base(frame, "optimizer"), ["optimizer", "arm", "x"]
    rows = select(frame, metric=["added_share", "generation_seconds", "training_seconds"], **setting)
    means = rows.pivot_table(index=by, columns="metric", values="value", sort=False)
    found = paired(select(frame, **setting), {"arm": "original", "optimizer": "sgd"}, by, "test_error", sign=-1, correct=None).join(means, on=by)
    found = found[~found["arm"].str.contains("oracle|dropped|several|fresh")]  # what nobody would make
    warm_up = select(frame, kind="warm-up", metric=["seconds", "selection_seconds"], **base(frame, "augment"))
    chosen = warm_up.groupby("metric")["value"].mean().sum() * (found["arm"] != "original")
    longer = found["training_seconds"] - means.loc[("sgd", "original", 1), "training_seconds"]
    extra = (chosen + found["generation_seconds"] + longer) / found["estimate"]
    return table(
        found.assign(extra=extra.where(found["low"] > 0)),
        optimizer="optimizer",
        arm="arm",
        k="x",
        **{"images added (%)": "added_share", "generation (s)": "generation_seconds", "training (s)": "training_seconds", "extra seconds per point": "extra"},
    )


def real_images(frame, regime):
    """How many real images a regime of the run has; "not measured" where it has none of it."""
    rows = select(frame, regime=regime, metric="added_share")
    return f"{rows['n_real'].iloc[0]:,}" if len(rows) else "not measured"


def images_of(frame):
    return f"{frame['dataset'].iloc[0]}, {real_images(frame, 'small')} real images"
