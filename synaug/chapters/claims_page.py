"""The page of all claims: how many came out how, and a row per claim with its verdicts, effects and rule."""

import json
import re
from collections import Counter
from functools import cache
from html import escape

import pandas as pd
from IPython.display import HTML

from synaug.chapters.reading import dataset_name
from synaug.chapters.tasks import training_record
from synaug.diffusion.trainer import RECORD
from synaug.metrics import FRESH_REAL
from synaug.paths import checkpoints_dir
from synaug.plots.html import typeset
from synaug.run.results import recordings
from synaug.statistics.claims import CONFIRMED, OWN, WITHDRAWN, judge, judged_with, load_claims
from synaug.statistics.contrasts import select
from synaug.statistics.frames import bare
from synaug.statistics.rules import REPRODUCED, VERDICTS

#: The chapters, by experiments that decide claims.
CHAPTERS = {
    "mode_concentration": "01_mode_concentration",
    "targeted_augmentation": "02_targeted_augmentation",
    "targeted_draws": "02_targeted_augmentation",
    "two_layer_cnn": "03_two_layer_cnn",
    "mechanism": "03_two_layer_cnn",
    "exact_score": "04_where_concentration_comes_from",
    "empirical_score": "04_where_concentration_comes_from",
    "real_generators": "04_where_concentration_comes_from",
    "how_much_and_how_mixed": "05_how_much_and_how_mixed",
    "causes": "06_what_is_left_out",
    "rare_events": "06_what_is_left_out",
    "composition": "06_what_is_left_out",
    **dict.fromkeys(("families", "data_traits", "ablations"), "07_other_generators_and_data"),
    "will_it_help_me": "08_will_it_help_me",
}
#: Recordings beside a profile's own that decide claims.
VARIANTS = ("cifar10_5000",)
FIXED = {"before the run": "fixed before the run", "after a first look": "exploratory: after a first look", "after the run": "exploratory: after the run"}
NOT_RECORDED = "not recorded"
#: What holds of a theorem that was reconstructed here: nobody can say that the paper's own was reproduced.
CONSISTENT = "consistent with the summary"
#: The figure that shows a claim: of an experiment, by what the claim's id has in it, the first that fits.
FIGURES = {
    "mode_concentration": {
        "frechet|artefact": "distance",
        "precision|recall": "precision-recall",
        "accuracy": "accuracy",
        "entropy|easier": "entropy",
        "outer-edge|concentrate$": "concentration",
        "pca": "pca-variance",
        "attention": "attention-agreement",
    },
    "targeted_augmentation": {
        "slow-share": "slow-fast",
        "noise|strength": "strength",
        "random|-all|loss": "selection",
        "sam|trivial|with-|large": "settings",
        "": "k",
    },
    "two_layer_cnn": {
        "sam-suppresses": "sam-noise",
        "aligns-less-toy": "noise-align-toy",
        "aligns|tolerance": "noise-align",
        "variance|converges": "variance",
        "first|sam-": "features",
        "clusters": "recovery",
        "degrades": "degradation",
        "": "map",
    },
    "targeted_draws": {"": "draws"},
    "mechanism": {"noise|features": "network-premises", "learned": "network-learning", "": "network-consequences"},
    "exact_score": {"exact": "exact", "coarse": "grids", "score": "score-errors"},
    "empirical_score": {"exact": "centres", "generalises|errs": "differences", "": "calibration"},
    "will_it_help_me": {"choice": "choice", "predicts": "correlations", "": "predicted"},
    "causes": {"mismatch": "mismatch", "noise": "changes", "bias": "head", "": "landscape"},
    "rare_events": {"reconstructed": "treatments", "": "shares"},
    "composition": {"": "composition"},
    "families": {"outer-edge": "from-noise", "adds": "family-gains", "": "family-accuracy"},
    "data_traits": {"": "traits"},
    "ablations": {"levels": "levels", "": "terms"},
    "how_much_and_how_mixed": {"exchange": "exchange", "scaling": "width", "ratio": "ratio", "": "order"},
    "real_generators": {"worse-score|best": "levels-of-quality", "train-worse|euler|churn": "sampler-settings", "": "exploration"},
}
#: The seven conjectures: in this book's words, and what would refute each.
CONJECTURES = {
    "conjecture 1": ("Synthetic images repeat what the real ones hold.", "A synthetic image is worth a fresh real one."),
    "conjecture 2": (
        "Their distribution is off, and that is the cause.",
        "Real images resampled to the synthetic density are no worse to train on, and synthetic ones resampled to the real density no better.",
    ),
    "conjecture 3": ("A classifier learns other features from them.", "A last layer fitted to real images recovers most of what is lost."),
    "conjecture 4": ("Rare events are lost.", "From a share of 1 % on, minorities are made as often as they are seen."),
    "conjecture 5": ("The model's capacity limits what is gained.", "A wider network gains no more from more of them."),
    "conjecture 6": ("They lead to a flatter loss landscape, which is why they help.", "It is not flatter, or flatter minima do not err less."),
    "conjecture 7": ("Ratio and order of mixing matter.", "Every share and every order does as well."),
    "beyond the seven": ("Unseen combinations are left out.", "They are made as often as those that were seen."),
}
RULE = "reference/statistics.html#synaug.statistics.rules.judge_{}"


