"""Chapter 3 on the theory: what it refuses, what a run measures for the claims, and that comparisons have power."""

from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from synaug.chapters.findings import gains_by_data_set
from synaug.chapters.two_layer_cnn import mechanism, theorems
from synaug.chapters.two_layer_cnn import mechanism_figures as network_figures
from synaug.chapters.two_layer_cnn import theorems_figures as figures
from synaug.chapters.two_layer_cnn.theorems import CONTROLLED, EXPERIMENT, REFERENCE_K, STAGES, against_reference
from synaug.run.results import load_recorded
from synaug.statistics import mean_interval
from synaug.statistics.claims import load_claims, verdict_table
from synaug.statistics.contrasts import paired, select

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "03_two_layer_cnn.py"
FILTERS = {"num_filters": 20, "init_std": 0.01}


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"seeds": 1}, "seeds must be a whole number of at least 2 and at most 1000, got 1"),
        ({"ks": [3, 5]}, r"ks must hold 2, .* got \(3, 5\)"),
        ({"ks": 2}, "and a larger one"),
        ({"ks": [1, 2]}, "ks must be"),
        ({"alphas": [0.999]}, "with n = 60 and alphas = 0.999, a class lacks fast or slow examples at seed 0"),
        ({"align_n": 1}, "with align_n = 1 and regime_alpha = 0.7, there are no slow examples at seed"),
        ({"alphas": [1.5]}, "alphas must be .* at most 1, got 1.5"),
        ({"beta_ratios": [1.5]}, "beta_ratios must be"),
        ({"rhos": 0.0}, "rhos must be positive"),
        ({"noise_std": 0}, "noise_std must be a finite number of at least 1e-06"),
        ({"lr": 0}, "lr must be positive"),
        ({"lr": -1}, "lr must be positive"),
        ({"momentum": 1}, "momentum must be below"),
        ({"early": 500}, "early must be a multiple of 20 below regime_steps = 100"),
        ({"early": 30}, "early must be"),
        ({"reading": "C"}, "reading must be one of A, B"),
        ({"num_patches": 2}, "num_patches must be .* at least 3"),
        ({"beta_d": 2.0}, "beta_d must not exceed beta_e = 1"),
        ({"map_beta_ds": [2.0]}, "map_beta_ds must not exceed"),
        ({"noises": [-1.0]}, "noises must be"),
        ({"device": "cuda"}, "device"),
        ({"label_noise": 0.7}, "label_noise must be"),
        ({"variance_batch": 60}, "variance_batch must be <= variance_n = 50, got 60"),
    ],
)
def test_settings_that_could_not_be_measured_are_refused_at_once(parameters, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings("smoke", **parameters)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"settings": {"sigma": 2.0}}, "sigmas must be positive"),
        ({"settings": {"rhos": -1}}, "rhos must be positive"),
        ({"settings": {"sigmass": 1}}, "unknown parameter: sigmass. Did you mean 'sigmas'"),
        ({"n_images": 3}, "n_images must be"),
    ],
)
def test_the_chapter_checks_both_experiments_before_either_runs(given, message):
    notebook = jupytext.read(NOTEBOOK)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    before = "\n".join(code[1:]).partition("theme()")[0]
    assert "EXPERIMENT.read(" in before and ".run(" not in before
    namespace = {}
    exec(code[0], namespace)
    assert len([name for name in namespace if not name.startswith("_")]) <= 13
    for experiment in (theorems, mechanism):  # what the cell says stands for what the experiment takes
        assert all(namespace.get(name) is None for name in experiment.EXPERIMENT.parameters)
    namespace |= {"profile": "smoke", **given}
    with pytest.raises(ValueError, match=message):
        exec(before, namespace)


