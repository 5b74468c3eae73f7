"""What chapters say of their runs and in numbers: estimates with limits, and this build beside the recorded run."""

from dataclasses import replace

import pandas as pd
from IPython.display import HTML, Markdown

from synaug.data.traits import TRAITS
from synaug.plots import forest, table_html
from synaug.run import Experiment
from synaug.statistics import paired_interval
from synaug.statistics.claims import load_claims, verdict_table
from synaug.statistics.contrasts import select

DATA = {
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "patches": "patches",
    "random mixtures": "mixtures",
    "shapes": "drawn shapes",
    "fashion_mnist_minorities": "Fashion-MNIST, merged",
    "fashion_mnist_minorities_swapped": "Fashion-MNIST, merged, swapped",
    "mnist": "MNIST",
    **{f"fashion_mnist_{trait}": f"Fashion-MNIST, {trait.replace('_', ' ')}" for trait in TRAITS},
}
NETWORKS = {"resnet8": "ResNet-8", "vgg5": "VGG-5", "vit_tiny": "small ViT"}
#: Heun steps, at least, of samples that are only shown, but at profile smoke.
SHOWN_STEPS = 10


def dataset_name(name):
    """A data set's name to read; one that is not among `DATA` keeps its own."""
    return DATA.get(name, name)


def network_name(name):
    """A network's, likewise."""
    return NETWORKS.get(name, name)


def well_sampled(settings, steps):
    """Settings for samples that are only shown: as many steps as it takes to finish them. steps: the parameter's name."""
    return replace(settings, **{steps: max(getattr(settings, steps), SHOWN_STEPS)})


def drawn(live, recorded=None):
    """The arguments of a figure of one run alone, (live, recorded): the recorded one where there is one."""
    return (live, None) if recorded is None else (None, recorded)


def told(recorded, text: str) -> Markdown:
    """A sentence on a recorded run; without one, that there is none."""
    return Markdown("*Not recorded yet.*" if recorded is None else text)


def told_each(lines, recorded) -> str:
    """Takeaways, (topic, answer or nothing, text) each of its own recorded run, as a numbered list of Markdown that begins with
    answers; where a run is None, that there is none."""
    said = zip(lines, recorded, strict=True)
    return "\n".join(
        f"{i}. **{topic if frame is None else answer or topic}** {told(frame, text).data}" for i, ((topic, answer, text), frame) in enumerate(said, 1)
    )


def decided(experiment: str, recorded=None, beside=()) -> pd.DataFrame:
    """The claims of an experiment with what decides each, verdict and evidence; without a recorded run, without these two.
    beside: of the chapter's other experiments, None where there is none."""
    if recorded is None:
        return pd.DataFrame([{"statement": claim.statement, "statistic": claim.statistic} for claim in load_claims(experiment).values()])
    return verdict_table(recorded, beside=[frame for frame in beside if frame is not None])[["statement", "statistic", "verdict", "evidence"]]


def signed(value, digits=2, sign="+"):
    return f"{value:{sign}z.{digits}f}".replace("-", "\u2212")


def within(estimate, low, high, digits=2, sign="+"):
    """An estimate with its 95 % limits, as a text: "+1.78 [+1.45, +2.11]"; sign: "-" leaves the plus signs out."""
    estimate, low, high = (signed(x, digits, sign) for x in (estimate, low, high))
    return f"{estimate} [{low}, {high}]"


def values(frame, **where) -> pd.Series:
    """One value per seed; of several generators, their mean."""
    known = {name: value for name, value in where.items() if name in frame}
    return select(frame, **known).groupby("seed")["value"].mean() if len(known) == len(where) else pd.Series(dtype=float)


def interval(one, other=None):
    """Of values by seed, or of their differences; None for fewer than two."""
    found = (one if other is None else one - other).dropna()
    return paired_interval(found.to_numpy()) if len(found) > 1 else None


def said(found, sign="+", digits=2, scale=1) -> str:
    """An interval, or a row that has its limits, as `within` has it, times a scale; None was not measured."""
    if found is None:
        return "not measured"
    return within(*(scale * limit for limit in (found.estimate, found.low, found.high)), digits, sign)


def verdict_of(found, better, worse, none, undecided="open: try both, paired", negligible=0.3) -> str:
    """What an interval, or a row that has its limits, allows to say: none where all of it lies within ``negligible`` of
    0, better or worse where all of it lies on one side of 0, else undecided; None was not measured."""
    if found is None:
        return "not measured"
    if max(-found.low, found.high) < negligible:
        return none
    return better if found.low > 0 else worse if found.high < 0 else undecided


def drawn_forest(rows, **options):
    """`forest` of (columns, interval or None); None where nothing was measured."""
    table = pd.DataFrame([{**columns, "estimate": found.estimate, "low": found.low, "high": found.high} for columns, found in rows if found is not None])
    return forest(table, **options) if len(table) else None


def side_by_side(numbers, live, recorded=None):
    """The numbers of this build beside the recorded ones, a row each. numbers: gives {name: text} of a frame."""
    own = numbers(live)
    stored = {} if recorded is None else numbers(recorded)
    return pd.DataFrame([{"": name, "recorded": stored.get(name, ""), "this build": own.get(name, "")} for name in {**stored, **own}])


def runs_table(experiment: Experiment, live: pd.DataFrame, recorded: pd.DataFrame | None) -> HTML:
    """The runs behind a page, side by side: time and device, and every parameter by its name and what it means."""
    rows = [("minutes", "of all tasks, summed"), *((name, field.metadata["doc"].split("; None")[0]) for name, field in experiment.parameters.items())]
    table = pd.DataFrame(rows, columns=["parameter", "what it is"])
    for title, frame in (("this build", live), ("recorded", recorded)):
        origin = {} if frame is None else frame.attrs["provenance"]
        known = origin and origin["parameters"] | {"minutes": round(origin["wall_seconds"] / 60, 1), "device": origin["device"]}
        table[title] = [plainly(known[name]) if name in known else "" for name in table["parameter"]]
    name, missing = experiment.name.replace("_", " "), "" if recorded is not None else "; none is recorded that is of this generator"
    return table_html(table, f"The runs of {name}{missing}.")


def plainly(value) -> str:
    """A parameter's value to read: several, and those of a dict, in one line, numbers in a row by their ends; a dash for none."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {plainly(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        if len(value) > 4 and all(type(one) is int for one in value) and list(value) == list(range(value[0], value[-1] + 1)):
            return f"{value[0]} to {value[-1]}"
        return ", ".join(f"({plainly(one)})" if isinstance(one, list | tuple) else plainly(one) for one in value)
    return f"{value:,}" if type(value) is int else "\u2013" if value is None else str(value).replace(" 1 threads", " 1 thread")
