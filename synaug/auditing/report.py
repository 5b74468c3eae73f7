"""The audit: its numbers, what they say, and what to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite

import pandas as pd
import torch
from scipy.stats import norm
from tqdm import tqdm

from synaug.auditing.inputs import Images, Sets, gather
from synaug.auditing.measures import MENDED, SPLITS, STAGES, check_sizes, measure
from synaug.auditing.prediction import Predicted, predicted
from synaug.checks import number, one_of, whole
from synaug.metrics.encoders import Encoder, check_encoder, encoder_label
from synaug.precision import usable_device
from synaug.statistics.contrasts import select

#: What makes an audit fail, each where the whole 95 % interval lies beyond it. Shares of the synthetic images at most:
#: near_copies and off_label, of which many real images have 0.01 and 0.02, and duplicates; but, by default, never below the upper
#: limit of what these real images have. Below the real-data baseline by at most:
#: label_agreement, precision, coverage, probe_accuracy. Loss of accuracy of the probe at most: probe_loss. They were set
#: on Fashion-MNIST so that other real images pass with room to spare, and so do samples of the generators that come
#: with this package; noise, blur (sigma of 1 pixel or more), 5 % copies and 10 % wrong labels fail (600 real images,
#: 300 held out, 900 others).
THRESHOLDS = {
    "near_copies": 0.03,
    "off_label": 0.05,
    "duplicates": 0.05,
    "label_agreement": 0.1,
    "precision": 0.3,
    "coverage": 0.4,
    "probe_accuracy": 0.1,
    "probe_loss": 0.0,
}
#: Shares of held-out images above which no number says anything: those that are among the other real ones, and the lower limit
#: of those that are nearly copies of them.
LEAK, NEAR_LEAK = 0.02, 0.05


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    advice: one sentence. passed: no threshold is crossed, and hardly a held-out image is among the other real ones.
    todo: sentences, the most urgent first.
    numbers: a row per scope ("all" or a class) and metric: value and low, high (95 %), the same of real images in the
    synthetic ones' place (baseline, baseline_low, baseline_high; NaN where there can be none), n. `MEANINGS` says what
    each is.
    ratios: the probe's gain by number of synthetic images added to all real ones: ratio, n_synthetic, gain, low, high.
    exchange: synthetic images per real one of equal gain of the probe, with its interval over held-out images; or
    why there is none (``numbers`` has it as exchange_rate).
    predicted: what adding all of them should gain a network, by chapter 8's line, and how well that predicts.
    checks: a row per threshold: check, value, low, high, bound, passed.
    images: a row per synthetic image: file (or its place), label, judged, label_probability, off_label, near_copy,
    nearest_real (its place among the real images, then the held-out ones) and its file, exact_copy (of a real or a
    held-out image), duplicate (of another synthetic one), drop.
    uncovered: a row per held-out image, the least covered first: image (its place), its file, whether it was seen (is among
    the other real ones), near_copy (of one of these), label, and how many times as far the nearest synthetic image is as the nearest real one, in
    features (distance_ratio), in small pictures, and their geometric mean (ratio).
    notes: what was done to the images before. about: sizes and settings. sets: the images themselves.
    """

    advice: str
    passed: bool
    todo: tuple[str, ...]
    numbers: pd.DataFrame
    ratios: pd.DataFrame
    exchange: str
    predicted: Predicted
    checks: pd.DataFrame
    images: pd.DataFrame
    uncovered: pd.DataFrame
    notes: tuple[str, ...]
    about: dict
    sets: Sets = field(repr=False)

    def value(self, metric: str, scope: str = "all") -> pd.Series:
        """The row of ``numbers`` of one metric; KeyError where it was not measured."""
        rows = select(self.numbers, metric=metric, scope=scope)
        if rows.empty:
            raise KeyError(f"{metric} of {scope} was not measured")
        return rows.iloc[0]

    def summary(self) -> str:
        """Some ten lines for a terminal, the advice first."""
        lines = [
            self.advice,
            f"Real images: {self.about['n_real']:,}, held out: {self.about['n_held_out']:,}, synthetic: "
            f"{self.about['n_synthetic']:,}; {self.about['n_classes']} classes; {self.about['encoder']}.",
            *(f"Note: {note}." for note in self.notes),
        ]
        for title, metrics in (
            ("look", ("precision", "two_sample_auc")),
            ("spread", ("coverage", "outer_edge_recall")),
            ("labels", ("label_agreement", "off_label")),
            ("copies", ("near_copies",)),
            ("probe", ("probe_accuracy", "probe_gain")),
        ):
            told = (
                f"{metric.replace('_', ' ')} {row['value']:.3f}"
                + f" [{row['low']:.3f}, {row['high']:.3f}]" * bool(pd.notna(row["low"]))
                + f", real {row['baseline']:.3f}"
                for metric in metrics
                for row in [self.value(metric)]
            )
            lines.append(f"  {title + ':':8}{'; '.join(told)}")
        gain = self.value("probe_gain_all")
        lines.append(f"  all in: the probe gains {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]. {self.predicted.text}")
        failed = self.checks.loc[~self.checks["passed"], "check"]
        lines.append(f"Thresholds crossed: {', '.join(failed) or 'none'}.")
        return "\n".join([*lines, *(f"To do: {text}" for text in self.todo[:1])])

    def json(self) -> str:
        """All of it but the images themselves; what is not a number is null."""
        frames = {name: getattr(self, name).to_dict("records") for name in ("numbers", "ratios", "checks", "images", "uncovered")}
        told = {name: getattr(self, name) for name in ("advice", "passed", "todo", "exchange", "about", "notes")}
        return json.dumps(_plain({**told, "predicted": asdict(self.predicted), **frames}), indent=1, allow_nan=False)

    def html(self) -> str:
        """The same as one page that needs nothing else: no network, no script."""
        from synaug.auditing.page import page  # matplotlib starts slowly

        return page(self)

    def drop_list(self) -> str:
        """The files to drop, or their places in the data set, one per line. ValueError for a name of more than one line."""
        files = self.images.loc[self.images["drop"], "file"].tolist()
        if broken := [file for file in files if "\n" in file]:
            raise ValueError(f"a list of files, one per line, cannot hold {broken[0]!r}: rename the file, or take the list from the JSON")
        return "".join(f"{file}\n" for file in files)