def test_frame_is_complete(frame):
    s = EXPERIMENT.settings("smoke")
    assert set(frame["part"]) == {"features", "order", "sam", "align", "variance", "practical", "recovery", "regimes"}
    assert np.isfinite(frame["value"]).all()
    rows = select(frame, part="regimes")
    assert set(rows["regime"]) == set(theorems.regimes(s)) and set(rows["stage"]) == set(STAGES)
    assert len(rows) == rows["regime"].nunique() * len(STAGES) * 2 * (1 + 2 * len(s.ks)) * s.seeds
    assert not rows.duplicated(["regime", "stage", "arm", "x", "metric", "seed"]).any()


def test_stages_are_what_they_say(frame):
    s, rows = EXPERIMENT.settings("smoke"), select(frame, part="regimes", metric="test_error")
    steps = rows.groupby("stage")["step"].unique()
    assert steps["early"].tolist() == [s.early] and steps["final"].tolist() == [s.regime_steps]
    table = rows.pivot(index=["regime", "arm", "x", "seed"], columns="stage", values="value")
    assert (table["best"] <= table[["early", "final"]].min(axis=1)).all()


def test_every_claim_gets_a_verdict(frame):
    table = verdict_table(frame)
    assert list(table["id"]) == list(load_claims("two_layer_cnn"))
    assert table["verdict"].eq("not resolved at this scale").all(), "two seeds decide nothing"


def test_claims_select_what_a_larger_run_measures():
    """Every contrast of every claim finds its rows in a run with five seeds; N = 10,000 once, in the toy."""
    frame = EXPERIMENT.run("smoke", seeds=5, sam_ns=[100, 10_000], draws=20, steps=100)
    evidence = verdict_table(frame).set_index("id")["evidence"]
    assert not evidence.str.contains("needed").any(), evidence[evidence.str.contains("needed")]
    # Short trainings may not learn the fast feature in every seed: only then may something be missing.
    assert set(evidence.index[evidence.str.startswith("no ")]) <= {"fast-feature-first", "sam-more-uniform"}


class TestTheorems:
    """Sanity in both directions: what the theorem says where its premise holds, and not where it fails."""

    def test_sam_suppresses_aligned_noise_with_controlled_logits(self):
        found = theorems.sam_suppression({"alpha": 0.7}, CONTROLLED, 20, [0, 1], rho=0.002, **FILTERS)
        assert (select(found, metric="suppressed_share")["value"] == 1).all()
        assert (select(found, metric="sam_ratio")["value"] < 1).all()

    def test_generation_is_below_upsampling_as_a_mean_and_equal_as_a_sum(self):
        found = theorems.noise_alignment({"alpha": 0.7}, True, 60, [5], [0, 1, 2], num_filters=100, init_std=0.01)
        table = found.groupby(["metric", "arm"])["value"].mean()
        assert table["noise_align", "generated"] < 0.5 * table["noise_align", "upsampled"]
        sums = table["noise_align_sum"]
        assert sums["generated"] == pytest.approx(sums["upsampled"], rel=0.1)
        assert table["tolerance", "generated"] == pytest.approx(6, rel=0.1)

    @pytest.mark.parametrize("kind, formula", [("upsampled", 1.496), ("generated", 1.0)])
    def test_copies_add_variance_and_new_examples_do_not(self, kind, formula):
        found = theorems.batch_variance(kind, 50, 0.7, 5, 20, list(range(5)), draws=1000, num_filters=20).groupby("metric")
        assert found["value"].mean()["variance_formula"] == pytest.approx(formula, abs=1e-3)
        interval = mean_interval(found.get_group("variance")["value"], 0.999)
        assert interval.low < formula < interval.high and interval.high - interval.low < 0.6

    @pytest.mark.parametrize("problem, first", [({"alpha": 0.9, "beta_d": 0.2}, 1), ({"alpha": 0.2, "beta_d": 1.0}, 0)])
    def test_fast_first_turns_at_equal_speeds(self, problem, first):
        found = theorems.feature_order(problem, n=100, seeds=[0, 1, 2], steps=300, lr=0.1, momentum=0.9, **FILTERS)
        assert (found["value"] == first).all() and len(found) == 3


