"""The first page: what was found, whether to generate, and one figure, all from recorded frames.

``python -m synaug.chapters.findings`` writes the same into the README, and its figure beside the book.
"""

import re
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from synaug.chapters.claims_page import verdicts
from synaug.chapters.how_much_and_how_mixed_figures import RATE, contrasts, found, main, optimum, rates
from synaug.chapters.reading import said, signed
from synaug.chapters.targeted_augmentation_figures import TEN_TIMES, base, comparisons, noise_and_decay, on_top, over_flips, trivial_augment, weight_decay
from synaug.chapters.targeted_draws_figures import trivial_over_flips
from synaug.chapters.will_it_help_me_figures import measured_gains
from synaug.paths import ROOT
from synaug.plots import forest, theme
from synaug.run.results import recordings
from synaug.statistics.contrasts import paired, select
from synaug.statistics.rules import NOT_RESOLVED

#: Of a data set, its recording, and its name in figures and sentences.
RUNS = {"standard": "Fashion-MNIST", "standard.cifar10_5000": "CIFAR-10"}
#: Arms of chapter 2 at k = 5, where as many images are added to each, but for TrivialAugment, which adds none.
ARMS = {
    "upsampled": "copies",
    "generated": "generated from real images",
    "generated, from noise": "generated from noise",
    "generated, from noise, oracle generator": "from noise, oracle generator",
    "TrivialAugment": "TrivialAugment",
    "fresh": "more real images",
}
FIGURE = ROOT / "book" / "assets" / "findings.png"
CAPTION = "Gain over the original set in chapter 2. Added sets are equally large; TrivialAugment adds none. No point: not run. Scales differ."
ALTERNATIVE = (
    "Two panels of intervals. On Fashion-MNIST copies gain nothing, generated images a little, more from "
    "noise, TrivialAugment and an oracle generator more, and more real images most. On CIFAR-10 copies and "
    "generated images lose, more real images gain most."
)
NOTE = "Intervals: over paired trainings on one real set (the last: mixtures), uncorrected."


@dataclass(frozen=True)
class Finding:
    """``claim``: what was found; ``numbers``: the measured sentence; both with chapter and the figure or section where it
    is shown; ``holds``: whether the intervals are on the claim's side."""

    claim: str
    numbers: str
    chapter: str
    place: str
    holds: bool


def points(row) -> str:
    """Estimate and interval of a row of `synaug.statistics.contrasts.paired`, zero without a sign, limits in one line."""
    return said(row, digits=1).replace("+0.0", "0.0").replace(", ", ",\u00a0")


def gains_by_data_set() -> pd.DataFrame:
    """The arms of ``ARMS`` against the original set of their run: the columns of `paired`, dataset, arm."""
    found = []
    for run, dataset in RUNS.items():
        frame = recordings("targeted_augmentation")[run]
        gains = comparisons(frame, x=5, arm=list(ARMS), **base(frame))
        trivial = select(trivial_augment(frame), arm="original").assign(arm="TrivialAugment")
        found.append(pd.concat([gains, trivial]).assign(dataset=dataset))
    return pd.concat(found, ignore_index=True)


def plot() -> Figure:
    """Gains of all arms, Fashion-MNIST and CIFAR-10 side by side."""
    figure = forest(gains_by_data_set(), label="arm", panel="dataset", names=ARMS, xlabel="gain in test accuracy (points)")
    plt.close(figure)  # a notebook would show it a second time
    return figure


