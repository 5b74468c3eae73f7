"""The page of all claims: how many came out how, and a row per claim with its verdicts, effects and rule."""

import json
import re
from functools import cache
from html import escape

import pandas as pd
from IPython.display import HTML

from synaug.diffusion.trainer import RECORD
from synaug.paths import checkpoints_dir
from synaug.run.results import recordings
from synaug.statistics.claims import OWN, judge, load_claims
from synaug.statistics.contrasts import select
from synaug.statistics.frames import bare
from synaug.statistics.rules import REPRODUCED, VERDICTS

#: The chapters, by experiments that decide claims.
CHAPTERS = {"mode_concentration": "01_mode_concentration", "targeted_augmentation": "02_targeted_augmentation",
            "two_layer_cnn": "03_two_layer_cnn", "mechanism": "03_two_layer_cnn",
            "exact_score": "04_where_concentration_comes_from", "empirical_score": "04_where_concentration_comes_from",
            "real_generators": "04_where_concentration_comes_from",
            "how_much_and_how_mixed": "05_how_much_and_how_mixed"}
DATA = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "patches": "patches", "random mixtures": "mixtures"}
#: Recordings beside a profile's own that decide claims.
VARIANTS = ("cifar10_5000",)
FIXED = {"before the run": "fixed before the run", "after a first look": "exploratory: after a first look",
         "after the run": "exploratory: after the run"}
NOT_RECORDED = "not recorded"
STYLE = """<style>
.synaug-claims { width: 100%; }
.synaug-claims th:first-child { width: 45%; }
.bd-article .synaug-claims :is(th, td) { vertical-align: top; overflow-wrap: break-word; }
.synaug-claims tr:target { outline: 2px solid var(--pst-color-primary); }
@media (max-width: 720px) {
  .synaug-claims thead { display: none; }
  .synaug-claims tbody th:first-child { width: auto; }
  .synaug-claims tbody tr { display: block; border-top: 1px solid var(--pst-color-border); padding: .5rem 0; }
  .bd-article .synaug-claims :is(th, td) { display: block; padding: .1rem 0; }
  .synaug-claims td::before { content: attr(data-label) ": "; color: var(--pst-color-text-muted); }
}
</style>"""


@cache
def verdicts(experiment: str) -> dict[str, dict]:
    """The verdicts of an experiment's claims, by the data set of the recording and the claim's id."""
    found = {}
    for name, frame in recordings(experiment, ("standard",)).items():
        if name == "standard" or name.partition(".")[2] in VARIANTS:
            families, rows = {}, bare(frame)
            found[DATA[frame["dataset"].iloc[0]]] = {
                claim.id: judge(claim, rows, families) for claim in load_claims(experiment).values()}
    return found


def shown(verdict) -> str:
    """The verdict in words; of a recording that lacks a part of what the claim needs, "not recorded"."""
    return verdict.words if all(verdict.numbers.values()) else NOT_RECORDED


def effect(verdict) -> str:
    """The first part's metric and effect, without what it is made of, from the evidence; "" where none was measured."""
    part = verdict.claim.parts[0]
    metric = part["metric"] if "metric" in part else part["terms"][0]["metric"]
    found = re.search(r"(?:= |((?:rises|falls) by) )([^=;\]]*\])", verdict.evidence)
    return f"{metric.replace('_', ' ')}: {found[1] + ' ' if found[1] else ''}{found[2]}" if found else ""


def claims_table(experiment: str) -> HTML:
    """A row per claim, with the anchor ``claim-<id>``: the claim and how it was decided, verdict and effect per data
    set, when its rule was fixed."""
    by_data, rows = verdicts(experiment), []
    page = f"notebooks/{CHAPTERS[experiment]}.html"
    for claim in load_claims(experiment).values():
        cells, evidence = {}, [claim.statistic]
        for data, found in by_data.items():
            cells[data] = word = shown(verdict := found[claim.id])
            if word != NOT_RECORDED:
                cells[data] = f"{word}<br><small>{escape(effect(verdict))}</small>"
                evidence.append(f"{data}: {verdict.evidence}")
        if not by_data:
            cells["verdict"] = NOT_RECORDED
        cells["rule"] = FIXED[claim.fixed]
        rows.append(
            f'<tr id="claim-{claim.id}"><th scope="row"><a href="#claim-{claim.id}">{escape(claim.statement)}</a><br>'
            f"<small>{'This book' if claim.own else 'Paper'}: {escape(claim.source.removeprefix('this book, '))} "
            f'(<a href="{page}">chapter</a>)</small><details><summary><small>how it was decided</small></summary>'
            f"<small>{'<br>'.join(map(escape, evidence))}</small></details></th>"
            + "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in cells.items()) + "</tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("claim", *(by_data or ("verdict",)), "rule"))
    rows = [re.sub(r"(?<=[ \[])-(?=\d)", "−", row).replace("t_re", "t<sub>re</sub>") for row in rows]
    return HTML(f'{STYLE}<table class="dataframe synaug-claims"><thead><tr>{head}</tr></thead>'
                f"<tbody>{''.join(rows)}</tbody></table>")


def counts() -> pd.DataFrame:
    """How many claims came out how: a row per chapter and data set."""
    rows = []
    for experiment, chapter in CHAPTERS.items():
        if not (by_data := verdicts(experiment)):
            rows += len(load_claims(experiment)) * [{"chapter": f"{int(chapter[:2])}", "verdict": NOT_RECORDED}]
        for data, found in by_data.items():
            words = [shown(verdict).split(": ")[-1] for verdict in found.values()]
            rows += [{"chapter": f"{int(chapter[:2])}, {data}", "verdict": word} for word in words]
    order = [REPRODUCED, OWN[REPRODUCED], *reversed(VERDICTS[:-1]), NOT_RECORDED]
    table = pd.crosstab(*pd.DataFrame(rows).to_numpy().T).reindex(columns=order, fill_value=0)
    said = [", ".join(f"{n} {word}" for word, n in row.items() if n) for _, row in table.iterrows()]
    return pd.DataFrame({"chapter": table.index, "claims": table.sum(axis=1).to_numpy(), "verdicts": said})


def generators() -> pd.DataFrame:
    """The generators of the book: what each was trained on, and how far its samples are from fresh real images."""
    rows = []
    runs = {frame.attrs["provenance"]["parameters"]["generator"]: frame
            for frame in recordings("mode_concentration", ("standard",)).values()}
    for folder in sorted(checkpoints_dir().iterdir()):
        recipe = json.loads((folder / RECORD).read_text(encoding="utf-8"))["recipe"]
        row = {"trained on": f"{DATA[recipe['dataset']]}, {recipe['subset_size']:,}", "distance": NOT_RECORDED}
        if folder.name in runs:
            found = select(runs[folder.name], metric="frechet_distance", encoder="efficientnet_lite0",
                           reference="fresh", sources="train").set_index("x")
            samples, real = ("{value:,.0f} [{low:,.0f}, {high:,.0f}]".format(**found.loc[x]) for x in (100, 0))
            row["distance"] = f"{samples} against {real}"
        rows.append(row)
    return pd.DataFrame(rows)
