"""Chapter 6: its sets, its measures, and its rules on frames whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from simulated import simulated, verdicts

from synaug.chapters.what_is_left_out import causes, composition, rare_events
from synaug.chapters.what_is_left_out import left_out_figures as figures
from synaug.data import ImageDataset, load_dataset
from synaug.data.merged import SHARES, minorities
from synaug.run import Store
from synaug.statistics import jackknife_interval, mean_interval, pseudo_values
from synaug.statistics.claims import load_claims
from synaug.statistics.contrasts import select
from synaug.statistics.frames import tidy

MODULES = (causes, rare_events, composition)
SEEDS = range(300, 310)


@pytest.fixture(scope="module")
def pool(frames):
    s = causes.EXPERIMENT.settings("smoke")
    return {
        source: Store().get(causes.training_images(s, source, 20, 0))
        for source in ("original", "synthetic", "concentrated", "control", "spread", "as many distinct", "added")
    }


def test_sets_are_of_their_size_and_have_every_class_alike(pool):
    for source, images in pool.items():
        assert images.labels.bincount(minlength=10).tolist() == 10 * [4 if source == "added" else 2], source
    assert torch.equal(pool["added"].images[:20], pool["original"].images)


def test_resampling_follows_the_weights_and_its_control_has_as_few_images():
    n = 3000
    data = ImageDataset(torch.zeros(n, 1, 4, 4, dtype=torch.uint8), torch.arange(n) % 2, ("a", "b"))
    weights = {"real": torch.linspace(0.01, 1, n).double() ** 4, "synthetic": torch.ones(n).double()}
    heavy, few, any_ = (causes.resampled(data, weights, arm, 1000, 0).source_index for arm in ("concentrated", "control", "spread"))
    assert heavy.double().mean() == pytest.approx(float((weights["real"] * torch.arange(n)).sum() / weights["real"].sum()), rel=0.02)
    worth = float(weights["real"].sum() ** 2 / weights["real"].square().sum())
    same = causes.as_many_distinct(data, data.subset(heavy), 0)
    assert len(same.source_index.unique()) == len(heavy.unique()) and torch.equal(same.labels.bincount(), data.labels[heavy].bincount())
    assert same.source_index.double().mean() == pytest.approx(n / 2, rel=0.05)
    assert len(few.unique()) <= worth + 2 and any_.double().mean() == pytest.approx(n / 2, rel=0.05)


def test_weights_concentrate_real_images_as_synthetic_ones_are():
    rng = np.random.default_rng(0)
    wide, narrow = (
        ImageDataset(torch.from_numpy(rng.normal(128, std, (2000, 1, 2, 2)).round().clip(0, 255).astype(np.uint8)), torch.arange(2000) % 2, ("a", "b"))
        for std in (40, 24)
    )
    found = causes.ratios(wide, narrow, "pixels", 4, "cpu")
    for images, weights, std in ((wide, found["real"], 24), (narrow, found["synthetic"], 40)):
        values = images.images.flatten(1).double() - 128
        assert (weights[:, None] * values**2).mean(0).sqrt().mean() == pytest.approx(std, rel=0.12)


def test_changes_do_what_their_names_say():
    x = load_dataset("fashion_mnist", "test").subset(range(8)).floats()
    done = {name: change(x, torch.Generator().manual_seed(0)) for name, change in causes.CHANGES.items()}
    assert torch.equal(done["none"], x) and (done["noise"] - x).std() == pytest.approx(0.3, rel=0.05)
    torch.testing.assert_close(done["low-pass"] + done["high-pass"], x + x.mean((2, 3), keepdim=True), atol=1e-4, rtol=0)
    shuffled = done["shuffled patches"]
    assert not torch.equal(shuffled, x) and torch.equal(shuffled.flatten(1).sort().values, x.flatten(1).sort().values)
    assert done["blur"].diff(dim=3).abs().mean() < 0.7 * x.diff(dim=3).abs().mean()


def test_a_reference_is_read_at_equal_level_and_not_beyond():
    levels = pd.DataFrame({100: [30.0, 32], 200: [20, 18]}, index=[0, 1])
    values = pd.DataFrame({100: [7.0, 8], 200: [3, 4]}, index=[0, 1])
    assert causes.interpolated(levels, values, 22).tolist() == pytest.approx([0.25 * 7 + 0.75 * 3, 0.25 * 8 + 0.75 * 4])
    assert causes.interpolated(levels, values, 15) is None and causes.interpolated(levels, values, 35) is None


def test_pseudo_values_are_the_jackknife():
    rows = np.random.default_rng(0).normal(3, 1, (12, 2))
    ratio = lambda some: some[:, 0].mean() / some[:, 1].mean()
    found = mean_interval(pseudo_values(ratio, rows))
    expected = jackknife_interval(ratio(rows), [ratio(np.delete(rows, i, 0)) for i in range(12)])
    assert found.high - found.low == pytest.approx(expected.high - expected.low) and found.estimate == pytest.approx(ratio(rows), abs=0.05)
    np.testing.assert_allclose(pseudo_values(np.mean, rows[:, 0]), rows[:, 0])


def test_ranks_are_compared_within_arms():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 3, 1)) * [1, 1] + rng.normal(0, 0.01, (10, 3, 2))
    rows += np.arange(3)[:, None] * [5, -5]  # between arms it is the other way round
    assert causes.correlation_within(rows) > 0.9
    rows[:, 1:, 0] = 0  # where one value is the same for all, ranks say nothing
    assert 0.3 < causes.correlation_within(rows) <= 1 / 3


@pytest.mark.parametrize("which", rare_events.DATASETS)
def test_what_is_added_is_rare_and_not_seen_before(which, frames):
    s, get = rare_events.EXPERIMENT.settings("smoke"), Store().get
    own, rare = load_dataset("fashion_mnist").labels, {minority for _, minority, _ in minorities(which == "swapped")}
    base = get(rare_events.merged(which, s.n_real))
    added = {name: get(rare_events.added(s, which, name)) for name in rare_events.TREATMENTS}
    assert len({tuple(images.labels.tolist()) for images in added.values()}) == 1
    for name in ("upsampled", "fresh"):
        assert set(own[added[name].source_index].tolist()) <= rare, name
    assert len(added["fresh"].source_index.unique()) == len(added["fresh"]) and not torch.isin(added["fresh"].source_index, base.source_index).any()
    assert len(added["upsampled"]) == 4 * sum(label in rare for label in own[base.source_index].tolist())


def of_run(module, rows):
    return simulated(module.EXPERIMENT, rows, SEEDS, lambda metric: 0.3 if metric.endswith("error") else 0.006, own=0.5, arm="", x=2000.0)


def of_causes(explained=0.7, recovered=0.3, head=0.2, noise=3.0, flat=0.1, auc=0.8, slope=1.0):
    """test errors 15 and 20 of real and synthetic images; shares of the gap as given."""
    for arm, error in (
        ("original", 15),
        ("synthetic", 20),
        ("control", 15),
        ("as many distinct", 15),
        ("concentrated", 15 + 5 * explained),
        ("spread", 20 - 5 * recovered),
    ):
        yield {"study": "mismatch", "arm": arm, "metric": "test_error", "architecture": "resnet8"}, error
        yield {"study": "mismatch", "arm": arm, "metric": "auc", "architecture": "resnet8"}, 0.8 if arm == "synthetic" else auc
    for name in ("resnet8", "vgg5", "vit_tiny"):
        of = {"study": "bias", "architecture": name, "steps": 800, "optimizer": "sgd"}
        for arm, n, error in (("original", 2000, 15), ("original", 1000, 19), ("original", 500, 23), ("synthetic", 2000, 20)):
            yield {**of, "arm": arm, "x": float(n), "metric": "test_error"}, error
            for change in causes.CHANGES:
                yield (
                    {**of, "arm": arm, "x": float(n), "metric": "changed_error", "change": change},
                    error + (noise if arm == "synthetic" and change == "noise" else 0),
                )
            for refit in ("real", "fresh"):
                yield {**of, "arm": arm, "x": float(n), "metric": "refit_error", "refit": refit}, error - 5 * head * (arm == "synthetic")
    for arm, optimizer, steps, loss in (
        ("original", "sgd", 800, -4),
        ("original", "sgd", 400, -2),
        ("original", "sam", 800, -4),
        ("added", "sgd", 800, -3),
        ("fresh added", "sgd", 800, -3),
        ("added", "sam", 800, -3),
    ):
        of = {"study": "landscape", "arm": arm, "optimizer": optimizer, "steps": steps, "architecture": "resnet8"}
        yield {**of, "metric": "log_loss"}, loss
        yield {**of, "metric": "barrier"}, 0.1
        for metric in ("log_largest_eigenvalue", "log_trace", "filter_normalised", "log_gradient_variance"):
            yield {**of, "metric": metric}, -flat * (arm != "original")
        yield {**of, "metric": "test_error"}, 15


def of_rare(ratio=lambda share: 1.2 * share**0.15 / 0.1**0.15, better=2.0):
    for arm in rare_events.DATASETS:
        for share in SHARES:
            for metric in ("share_ratio", "raw_ratio"):
                yield {"arm": arm, "metric": metric, "x": share, "treatment": "none"}, ratio(share)
        for treatment, error in (("original", 50), ("upsampled", 45), ("reconstructed", 45 - better), ("from noise, oracle", 40), ("fresh", 30)):
            yield {"arm": arm, "metric": "rare_error", "x": 0.0, "treatment": treatment}, error


def of_shapes(ratio=0.1, gain=5.0):
    for arm, value in (("held out", ratio), ("all", 1.0)):
        yield {"arm": arm, "metric": "missing_ratio"}, value
    for arm, error in (("real", 40), ("real and synthetic", 40 - gain), ("synthetic", 50), ("real of all", 5), ("real and oracle", 20)):
        for metric in ("missing_error", "seen_error"):
            yield {"arm": arm, "metric": metric}, error


CONJECTURED = of_run(causes, of_causes()), of_run(rare_events, of_rare()), of_run(composition, of_shapes())


def test_rules_support_what_they_should_and_nothing_else():
    found = verdicts(*CONJECTURED)
    assert set(found) == {claim for module in MODULES for claim in load_claims(module.EXPERIMENT.name)}
    other = ("rare-kept-from-one-percent", "landscape-flatter")  # it refutes another; the noise of errors here is not sharpness'
    assert {name for name, word in found.items() if word != "supported"} <= set(other), found
    nothing = verdicts(
        of_run(causes, of_causes(0, 0, 0.9, 0, 0)), of_run(rare_events, of_rare(lambda share: 1.0, 0.0)), of_run(composition, of_shapes(1.0, 0.0))
    )
    assert nothing.pop("rare-kept-from-one-percent") == nothing.pop("bias-same-for-networks") == "supported"
    assert "supported" not in nothing.values()
    for name in ("mismatch-explains", "mismatch-recovers", "bias-noise", "landscape-eigenvalue", "rare-reconstructed", "composition-helps"):
        assert nothing[name] == "no effect within the margin", name
    assert "opposite" in nothing["bias-head"] and "opposite" in nothing["composition-left-out"]


def test_a_gap_too_small_or_a_target_missed_is_inconclusive():
    off = verdicts(of_run(causes, of_causes(auc=0.7)))
    assert off["mismatch-explains"] == "inconclusive" and off["mismatch-recovers"] == "supported"
    shares = select(CONJECTURED[0], metric="head_share", architecture="resnet8", refit="real")["value"]
    assert shares.mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    "module, wrong, message",
    [
        (causes, {"n_real": 31}, "n_real must be from 10 to 30 .one per class"),
        (causes, {"smaller": [20]}, "below n_real = 20"),
        (causes, {"shorter": [2]}, "below steps = 2"),
        (causes, {"architectures": ["resnet8", "swin"]}, "architectures"),
        (rare_events, {"generators": ["fashion_mnist"]}, "must be 2, or none"),
        (rare_events, {"k": 1}, "k must be"),
        (rare_events, {"generators": ["fashion_mnist", "fashion_mnist_2000"]}, "must be trained on fashion_mnist_minorities"),
        (composition, {"recipe": "adam"}, "recipe"),
        (composition, {"n_real": 3}, "n_real"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_trained(module, wrong, message):
    with pytest.raises(ValueError, match=message):
        module.EXPERIMENT.settings("smoke", **wrong)


def test_recorded_seeds_are_new_and_ten():
    for module in MODULES:
        plan = module.PROFILES["standard"]
        assert plan["first_seed"] == 300 and plan["seeds"] == 10


def test_power_of_synthetic_images_is_told_over_that_of_real_ones():
    at = {"study": "bias", "metric": "log_power", "dataset": "d", "arm": "original", "seed": 0, "swept": "images"}
    rows = [{**at, "x": x, "value": -10 * x} for x in (0.1, 0.19, 0.3, 0.5)]
    rows += [{**row, "arm": "synthetic", "value": row["value"] + np.log10(factor)} for row, factor in zip(list(rows), (1.0, 0.98, 0.8, 0.9))]
    told = figures.power(tidy(rows, experiment="causes", profile="smoke"))
    assert told == {"power of coarse structure": "0.98 to 1.00", "power of fine structure": "0.80 to 0.90"}
    assert set(figures.power(CONJECTURED[0]).values()) == {"not measured"}


def test_figures_and_words_have_the_truth_of_the_frames(frames):
    found = figures.numbers(*CONJECTURED)
    for name, truth in {
        "share that density explains": 0.7,
        "share that resampling recovers": 0.3,
        "share that a new last layer recovers": 0.2,
        "gap": 5,
        "reconstructed over repeated": 2,
    }.items():
        assert float(found[name].split()[0]) == pytest.approx(truth, abs=0.15), name
    assert "Not" not in figures.takeaways(CONJECTURED, CONJECTURED)
    some = figures.takeaways(CONJECTURED, (None, *CONJECTURED[1:])).splitlines()
    assert "Not recorded" in some[0] and not any("Not recorded" in line for line in some[1:])
    advice = figures.what_to_do(CONJECTURED, (*CONJECTURED[:2], None)).set_index("your question")["what to do"]
    assert list(advice == "not recorded yet") == [False] * 7 + [True]
    advice = figures.what_to_do(CONJECTURED, CONJECTURED).set_index("your question")["what to do"]
    assert advice["Reconstruct rare images, or repeat them?"] == "Reconstruct." and all(
        advice[f"Rely on samples of what is {share} % of your images?"].startswith("No") for share in ("1", "0.5")
    )
    assert (
        found["share that a new last layer recovers, other networks"].endswith("(small ViT)")
        and found["share that a new last layer recovers, other networks"].count("[") == 2
    )
    for draw in (figures.mismatch, figures.head, figures.changes, figures.landscape):
        assert draw(CONJECTURED[0]).axes
    for some in (frames, CONJECTURED):
        assert figures.treatments(some[1]).axes and figures.composition(some[2]).axes and len(figures.what_to_do(some, some)) == 8
    assert figures.shares(CONJECTURED[1]).axes and len(figures.landscape_table(CONJECTURED[0])) == 8
