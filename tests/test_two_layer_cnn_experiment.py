"""Chapter 3's experiment: what it refuses, what a run measures for the claims, and that comparisons have power."""

import numpy as np
import pandas as pd
import pytest
import torch

from synaug.statistics.claims import load_claims, verdict_table
from synaug.experiments import two_layer_cnn as experiment
from synaug.experiments.two_layer_regimes import MEASURED, STAGES, against_reference
from synaug.experiments.two_layer_tables import describe, practical_table, search_summary, search_table
from synaug.experiments.two_layer_theorems import (
    CONTROLLED,
    batch_variance,
    feature_order,
    first_crossing,
    noise_alignment,
    sam_suppression,
)
from synaug.figures import two_layer_cnn as figures
from synaug.statistics import mean_interval
from synaug.theory.two_layer_cnn import METRICS, PatchDistribution

FILTERS = {"num_filters": 20, "init_std": 0.01}


@pytest.fixture(scope="module")
def frame():
    return experiment.run(profile="smoke")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"profile": "huge"}, "profile is 'huge'"),
        ({"seeds": 1}, "seeds must be whole, at least 2, got 1"),
        ({"ks": [3, 5]}, r"ks must hold 2, .* got \(3, 5\)"),
        ({"ks": [2]}, "and a larger one"),
        ({"alphas": [0.999]}, "with n = 60 and alpha = 0.999, a class of seed 0 lacks fast or slow"),
        ({"steps": 2.5}, "steps must be whole, at least 1, got 2.5"),
        ({"ks": [1, 2]}, "ks must be whole, at least 2, got 1"),
        ({"ks": [2, 2]}, "ks must be different values"),
        ({"map_ns": []}, "map_ns must be different values, at least one"),
        ({"rhos": [0.0]}, "rhos must be positive"),
        ({"lr": -1}, "need lr > 0"),
        ({"momentum": 1}, "0 <= momentum < 1"),
        ({"early": 500}, "early must lie in 20..regime_steps, got 500 with regime_steps = 100"),
        ({"early": 30}, "early must be a multiple of 20"),
        ({"reading": "C"}, "unknown reading 'C'"),
        ({"beta_d": 2.0}, "need 0 <= beta_d <= beta_e"),
        ({"num_patches": 2}, "reading A needs num_patches >= 3"),
        ({"alphas": [1.5]}, r"alpha must lie in \[0, 1\], got 1.5"),
        ({"beta_ratios": [1.5]}, "need 0 <= beta_d <= beta_e"),
        ({"noises": [-1.0]}, "noise_std must be finite and not negative"),
        ({"label_noise": 0.7}, "label_noise must lie in"),
        ({"variance_batch": 60}, "variance_batch must not exceed variance_n = 50, got 60"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        experiment.prepare(**{"profile": "smoke", **parameters})


def test_frame_is_complete(frame):
    settings = experiment.prepare(profile="smoke")
    assert set(frame["part"]) == {"features", "order", "sam", "align", "variance", "practical", "recovery", "regimes"}
    assert np.isfinite(frame["value"]).all()
    rows = frame[frame["part"] == "regimes"]
    assert set(rows["regime"]) == set(experiment.all_regimes(settings)) and set(rows["stage"]) == set(STAGES)
    arms = 1 + 2 * len(settings["ks"])
    assert len(rows) == rows["regime"].nunique() * len(STAGES) * len(MEASURED) * arms * settings["seeds"]
    assert not rows.duplicated(["regime", "stage", "arm", "x", "metric", "seed"]).any()
    assert set(MEASURED) <= set(METRICS)
    assert frame.attrs["provenance"]["parameters"]["ks"] == [2, 5]


def test_run_again_gives_the_same_numbers_from_its_cells(frame, monkeypatch):
    monkeypatch.setattr(experiment, "measure_regime", None)  # would fail if it were called
    pd.testing.assert_frame_equal(experiment.run(profile="smoke"), frame)


def test_threads_are_given_back(frame):
    before = torch.get_num_threads()
    experiment.run(profile="smoke")
    assert torch.get_num_threads() == before


def test_stages_are_what_they_say(frame):
    settings = experiment.prepare(profile="smoke")
    rows = frame[(frame["part"] == "regimes") & (frame["metric"] == "test_error")]
    steps = rows.groupby("stage")["step"]
    assert steps.unique()["early"].tolist() == [settings["early"]]
    assert steps.unique()["final"].tolist() == [settings["regime_steps"]]
    table = rows.pivot(index=["regime", "arm", "x", "seed"], columns="stage", values="value")
    assert (table["best"] <= table[["early", "final"]].min(axis=1)).all()


def test_every_claim_gets_a_verdict(frame):
    table = verdict_table(frame)
    assert list(table["id"]) == list(load_claims("two_layer_cnn"))
    assert table["verdict"].eq("not resolved at this scale").all(), "two seeds decide nothing"


def test_claims_select_what_a_larger_run_measures():
    """Every contrast of every claim finds its rows in a run with five seeds; N = 10,000 once, in the toy."""
    small = dict(profile="smoke", seeds=5, ks=[2, 5], sam_ns=[100, 10_000], alphas=[0.9], draws=20, steps=100)
    evidence = verdict_table(experiment.run(**small)).set_index("id")["evidence"]
    assert not evidence.str.contains("needed").any(), evidence[evidence.str.contains("needed")]
    # Short trainings may not learn the fast feature in every seed: only then may something be missing.
    assert set(evidence.index[evidence.str.startswith("no ")]) <= {"fast-feature-first", "sam-more-uniform"}


class TestTheorems:
    """Sanity in both directions: what the theorem says where its premise holds, and not where it fails."""

    WORLD = PatchDistribution(alpha=0.7)

    def test_sam_suppresses_aligned_noise_with_controlled_logits(self):
        found = sam_suppression(self.WORLD, CONTROLLED, 20, (0, 1), rho=0.002, **FILTERS).set_index("metric")["value"]
        assert (found["suppressed_share"] == 1).all() and (found["sam_ratio"] < 1).all()

    def test_generation_is_below_upsampling_as_a_mean_and_equal_as_a_sum(self):
        found = noise_alignment(self.WORLD, True, 60, (5,), (0, 1, 2), num_filters=100, init_std=0.01)
        table = found.groupby(["metric", "arm"])["value"].mean()
        assert table["noise_align", "generated"] < 0.5 * table["noise_align", "upsampled"]
        sums = table["noise_align_sum"]
        assert sums["generated"] == pytest.approx(sums["upsampled"], rel=0.1)
        assert table["tolerance", "generated"] == pytest.approx(6, rel=0.1)

    def test_copies_add_variance_and_new_examples_do_not(self):
        seeds = tuple(range(5))
        for kind, formula in (("upsampled", 1.496), ("generated", 1.0)):
            found = batch_variance(kind, 50, 0.7, 5, 20, 1000, seeds, 20, 0.125).groupby("metric")["value"]
            assert found.mean()["variance_formula"] == pytest.approx(formula, abs=1e-3)
            interval = mean_interval(found.get_group("variance"), 0.999)
            assert interval.low < formula < interval.high and interval.high - interval.low < 0.6

    def test_fast_first_turns_at_equal_speeds(self):
        training = dict(n=100, seeds=(0, 1, 2), steps=300, lr=0.1, momentum=0.9, **FILTERS)
        fast = feature_order(PatchDistribution(alpha=0.9, beta_d=0.2), **training)
        slow = feature_order(PatchDistribution(alpha=0.2, beta_d=1.0), **training)
        assert fast["x"].iloc[0] > 1 > slow["x"].iloc[0]
        assert (fast["value"] == 1).all() and (slow["value"] == 0).all() and len(fast) == len(slow) == 3


def test_first_crossing():
    progress, values = np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 10.0])
    assert first_crossing(progress, values, 2.0) == pytest.approx(8)
    assert first_crossing(progress, values, 0.0) == 5 and first_crossing(progress, values, 4.0) is None


