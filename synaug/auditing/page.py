"""The audit as one page: HTML without scripts, its images inside it, light or dark as the reader's system is."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from synaug.auditing.measures import MENDED
from synaug.data import ImageDataset
from synaug.plots.html import png_address, table_html, typeset

SHOWN = 12  # images in a gallery
COUNTS = {"exact_copies_of_real", "exact_copies_of_held_out", "duplicates", "held_out_seen"}  # the others are no whole numbers

#: Metric: what the page calls it, and what it says.
MEANINGS = {
    "frechet_distance": ("Fréchet distance", "How far the sets lie apart as a whole; lower is better."),
    "precision": ("Precision", "Share of synthetic images that lie among real ones."),
    "recall": ("Recall", "Share of real images that lie among synthetic ones."),
    "density": ("Density", "How crowded with real images the places of synthetic ones are; far above the baseline they keep to the middle."),
    "coverage": ("Coverage", "Share of real images with a synthetic one nearby."),
    "outer_edge_recall": ("Outer-edge recall", "Recall of the tenth of real images that are rarest."),
    "centroid_distance_ratio": ("Distance from the class centre", "In units of that of real images; below the baseline, classes have lost their outer part."),
    "covariance_logdet_ratio": ("Spread within classes", "Logarithm of the ratio of variances; below the baseline, classes have shrunk."),
    "distance_ratio": ("Distance ratio", "How many times as far the nearest synthetic image lies from a real one as the nearest other real one."),
    "distance_ratio_pictures": ("Distance ratio in pictures", "The same in pictures of 16 pixels a side, which show shifts that features pass over."),
    "two_sample_auc": ("Two-sample AUC", "How well a classifier tells synthetic from real: 0.5 not at all, 1 always."),
    "label_agreement": ("Agreement of labels", "Share that a judge trained on the real images puts in the class they are labelled with."),
    "off_label": ("Off their label", "Share whose label the judge finds less likely than that of all but 2 % of held-out real images."),
    "near_copies": (
        "Near-copies",
        "Share that lies nearer to a real image than nearly all real images lie to another; baseline: the share of real ones that do.",
    ),
    "near_repeats": ("Near-repeats", "Share that lies nearer to another synthetic image than nearly all real images lie to each other."),
    "exact_copies_of_real": ("Exact copies of real images", "Number, pixel by pixel."),
    "exact_copies_of_held_out": ("Exact copies of held-out images", "Number; any is a leak."),
    "duplicates": ("Repeats", "Number of synthetic images that repeat another one."),
    "held_out_near": ("Held-out images that are nearly copies of other real ones", "Share; much above the baseline, it is a leak."),
    "held_out_seen": ("Held-out images among the other real ones", "Number; any is a leak."),
    "exchange_rate": ("Exchange rate", "Synthetic images per real one of equal gain of the probe; ∞ where they gain nothing."),
    "probe_accuracy": ("Probe, synthetic only", "Accuracy on held-out images of a linear probe of the synthetic images; baseline: of as many real ones."),
    "probe_gain": ("Probe, added to half", "Change in its accuracy where they are added to half of the real images; baseline: as many of the other half."),
    "best_ratio": ("Best ratio", "Synthetic images per real one that do best in the probe, on half of the held-out images."),
    "best_ratio_gain": ("Gain at the best ratio", "Change in its accuracy, on the other half."),
    "probe_gain_all": ("Probe, all added", "Change in its accuracy where all synthetic images are added to all real ones."),
}

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #fff; --soft: #57606a; --line: #d0d7de; --good: #116329; --bad: #a40e26; --tint: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --ground: #0d1117; --soft: #9da7b1; --line: #3d444d; --good: #56d364; --bad: #ff8f87; --tint: #161b22; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto; padding: 1rem; max-width: 66rem; }
h1 { font-size: 1.15rem; color: var(--soft); font-weight: 600; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.advice { font-size: 1.45rem; line-height: 1.3; margin: .3rem 0 1rem; padding-left: .8rem; border-left: .35rem solid var(--good); }
.advice.failed { border-color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
caption { position: sticky; left: 0; max-width: calc(100vw - 2rem); } td { white-space: nowrap; } th:first-child { text-align: left; }
.numbers :is(th, td):last-child { text-align: left; white-space: normal; min-width: 17rem; color: var(--soft); }
thead th { background: var(--tint); } tbody th { font-weight: 600; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); gap: .8rem; margin: 0; padding: 0; list-style: none; }
.gallery figure { margin: 0; display: flex; flex-wrap: wrap; gap: .2rem; } .gallery img { width: calc(50% - .1rem); image-rendering: pixelated; }
.gallery .one img { width: 100%; } .gallery figcaption { flex-basis: 100%; }
figcaption { font-size: .8rem; line-height: 1.3; color: var(--soft); overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .synaug-cards, .synaug-cards :is(tbody, tr, th, td, caption) { display: block; } .synaug-cards thead { position: absolute; clip-path: inset(50%); }
  .synaug-cards tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } .synaug-cards :is(th, td) { border: 0; padding: .1rem 0; }
  .synaug-cards td { display: flex; justify-content: space-between; gap: 1rem; white-space: normal; } .synaug-cards td:empty { display: none; }
  .synaug-cards td::before { content: attr(data-label); color: var(--soft); } .numbers td:last-child { min-width: 0; display: block; }
  .numbers td:last-child::before { content: none; }
}
.synaug-limits { white-space: nowrap; } p.note, li.note { color: var(--soft); font-size: .92rem; }
"""