def audit(
    real: Images,
    synthetic: Images,
    held_out: Images | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    unreadable: str = "refuse",
    encoder: Encoder = "efficientnet_lite0",
    k: int = 5,
    thresholds: Mapping[str, float] | None = None,
    device: str = "cpu",
    seed: int = 0,
    cache: bool = True,
    progress: bool = False,
) -> Audit:
    """Will the synthetic images help a classifier that is trained on the real ones? Minutes at most; nothing is trained
    but linear classifiers on frozen features.

    real, synthetic, held_out: folders with a subfolder of images per class, `ImageDataset` or torch data sets; classes
    are matched by name, and what only some have is left out and told. Without held_out, real images that repeat
    another one are left out, and a third of the others, of each class the same share, is held out; a generator must not
    have seen what is held out, or it is flattered.
    image_size, mode: of folders, see `synaug.load_image_folder`; by default the size of half of the real images or more, else
    the medians of theirs, at most 64 x 64, and colour unless all are grey. unreadable: "refuse" or "skip" images that cannot be read.
    encoder: what distances and probes see, see `synaug.encode`. k: of nearest neighbours. seed: of all random draws.
    thresholds: {name: value} of `THRESHOLDS` to change; shares are raised to what real images have, unless given.
    device: of the encoder. cache: whether features of named
    encoders, and images that are slow to read, are kept in the cache folder. progress: whether a bar shows.

    How: the reference of all distances is held out. Synthetic images, and as many real ones of each class, are compared
    with it; the latter are the real-data baseline, which a perfect generator would score. A linear probe (logistic
    regression on features) is the judge of labels and the stand-in for a classifier: intervals of its accuracy are over
    held-out images, for the fitted probe. All probes are regularised equally, and fitted until they hardly change, so that
    none has more steps than it needs. Its gain is that of a probe: it tells
    harm and use from each other, and does not predict how much a network that is trained from scratch gains.

    ValueError, before long work where that can be known, for: one folder as two, synthetic images that are the real
    ones, fewer than two classes in common, too few images for k neighbours, images that cannot be read, data sets of
    different shapes, an unknown encoder, threshold or device, features that are NaN; FileNotFoundError for no folder.
    """
    chosen = _chosen(thresholds)
    check_settings(encoder, k, device, seed)
    if synthetic is None:
        raise ValueError("an audit needs synthetic images beside the real ones (synaug.auditing.check takes real ones alone)")
    sets = gather(real, synthetic, held_out, image_size=image_size, mode=mode, unreadable=unreadable, seed=seed, cache=cache, progress=progress)
    return of_sets(sets, encoder, k, chosen, device, seed, cache, progress)