def comparison(shift, seeds=12):
    """Upsampling at k = 2 and 5 in two regimes; the second regime's error moves by shift beyond k = 2."""
    rng = np.random.default_rng(0)
    rows = []
    for regime, change in (("still", 0.0), ("moves", shift)):
        for seed in range(seeds):
            own = rng.normal(0.1, 0.05)  # shared by the levels: pairing removes it
            rows += [{"regime": regime, "seed": seed, "x": k, "value": own + (k > 2) * change + rng.normal(0, 0.003)}
                     for k in (2.0, 5.0)]
    return pd.DataFrame(rows).assign(part="regimes", stage="final", metric="test_error", arm="upsampled")


@pytest.mark.parametrize(("shift", "found"), [(0.02, "worse"), (-0.02, "better"), (0.0, "not resolved")])
def test_search_finds_what_is_there_in_both_directions(shift, found):
    table = against_reference(comparison(shift)).set_index("regime")
    assert table.loc["moves", "found"] == found and table.loc["still", "found"] == "not resolved"
    assert table.loc["moves", "value"] == pytest.approx(shift, abs=0.005)
    assert (table["adjusted"] >= table["p_value"]).all()
    assert found in search_table(comparison(shift)).iloc[1, 2]


def test_summary_names_the_regimes(frame):
    text = search_summary(comparison(0.02))
    assert "*degrades* in 1: moves (final: k = 5)" in text and "not resolved in 1" in text
    assert "this build" in describe(frame) and "`smoke`" in describe(frame)
    assert list(practical_table(frame)["k"]) == ["2", "5"]


@pytest.mark.parametrize("draw", ["feature_learning", "feature_order", "sam_suppression", "noise_alignment",
                                  "batch_variance", "regime_map", "stages", "degradation", "recovery"])
def test_figures_are_labelled(frame, draw):
    figure = getattr(figures, draw)(frame, frame)
    shown = [ax for ax in figure.axes if ax.axison]
    assert shown and all(ax.get_xlabel() for ax in shown) and figure.axes[0].has_data()
    if draw != "degradation":
        assert all(ax.get_ylabel() for ax in shown)
        names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert any(name.startswith("recorded") for name in names)
        assert any(name.startswith("this build") for name in names)