def test_first_crossing():
    progress, values = np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 10.0])
    assert theorems.first_crossing(progress, values, 2.0) == pytest.approx(8)
    assert theorems.first_crossing(progress, values, 0.0) == 5 and theorems.first_crossing(progress, values, 4.0) is None


@pytest.mark.parametrize("shift, found", [(0.02, "worse"), (-0.02, "better"), (0.0, "not resolved")])
def test_search_finds_what_is_there_in_both_directions(shift, found):
    """Upsampling at k = 2 and 5 in two regimes; the second regime's error moves by shift beyond k = 2."""
    rng, rows = np.random.default_rng(0), []
    for regime, change in (("still", 0.0), ("moves", shift)):
        for seed in range(12):
            own = rng.normal(0.1, 0.05)  # shared by the levels: pairing removes it
            rows += [{"regime": regime, "seed": seed, "x": k, "value": own + (k > 2) * change + rng.normal(0, 0.003)} for k in (2.0, 5.0)]
    frame = pd.DataFrame(rows).assign(part="regimes", stage="final", metric="test_error", arm="upsampled")
    table = against_reference(frame).set_index("regime")
    assert table.loc["moves", "found"] == found and table.loc["still", "found"] == "not resolved"
    assert table.loc["moves", "estimate"] == pytest.approx(shift, abs=0.005)
    assert (table["adjusted"] >= table["p_value"]).all()
    said = figures.searched(frame)
    assert (f"{found} at k = 5, at the end, with moves: " in said) == (found != "not resolved") and "with still" not in said
    assert said.startswith(f"Of 2 comparisons with k = 2, {int(shift != 0)} can be told from 0")


@pytest.mark.parametrize(
    "draw",
    [
        figures.feature_learning,
        figures.feature_order,
        figures.sam_suppression,
        figures.noise_alignment,
        figures.batch_variance,
        figures.regime_map,
        figures.stages,
        figures.degradation,
        figures.recovery,
    ],
)
def test_figures_are_labelled(frame, draw):
    figure = draw(frame, frame)
    assert figure.axes and all(ax.get_xlabel() and ax.has_data() for ax in figure.axes) and draw(frame).axes
    if draw not in (figures.degradation, figures.regime_map):  # forests of the recorded run alone
        assert all(ax.get_ylabel() for ax in figure.axes)
        names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert {"recorded", "this build"} <= set(names)