def check_settings(encoder: Encoder, k: int, device: str, seed: int) -> None:
    """ValueError for an unknown encoder or device, for k below 1, and for a seed that no generator of random numbers takes."""
    whole("k", k, 1)
    whole("seed", seed, 0, 2**32 - 1 - SPLITS)  # splits have seeds of their own
    usable_device(device)
    check_encoder(encoder)


def of_sets(sets: Sets, encoder: Encoder, k: int, chosen: Mapping[str, float], device: str | torch.device, seed: int, cache: bool, progress: bool) -> Audit:
    """The audit of images that are gathered already; chosen: other limits than those of `THRESHOLDS`, some or none."""
    check_sizes(sets, k)
    with tqdm(total=len(STAGES), disable=not progress, unit="stage") as bar:

        def stage(name):
            bar.update(STAGES.index(name) - bar.n)
            bar.set_description(name)

        numbers, ratios, images, uncovered, exchange, notes = measure(sets, encoder, k, device, seed, cache, stage)
        bar.update(len(STAGES) - bar.n)
    checks = _checks(numbers, chosen)
    about = {
        "n_real": len(sets.train),
        "n_held_out": len(sets.held),
        "n_synthetic": len(sets.synthetic),
        "n_classes": sets.held.num_classes,
        "classes": sets.held.class_names,
        "missing": sets.missing,
        "image_shape": sets.held.image_shape,
        "encoder": encoder_label(encoder),
        "k": k,
        "seed": seed,
        "thresholds": THRESHOLDS | dict(chosen),
        "torch": torch.__version__,
    }
    passed = bool(checks["passed"].all()) and not leak_of(numbers)
    advice, todo = advise(numbers, ratios, images, uncovered, checks, about)
    return Audit(
        advice, passed, todo, numbers, ratios, exchange, predicted(numbers, encoder_label(encoder)), checks, images, uncovered, sets.notes + notes, about, sets
    )


def augmentation_quality(real: Images, synthetic: Images, held_out: Images | None = None, **options) -> Predicted:
    """The measure of the synthetic images that predicts best what a network gains by them, its value, and how many points
    of test accuracy that should be, with an interval; ``text`` says how well it predicted the gains of chapter 8's sets.

    How well was measured on 31 sets: 27 of Fashion-MNIST (beside 2,000 real images) and 4 of CIFAR-10 (beside 5,000 real
    images); 3,000 images of each were added. Of families of sets that were left out, the rank correlation of the best measure,
    chosen on these sets, with what they gained is 0.64 [0.25, 0.84]. That is too little, so no value is given.
    real, synthetic, held_out, options: as in `audit`; its errors are raised.
    """
    return audit(real, synthetic, held_out, **options).predicted


def leak_of(numbers: pd.DataFrame) -> str:
    """What so many held-out images have to do with the other real ones that the audit is void; "" where it is not."""
    all_ = select(numbers, scope="all").set_index("metric")
    n, seen, near = int(all_.loc["held_out_seen", "n"]), int(all_.loc["held_out_seen", "value"]), all_.loc["held_out_near"]
    if seen > LEAK * n:
        return f"of the {n:,} held-out images, {seen:,} {_are(seen)} among the other real ones, pixel by pixel"
    if near["low"] > max(NEAR_LEAK, near["baseline_high"]):  # of few images, the distance that is nearly a copy's is a rough one
        return f"of the {n:,} held-out images, {near['value'] * n:,.0f} are nearly copies of other real ones"
    return ""


