"""What frames of `synaug.experiments.targeted_augmentation` say: gains over the original set, as tables and words."""

import pandas as pd

from synaug.statistics.claims import load_published
from synaug.experiments.targeted_augmentation import CEILING_GAIN
from synaug.experiments.targeted_studies import STUDIES
from synaug.run.results import describe_runs, experiment_of, recordings
from synaug.statistics import holm, paired_interval

#: What arms must share to be compared with their original.
SETTING = ["regime", "optimizer", "architecture", "augment", "budget"]
#: The setting of most comparisons, but for the architecture and the augmentation, which are the run's.
BASE = {"regime": "small", "optimizer": "sgd", "budget": 1.0}


def trained(frame, metric="test_error"):
    """The rows of one metric of classifiers that were trained and tested: no pilots, no warm-ups."""
    return frame[(frame["metric"] == metric) & ~frame["kind"].isin(("pilot", "warm-up"))]


def base(frame):
    """`BASE` with the frame's own architecture and augmentation, of which earlier runs had no choice."""
    parameters = frame.attrs["provenance"]["parameters"]
    return {**BASE, "architecture": parameters["architecture"], "augment": parameters.get("augment", "flip")}


def having(rows, wanted):
    """The rows whose columns have these values."""
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return rows


def interval(value, low, high):
    """Points with their interval, in words."""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def gains(frame, metric="test_error"):
    """Rows of all arms but the originals; value: the original's minus the arm's, of the same seed and setting."""
    rows = trained(frame, metric)
    originals = rows.loc[rows["kind"] == "original", [*SETTING, "seed", "value"]]
    both = rows[rows["kind"] != "original"].merge(originals, on=[*SETTING, "seed"], suffixes=("", "_original"))
    return both.assign(value=both["value_original"] - both["value"]).drop(columns="value_original")


def comparisons(frame, metric="test_error"):
    """A row an arm, setting and k: n paired seeds, mean gain over the original, its 95 % interval, p_value, and
    adjusted, by Holm over all rows."""
    table = []
    for key, rows in gains(frame, metric).groupby([*SETTING, "arm", "x"], sort=False):
        found = paired_interval(rows["value"])
        table.append({**dict(zip([*SETTING, "arm", "k"], key)), "n": found.n, "gain": found.estimate, "low": found.low,
                      "high": found.high, "p_value": found.p_value})
    table = pd.DataFrame(table)
    return table.assign(adjusted=holm(table["p_value"]))


def comparison_table(frame):
    """`comparisons` to read."""
    found = comparisons(frame)
    return pd.DataFrame({
        "setting": [setting_name(row) for row in found.itertuples()], "arm": found["arm"],
        "k": found["k"].map("{:g}".format),
        "seeds": found["n"], "gain in points, 95 % interval": [
            interval(row.gain, row.low, row.high) for row in found.itertuples()],
        "adjusted p": found["adjusted"].map("{:.2g}".format)})


def runs_table(live):
    """Every recorded run of the live frame's experiment, of whatever images and network: the originals' test error, and
    in the base setting the gains, with 95 % intervals, of copies, of generation and of fresh real images."""
    lines = []
    for name, frame in recordings(experiment_of(live)).items():
        p, k = frame.attrs["provenance"]["parameters"], frame["x"].max()
        rows, errors = having(gains(frame), base(frame)), select_base(frame, "test_error")
        original = errors.loc[errors["kind"] == "original", "value"]
        line = {"run": f"{frame['dataset'].iloc[0]}, {p['regimes']['small']['n_real']:,} images, {p['architecture']}, "
                       f"k to {k:g}, recorded at {name}",
                "seeds": len(original), "error of the original (%)": f"{original.mean():.2f}"}
        for title, arm, at in (("copies, k = 2", "upsampled", 2), ("generated, k = 2", "generated", 2),
                               ("generated, largest k", "generated", k), ("fresh, largest k", "fresh", k)):
            own = having(rows, {"arm": arm, "x": at})["value"]
            found = paired_interval(own) if len(own) else None
            line[title] = interval(found.estimate, found.low, found.high) if found else "none in this run"
        lines.append(line)
    return pd.DataFrame(lines)


