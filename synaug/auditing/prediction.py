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
    not fitted to; NaN where nothing is predicted. measure: that predicts best. text: all of it in words."""

    value: float
    low: float
    high: float
    measure: str
    text: str


def predicted(numbers: pd.DataFrame, encoder: str) -> Predicted:
    """What an audit's ``numbers`` predict; encoder: of its features, as the audit names it."""
    fit, nan = json.loads(FITTED.read_text()), float("nan")
    name, (r, low, high) = fit["measure"].replace("_", " "), fit["correlation"]
    how = (f"{name}, rank correlation {r:.2f} [{low:.2f}, {high:.2f}] with what {fit['sets']} sets of {fit['added']:,} images gained "
           f"beside {fit['n_real']:,} real ones of {fit['dataset']} ({fit['network']})")
    if low <= LEAST_CORRELATION:
        return Predicted(nan, nan, nan, fit["measure"], f"No gain is predicted: no measure told recorded gains apart well enough. The best is {how}.")
    if encoder != fit["encoder"]:
        return Predicted(nan, nan, nan, fit["measure"], f"No gain is predicted with features of {encoder}: the line is for {fit['encoder']}.")
    row = numbers[(numbers["scope"] == "all") & (numbers["metric"] == fit["measure"])].iloc[0]
    value = fit["intercept"] + fit["slope"] * (row["value"] - (0 if pd.isna(row["baseline"]) else row["baseline"]))
    low, high = value - fit["within"], value + fit["within"]
    return Predicted(value, low, high, fit["measure"], f"Predicted gain of a network that is trained from scratch: {value:+.1f} points "
                     f"[{low:+.1f}, {high:+.1f}], by {how}.")
