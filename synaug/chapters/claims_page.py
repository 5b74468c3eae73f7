"""The page of all claims: how many came out how, and a row per claim with its verdicts, effects and rule."""

import json
from html import escape

import pandas as pd
from IPython.display import HTML

from synaug.diffusion.trainer import RECORD
from synaug.paths import checkpoints_dir
from synaug.run.results import recordings
from synaug.statistics.claims import judge, load_claims
from synaug.statistics.contrasts import select
from synaug.statistics.frames import bare
from synaug.statistics.rules import NOT_RESOLVED, REPRODUCED, VERDICTS

#: The chapters, by experiments that decide claims.
CHAPTERS = {"mode_concentration": "01_mode_concentration", "targeted_augmentation": "02_targeted_augmentation",
            "two_layer_cnn": "03_two_layer_cnn", "mechanism": "03_two_layer_cnn",
            "exact_score": "04_where_concentration_comes_from", "empirical_score": "04_where_concentration_comes_from",
            "real_generators": "04_where_concentration_comes_from"}  # fmt: skip
DATA = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "patches": "patches", "random mixtures": "mixtures"}
#: Recordings beside a profile's own that decide claims.
VARIANTS = ("cifar10_5000",)
FIXED = {"before the run": "fixed before the run", "after a first look": "exploratory: fixed after a first look at data",
         "after the run": "exploratory: fixed after the recorded run"}  # fmt: skip
NOT_RECORDED = "not recorded"
STYLE = """<style>
.synaug-claims td:first-of-type { min-width: 14rem; }
.synaug-claims .effect { font-size: .85em; overflow-wrap: anywhere; }
.synaug-claims tr:target { outline: 2px solid var(--pst-color-primary); }
@media (max-width: 720px) {
  .synaug-claims thead { display: none; }
  .synaug-claims tbody tr { display: block; border-top: 1px solid var(--pst-color-border); padding: .5rem 0; }
  .bd-article .synaug-claims :is(th, td) { display: block; padding: .1rem 0; }
  .synaug-claims td::before { content: attr(data-label) ": "; color: var(--pst-color-text-muted); }
}
</style>"""


def verdicts(experiment: str) -> dict[str, dict]:
    """The verdicts of an experiment's claims, by the data set of the recording and the claim's id."""
    found = {}
    for name, frame in recordings(experiment, ("standard",)).items():
        if name == "standard" or name.partition(".")[2] in VARIANTS:
            families, rows = {}, bare(frame)
            found[DATA[frame["dataset"].iloc[0]]] = {
                claim.id: judge(claim, rows, families) for claim in load_claims(experiment).values()}  # fmt: skip
    return found


def shown(verdict) -> str:
    """The verdict in words; of a recording that lacks a part of what the claim needs, "not recorded"."""
    return verdict.words if all(verdict.numbers.values()) else NOT_RECORDED


def whose(claim) -> str:
    return "this book" if claim.own else "paper"


def claims_table(experiment: str) -> HTML:
    """A row per claim, with the anchor ``claim-<id>``: claim, whose it is, verdicts per data set, effects, rule."""
    by_data = verdicts(experiment)
    page = f"notebooks/{CHAPTERS[experiment]}.html"
    heads = ["claim", "whose", *by_data, "effect", "rule"]
    rows = []
    for claim in load_claims(experiment).values():
        said = {data: shown(found[claim.id]) for data, found in by_data.items()}
        effects = [(f"{data}: " if len(by_data) > 1 else "") + found[claim.id].evidence
                   for data, found in by_data.items() if said[data] != NOT_RECORDED]  # fmt: skip
        cells = [whose(claim), *map(escape, said.values()),
                 f'<span class="effect">{"<br>".join(map(escape, effects))}</span>',
                 f"<details><summary>{FIXED[claim.fixed]}</summary>{escape(claim.statistic)}</details>"]  # fmt: skip
        rows.append(f'<tr id="claim-{claim.id}"><th scope="row"><a href="#claim-{claim.id}">{escape(claim.statement)}</a>'
                    f'<br><small>{escape(claim.source)}; <a href="{page}">chapter</a></small></th>'
                    + "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in zip(heads[1:], cells))
                    + "</tr>")  # fmt: skip
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return HTML(f'{STYLE}<table class="dataframe synaug-claims"><thead><tr>{head}</tr></thead>'
                f"<tbody>{''.join(rows)}</tbody></table>")  # fmt: skip


def counts() -> pd.DataFrame:
    """How many claims came out how: a row per chapter and data set, of papers and of this book."""
    names = {REPRODUCED: "reproduced or supported", NOT_RESOLVED: "not resolved"}
    rows = pd.DataFrame([
        {"chapter": int(chapter[:2]), "data": data, "whose": whose(verdict.claim),
         "verdict": NOT_RECORDED if shown(verdict) == NOT_RECORDED else names.get(verdict.verdict, verdict.verdict)}
        for experiment, chapter in CHAPTERS.items() for data, found in verdicts(experiment).items()
        for verdict in found.values()])  # fmt: skip
    table = pd.crosstab([rows["chapter"], rows["data"], rows["whose"]], rows["verdict"])
    order = [names.get(verdict, verdict) for verdict in reversed(VERDICTS)] + [NOT_RECORDED]
    return table.reindex(columns=order, fill_value=0).reset_index().rename_axis(columns=None)


def generators() -> pd.DataFrame:
    """The generators of the book: what each was trained on, and how far its samples are from fresh real images."""
    rows = []
    runs = {frame.attrs["provenance"]["parameters"]["generator"]: frame
            for frame in recordings("mode_concentration", ("standard",)).values()}  # fmt: skip
    for folder in sorted(checkpoints_dir().iterdir()):
        recipe = json.loads((folder / RECORD).read_text(encoding="utf-8"))["recipe"]
        trained = f"{recipe['subset_size']:,} images of {DATA[recipe['dataset']]}"
        row = {"generator": folder.name, "trained on": trained, "distance of its samples": "not recorded", "of fresh real images": ""}
        if folder.name in runs:
            found = select(runs[folder.name], metric="frechet_distance", encoder="efficientnet_lite0", reference="fresh",
                           sources="train").set_index("x")  # fmt: skip
            for x, name in ((100, "distance of its samples"), (0, "of fresh real images")):
                row[name] = "{value:,.0f} [{low:,.0f}, {high:,.0f}]".format(**found.loc[x])
        rows.append(row)
    return pd.DataFrame(rows)