@cache
def verdicts(experiment: str) -> dict[str, dict]:
    """The verdicts of an experiment's claims, by the data set of the recording and the claim's id."""
    found = {}
    for name, frame in recordings(experiment, ("standard",)).items():
        if name == "standard" or name.partition(".")[2] in VARIANTS:
            families, rows = {}, bare(frame)
            beside = [bare(runs[name]) for other in judged_with(experiment) if name in (runs := recordings(other, ("standard",)))]
            found[dataset_name(frame["dataset"].iloc[0])] = {claim.id: judge(claim, rows, families, beside) for claim in load_claims(experiment).values()}
    return found


def shown(verdict) -> str:
    """The verdict in words; of a recording that lacks a part of what the claim needs, "not recorded"."""
    return worded(verdict.claim.source, verdict.words) if all(verdict.numbers.values()) else NOT_RECORDED


def worded(source: str, words: str) -> str:
    """A verdict to read: theorems were reconstructed, so what holds of one is consistent with the summary."""
    return CONSISTENT if re.search("Theorem|Corollary", source) and words == REPRODUCED else words


def figure(claim) -> str:
    """The name of the figure that shows a claim."""
    return next(f"fig-{name}" for part, name in FIGURES[claim.experiment].items() if re.search(part, claim.id))


def address(claim) -> str:
    """Where a claim is shown, from the top of the book: its figure; of what is not recorded, which has none, the chapter."""
    return f"notebooks/{CHAPTERS[claim.experiment]}.html" + f"#{figure(claim)}" * bool(verdicts(claim.experiment))


def effect(verdict) -> str:
    """Metric and effect of the part that decided, without what it is made of, from the evidence; "" where none was measured."""
    part = verdict.claim.parts[verdict.decisive]
    metric = part["metric"] if "metric" in part else part["terms"][0]["metric"]
    found = re.search(r"(?:= |((?:rises|falls) by) )([^=;\]]*\])", verdict.parts[verdict.decisive])
    return f"{metric.replace('_', ' ')}: {found[1] + ' ' if found[1] else ''}{found[2]}" if found else ""