def _facts() -> dict:
    """Rows of estimates, by name and data set; and, as numbers, how many real images the large regime has ("n large")
    and how many images are added to each ("added", k)."""
    facts = {(row.arm, row.dataset): row for row in gains_by_data_set().itertuples()}
    for run, dataset in RUNS.items():
        frame = recordings("mode_concentration")[run]
        (row,) = paired(select(frame, x=[0, 100]), {"x": 0}, ("x",), "test_accuracy", correct=None).itertuples()
        facts["n alone", dataset] = f"{frame.attrs['provenance']['parameters']['n_images']:,}"
        facts["replaced", dataset] = row._replace(estimate=100 * row.estimate, low=100 * row.low, high=100 * row.high)
    frame = recordings("targeted_augmentation")["standard"]
    facts["steps"] = frame.attrs["provenance"]["parameters"]["steps"]
    facts["n large"] = f"{select(frame, metric='added_share', regime='large')['n_real'].iloc[0]:,}"
    rows = select(frame, metric="added_share", arm="generated", **base(frame))
    facts |= {("added", k): f"{share / 100:.1f}" for k, share in rows.groupby("x")["value"].mean().items()}
    for name, where in {
        "stacked": {"arm": "generated", "x": 5, "augment": "flip_trivial"},
        "ceiling": {"arm": "fresh", "x": 5, "augment": "flip_trivial"},
    }.items():
        (facts[name],) = comparisons(frame, **{**base(frame), **where}).itertuples()
    baselines = recordings("targeted_augmentation")["standard.baselines"]
    facts["longer"] = trivial_over_flips(baselines, 2)
    facts["decay"], on = weight_decay(), on_top(baselines)
    facts["noise on top"], facts["noise on decay"] = (on[setting]["generated, from noise"] for setting in ("TrivialAugment", TEN_TIMES))
    (facts["the oracle's"],) = select(over_flips(baselines), group="flips", arm="oracle's images").itertuples()
    mixing = recordings("how_much_and_how_mixed")["standard"]
    p = mixing.attrs["provenance"]["parameters"]
    worth = select(rates(mixing), **{"real images": f"{p['n_real']:,}", "added": [f"{n:,} from noise" for n in p["added"]]}).set_index("added")[RATE]
    facts["sizes"] = p["added"][0], p["compared"], p["added"][-1]
    for n in facts["sizes"]:
        (facts["mixed in", n],) = found(mixing, arm="from noise", mixing="shuffled", x=n, **main(mixing)).itertuples()
    (facts["oracle"],) = found(mixing, arm="oracle", mixing="shuffled", x=p["compared"], **main(mixing)).itertuples()
    facts["most real"] = max(p["other_n_real"])
    (facts["oracle for most"],) = found(mixing, arm="from noise", mixing="shuffled", x=p["compared"], n_real=facts["most real"], width=p["width"]).itertuples()
    facts["more"], facts["share"] = contrasts(mixing)["more"], optimum(mixing).split()[0]
    facts |= {("worth", n): re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", worth[f"{n:,} from noise"]) for n in facts["sizes"]}
    (facts["mixed"],) = found(mixing, arm="from noise", mixing="mixed", share=float(facts["share"]), **main(mixing)).itertuples()
    facts["pool"] = p["pool"] // p["n_real"]
    photographs = recordings("targeted_augmentation")["paper.fast_cifar10"]
    errors = select(photographs, metric="test_error", arm=["original", "generated, from noise"]).pivot(index="seed", columns="arm", values="value")
    facts["weak, from noise"] = measured_gains(recordings("will_it_help_me")["standard.cifar10"]).set_index("arm").loc["from noise"]
    facts["photographs"] = sorted(errors["original"] - errors["generated, from noise"])
    facts["n photographs"] = f"{select(photographs, metric='added_share')['n_real'].iloc[0]:,}"
    frame = select(recordings("exact_score")["standard"], metric="recall", reference="fresh")
    both = pd.concat([select(frame, arm="fresh real"), select(frame, arm="exact score", t_re=100)])
    (row,) = paired(both, {"arm": "fresh real"}, correct=None).itertuples()
    facts["exact"] = row._replace(estimate=100 * row.estimate, low=100 * row.low, high=100 * row.high)
    return facts


def findings() -> list[Finding]:
    """What was found, each with its numbers and where it is shown."""
    facts = _facts()
    fashion, cifar = RUNS.values()

    def both(name):
        return f"{fashion} {points(facts[name, fashion])}, {cifar} {points(facts[name, cifar])}"

    def unresolved(claim):
        words = [found[claim].words for found in verdicts("targeted_augmentation").values()]
        return "; neither survives Holm's correction" if set(words) == {NOT_RESOLVED} else ""

    first, second, fourth = "01_mode_concentration", "02_targeted_augmentation", "04_where_concentration_comes_from"
    fifth, (least, few, many) = "05_how_much_and_how_mixed", facts["sizes"]
    return [
        Finding(
            "Replacing real images costs accuracy.",
            f"On generated images alone: {fashion} ({facts['n alone', fashion]} "
            f"images) {points(facts['replaced', fashion])}, {cifar} ({facts['n alone', cifar]}, weak generator) {points(facts['replaced', cifar])}.",
            first,
            "fig-accuracy",
            all(facts["replaced", name].high < 0 for name in (fashion, cifar)),
        ),
        Finding(
            "Copies of hard images gained nothing.",
            f"{both('upsampled')}.",
            second,
            "fig-both",
            not any(facts["upsampled", name].low > 0 for name in (fashion, cifar)),
        ),
        Finding(
            "New images made from them gained little, or harmed.",
            f"{both('generated')}{unresolved('targeted-generation-helps')}.",
            second,
            "fig-both",
            facts["generated", fashion].high < facts["fresh", fashion].low and facts["generated", cifar].high < 0,
        ),
        Finding(
            f"Images from noise help on {fashion}, if many are added.",
            ", ".join(f"{points(facts['mixed in', n])} with {n:,}" for n in (least, few, many))
            + f". A new real image is worth {facts['worth', few]} of them at {few:,}, {facts['worth', many]} at {many:,}.",
            fifth,
            "fig-exchange",
            facts["mixed in", few].low > 0 and facts["more"].low > 0,
        ),
        Finding(
            "With flips alone, new real images help most.",
            f"{both('fresh')}.",
            second,
            "fig-both",
            all(facts["fresh", name].low > max(facts[arm, name].high for arm in ("upsampled", "generated")) for name in (fashion, cifar)),
        ),
        Finding(
            "Augmentation and weight decay come first.",
            f"On {fashion}, over flips for as many steps: TrivialAugment {points(facts['TrivialAugment', fashion])} in {facts['steps']} steps, "
            f"{points(facts['longer'])} in {2 * facts['steps']:,}; ten times the weight decay {points(facts['decay'])}. "
            f"With TrivialAugment, new real images gain {points(facts['ceiling'])}, generated ones lose.",
            second,
            "trivialaugment-alone",
            min(facts["TrivialAugment", fashion].low, facts["decay"].low) > 0 > max(facts[name].high for name in ("stacked", "noise on top")),
        ),
        Finding(
            "An exact score loses almost nothing.",
            f"Over Gaussian mixtures recall changes by {points(facts['exact'])}.",
            fourth,
            "fig-exact",
            max(abs(facts["exact"].low), abs(facts["exact"].high)) < 1,
        ),
    ]


def markdown(target: str = "notebooks/{chapter}.ipynb") -> str:
    """The findings as a list in Markdown, in points; target: the address of a place in a chapter."""
    lines = [f'- **{f.claim}** {f.numbers} <a href="{target.format(chapter=f.chapter, place=f.place)}">Chapter {int(f.chapter[:2])}</a>' for f in findings()]
    return "\n".join([*lines, "", NOTE])


def advice() -> pd.DataFrame:
    """For a practitioner: the case, what to expect of test accuracy, and what to do first."""
    facts = _facts()
    fashion, cifar = RUNS.values()
    many, each, oracle = facts["n large"], facts["added", 5], facts["the oracle's"]
    rows = [
        ("No generator yet", points(facts["TrivialAugment", fashion]), "Use TrivialAugment, train longer, tune weight decay."),
        (f"{each} new real images per old one", points(facts["fresh", fashion]), "Take them."),
        ("With TrivialAugment, from noise", points(facts["noise on top"]), f"Do not; made from yours {points(facts['stacked'])}."),
        ("With more weight decay, from noise", points(facts["noise on decay"]), f"Test; over TrivialAugment {noise_and_decay(1)}."),
        ("Flips only, from noise", points(facts["mixed"]), f"Draw {facts['pool']} per real image, {facts['share']} of each batch; test."),
        (f"{cifar}, weak generator, from noise", points(facts["weak, from noise"]), "Expect a loss."),
        (f"{cifar}, {facts['n photographs']}, from noise, two seeds", " and ".join(signed(one, 1) for one in facts["photographs"]), "Expect a loss."),
        (
            f"Flips only, generator saw {many}",
            f"{points(facts['oracle'])}; with {facts['most real']:,} real {points(facts['oracle for most'])}",
            f"Train on all {many}: {points(oracle)}.",
        ),
        ("A pretrained generator", "not measured", "Audit, then test."),
    ]
    return pd.DataFrame(rows, columns=["your case", "measured (points)", "do first"])


def in_readme() -> str:
    """Findings and advice as they stand in the README."""
    table = advice()
    rows = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join([markdown(), "", *(f"| {' | '.join(row)} |" for row in rows)])


def write() -> None:
    """Put `in_readme` between its marks in the README, and draw the figure."""
    theme()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    between = re.compile(r"(<!-- findings -->\n).*(\n<!-- end of findings -->)", re.DOTALL)
    readme.write_text(between.sub(lambda marks: marks[1] + in_readme() + marks[2], text), encoding="utf-8")
    plot().savefig(FIGURE, dpi=144, metadata={"Software": None, "Description": drawn()})


def drawn() -> str:
    """What the figure shows, as text: stands in the PNG, so that a stale one can be told."""
    return gains_by_data_set()[["dataset", "arm", "estimate", "low", "high"]].round(3).to_csv(index=False)


if __name__ == "__main__":
    write()
