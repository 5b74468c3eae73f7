"""Chapter 8: its sets of images, what is measured of them, and its rules on frames whose truth is known."""

import json
import re
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from simulated import verdicts
from torch.nn import functional as F

from synaug.auditing.prediction import FITTED
from synaug.auditing.report import THRESHOLDS
from synaug.augmentation.synthetic_pool import SyntheticPool
from synaug.chapters import will_it_help_me as chapter
from synaug.chapters import will_it_help_me_figures as figures
from synaug.chapters.targeted_augmentation import FILTERS
from synaug.chapters.tasks import trained
from synaug.chapters.will_it_help_me import CHOICES, EXPERIMENT, LONGER, POOLS, PREDICTORS, USUAL
from synaug.classifiers import predict
from synaug.data import ImageDataset
from synaug.diffusion.denoisers import checkpoint_folder
from synaug.run import Store
from synaug.run.results import load_recorded
from synaug.statistics.contrasts import select
from synaug.statistics.frames import tidy


@pytest.fixture(scope="module")
def recorded():
    return load_recorded("will_it_help_me")


@pytest.fixture(scope="module")
def further(recorded):
    return figures.further_run(recorded)


@pytest.fixture(scope="module")
def both(recorded, further):
    return figures.joined(recorded, further)


def simulated(probe, frechet, choice=0.0):
    """A frame of the standard run where gains follow the probe, and measures are as loud as that."""
    rng, rows = np.random.default_rng(0), []
    for i, (name, pool) in enumerate((name, POOLS[name]) for name in USUAL):
        gain, common = i / 8, {"dataset": "fashion_mnist", "arm": name, "family": pool.family, "x": 3000.0}
        rows += [{**common, "seed": seed, "role": "gain", "metric": "test_error", "value": 15 - gain + rng.normal(0, 0.1)} for seed in range(800, 805)]
        measures = dict.fromkeys(PREDICTORS, 0.0) | {"probe_gain_all": gain + rng.normal(0, probe), "frechet_distance": -gain + rng.normal(0, frechet)}
        rows += [{**common, "seed": 0, "role": "measure", "metric": metric, "value": value} for metric, value in measures.items()]
    common = {"dataset": "fashion_mnist", "family": "", "metric": "test_error"}
    for seed in range(800, 810):
        rows.append({**common, "arm": "original", "x": 0.0, "seed": seed, "role": "gain", "value": 15})
        rows += [
            {**common, "arm": by, "x": 2000.0, "seed": seed, "role": "choice", "value": 15 - choice * (by != "at random") + rng.normal(0, 0.1)}
            for by in CHOICES
        ]
    s = EXPERIMENT.settings("standard")
    done = chapter.finish(pd.DataFrame(rows), s)
    return tidy(done, {"parameters": asdict(s)}, experiment=EXPERIMENT.name, profile="standard", swept="images added")


def test_a_run_has_every_training_measure_and_prediction(frame):
    s = EXPERIMENT.settings("smoke")
    gain, choice, measure = (select(frame, role=role) for role in ("gain", "choice", "measure"))
    assert len(gain) == 2 * (1 + len(s.pools)) and len(choice) == 2 * len(CHOICES)
    known = set(PREDICTORS) - {"centroid_distance_ratio", "covariance_logdet_ratio"}  # which want more images of a class
    assert set(measure["metric"]) == known and len(measure) == len(known) * len(s.pools)
    predicted = select(frame, role="prediction", metric="rank_correlation")
    assert set(predicted["arm"]) == known and predicted["value"].between(-1, 1).all()
    assert frame["value"].notna().all()


def test_sets_are_what_their_names_say():
    s, get = EXPERIMENT.settings("smoke"), Store().get
    made = {name: get(chapter.pool(s, name)) for name in s.pools}
    real = get(chapter.images(s, "real"))
    assert all(len(data) >= s.added and data.image_shape == real.image_shape for data in made.values())
    assert torch.equal(made["copies"].images[: len(real)], real.images)
    assert not torch.isin(made["fresh, blurred"].source_index, real.source_index).any()
    assert chapter.pool(s, "oracle, from noise").params["generator"] == s.oracle
    assert len(get(chapter.pool(s, "score with much noise"))) >= s.added
    for name in ("strength 50", "from noise"):
        assert (chapter.pool(s, name).params["sigmas"] is None) == (name == "from noise")