def test_takeaways_are_those_of_the_recorded_runs(frame):
    recorded, network = load_recorded("two_layer_cnn"), load_recorded("mechanism")
    said = figures.takeaways(figures.numbers(recorded), network_figures.numbers(network))
    rows = recorded[(recorded["regime"] == "base") & (recorded["stage"] == "final") & (recorded["metric"] == "test_error")]
    errors = 100 * rows[rows["x"].isin([1, 8])].pivot(index="seed", columns="arm", values="value")
    gain = mean_interval(errors["generated"] - errors["upsampled"])
    assert gain.high < 0 and all(f"{errors[arm].mean():.1f} %" in said for arm in errors)
    assert f"{gain.estimate:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}] points".replace("-", "\u2212") in said
    learning = network[network["metric"] == "train_loss_slow"].pivot(index="seed", columns=["x", "arm"], values="value")
    for share, arm, sign in ((0.1, "generated", -1), (0.1, "upsampled", -1), (1, "generated", 1), (1, "upsampled", -1)):
        interval = mean_interval(learning[share, arm] - learning[share, "original"])
        assert sign * interval.low > 0 and sign * interval.high > 0  # early and late differ in sign for generated ones
    assert (
        f"is {learning[0.1, 'generated'].mean():.3f} with generated versions, {learning[0.1, 'upsampled'].mean():.3f} "
        f"with copies and {learning[0.1, 'original'].mean():.3f} with" in said
    )
    assert (
        f"is {learning[1, 'original'].mean():.3f} with the original set, {learning[1, 'generated'].mean():.3f} with "
        f"generated versions and {learning[1, 'upsampled'].mean():.3f} with" in said
    )
    for metric, share, scale, digits in (("train_loss_fast", 0.1, 1, 2), ("test_error", 0.1, 100, 1), ("test_error", 1, 100, 1)):
        own = scale * network[(network["metric"] == metric) & (network["x"] == share)].pivot(index="seed", columns="arm", values="value")
        for arm in ("generated", "upsampled"):
            interval = mean_interval(own[arm] - own["original"])
            said_so = f"{interval.estimate:+z.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
            assert said_so.replace("-", "\u2212") in said
            assert interval.low > 0 if share == 0.1 else interval.high > 0  # "at the cost of all others"; "nothing is gained"
    toy = recorded[(recorded["metric"] == "noise_align") & (recorded["distribution"] == "toy") & (recorded["x"] == 8)]
    for arm, value in toy.groupby("arm")["value"].mean().items():
        assert f"{value:.2f} times" in said, arm
    for stage in ("final", "best"):  # "far ahead from k = 5 on, and not told apart from copies below"
        rows = recorded[(recorded["regime"] == "base") & (recorded["stage"] == stage) & (recorded["metric"] == "test_error")]
        errors = rows.pivot(index="seed", columns=["x", "arm"], values="value")
        for k in (2, 3, 5, 8):
            interval = mean_interval(errors[k, "generated"] - errors[k, "upsampled"])
            assert interval.high < 0 if k >= 5 else interval.low < 0 < interval.high
    assert f"k = {REFERENCE_K}, \u22121.3 [\u22123.8, +1.2]" in said
    assert "within 0.4 % of gradient descent's" in figures.sam_sizes(recorded) and "0.1 to 1.7 % more" in figures.sam_sizes(recorded)
    first = network[(network["metric"] == "same_source_correlation") & (network["sigma"] == 1) & (network["stage"] == "early")]
    assert f"that of its generated version at {first['value'].mean():.2f} [" in said
    for run, regime, stages in (
        (recorded, "β_d = 0.6, noise 0.25, N = 50", {"best"}),
        (load_recorded("two_layer_cnn", "standard", "reading_a"), "β_d = 0.3, noise 0.25, N = 50", {"early", "final", "best"}),
    ):
        worse = against_reference(run).query("found == 'worse'")
        assert set(worse["regime"]) == {regime} and set(worse["stage"]) == stages
    assert figures.numbers(frame).keys() == figures.numbers(recorded).keys()


def test_the_prose_on_the_map_says_what_was_recorded():
    recorded, earlier = load_recorded("two_layer_cnn"), load_recorded("two_layer_cnn", "standard", "reading_a")
    assert [run.attrs["provenance"]["parameters"]["reading"] for run in (recorded, earlier)] == ["B", "A"]
    assert "all verdicts are the same. Only the search for where a large $k$ harms copies finds other comparisons." in (prose := NOTEBOOK.read_text("utf-8"))
    assert verdict_table(recorded)["verdict"].tolist() == verdict_table(earlier)["verdict"].tolist()
    assert "in two thirds of the map; upsampling in a third of it. With strong noise and few examples upsampling does harm" in prose
    table = figures.changes(recorded)[1].query("low > 0 or high < 0").assign(helps=lambda t: t["estimate"] < 0)
    found = {key: set(rows["regime"]) for key, rows in table.groupby(["arm", "helps"])}
    assert {"base", "reading A"} < found["generated", True] and len(found["generated", True]) == 2 + 12 * 2 / 3
    assert found["generated", False] == {f"β_d = {strength}, noise 0.25, N = 50" for strength in (0.3, 0.4)}
    assert len(found["upsampled", True]) == 12 / 3
    assert found["upsampled", False] == {f"β_d = {strength}, noise 0.25, N = 50" for strength in (0.3, 0.4, 0.6)}