def _plain(value):
    """The same for JSON, which has no numbers that are not finite: they are None."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _chosen(thresholds: Mapping[str, float] | None) -> dict[str, float]:
    if not isinstance(thresholds or {}, Mapping):
        raise ValueError(f"thresholds must be a mapping of names and values, got {thresholds!r}")
    for name, value in (thresholds or {}).items():
        one_of("threshold", name, THRESHOLDS)
        number(f"the threshold {name}", value, 0, 1)
    return dict(thresholds or {})


def _checks(numbers: pd.DataFrame, chosen: Mapping[str, float]) -> pd.DataFrame:
    all_ = select(numbers, scope="all").set_index("metric")
    rows = []
    for name, limit in (THRESHOLDS | dict(chosen)).items():
        row = all_.loc["probe_gain_all" if name == "probe_loss" else name]
        if name == "duplicates":  # a share, as the others are
            row = row[["value", "low", "high", "baseline_high"]] / row["n"]
        upper = name in MENDED
        least = 0.0 if name in chosen else row["baseline_high"]
        bound = max(limit, least) if upper else 0.0 - limit if name == "probe_loss" else row["baseline"] - limit
        crossed = row["low"] > bound if upper else row["high"] < bound
        rows.append((name, row["value"], row["low"], row["high"], bound, not crossed))
    return pd.DataFrame(rows, columns=["check", "value", "low", "high", "bound", "passed"])


def advise(
    numbers: pd.DataFrame, ratios: pd.DataFrame, images: pd.DataFrame, uncovered: pd.DataFrame, checks: pd.DataFrame, about: dict
) -> tuple[str, tuple[str, ...]]:
    """The advice, and what to do, the most urgent first."""
    all_ = select(numbers, scope="all").set_index("metric")
    failed = list(checks.loc[~checks["passed"], "check"])
    gain, n, dropped = all_.loc["probe_gain_all"], len(images), int(images["drop"].sum())
    said = _points(gain)
    # Wrong labels among right ones are mended by dropping them; labels that fit nothing are not.
    kept = images[~images["drop"]]
    bound = checks.set_index("check").loc["label_agreement", "bound"]
    right = float((kept["label"] == kept["judged"]).mean())
    mended = set(MENDED)
    if 2 * len(kept) > n and right >= bound and {"off_label", "label_agreement"} & set(failed):
        mended |= {"label_agreement", "probe_accuracy", "probe_loss"}  # what a probe loses by wrong labels comes back with them
    faults = {
        "label_agreement": "many do not show what their labels say",
        "precision": "many look like no real image",
        "probe_accuracy": "a probe learns much less from them than from real images",
        "coverage": "they leave out much of what the real images show",
    }
    left = [name for name in failed if name not in mended]
    faults = [words for name, words in faults.items() if name in left]
    best, ratio = all_.loc["best_ratio_gain"], all_.loc["best_ratio", "value"]
    if leak := leak_of(numbers):
        advice = f"Nothing can be said of them: {leak}. Hold out others."
    elif all_.loc["near_copies", "low"] > 0.5:
        advice = f"Do not add them: {all_.loc['near_copies', 'value']:.0%} are nearly copies of real images and would only repeat these."
    elif faults:
        faults = [", ".join(faults[:-1]), faults[-1]] if len(faults) > 1 else faults
        # Of chapter 8's sets, some with such faults gained: a probe that does not lose leaves that open.
        advice = (
            f"Do not add them as they are: {' and '.join(faults)}."
            if "probe_loss" in failed
            else f"Mend them before you add them: {' and '.join(faults)}. As they are, the probe gains {said}."
        )
    elif "probe_loss" in left:
        advice = f"Do not add them untested: the probe loses accuracy by them, {said}."
    elif failed:
        why = {"near_copies": "nearly copies of real images", "duplicates": "repeats of others"} | dict.fromkeys(
            ("off_label", "label_agreement"), "off their label"
        )
        why = dict.fromkeys(why[name] for name in failed if name in why)
        advice = (
            f"Drop {dropped:,} of the {n:,} synthetic images, then look again: too many are {' and '.join(why)}."
            if dropped
            else f"Look at them before you add them: too many are {' and '.join(why)}, though no single image stands out."
        )
    elif gain["low"] > 0:
        advice = f"Add them: the probe gains {said}, and no threshold is crossed."
    elif best["low"] > 0:
        advice = (
            f"Add some of them, about {ratio:.2g} per real one: on half of the held-out images the probe then gains "
            f"{_points(best)}. With all of them it gains {said}."
        )
    elif all_.loc["two_sample_auc", "low"] <= all_.loc["two_sample_auc", "baseline_high"] and not _short(all_, numbers):
        advice = (
            f"They may be added: they cannot be told from real images, but no gain shows in the probe, {said}, with {about['n_held_out']:,} held-out images."
        )
    else:
        advice = f"They may be added, but do not expect much: no threshold is crossed, and the probe's gain, {said}, cannot be told from none."
    if dropped and advice.startswith(("Add", "They may be added")):
        advice += f" First drop the {dropped:,} of the {n:,} that are named."
    if advice.startswith("They may be added") and (narrow := _narrow(numbers)["scope"].tolist()):
        advice += f" They lack variety in {_five(narrow)}."
    if about["missing"] and not advice.startswith(("Nothing", "Do not")):
        advice += f" None is of {_five(about['missing'])}: what adding the others does there is not measured."
    return advice, tuple(_todo(numbers, ratios, images, uncovered, all_, about, faults, failed))


def _points(row) -> str:
    """A gain with its limits, in points."""
    return f"{100 * row['value']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"


def _narrow(numbers) -> pd.DataFrame:
    """A row per class whose real images lie farther from synthetic ones than from each other, the farthest first."""
    rows = _classes(numbers, "distance_ratio", "distance_ratio_pictures")
    return rows[rows["low"] > 1].sort_values("value", ascending=False).drop_duplicates("scope")


def _classes(numbers, *metrics: str) -> pd.DataFrame:
    """The rows of these metrics of single classes, with limits that hold for all of them together (Bonferroni)."""
    rows = numbers[(numbers["scope"] != "all") & numbers["metric"].isin(metrics)]
    wider = norm.ppf(1 - 0.025 / max(1, len(rows))) / norm.ppf(0.975)
    return rows.assign(low=rows["value"] - wider * (rows["value"] - rows["low"]), high=rows["value"] + wider * (rows["high"] - rows["value"]))


def _short(all_, numbers) -> list[str]:
    """The measures in which the whole interval lies on the worse side of the baseline's."""
    if len(_narrow(numbers)):
        return ["distance_ratio"]
    more = [name for name in (*MENDED, "near_repeats") if all_.loc[name, "low"] > all_.loc[name, "baseline_high"]]
    lower = ("precision", "recall", "coverage", "outer_edge_recall", "label_agreement", "probe_accuracy")
    far = [name for name in ("distance_ratio", "distance_ratio_pictures") if all_.loc[name, "low"] > 1]
    return more + far + [name for name in lower if all_.loc[name, "high"] < all_.loc[name, "baseline_low"]]


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _todo(numbers, ratios, images, uncovered, all_, about, faults, failed):
    if held := int(all_.loc["exact_copies_of_held_out", "value"]):
        yield f"Look for a leak: {held:,} of the synthetic images {_are(held)} among the held-out ones, pixel by pixel."
    if seen := int(all_.loc["held_out_seen", "value"]):
        yield (
            f"Look for a leak: {seen:,} of the held-out images {_are(seen)} among the other real ones, pixel by pixel: "
            f"{_five(sorted(uncovered.loc[uncovered['seen'], 'file']))}."
        )
    elif leak_of(numbers):
        yield f"Look for a leak: these held-out images are nearly copies of other real ones: {_five(sorted(uncovered.loc[uncovered['near_copy'], 'file']))}."
    if leak_of(numbers):
        yield "Hold out real images that are not among the others, and audit again: all other numbers are flattered."
        return
    if about["missing"]:
        yield f"Generate images of these classes, too, which were left out as no synthetic image is of them: {_five(about['missing'])}."
    if faults:
        yield (
            "Mend the generator, or what is done to its images (size, blur, compression, labels), rather than dropping "
            "single images. Some recorded sets with such faults gained all the same: only a training tells."
        )
    if images["drop"].any() and not faults:
        why = {
            "off_label": ("off their label", "off_label"),
            "near_copy": ("nearly copies of real images", "near_copies"),
            "exact_copy": ("copies of real images, pixel by pixel", ""),
            "duplicate": ("repeats of others", ""),
        }
        told = ", ".join(
            f"{images[name].sum():,} {words}" + (f" (of as many real ones {all_.loc[base, 'baseline'] * len(images):.0f})" if base else "")
            for name, (words, base) in why.items()
            if images[name].any() and images.loc[images[name], "drop"].all()
        )
        dropped = int(images["drop"].sum())
        yield f"Drop {dropped:,} image{'s' * (dropped != 1)}: {told}."
    best = all_.loc["best_ratio_gain"]
    if failed:
        yield "Audit again what is mended or left before you add any of it."
    elif best["low"] > 0:
        yield (
            f"Add about {all_.loc['best_ratio', 'value']:.2g} synthetic images per real one: that did best in the probe on half of "
            f"the held-out images, and gains {_points(best)} on the other half."
        )
    elif all_.loc["probe_gain_all", "low"] > 0:
        yield "Add all of them: with half of the held-out images, no number of them could be shown to do better."
    elif (width := (ratios["high"] - ratios["low"]).iloc[-1] / 2) > 0:
        need = float(f"{about['n_held_out'] * (width / 0.01) ** 2:.2g}")
        yield (
            f"No number of them shows a gain in the probe; with {about['n_held_out']:,} held-out images one of "
            f"{100 * width:.1f} points could be seen (one of 1 point with about {need:,.0f})."
        )
    else:
        yield f"Hold out more real images: added, the synthetic ones change what the probe says of none of the {about['n_held_out']:,}."
    own, base = all_.loc["probe_gain", "value"], all_.loc["probe_gain", "baseline"]
    yield (
        f"Compare with more real images: as many of them gain the probe {100 * base:+.1f} points where the synthetic ones "
        f"gain {100 * own:+.1f}, added to half of the real ones."
    )
    repeats = all_.loc["near_repeats"]
    if repeats["low"] > repeats["baseline_high"]:
        yield (f"Generate more varied images: {repeats['value']:.1%} nearly repeat another synthetic one, of as many real images {repeats['baseline']:.1%}.")
    far = _narrow(numbers)
    if len(far):
        told = _five([f"{row.scope} ({row.value:.2f})" for row in far.itertuples()])
        yield (
            f"Generate more varied images of these classes: {told}; real images lie so many times as far from the "
            "nearest synthetic image as from the nearest other real one."
        )
    wrong, low = (
        rows[rows["high"] < rows["baseline_low"]].sort_values("value") for rows in (_classes(numbers, "label_agreement"), _classes(numbers, "precision"))
    )
    if len(wrong):
        told = _five([f"{row.scope} ({row.value:.2f}, real {row.baseline:.2f})" for row in wrong.itertuples()])
        yield f"Check the labels of these classes, by how often a judge agrees with them: {told}."
    if len(low):
        told = _five([f"{row.scope} ({row.value:.2f}, real {row.baseline:.2f})" for row in low.itertuples()])
        yield f"Look at how these classes are drawn, by their precision: {told}."
    yield "Train your own classifier with and without them, at equal steps and on several seeds, before you rely on them."


def _five(texts: Sequence[str]) -> str:
    return ", ".join(texts[:5]) + f" and {len(texts) - 5} more" * (len(texts) > 5)