def claims_table(experiment: str) -> HTML:
    """A row per claim, with the anchor ``claim-<id>``: the claim and how it was decided, verdict and effect per data
    set, when its rule was fixed."""
    by_data, rows = verdicts(experiment), []
    for claim in load_claims(experiment).values():
        kinds = {part["kind"]: f'<a href="{RULE.format(part["kind"])}">{part["kind"]}</a>' for part in claim.parts}
        cells, evidence = {}, [claim.statistic]
        for data, found in by_data.items():
            cells[data] = word = shown(verdict := found[claim.id])
            if word != NOT_RECORDED:
                notes = [typeset(effect(verdict)), *[f"but {escape(claim.caveat)}"] * bool(claim.caveat)]
                cells[data] = f"{word}<br><small>{'<br>'.join(notes)}</small>"
                evidence.append(f"{data}: {verdict.evidence}")
        if not by_data:
            cells["verdict"] = NOT_RECORDED
        cells["rule"] = FIXED[claim.fixed]
        rows.append(
            f'<tr id="claim-{claim.id}"><th scope="row"><a href="#claim-{claim.id}">{typeset(claim.statement)}</a><br>'
            f"<small>{'This book' if claim.own else 'Paper'}: {escape(claim.source.removeprefix('this book, '))} "
            f'(<a href="{address(claim)}">figure</a>)</small><details><summary><small>how it was decided</small></summary>'
            f"<small>{'<br>'.join([*map(typeset, evidence), 'rule: ' + ', '.join(kinds.values())])}</small></details></th>"
            + "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in cells.items())
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("claim", *(by_data or ("verdict",)), "rule"))
    caption = "Claims, verdicts and effects with 95 % intervals, and when each rule was fixed"
    return HTML(
        f'<table class="dataframe synaug-cards synaug-claims"><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def conjectures(top: str = "") -> HTML:
    """The seven conjectures, a row each: what would refute it, and the claims that decide it with their verdicts.

    top: what leads from the page to that of the claims, such as "../".
    """
    claims, rows = load_claims().values(), []
    for name, (words, refuted) in CONJECTURES.items():
        decided = []
        for claim in claims:
            if claim.source == f"this book, {name}":
                found = [shown(by_id[claim.id]) for by_id in verdicts(claim.experiment).values()] or [NOT_RECORDED]
                decided.append(
                    f'<a href="{top}claims.html#claim-{claim.id}">{typeset(claim.statement)}</a> <em>{", ".join(found)}</em>'
                    + f" <small>(but {escape(claim.caveat)})</small>" * bool(claim.caveat)
                )
        number = name.removeprefix("conjecture ")
        chapter = CHAPTERS[next(claim.experiment for claim in claims if claim.source == f"this book, {name}")]
        label = f"{number}. {words}" if number.isdigit() else f"{name[0].upper()}{name[1:]}: {words}"
        rows.append(
            f'<tr id="{name.replace(" ", "-")}"><th scope="row">{label}<br><small>(<a href="{top}notebooks/{chapter}.html">chapter '
            f'{int(chapter[:2])}</a>)</small></th><td data-label="refuted if">{typeset(refuted)}</td>'
            f'<td data-label="claims and verdicts">{"<br>".join(decided)}</td></tr>'
        )
    return HTML(
        '<table class="dataframe synaug-cards"><caption>The seven conjectures, what would refute each, and how the claims '
        'about it came out</caption><thead><tr><th scope="col">conjecture</th><th scope="col">refuted if</th><th scope="col">claims '
        f"and verdicts</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def counts() -> pd.DataFrame:
    """How many claims there are of each chapter, and how they came out on each data set."""
    found: dict[str, dict] = {}
    numbers: Counter[str] = Counter()
    for experiment, chapter in CHAPTERS.items():
        own = found.setdefault(f"{int(chapter[:2])}", {})
        numbers[f"{int(chapter[:2])}"] += len(load_claims(experiment))
        if not (by_data := verdicts(experiment)):
            own.setdefault(NOT_RECORDED, []).extend([NOT_RECORDED] * len(load_claims(experiment)))
        for data, claims in by_data.items():
            own.setdefault(data, []).extend(shown(verdict).split(": ")[-1] for verdict in claims.values())
    order = [REPRODUCED, CONSISTENT, OWN[REPRODUCED], *reversed(VERDICTS[:-1]), *CONFIRMED.values(), WITHDRAWN, NOT_RECORDED]

    def said(data, words):
        text = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(order) if word in words)
        return text if data == NOT_RECORDED else f"{data}: {text}"

    return pd.DataFrame(
        [{"chapter": chapter, "claims": numbers[chapter], "verdicts": "; ".join(said(*item) for item in own.items())} for chapter, own in found.items()]
    )


def generators() -> pd.DataFrame:
    """The saved generators: what each was trained on, and how far its samples are from fresh real images, if it has left any."""
    rows = []
    runs, judged, families = (
        {frame.attrs["provenance"]["parameters"]["generator"]: frame for frame in recordings(name, ("standard",)).values()}
        for name in ("mode_concentration", "generator_quality", "families")
    )
    for record in sorted(checkpoints_dir().glob(f"*/{RECORD}")):
        about = json.loads(record.read_text(encoding="utf-8"))
        recipe = about["recipe"]
        name, family, found = record.parent.name, recipe.get("family", "diffusion"), None
        base, distance = name.removesuffix(f"_{family}"), {"metric": "frechet_distance", "encoder": "efficientnet_lite0"}
        row = {
            "trained on": f"{dataset_name(recipe['dataset'])}, {recipe['subset_size']:,}" + f" ({family.upper()})" * (family != "diffusion"),
            "images compared": "\u2013",
            "distance": NOT_RECORDED if about["curve"][-1]["held_out_loss"] is not None else "it has seen all images of its set; chapter 6 judges it",
        }
        run = next((table[key] for table, key in ((judged, name), (runs, name), (families, base)) if key in table), None)
        if name in judged:
            found = select(run, **distance).set_index("arm").loc[["samples", FRESH_REAL]]
        elif name in runs:
            found = select(run, **distance, reference="fresh", sources="train").set_index("x").loc[[100, 0]]
        elif base in families:
            found = pd.concat(
                [select(families[base], role="strength", metric="frechet_distance", arm=arm, x=x) for arm, x in ((family, 1.0), ("original", 0.0))]
            )
        if found is not None:
            p = run.attrs["provenance"]["parameters"]
            row |= {"images compared": f"{p.get('n_samples') or p['n_compare']:,}", "distance": distances(found)}
        rows.append(row)
    return pd.DataFrame(rows)


def levels() -> pd.DataFrame:
    """The same of the quality levels of chapter 4, the best first: its generator, and small or early ones."""
    frame = recordings("real_generators", ("standard",))["standard"]
    rows = select(frame, level="noise", metric="frechet_distance", seed=0)
    real, generator = select(rows, part="floor"), frame.attrs["provenance"]["parameters"]["generator"]
    saved = training_record(generator)["images_seen"]
    return pd.DataFrame(
        [
            {
                "channels": "the generator of the other chapters" if own["arm"].item() == "saved" else own["arm"].item().strip("()").replace(",", " and"),
                "images seen": f"{own['training_images'].fillna(saved).item():,.0f}",
                "distance": distances(pd.concat([own, real])),
            }
            for _, own in select(rows, part="levels").sort_values("x").groupby("x")
        ]
    )


def distances(rows: pd.DataFrame) -> str:
    """Two distances with limits, that of samples first, then that of real images in their place."""
    return " against ".join("{value:,.0f} [{low:,.0f}, {high:,.0f}]".format(**limits) for limits in rows.to_dict("records"))