def test_the_overview_has_the_verdicts():
    found = pd.concat([verdict_table(load_recorded(name)) for name in ("two_layer_cnn", "mechanism")], ignore_index=True)
    table = figures.overview(figures.worded(found)).set_index("theorem")
    assert table.loc["4.2", "outcome where the premise holds"] == "consistent with the summary"
    assert table.loc["4.3, new versions", "outcome in ResNet-8"] == "opposite"
    known = found.set_index("id")["verdict"]
    assert known["network-new-noise"] == "opposite"  # "new noise: fails"
    assert known[["network-copies-add-variance", "network-aligns-less-own", "network-generation-varies-less"]].eq("reproduced").all()
    assert known["network-generation-varies-less-later"].endswith("opposite")


def test_what_differs_from_chapter_2():
    own, other = (load_recorded(name).attrs["provenance"]["parameters"] for name in ("mechanism", "targeted_augmentation"))
    assert own["generator"] == other["generator"] and own["classifier_steps"] == other["steps"]
    assert (own["seeds"], own["n_evaluate"], other["k_seeds"], other["n_evaluate"]) == (5, 2000, 10, None)
    found = {arm: row for arm, row in gains_by_data_set().query("dataset == 'Fashion-MNIST'").set_index("arm").iterrows()}
    errors = select(load_recorded("mechanism"), part="learning", metric="test_error", x=1.0)
    for row in paired(errors, {"arm": "original"}, correct=None, sign=-1).itertuples():
        assert 100 * row.low < found[row.arm]["high"] and found[row.arm]["low"] < 100 * row.high  # "intervals overlap"


def test_a_reconstructed_theorem_is_never_called_reproduced():
    found = pd.concat([verdict_table(load_recorded(name)) for name in ("two_layer_cnn", "mechanism")])
    said = figures.worded(found).set_index("id")["verdict"]
    assert said["tolerance-k-plus-1"] == "consistent with the summary" and said["fast-feature-first"] == "reproduced"
    theorems_of = found["source"].str.contains("Theorem|Corollary").to_numpy()
    assert not (said[theorems_of] == "reproduced").any() and (said.to_numpy() == found["verdict"])[~theorems_of].all()


def test_the_picture_repeats_the_noise_of_a_copy_and_not_of_a_new_version():
    heights = [patch.get_height() for patch in figures.picture().axes[0].patches]
    fast, slow, copy, new = np.reshape(heights, (4, 3, 12))
    np.testing.assert_allclose(slow, copy, atol=1e-9)
    kept = np.isclose(slow, new, atol=1e-6).all(axis=1)
    assert kept.sum() == 1 and np.abs(slow[kept]).argmax() == 1 and np.abs(fast).max(axis=(0, 1)).argmax() == 0


def test_what_the_page_says_of_early_steps_holds():
    rows = select(load_recorded("two_layer_cnn"), part="regimes", regime="base", stage="early", metric="test_error")
    found = paired(rows, {"arm": "original"}, ("arm", "x"), correct=None)
    below = found[found["high"] < 0]
    assert not (found["low"] > 0).any() and set(zip(below["arm"], below["x"])) == {("upsampled", 2.0), ("upsampled", 3.0)}


def test_variances_lie_above_the_formula_at_every_stage():
    frame = load_recorded("mechanism")
    p = frame.attrs["provenance"]["parameters"]
    rows = select(frame, part="consequences", weights="original", x=max(p["ks"]), sigma=[0.0, p["sigma"]], arm=["upsampled", "generated"])
    means = rows.pivot_table(index=["arm", "stage"], columns="metric", values="value")
    assert len(means) == 6 and (means["set_variance"] > means["set_variance_formula"]).all()
    assert means.loc[("generated", "late"), "set_variance"] > 100 * means.loc[("generated", "late"), "set_variance_formula"]
