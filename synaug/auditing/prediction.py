"""What synthetic images are predicted to gain in the training of a network, by sets whose gain was measured (chapter 8)."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

#: The line from a measure to the gain, what it was fitted on, and how well it told families apart that were left out:
#: written by `synaug.chapters.will_it_help_me_figures.fitted`.
FITTED = Path(__file__).with_name("fitted.json")
#: The least lower limit of the rank correlation with which a measure may predict.
LEAST_CORRELATION = 0.5


@dataclass(frozen=True)
class Predicted:
    """value, low, high: points of test accuracy, with 95 % limits from the errors on families of sets that the line was
    not fitted to; NaN where nothing is predicted. measure: that predicts best. measured: what it is of these images, over the
    baseline where it has one. text: all of it in words."""

    value: float
    low: float
    high: float
    measure: str
    measured: float
    text: str


def predicted(numbers: pd.DataFrame, encoder: str) -> Predicted:
    """What an audit's ``numbers`` predict; encoder: of its features, as the audit names it."""
    fit = json.loads(FITTED.read_text())
    name, (r, low, high) = fit["measure"].replace("_", " "), fit["correlation"]
    row = numbers[(numbers["scope"] == "all") & (numbers["metric"] == fit["measure"])].iloc[0]
    measured = float(row["value"] - (0 if pd.isna(row["baseline"]) else row["baseline"]))
    how = (
        f"{name} (here {measured:+.3f}), rank correlation {r:.2f} [{low:.2f}, {high:.2f}] with what {fit['sets']} sets of "
        f"{fit['added']:,} images gained ({fit['data']}; {fit['network']})"
    )
    value = within = float("nan")
    if low <= LEAST_CORRELATION:
        text = f"No gain is predicted: no measure told recorded gains apart well enough. The best is {how}."
    elif encoder != fit["encoder"]:
        text = f"No gain is predicted with features of {encoder}: the line is for {fit['encoder']}."
    else:
        value, within = fit["intercept"] + fit["slope"] * measured, fit["within"]
        text = f"Predicted gain of a network that is trained from scratch: {value:+.1f} points [{value - within:+.1f}, {value + within:+.1f}], by {how}."
    return Predicted(value, value - within, value + within, fit["measure"], measured, text)