def setting_name(row):
    """In words: optimizer, architecture, augmentation, and what else is unusual."""
    augment = {"none": "not augmented", "flip": "flips", "flip_trivial": "TrivialAugment", "flip_crop": "flips, shifts",
               "flip_crop_trivial": "shifts, TrivialAugment"}[row.augment]
    budget = [] if row.budget == 1 else [f"{row.budget:g} times the steps"]
    return ", ".join([row.regime, row.optimizer.upper(), row.architecture, augment, *budget])


def pilot_gains(frame):
    """A row a regime and number of steps: validation errors (%) without and with fresh images, gain, worst gain of a
    seed, and chosen, whether the rule takes it: the fewest steps with a mean gain of `CEILING_GAIN`."""
    rows = frame[frame["kind"] == "pilot"]
    if rows.empty:
        return pd.DataFrame(columns=["regime", "steps", "original", "fresh", "gain", "least", "seeds", "chosen"])
    wide = rows.pivot(index=["regime", "steps", "seed"], columns="arm", values="value")
    wide = wide.rename(columns=lambda name: name.removeprefix("pilot, "))
    wide["gain"] = wide["original"] - wide["fresh"]
    by = wide.groupby(["regime", "steps"], sort=True)
    table = by.mean().assign(least=by["gain"].min(), seeds=by.size()).reset_index()
    enough = table[table["gain"] >= CEILING_GAIN].groupby("regime")["steps"].min()
    return table.assign(chosen=table["steps"] == table["regime"].map(enough))


def pilot_table(frame):
    """`pilot_gains` to read, with what was used."""
    used = trained(frame).query("budget == 1").groupby("regime")["steps"].first()
    found = pilot_gains(frame)
    return pd.DataFrame({
        "regime": found["regime"], "steps": found["steps"], "seeds": found["seeds"],
        "validation error, real images (%)": found["original"].map("{:.2f}".format),
        "with fresh images (%)": found["fresh"].map("{:.2f}".format),
        "gain in points (least of a seed)": [f"{r.gain:+.2f} ({r.least:+.2f})" for r in found.itertuples()],
        "the rule takes": found["chosen"].map({True: "yes", False: ""}),
        "used": ["yes" if used.get(r.regime) == r.steps else "" for r in found.itertuples()]})


def cost_table(frame):
    """Arms of the base setting and SAM: images added, seconds, points gained over the original set under SGD (paired by
    seed), extra seconds for each of them.

    Extra: the warm-up where examples are chosen, generation, and what training takes longer than the original's.
    """
    here = base(frame)
    found = {metric: by_arm(frame, metric) for metric in
             ("added_share", "generation_seconds", "training_seconds", "test_error")}
    warm_up = frame[(frame["kind"] == "warm-up") & (frame["regime"] == here["regime"])
                    & (frame["architecture"] == here["architecture"])].groupby("metric")["value"].mean()
    start = here["optimizer"], "original", 1.0
    lines = []
    for key in found["test_error"]:
        if key == start:
            continue
        own = {metric: values[key].dropna() for metric, values in found.items()}
        gain = paired_interval((found["test_error"][start] - own["test_error"]).dropna())
        chosen = 0.0 if key[1] == "original" else warm_up["seconds"] + warm_up["selection_seconds"]
        longer = (own["training_seconds"] - found["training_seconds"][start]).mean()
        extra = chosen + own["generation_seconds"].mean() + longer
        lines.append({"optimizer": key[0].upper(), "arm": key[1], "k": f"{key[2]:g}",
                      "images added": f"{own['added_share'].mean():.0f} %", "choosing (s)": f"{chosen:.1f}",
                      "generation (s)": f"{own['generation_seconds'].mean():.0f}",
                      "training (s)": f"{own['training_seconds'].mean():.0f}",
                      "points gained": interval(gain.estimate, gain.low, gain.high),
                      "extra seconds a point": f"{extra / gain.estimate:.0f}" if gain.low > 0 else "no gain resolved"})
    return pd.DataFrame(lines)