def test_sets_of_other_families_are_made_by_generators_of_the_same_images(tmp_path):
    names = [name for name, how in POOLS.items() if how.family in ("VAE", "GAN")]
    s, get = EXPERIMENT.settings("smoke", pools=names[:2], strength=40), Store().get
    real, made = get(chapter.images(s, "real")), [get(chapter.pool(s, name)) for name in names[:2]]
    assert len(names) == 4 and not set(names) & set(EXPERIMENT.settings("standard").pools)
    for data in made:
        assert torch.equal(data.labels, real.labels.repeat(len(data) // len(real))) and len(data) >= s.added
        assert not torch.equal(data.images[: len(real)], data.images[len(real) : 2 * len(real)])  # each time others
    far = [(data.floats()[: len(real)] - real.floats()).square().mean() for data in made]
    assert far[1] < 0.8 * far[0]  # what is made from real images is nearer to them than what is made from noise
    for name, family in zip(names, ("vae", "vae", "gan", "gan")):
        params = [need.params for need in chapter.pool(s, name).needs]
        assert {p["generator"] for p in params} == {f"fashion_mnist_2000_{family}"} and len({p["seed"] for p in params}) == len(params)
        assert {p["strength"] for p in params} == {1.0 if "noise" in name else 0.5}
    for saved, own in (("fashion_mnist_2000", "own"), ("fashion_mnist_vae", "own_vae")):
        shutil.copytree(checkpoint_folder(saved), tmp_path / own)
    with pytest.raises(ValueError, match="own_vae must be a vae that was trained on the images of"):  # these are others
        EXPERIMENT.settings("smoke", pools=names[:1], generator=str(tmp_path / "own"))


def test_early_generators_are_stopped_one_after_the_other():
    names = [f"early generator {i}" for i in (1, 2, 3)]
    s, get = EXPERIMENT.settings("smoke", pools=names), Store().get
    real, made = get(chapter.images(s, "real")), [get(chapter.pool(s, name)) for name in names]
    assert all(torch.equal(data.labels, real.labels.repeat(len(data) // len(real))) and len(data) >= s.added for data in made)
    assert not any(torch.equal(one.images, other.images) for one, other in zip(made, made[1:]))
    needs = [need for name in names for need in chapter.pool(s, name).needs]
    assert {need.needs[1].params["recipe"]["subset_size"] for need in needs} == {2000} and {need.params["images"] for need in needs} == set(s.levels)
    with pytest.raises(ValueError, match="levels must be three numbers of images"):
        EXPERIMENT.settings("smoke", levels=(5, 6))


@pytest.mark.parametrize("how", ["", "blurred", "noisy", "mislabelled"])
def test_what_is_done_to_real_images(real, how):
    made = chapter.changed(real, how, 150)
    same, labels = made.images[:60] == real.images, made.labels[:60] == real.labels
    assert len(made) == 150 and same.all() == (how in ("", "mislabelled")) and labels.all() == (how != "mislabelled")
    if how == "mislabelled":
        assert 0.05 < 1 - (made.labels == real.labels[torch.arange(150) % 60]).double().mean() < 0.35


def test_the_last_layers_gradient_is_autograds(real):
    network = trained(real, "resnet8", 2, "one_cycle", 0)
    model = network.model()
    loss = F.cross_entropy(model(real.floats()), real.labels)
    weight, bias = torch.autograd.grad(loss, list(model.head.parameters())[-2:])
    found = chapter.mean_last_layer(model, real)
    torch.testing.assert_close(found[:, :-1], weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[:, -1], bias, atol=1e-5, rtol=1e-4)
    assert chapter.alignment(real, real, network, 60)["gradient_alignment"] == pytest.approx(1, abs=1e-5)


def test_one_image_of_each_source_is_chosen(real):
    two = real.subset(torch.arange(120) % 60)
    images = two.images.clone()
    images[60:] = 255 - images[60:]
    pool = SyntheticPool(ImageDataset(images, two.labels, two.class_names, two.source_index), pd.DataFrame(), torch.arange(60), 3)
    network = trained(real, "resnet8", 40, "one_cycle", 0)
    found = {by: chapter.chosen(pool, real, network, by, seed=1) for by in CHOICES}
    for made in found.values():
        assert torch.equal(made.source_index, real.source_index) and torch.equal(made.labels, real.labels)
    assert not torch.equal(chapter.chosen(pool, real, network, "at random", seed=2).images, found["at random"].images)
    entropy = -(p := predict(network.model(), images).double().clamp_min(1e-30)).mul(p.log()).sum(1).view(2, 60)
    taken = (found["by uncertainty"].images == images[60:]).flatten(1).all(1)
    assert (taken == (entropy[1] > entropy[0])).double().mean() > 0.95


def test_rules_support_what_they_should_and_nothing_else():
    assert set(verdicts(simulated(0.05, 5.0, choice=0.6)).values()) == {"supported"}
    nothing = verdicts(simulated(5.0, 0.05))
    assert "supported" not in nothing.values() and nothing["choice-alignment"] == nothing["choice-uncertainty"] == "no effect within the margin"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_real": 3000}, "n_real must be at most 2000, what fashion_mnist_2000 was trained on, got 3000"),
        ({"oracle": None}, None),
        ({"pools": ["from noise", "best"]}, "pools must be different values, each one of strength 20"),
        ({"real": "a"}, "real and synthetic must be given together"),
        ({"real": "nowhere", "synthetic": "there"}, "real, synthetic, held_out: nowhere is not a folder"),
        ({"real": "nowhere", "synthetic": "nowhere"}, "are one folder"),
        ({"held": 20_000}, "held must be from 20 to 10000, got 20000"),
        ({"candidates": 1}, "candidates must be a whole number of at least 2"),
    ],
)
def test_bad_input(wrong, message):
    if message is None:
        with pytest.raises(ValueError, match="the pools oracle, strength 50, oracle, from noise need an oracle"):
            EXPERIMENT.Settings(**{**asdict(EXPERIMENT.settings("standard")), **wrong}).check()
    else:
        with pytest.raises(ValueError, match=message):
            EXPERIMENT.settings("smoke", **wrong)


def test_the_line_of_an_audit_is_that_of_the_best_measure():
    found = figures.fitted(simulated(probe=0.05, frechet=2.0))
    assert found["measure"] == "probe_gain_all" and found["sets"] == len(USUAL) and found["encoder"] == "EfficientNetLite0"
    assert found["slope"] == pytest.approx(1, abs=0.1) and found["intercept"] == pytest.approx(0, abs=0.1)
    assert 0.1 < found["within"] < 0.6 and found["correlation"][1] > 0.9 and found["data"] == f"{len(USUAL)} of Fashion-MNIST (beside 2,000 real images)"
    assert figures.fitted(simulated(probe=2.0, frechet=0.05))["measure"] == "frechet_distance"


def test_audits_predict_by_the_recorded_line(both):
    assert json.loads(FITTED.read_text()) == figures.fitted(both) and both["arm"].isin(POOLS).any()


@pytest.mark.parametrize(
    "variant, of, says",
    [
        ("families", "", lambda gain: gain.max() < 0 and gain.filter(like="VAE").max() < gain.filter(like="GAN").min()),
        ("levels", "", lambda gain: gain.sort_index().is_monotonic_increasing and gain.iloc[0] < 0 < gain.iloc[2]),
        ("cifar10", "CIFAR-10: ", lambda gain: gain[["from noise", "strength 50", "copies"]].max() < -0.5 and gain["fresh real images"] > 2),
    ],
)
def test_gains_of_sets_that_were_measured_later(variant, of, says, both):
    """As the chapter's tables say, of trainings that are paired by seed, by hand."""
    error = select(load_recorded("will_it_help_me", variant=variant), role="gain").pivot(index="seed", columns="arm", values="value")
    gain = error.rsub(error.pop("original"), axis=0).mean()
    assert says(gain)
    assert figures.measured_gains(both).set_index("arm")["estimate"][of + gain.index].tolist() == pytest.approx(gain.tolist())


def test_what_lost_is_told_from_what_only_gained_nothing(further, both):
    decided = figures.decisions(both).set_index("images")
    assert decided.loc[["made by a VAE", "a weak generator of CIFAR-10"], "what to do"].eq(figures.LOST).all()
    assert decided.loc[["made by a GAN", "a generator stopped early"], "what to do"].eq(figures.NONE).all()
    gains = figures.measured_gains(further).set_index("arm")["estimate"]
    gain, mean = gains["CIFAR-10: fresh real images"], gains[["CIFAR-10: from noise", "CIFAR-10: strength 50"]].mean()
    assert decided.loc["a weak generator of CIFAR-10", "of fresh real images' gain"] == f"\u2212{-100 * mean / gain:.0f}\u00a0%"


def test_a_constant_predicts_the_wrong_order_and_lines_are_uncertain(recorded):
    told = figures.fitted_anew(recorded).replace("\u2212", "-")
    over, low, high = map(float, re.search(r"is (\S+) \[(\S+), (\S+)\]", told).groups())
    assert figures.of_a_constant(recorded) < -0.3 and low < 0 < over < high
    assert over == pytest.approx(float(figures.numbers(recorded)["over the reference"].split()[0]), abs=0.006)


def test_the_decisions_follow_from_the_recorded_gains(recorded):
    error = select(recorded, role="gain", seed=list(range(800, 805))).pivot_table(index="arm", values="value")["value"]
    gain, table = error["original"] - error, figures.decisions(recorded).set_index("images")
    assert table.index[0] == "fresh real images" and table.loc["fresh real images", "what to do"] == "collect them first"
    share = gain[[*(f"strength {n}" for n in (20, 35, 50, 65, 80)), *FILTERS]].mean() / gain["fresh real images"]
    assert table.loc["made from your images, also filtered", "of fresh real images' gain"] == f"{100 * share:.0f}\u00a0%"
    assert table.loc["copies of your images", "what to do"] == figures.NONE and gain["copies"] < 0.5
    named = [name for names in figures.KINDS.values() for name in names]
    assert sorted(name for name in named if ":" not in name) == sorted(POOLS)


def test_sets_are_told_apart_by_the_audits_thresholds(both):
    rows = figures.faults(both).set_index("arm")
    measures = select(both, role="measure").pivot(index="arm", columns="metric", values="value")
    for name, limit in THRESHOLDS.items():
        if name in ("off_label", "duplicates"):  # were not recorded
            assert name not in measures
            continue
        metric = {"probe_loss": "probe_gain_all"}.get(name, name)
        beyond = measures[metric] > limit if name == "near_copies" else measures[metric] < -limit
        named = (
            rows["faults"]
            .str.split(", (?!all added|synthetic only|added to half)", regex=True)
            .map(lambda names, metric=metric: figures.NAMES[metric] in names)
        )
        assert set(rows.index[named]) == set(measures.index[beyond]), metric
    none, some = rows[rows["faults"] == ""], rows[rows["faults"] != ""]
    assert {"strength 20", "copies", "CIFAR-10: copies", "fresh, noisy"} <= set(some.index) and (none["low"] > 0).all()  # as the takeaway says
    assert set(none["family"]) <= {"from noise", "from real images", "filtered", "oracle", "real, or spoilt", "CIFAR-10"}
    assert {arm for arm, family in none["family"].items() if family in ("real, or spoilt", "CIFAR-10")} == {"fresh real images", "CIFAR-10: fresh real images"}
    numbers = list(map(int, re.findall(r"(?<!above )(?<!below )(?<!holds )\b\d+", figures.faults_said(both))))
    gained, lost = (some["low"] > 0).sum(), (some["high"] < 0).sum()
    assert numbers == [len(none), len(none), len(some), gained, lost, len(some) - gained - lost]


@pytest.mark.parametrize("variant", ["families", "levels", "cifar10"])
def test_runs_of_other_sets_are_shown_as_well(variant):
    run = load_recorded("will_it_help_me", variant=variant)
    assert figures.further_run(run) is None and figures.joined(run, None) is run
    few = run["family"].nunique() < 3
    assert (figures.correlations(run) is None) == (figures.predicted(run) is None) == (figures.plain_correlations(run) == {}) == few
    assert ("Sets within" in figures.takeaways(run, run, run)) != few and ("Too few" in figures.ranked_said(run)) == few
    assert len(figures.faults_table(run)) == len(figures.gained(run).axes[0].lines) // 2


def test_choices_are_compared_at_the_same_cost_as_well(recorded):
    longer = load_recorded("will_it_help_me", variant="same_cost")
    gain = [
        error.rsub(error.pop("original"), axis=0)
        for error in (run.pivot_table(index="seed", columns="arm", values="value") for run in (longer, select(recorded, role=["gain", "choice"])))
    ]
    over = gain[1][list(CHOICES)].sub(gain[0][LONGER], axis=0).mean()
    assert len(gain[0]) == 10 and [f"{over[by]:+.2f}".replace("-", "\u2212") in figures.same_cost_said(recorded) for by in CHOICES[1:]] == [True, True]
    assert over[list(CHOICES[1:])].abs().max() < 0.2 and figures.same_cost_said(longer) == ""  # the gain was that of the steps, as the claims say


def test_gains_of_a_further_run_stay_those_over_its_own_original():
    own, more = simulated(0.05, 2.0), [name for name, how in POOLS.items() if how.family in ("VAE", "GAN")]
    rows = [
        {"arm": name, "family": POOLS[name].family, "x": 3000.0, "seed": seed, "role": "gain", "metric": "test_error", "value": 20 - i - 0.1 * (seed - 802)}
        for i, name in enumerate(more)
        for seed in range(800, 805)
    ]
    rows += [
        {"arm": name, "family": POOLS[name].family, "x": 3000.0, "seed": 0, "role": "measure", "metric": metric, "value": 1.0 + (i == 3) * 90}
        for i, name in enumerate(more)
        for metric in PREDICTORS
    ]
    rows += [
        {"arm": "original", "family": "", "x": 0.0, "seed": seed, "role": "gain", "metric": "test_error", "value": 21 - 0.1 * (seed - 802)}
        for seed in range(800, 805)
    ]
    further = tidy(pd.DataFrame(rows).assign(dataset="fashion_mnist"), {"parameters": {}}, experiment=EXPERIMENT.name, profile="standard", swept="images added")
    run, other = further, further.assign(dataset="cifar10")
    further = pd.concat([select(own, role="gain", arm="original"), figures.beside(own, run)])
    both = figures.joined(own, further)
    gains = figures.measured_gains(both).set_index("arm")["estimate"]
    assert gains[more].tolist() == pytest.approx([1, 2, 3, 4]) and gains["strength 20"] == pytest.approx(
        figures.measured_gains(own).set_index("arm")["estimate"]["strength 20"]
    )
    assert set(select(both, role="prediction")["x"]) == {24} and figures.joined(own, None) is own
    line, told = figures.fitted(own), figures.foretold(own, further)
    assert told["said"].tolist() == pytest.approx([line["intercept"] + line["slope"] * x for x in (1, 1, 1, 91)])
    assert told["held"].tolist() == [abs(gain - said) <= line["within"] for gain, said in zip((1, 2, 3, 4), told["said"])] and not told["held"].all()
    assert (
        figures.foretold_said(own, further, both).startswith(
            "0 of 4 sets lost accuracy on average, 0 of them with the whole interval below 0; the line predicted a loss for "
            f"{(told['said'] < 0).sum()}. Of the 4 gains {told['held'].sum()} lie within its limits"
        )
        and figures.foretold_said(own, None, own) == ""
    )
    assert (figures.foretold_table(own, further)["within"] == "yes").tolist() == told["held"].tolist()
    away = figures.beside(own, other)
    assert set(away["family"]) == {"CIFAR-10"} and set(away["arm"]) == {f"CIFAR-10: {name}" for name in more}
    assert away["value"].tolist() == figures.beside(own, run)["value"].tolist()
    assert figures.decisions(both).set_index("images").loc["made by a GAN", "sets above 0"] == "2 of 2"


def test_the_order_by_a_measure_itself_is_spearmans(recorded, both):
    """Of all sets, and of those that hold no real images."""
    error = select(recorded, role="gain").pivot_table(index="arm", values="value")["value"]
    far = select(recorded, role="measure", metric="frechet_distance").set_index("arm")["value"]
    gain, rows = (error["original"] - error)[far.index], figures.plain_correlations(recorded)
    made = [name for name in far.index if not name.startswith(("fresh", "copies"))]
    assert rows[figures.ALL].loc["frechet_distance", "value"] == pytest.approx(spearmanr(far, gain).statistic)
    assert rows[figures.GENERATED].loc["frechet_distance", "value"] == pytest.approx(spearmanr(far[made], gain[made]).statistic)
    assert len(figures.plain(rows)) == len(PREDICTORS)
    mean, table = figures.of_measures(both)
    made = [not arm.endswith(("copies", "fresh real images")) and not arm.startswith("fresh") for arm in mean["arm"]]
    found = figures.plain_correlations(both)
    assert found[figures.GENERATED].loc["probe_gain_all", "value"] == pytest.approx(
        spearmanr(table.loc[made, "probe_gain_all"], mean.loc[made, "value"]).statistic
    )
    assert not set(figures.CHANGED) & set(found[figures.ALL].index)
