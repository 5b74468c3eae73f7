"""Chapter 2's experiment, on digits and generators that were never trained: what it refuses, which arms it compares,
that a run is its cells in any order, and that claims are decided in both directions."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from synaug.classifiers import training as classifier_training
from synaug.classifiers import checkpoint as training_checkpoint
from synaug.augmentation import upsampled, with_generated, with_real
from synaug.statistics.claims import load_claims, verdict_table
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import new_denoiser
from synaug.experiments import targeted_augmentation as experiment
from synaug.experiments import plan, targeted_cells, targeted_tables, targeted_views
from synaug.experiments.targeted_cells import finished, of_classes, splits
from synaug.experiments.targeted_studies import STUDIES, Arm, arms, sigma_of_strength
from synaug.figures import targeted_augmentation as figures
from synaug.run.results import record
from synaug.statistics import holm, paired_interval

pytestmark = pytest.mark.filterwarnings("ignore:the training error had not flattened")

SIZES = {"small": 150, "large": 300}


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """Folders of two generators, whose records say that they have seen so many digits."""
    folders = {}
    for name, size in SIZES.items():
        folder = tmp_path_factory.mktemp(name)
        new_denoiser(stratified_subset(load_dataset("digits"), size, 0), channels=(32,)).save(folder)
        recipe = {"dataset": "digits", "subset_size": size, "subset_seed": 0}
        (folder / "training_record.json").write_text(json.dumps({"recipe": recipe}))
        folders[name] = str(folder)
    return folders


@pytest.fixture(scope="module")
def small(generators):
    """Parameters of a run of seconds."""
    return dict(profile="smoke", studies=("k", "pilot"), generator=generators["small"], n_evaluate=50, steps=4,
                pilot_steps=(2, 4), large_generator=generators["large"], large_steps=4, ks=(2, 3))


@pytest.fixture(scope="module")
def frame(small):
    return experiment.run(**small)


@pytest.mark.parametrize("wrong, message", [
    ({"profile": "huge"}, "profile is 'huge'"),
    ({"studies": ("k", "speed")}, "studies must be some of k, pilot, .* got speed"),
    ({"studies": ()}, "studies must be different values, at least one"),
    ({"studies": ("architectures",)}, "name them in architectures"),
    ({"architectures": ("resnet9",)}, "unknown classifier 'resnet9'"),
    ({"recipe": "adam"}, "unknown recipe 'adam'"),
    ({"ks": (3, 5)}, r"ks must hold 2, .* got \(3, 5\)"),
    ({"ks": (1, 2)}, "ks must be whole, at least 2, got 1"),
    ({"ks": (2, 2)}, "ks must be different values"),
    ({"ks": (2, 9)}, "the fresh control at k = 9 may need 8 images"),
    ({"strength": 100}, "strictly between 0 and 100 steps, got 100"),
    ({"strengths": (20, 80)}, "strengths must hold strength = 50"),
    ({"seeds": 1}, "seeds must be whole, at least 2, got 1"),
    ({"steps": 2.5}, "steps must be whole, at least 1, got 2.5"),
    ({"steps": 1}, "1 steps of 128 are 0 passes over the 150 images of the small regime; the warm-up needs 1"),
    ({"n_evaluate": 5}, "n_evaluate must be in 10..240, got 5"),
    ({"studies": ("suspects",), "large_generator": None}, "need a large_generator"),
    ({"device": "gpu"}, "gpu"),
    ({"augment": "none"}, "augment must be one of flip, flip_crop, got 'none'"),
    ({"k_optimizers": ("sam",)}, r"k_optimizers must be sgd, or sgd and sam; got \('sam',\)"),
    ({"fresh": 1}, "fresh must be True or False, got 1"),
])
def test_bad_parameters_are_refused(small, wrong, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        experiment.prepare(**{**small, **wrong})


def test_generators_that_do_not_fit_are_refused(small, generators, tmp_path):
    with pytest.raises(ValueError, match="must have been trained on more images than generator, got 150 and 300"):
        swapped = {"generator": generators["large"], "large_generator": generators["small"], "studies": ("large",)}
        experiment.prepare(**{**small, **swapped})
    new_denoiser(load_dataset("digits"), channels=(32,)).save(tmp_path)
    recipe = {"dataset": "digits", "subset_size": 150, "subset_seed": 1}
    (tmp_path / "training_record.json").write_text(json.dumps({"recipe": recipe}))
    with pytest.raises(ValueError, match="trained on another subset of digits than the first 150"):
        experiment.prepare(**{**small, "generator": str(tmp_path)})


def test_what_is_not_there_is_told_at_once(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no generator 'absent': neither a folder"):
        experiment.prepare(profile="paper", generator="absent")
    new_denoiser(load_dataset("digits"), channels=(32,)).save(tmp_path)
    recipe = {"dataset": "tiny_imagenet", "subset_size": 80_000, "subset_seed": 0}
    (tmp_path / "training_record.json").write_text(json.dumps({"recipe": recipe}))
    with pytest.raises(FileNotFoundError, match="TinyImageNet is not there"):
        experiment.prepare(profile="paper", generator=str(tmp_path))


def test_paper_differs_in_its_parameters_only(generators):
    """Both optimisers at each k, flips and shifts, and no fresh images, of which there may be too few."""
    small = dict(profile="paper", generator=generators["large"], architecture="vgg5", architectures=(), passes=1,
                 n_evaluate=50, steps=4, ks=(2, 9), seeds=2, k_seeds=2, sampling_steps=1)
    with pytest.raises(ValueError, match="at k = 9 may need 8 images .*fresh=False leaves it out"):
        experiment.prepare(**small, fresh=True)
    frame = experiment.run(**small)
    assert set(frame[frame["kind"] != "warm-up"]["augment"]) == {"flip_crop"} and "fresh" not in set(frame["kind"])
    errors = targeted_tables.trained(frame)
    for optimizer in ("sgd", "sam"):
        own = errors[errors["optimizer"] == optimizer]
        assert set(zip(own["arm"], own["x"])) == {("original", 1), *((arm, k) for arm in ("upsampled", "generated")
                                                                     for k in (2, 9))}
    assert len(errors) == 2 * 2 * 5 and len(targeted_tables.select_base(frame, "test_error")) == 2 * 5
    assert "flips, shifts" in targeted_tables.comparison_table(frame)["setting"].iloc[0]
    assert "upsampled" in targeted_tables.what_decides(frame) and verdict_table(frame)["verdict"].notna().all()
    for draw in (figures.error_against_k, figures.settings):
        assert all(ax.has_data() for ax in draw(frame).axes)


@pytest.mark.parametrize("more", [{}, {"studies": STUDIES, "architectures": ("vgg5",)}])
def test_a_plan_counts_every_cell(small, more, monkeypatch):
    made = []
    monkeypatch.setattr(plan, "table", lambda heading, pieces: made.append(pieces) or heading)
    assert "a million images of its own training take" in experiment.plan(**{**small, **more})
    assert sum(piece.number for piece in made[0]) == len(experiment.cells(**{**small, **more}).cells)


def test_another_generator_where_the_cell_runs_is_refused(small):
    (cell, *_) = [c for c in experiment.cells(**small).cells if c.function is targeted_cells.pool]
    with pytest.raises(RuntimeError, match="another one here than where the sweep started"):
        cell.function(**{**cell.parameters, "weights": "0" * 16})


def test_strengths_are_levels_of_a_cosine_schedule():
    assert sigma_of_strength(50) == 1
    for n in (20, 80):
        alpha_bar = math.cos(math.pi * n / 200) ** 2
        assert sigma_of_strength(n) == pytest.approx(math.sqrt((1 - alpha_bar) / alpha_bar), abs=1e-6)


def test_splits_do_not_overlap():
    data = splits("digits", 150)
    parts = [set(part.source_index.tolist()) for part in (data.real, data.fresh, data.validation)]
    assert [len(part) for part in parts] == [150, 1437 - 150 - 240, 240] and len(set.union(*parts)) == 1437
    assert parts[0] == set(stratified_subset(load_dataset("digits"), 150, 0).source_index.tolist())
    with pytest.raises(ValueError, match="n_real must be in 1..1196"):
        splits("digits", 1300)


def test_counterparts_have_the_same_labels_in_the_same_batches(small):
    settings, regimes = experiment.prepare(**small)
    real, fresh = splits("digits", 150).real, splits("digits", 150).fresh
    slow, pool = targeted_views.selected(settings, regimes).indices, targeted_views.pool_of(settings, regimes, 3)
    sets = [upsampled(real, slow, 3), with_generated(real, pool, sources=slow, k=3),
            with_real(real, of_classes(fresh, real.labels[slow].repeat(2)))]
    for one in sets[1:]:
        assert torch.equal(one.data.labels, sets[0].data.labels)
        assert torch.equal(one.batches(5, seed=1), sets[0].batches(5, seed=1))


def test_fresh_counterparts_are_different_images_and_nested():
    fresh = splits("digits", 150).fresh
    labels = torch.tensor([3, 3, 0, 3])
    two, four = of_classes(fresh, labels[:2]), of_classes(fresh, labels)
    assert torch.equal(four.labels, labels) and len(set(four.source_index.tolist())) == 4
    assert torch.equal(four.source_index[:2], two.source_index)
    with pytest.raises(ValueError, match="200 fresh images of class 1 are needed"):
        of_classes(fresh, torch.ones(200, dtype=torch.int64))


def test_frame_is_complete(frame, small):
    errors = targeted_tables.trained(frame)
    assert len(errors) == 2 * (1 + 2 + 2 + 2) and not errors.duplicated(["arm", "x", "seed"]).any()
    assert set(zip(errors["arm"], errors["x"])) == {("original", 1), *((arm, k) for arm in ("upsampled", "generated",
                                                                                            "fresh") for k in (2, 3))}
    added = targeted_tables.trained(frame, "added").pivot(index="seed", columns=["arm", "x"], values="value")
    for arm in ("upsampled", "generated", "fresh"):
        assert (added[arm, 3] == 2 * added[arm, 2]).all() and (added[arm, 2] == added["upsampled", 2]).all()
    share = targeted_tables.trained(frame, "added_share").query("arm == 'generated'")
    np.testing.assert_allclose(share["value"], 100 * added["generated"].unstack().sort_index().reindex(
        pd.MultiIndex.from_frame(share[["x", "seed"]])) / 150)
    assert frame["value"].notna().all() and set(frame["kind"]) == {"original", "upsampled", "generated", "fresh",
                                                                  "pilot", "warm-up"}
    generation = targeted_tables.trained(frame, "generation_seconds")
    assert ((generation["value"] > 0) == (generation["arm"] == "generated")).all()
    pilots = frame[frame["kind"] == "pilot"]
    assert set(pilots["metric"]) == {"validation_error"} and set(pilots["steps"]) == {2, 4}
    assert not set(pilots["seed"]) & set(errors["seed"])


def test_a_run_is_its_cells_in_any_order(frame, small, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path))
    part = {**small, "studies": ("k",), "ks": (2,)}
    for cell in reversed(experiment.cells(**part).cells):
        finished(cell.function, cell.parameters)
    again = experiment.run(**part)
    measured = again[~again["metric"].str.contains("seconds")]
    keys = ["arm", "x", "seed", "metric"]
    whole = frame[frame["kind"] != "pilot"].set_index(keys)["value"].reindex(pd.MultiIndex.from_frame(measured[keys]))
    np.testing.assert_allclose(measured["value"], whole, rtol=1e-6)


def test_a_longer_sweep_keeps_the_cells_of_a_shorter_one(small):
    def files(**more):
        grid = experiment.cells(**{**small, **more})
        return {grid.file(cell) for cell in grid.cells}

    short = files(studies=("k",), ks=(2,))
    everything = files(studies=STUDIES, ks=(2, 3), k_seeds=3, seeds=3, architectures=("vgg5",), strengths=(50, 80))
    assert short < everything


def test_arms_of_the_studies(small, generators):
    settings, regimes = experiment.prepare(**{**small, "strengths": (20, 50, 80), "architectures": ("vgg5",)})
    named = {study: [arm.named((50,)) for arm in arms(study, settings)] for study in STUDIES}
    assert named["strength"] == ["original", "generated, strength 20", "generated", "generated, strength 80",
                                 "generated, from noise"]
    assert named["selection"][1:] == ["generated", "generated, random", "generated, all", "generated, high loss",
                                      "generated, misclassified", "fresh, all"]
    for study in ("optimizers", "classical", "architectures", "budgets"):
        compared = arms(study, settings)
        generated = [replace(arm, kind="fresh", strengths=()) for arm in compared if arm.kind == "generated"]
        assert generated and set(generated) <= set(compared), study  # each beside its ceiling
    assert {"generated, oracle generator", "generated, several strengths", "generated, near-copies dropped",
            "generated, off-class dropped", "generated, from noise", "generated, from noise, oracle generator"} == set(
        named["suspects"])
    assert [arm.optimizer for arm in arms("optimizers", settings)] == 4 * ["sgd"] + 4 * ["sam"]
    assert {arm.augment for arm in arms("classical", settings)} == {"none", "flip", "flip_trivial"}
    assert {arm.regime for arm in arms("large", settings)} == {"large"}
    assert len(set(sum((arms(study, settings) for study in STUDIES), []))) < sum(map(len, named.values()))
    assert Arm(kind="generated", strengths=(50.0,)).named((50,)) == "generated"


def test_suspects_and_selections_run(small):
    """Each kind of arm that "k" has not, once, by its cell."""
    settings, regimes = experiment.prepare(**{**small, "studies": ("suspects",), "ks": (2,), "strengths": (20, 50)})
    wanted = {"generated, oracle generator", "generated, off-class dropped", "generated, near-copies dropped",
              "generated, several strengths", "generated, all", "generated, from noise",
              "generated, from noise, oracle generator"}
    for study in ("suspects", "selection", "strength"):
        for arm in arms(study, settings):
            if arm.named((50,)) in wanted and arm.budget == 1:
                cell = experiment.arm_cells(arm, 0, settings, regimes)[-1]
                result = finished(cell.function, cell.parameters)
                wanted.remove(arm.named((50,)))
                assert 0 <= result["test_error"] <= 100 and result["added"] <= 150
                if arm.selection == "all":
                    assert result["added"] == 150
    assert not wanted


def test_a_training_that_was_cut_goes_on(small, monkeypatch):
    settings, regimes = experiment.prepare(**small)
    cell = experiment.arm_cells(Arm(architecture=settings["architecture"], kind="upsampled", k=2), 0, settings, regimes)[-1]
    uncut, take, taken, cut_at = targeted_cells.train_arm(**cell.parameters), classifier_training.take_step, [], [3]

    def cut(*args):
        taken.append(args)
        if len(taken) == cut_at[0]:
            raise KeyboardInterrupt
        return take(*args)

    monkeypatch.setattr(classifier_training, "take_step", cut)
    monkeypatch.setattr(training_checkpoint, "EVERY", 0)
    with pytest.raises(KeyboardInterrupt):
        targeted_cells.train_arm(**cell.parameters)
    taken.clear(), cut_at.clear(), cut_at.append(None)
    resumed = targeted_cells.train_arm(**cell.parameters)
    assert len(taken) == settings["steps"] - 2  # two were kept
    seconds = "training_seconds"
    assert {**resumed, seconds: 0} == {**uncut, seconds: 0} and resumed[seconds] > 0
    taken.clear()
    targeted_cells.train_arm(**cell.parameters)
    assert len(taken) == settings["steps"]  # nothing is left of a training that has ended


def synthetic(errors, spread=0.05, seeds=10):
    """A frame with these mean errors by (arm, k) in every setting that claims ask for."""
    rng, rows = np.random.default_rng(0), []
    settings = [("small", "sgd", "resnet8", "flip"), ("small", "sam", "resnet8", "flip"),
                ("small", "sgd", "resnet8", "flip_trivial"), ("small", "sgd", "vgg5", "flip"),
                ("small", "sgd", "vit_tiny", "flip"), ("large", "sgd", "resnet8", "flip")]
    for setting in settings:
        for (arm, k), mean in errors.items():
            for seed in range(seeds):
                found = {"test_error": mean + rng.normal(0, spread) + (0.3 if setting[1] == "sam" else 0.0),
                         "selected_share": 0.0 if arm == "original" else 36.0 + rng.normal(0, 1)}
                rows += [{"arm": arm, "x": float(k), "seed": seed, "metric": metric, "value": value,
                          **dict(zip(("regime", "optimizer", "architecture", "augment"), setting))}
                         for metric, value in found.items()]
    frame = pd.DataFrame(rows).assign(experiment=experiment.EXPERIMENT, dataset="none", profile="standard", swept="k",
                                      budget=1.0, kind=lambda f: f["arm"].str.split(",").str[0])
    frame.attrs["provenance"] = {"parameters": {"architecture": "resnet8"}}
    return frame


#: What the paper says, and the contrary.
AS_PUBLISHED = {
    ("original", 1): 14, ("upsampled", 2): 13.4, ("upsampled", 3): 13.8, ("upsampled", 5): 14.4, ("generated", 2): 13.1,
    ("generated", 3): 12.9, ("generated", 5): 12.4, ("fresh", 2): 13, ("fresh", 5): 11.5,
    ("generated, from noise", 2): 14.5, ("generated, strength 20", 2): 13.6, ("generated, strength 80", 2): 13.7,
    ("generated, random", 2): 13.7, ("generated, all", 2): 13.5, ("generated, high loss", 2): 13.6, ("generated, misclassified", 2): 13.6}
CONTRARY = {
    ("original", 1): 14, ("upsampled", 2): 14.5, ("upsampled", 3): 13.8, ("upsampled", 5): 13.4, ("generated", 2): 14.8,
    ("generated", 3): 15, ("generated", 5): 15.5, ("fresh", 2): 13, ("fresh", 5): 11.5,
    ("generated, from noise", 2): 13.5, ("generated, strength 20", 2): 14.2, ("generated, strength 80", 2): 14.3,
    ("generated, random", 2): 14.2, ("generated, all", 2): 14, ("generated, high loss", 2): 14.2, ("generated, misclassified", 2): 14.3}


def verdicts(errors, **options):
    return verdict_table(synthetic(errors, **options)).set_index("id")["verdict"]


def test_claims_are_decided_in_both_directions():
    published, contrary = verdicts(AS_PUBLISHED), verdicts(CONTRARY)
    assert list(published.index) == list(load_claims("targeted_augmentation"))
    own = "targeted-slow-share"
    assert published[own] == contrary[own] == "shape only"
    assert published.drop(own).eq("reproduced").all(), published
    assert contrary.drop(own).eq("contradicted").all(), contrary


def test_claims_are_open_with_noise_with_few_seeds_and_without_a_ceiling():
    own = "targeted-slow-share"
    assert verdicts(AS_PUBLISHED, spread=3.0).drop(own).eq("not resolved at this scale").all()
    assert verdicts(AS_PUBLISHED, seeds=4).eq("not resolved at this scale").all()
    flat = {**AS_PUBLISHED, ("fresh", 5): 14.2}
    assert verdicts(flat).drop(own).eq("not resolved at this scale").all()


def test_no_difference_contradicts():
    same = {arm: 14.0 for arm in AS_PUBLISHED} | {("fresh", 5): 12.0}
    found = verdicts(same)
    assert found["targeted-generation-helps"] == found["targeted-beats-random"] == "contradicted"


def test_gains_are_paired_and_adjusted():
    frame = synthetic(AS_PUBLISHED)
    table = targeted_tables.comparisons(frame)
    row = table.query("regime == 'small' and optimizer == 'sgd' and architecture == 'resnet8' and augment == 'flip' "
                      "and arm == 'generated' and k == 5").iloc[0]
    rows = targeted_tables.select_base(frame, "test_error").pivot(index="seed", columns=["arm", "x"], values="value")
    expected = paired_interval(rows["original", 1] - rows["generated", 5])
    assert (row["gain"], row["low"], row["n"]) == pytest.approx((expected.estimate, expected.low, 10))
    np.testing.assert_allclose(table["adjusted"], holm(table["p_value"]))


def test_the_pilot_takes_the_fewest_steps_that_show_the_ceiling():
    rows = [{"kind": "pilot", "metric": "validation_error", "regime": "small", "steps": steps, "seed": seed,
             "arm": f"pilot, {arm}", "value": value - seed}
            for seed in range(3) for steps, gain in ((400, 1.0), (800, 1.6), (1600, 2.0))
            for arm, value in (("original", 15.0), ("fresh", 15.0 - gain))]
    table = targeted_tables.pilot_gains(pd.DataFrame(rows)).set_index("steps")
    assert table["chosen"].to_dict() == {400: False, 800: True, 1600: False}
    assert table["gain"].to_dict() == pytest.approx({400: 1.0, 800: 1.6, 1600: 2.0})


def test_what_the_page_says(frame, small):
    settings, regimes = experiment.prepare(**small)
    assert "this build" in targeted_tables.describe(frame) and "14 classifiers" in targeted_tables.describe(frame)
    assert "small: 150 real images" in targeted_tables.describe(frame)
    assert "% of the real images are slow" in targeted_tables.slow_words(frame)
    assert list(targeted_tables.pilot_table(frame)["used"]) == ["", "yes"]
    costs = targeted_tables.cost_table(frame)
    assert list(costs["arm"]) == ["upsampled", "upsampled", "generated", "generated"]
    assert (costs["generation (s)"].astype(float) >= 0).all() and "k = 2 adds" in targeted_tables.arithmetic(frame)
    held = targeted_tables.studies_held(frame)
    assert held == {"k", "pilot"} and "studies optimizers, strength, " in targeted_tables.not_held(held)
    assert targeted_tables.not_held(STUDIES) == ""
    assert "- k = 3: upsampled " in targeted_tables.what_decides(frame)
    rows = targeted_views.shown_examples(settings, regimes)
    assert list(rows) == ["fast 1", "fast 2", "slow 1", "from slow 1", "slow 2", "from slow 2"]
    assert all(images.shape == (10, 1, 8, 8) for images in rows.values())
    strengths = targeted_views.strength_rows(settings, regimes)
    assert list(strengths) == ["real", "strength 20", "strength 50", "from noise"]
    assert figures.image_rows(strengths, targeted_views.class_names(settings)).axes


def test_the_main_comparison_of_every_recorded_run(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path))
    assert targeted_tables.runs_table(frame).empty
    record(frame, "targeted_augmentation", "standard")
    record(frame[frame["kind"] != "fresh"], "targeted_augmentation", "standard", "alone")
    table = targeted_tables.runs_table(frame).set_index("run")
    assert list(table.index) == [f"digits, 150 images, resnet8, k to 3, recorded at {name}"
                                 for name in ("standard", "standard.alone")]
    found = targeted_tables.comparisons(frame).set_index(["arm", "k"]).loc[("generated", 3)]
    assert (table["generated, largest k"] == targeted_tables.interval(found["gain"], found["low"], found["high"])).all()
    assert (table["fresh, largest k"] == "none in this run").tolist() == [False, True]
    assert (table["seeds"] == found["n"]).all()


@pytest.mark.parametrize("draw", ["error_against_k", "strengths", "selections", "suspects", "settings", "budgets"])
def test_figures_are_labelled(frame, draw):
    figure = getattr(figures, draw)(frame, frame.copy())
    assert all(ax.get_xlabel() and ax.has_data() for ax in figure.axes)
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert any(name.startswith("recorded") for name in names)
    assert any(name.startswith("this build") for name in names)
    assert getattr(figures, draw)(frame).axes