def by_arm(frame, metric):
    """Values in the base setting, with any optimizer: seeds down, (optimizer, arm, k) across; without oracles,
    filters, mixed strengths, and fresh images, which nobody could have made."""
    rows = having(trained(frame, metric), {name: value for name, value in base(frame).items() if name != "optimizer"})
    rows = rows[~rows["arm"].str.contains("oracle|dropped|several|fresh")]
    return rows.pivot(index="seed", columns=["optimizer", "arm", "x"], values="value")


def published_cost():
    """What is known of the paper's cost of generation, in words."""
    known = load_published("nguyen2025")["generation_hours"]
    return (f"Published ({known['setting']}): {known['targeted']:g} hours of generation for the slow examples, "
            f"{known['all']:g} for all.")


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        regimes = "; ".join(f"{name}: {of['n_real']:,} real images, {of['steps']:,} steps" for name, of in
                            p["regimes"].items())
        return (f"{frame['dataset'].iloc[0]}, {p['architecture']} ({regimes}); k = {', '.join(map(str, p['ks']))}; "
                f"studies: {', '.join(p['studies'])}; {p['k_seeds']} paired seeds in those of k and of suspects, "
                f"{p['seeds']} in others; "
                f"{len(trained(frame))} classifiers, tested on "
                f"{'all' if p['n_evaluate'] is None else format(p['n_evaluate'], ',')} test images")

    return describe_runs(live, recorded, words)


def studies_held(live, recorded=None):
    """The studies that the runs hold, together."""
    return {study for frame in (live, recorded) if frame is not None
            for study in frame.attrs["provenance"]["parameters"]["studies"]}


def not_held(held):
    """Which studies no run holds, in words; empty where there are none."""
    if not (missing := [study for study in STUDIES if study not in held]):
        return ""
    return (f"Neither run holds the studies {', '.join(missing)}: their figures and tables are left out below, and "
            f"claims that need them are not resolved. The parameter `studies` adds them.")


def what_decides(frame):
    """What the verdicts on generation against copies rest on, in words: ceiling, copies, generation, at the largest k.

    Intervals are t intervals over paired seeds, at 95 %."""
    found, lines = having(comparisons(frame), base(frame)), []
    for k, rows in found[found["arm"].isin(("upsampled", "generated", "fresh"))].groupby("k"):
        said = "; ".join(f"{row.arm} {interval(row.gain, row.low, row.high)}" for row in rows.itertuples())
        lines.append(f"- k = {k:g}: {said} ({rows['n'].min()} seeds).")
    return "\n".join(["What decides, in points gained over the original set: *fresh* is what as many new real images "
                      "of the same classes gain; *generated* minus *upsampled* is what new images add to mere weight; "
                      "what lies between *generated* and *fresh* is what generated images lack.", "", *lines])


def slow_words(frame):
    """What warm-ups found, in words."""
    rows = frame[frame["kind"] == "warm-up"]
    parts = []
    for (regime, architecture), own in rows.groupby(["regime", "architecture"], sort=False):
        mean, least, most = (own.groupby("metric")["value"].agg(how) for how in ("mean", "min", "max"))
        parts.append(
            f"- {regime} regime, {architecture}: {mean['slow_share']:.0f} % of the real images are slow "
            f"({least['slow_share']:.0f} to {most['slow_share']:.0f} % over {own['seed'].nunique()} seeds), after "
            f"{mean['passes']:.1f} passes at a training error of {mean['error']:.1f} %; what is slow for a seed is "
            f"so for the next {mean['slow_overlap']:.2f} times as often as any example.")
    return "\n".join(parts)


def arithmetic(frame):
    """How many images k adds, in words."""
    rows = select_base(frame, "added_share")
    shares = rows[rows["arm"] == "generated"].groupby("x")["value"].mean()
    return "; ".join(f"k = {k:g} adds {share:.0f} %" for k, share in shares.items())


def select_base(frame, metric):
    """Rows of a metric in the base setting."""
    return having(trained(frame, metric), base(frame))