def page(audit: Any) -> str:
    """The page of an `synaug.auditing.Audit`."""
    about, sets = audit.about, audit.sets
    parts = [
        f"<h1>Audit of {about['n_synthetic']:,} synthetic images beside {about['n_real']:,} real and "
        f"{about['n_held_out']:,} held-out real ones</h1>"
        f'<p class="advice{"" if audit.passed else " failed"}">{typeset(audit.advice)}</p><p>{typeset(audit.predicted.text)}</p>',
        _list("What to do", audit.todo, ordered=True),
        _samples(audit),
        _numbers(audit),
        _checks(audit),
        _ratios(audit),
        _classes(audit),
        _copies(audit),
        _off_label(audit),
        _uncovered(audit),
    ]
    how = (
        f"Encoder {about['encoder']}, {about['k']} neighbours, seed {about['seed']}, images {about['image_shape']} "
        f"(channels, height, width). Intervals are of 95 %, over images, with features, neighbourhoods and fitted probes "
        f"as they are. The probe is a linear classifier on features: its gain does not predict how much a network that "
        f"is trained from scratch gains. Real images that a generator was trained on are not new to it: its gain over a part of "
        f"them flatters it."
    )
    parts.append(_list("How this was measured", (how, *audit.notes)))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>Audit: {escape(sets.synthetic.name)} beside {escape(sets.train.name)}</title><style>'
        f"{STYLE}</style></head><body><main>\n" + "\n".join(filter(None, parts)) + "\n</main></body></html>\n"
    )


def _list(title: str, texts: Sequence[str], ordered: bool = False) -> str:
    tag, items = "ol" if ordered else "ul", "".join(f"<li>{typeset(text)}</li>" for text in texts)
    return f"<h2>{escape(title)}</h2><{tag}>{items}</{tag}>"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:.3g} to {high:.3g}".replace("inf", "∞")


def _wide(title: str, frame: pd.DataFrame, caption: str, kind: str = "") -> str:
    return f'<h2>{escape(title)}</h2><div class="wide {kind}" tabindex="0">{table_html(frame, caption).data}</div>'


def _numbers(audit) -> str:
    rows = audit.numbers[audit.numbers["scope"] == "all"].dropna(subset="value").set_index("metric")
    rows = rows.loc[[name for name in MEANINGS if name in rows.index]]
    shown = []
    for name, row in rows.iterrows():
        title, meaning = MEANINGS[name]
        value = int(row["value"]) if name in COUNTS else "∞" if np.isinf(row["value"]) else row["value"]
        shown.append((title, value, _interval(row["low"], row["high"]), row["baseline"], _interval(row["baseline_low"], row["baseline_high"]), meaning))
    frame = pd.DataFrame(shown, columns=["Measure", "Synthetic", "95 % interval", "Real", "95 % interval of real", "What it says"], dtype=object)
    frame = frame.where(frame.notna(), None)
    return _wide(
        "The numbers",
        frame,
        "All classes together. “Real” is the same for real images in the synthetic ones' place: what a perfect generator would score.",
        "numbers",
    )


def _checks(audit) -> str:
    frame = audit.checks
    names = {"probe_loss": "Loss of the probe, all added", "duplicates": "Share of repeats"}
    shown = pd.DataFrame(
        {
            "Threshold": [names.get(name) or MEANINGS[name][0] for name in frame["check"]],
            "Value": frame["value"],
            "95 % interval": [_interval(*row) for row in frame[["low", "high"]].itertuples(index=False)],
            "Bound": [f"{'at most' if row.check in MENDED else 'at least'} {row.bound + 0:.3g}" for row in frame.itertuples()],
            "Crossed": ["" if passed else "yes" for passed in frame["passed"]],
        }
    )
    return _wide("Thresholds", shown, "A threshold is crossed where the whole interval lies beyond the bound.")


def _ratios(audit) -> str:
    frame = audit.ratios
    shown = pd.DataFrame(
        {
            "To be added": [f"{ratio:.2g} per real image" for ratio in frame["ratio"]],
            "Synthetic images": frame["n_synthetic"].astype(object),
            "Gain": frame["gain"],
            "95 % interval": [_interval(*row) for row in frame[["low", "high"]].itertuples(index=False)],
        }
    )
    worth = f'<p class="note">Synthetic images per real one of equal gain of the probe: {typeset(audit.exchange)}.</p>'
    return (
        _wide(
            "How many to add",
            shown,
            "Change in the accuracy of the probe where so many are added to all real images. Near-copies of held-out images are left out here.",
        )
        + worth
    )


