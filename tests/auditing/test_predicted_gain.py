"""The gain that an audit predicts: by the kept line, and not where that does not apply."""

import json

import numpy as np
import pandas as pd
import pytest

from synaug.auditing import augmentation_quality, prediction
from synaug.auditing.prediction import predicted

FIT = {
    "measure": "probe_gain_all",
    "slope": 40.0,
    "intercept": 0.5,
    "within": 1.5,
    "correlation": [0.8, 0.6, 0.9],
    "sets": 20,
    "added": 3000,
    "data": "20 of Fashion-MNIST",
    "network": "ResNet-8",
    "encoder": "EfficientNetLite0",
}


def numbers(value, baseline=np.nan):
    return pd.DataFrame([{"scope": scope, "metric": "probe_gain_all", "value": value * (scope == "all"), "baseline": baseline} for scope in ("coat", "all")])


@pytest.fixture
def fit(tmp_path, monkeypatch):
    def keep(**changes):
        monkeypatch.setattr(prediction, "FITTED", tmp_path / "fitted.json")
        prediction.FITTED.write_text(json.dumps(FIT | changes))

    return keep


def test_a_gain_is_read_off_the_line(fit):
    fit()
    found = predicted(numbers(0.02), "EfficientNetLite0")
    assert (found.value, found.low, found.high) == pytest.approx((1.3, -0.2, 2.8))
    assert (
        "+1.3 points [-0.2, +2.8]" in found.text
        and "0.80 [0.60, 0.90]" in found.text
        and "20 sets of 3,000 images gained (20 of Fashion-MNIST; ResNet-8)" in found.text
    )
    found = predicted(numbers(0.02, baseline=0.01), "EfficientNetLite0")
    assert (found.value, found.measured) == pytest.approx((0.9, 0.01))


@pytest.mark.parametrize(
    ("changes", "encoder", "why"),
    [
        ({"correlation": [0.7, 0.5, 0.9]}, "EfficientNetLite0", "no measure told recorded gains apart well enough. The best is probe gain all"),
        ({}, "Pixels", "features of Pixels: the line is for EfficientNetLite0"),
    ],
)
def test_nothing_is_predicted_where_the_line_does_not_hold(fit, changes, encoder, why):
    fit(**changes)
    found = predicted(numbers(0.02), encoder)
    assert np.isnan([found.value, found.low, found.high]).all() and why in found.text
    assert (found.measure, found.measured) == ("probe_gain_all", 0.02)


def test_the_documentation_says_how_well_the_kept_line_predicts():
    fit, said = json.loads(prediction.FITTED.read_text()), " ".join(augmentation_quality.__doc__.split())
    assert f"on {fit['sets']} sets: {fit['data']}; {fit['added']:,} images of each were added" in said
    assert "best measure, chosen on these sets, with what they gained is {:.2f} [{:.2f}, {:.2f}]".format(*fit["correlation"]) in said
    assert ("so no value is given" in said) == (fit["correlation"][1] <= prediction.LEAST_CORRELATION)