def _classes(audit) -> str:
    rows = audit.numbers[audit.numbers["scope"] != "all"]
    shown = {}
    for name in ("precision", "recall", "coverage", "distance_ratio", "distance_ratio_pictures", "frechet_distance", "label_agreement", "near_copies"):
        own = rows[rows["metric"] == name].set_index("scope")
        shown[MEANINGS[name][0]] = {
            scope: f"{row['value']:.2f} ({row['baseline']:.2f})" if name != "frechet_distance" else f"{row['value']:.0f} ({row['baseline']:.0f})"
            for scope, row in own.iterrows()
        }
    frame = pd.DataFrame(shown).reindex(audit.about["classes"])
    frame.insert(0, "Class", frame.index)
    counts = audit.images["label"].value_counts()
    frame.insert(1, "Synthetic images", [int(counts.get(name, 0)) for name in frame["Class"]])
    frame = frame.astype(object).where(frame.notna(), None)
    return _wide(
        "Each class",
        frame,
        "In brackets: real images in the synthetic ones' place. Neighbours are looked for within "
        "the class; classes that are too small for that have empty cells.",
    )


def _image(data: ImageDataset, i: int, words: str) -> str:
    pixels = data.images[i].numpy()
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return f'<img alt="{escape(words)}" src="{png_address(picture.save)}">'


def _gallery(title: str, words: str, items: list[tuple[list[str], str]]) -> str:
    if not items:
        return ""
    figures = "".join(
        f'<li><figure class="{"one" if len(images) == 1 else "two"}">{"".join(images)}<figcaption>{escape(text)}</figcaption></figure></li>'
        for images, text in items
    )
    return f'<h2>{escape(title)}</h2><p class="note">{escape(words)}</p><ul class="gallery">{figures}</ul>'


def _samples(audit) -> str:
    sets, items = audit.sets, []
    for c, name in list(enumerate(sets.held.class_names))[:SHOWN]:
        made, real = ((data.labels == c).nonzero().flatten().tolist() for data in (sets.synthetic, sets.held))
        items.append(([_image(sets.synthetic, made[0], f"synthetic image of {name}"), _image(sets.held, real[0], f"real image of {name}")], name))
    return _gallery("What they look like", "Left a synthetic image, right a real one; the first of each class, not chosen.", items)


def _name(file: str) -> str:
    return f"number {file}" if file.isdecimal() else Path(file).name


def _copies(audit) -> str:
    found, sets, items = audit.images[audit.images["near_copy"]], audit.sets, []
    for i in found.sort_values("exact_copy", ascending=False, kind="stable").index[:SHOWN]:
        place = int(found.loc[i, "nearest_real"])
        data, at = (sets.train, place) if place < len(sets.train) else (sets.held, place - len(sets.train))
        label = found.loc[i, "label"]
        items.append(
            (
                [_image(sets.synthetic, i, f"synthetic image labelled {label}"), _image(data, at, "the real image nearest to it")],
                f"{label}, {_name(found.loc[i, 'file'])}; real: {_name(found.loc[i, 'nearest_real_file'])}",
            )
        )
    return _gallery(
        "Near-copies of real images",
        f"Left synthetic, right the nearest real image; {len(items)} of {len(found)}. Of "
        f"real images {audit.value('near_copies')['baseline']:.1%} would be named.",
        items,
    )


def _off_label(audit) -> str:
    found, items = audit.images[audit.images["off_label"]].sort_values("label_probability"), []
    for i in found.index[:SHOWN]:
        label, judged = found.loc[i, ["label", "judged"]]
        items.append(
            (
                [_image(audit.sets.synthetic, i, f"synthetic image labelled {label}, judged to be {judged}")],
                f"labelled {label}, judged {judged}; {_name(found.loc[i, 'file'])}",
            )
        )
    return _gallery("Labels that the judge disagrees with most", f"{len(items)} of {len(found)}; of real images 2 % would be named.", items)


def _uncovered(audit) -> str:
    items = [
        (
            [_image(audit.sets.held, int(row.image), f"real image of {row.label} that synthetic images hardly cover")],
            f"{row.label}, {_name(row.file)}; nearest synthetic image {row.ratio:.1f} times as far as the nearest real one",
        )
        for row in audit.uncovered[~audit.uncovered["seen"]].head(SHOWN).itertuples()
        if row.ratio > 1
    ]
    return _gallery(
        "Real images that synthetic ones cover least",
        "What to generate next: held-out images, the least covered first. Of a perfect generator half have a ratio above 1, too.",
        items,
    )
