"""Chapter 5: its arms, what their training sets hold, and its rules on frames whose truth is known."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from simulated import verdicts

from synaug.augmentation.mixed_batches import ORDERS
from synaug.chapters import how_much_and_how_mixed_figures as figures
from synaug.chapters.how_much_and_how_mixed import EXPERIMENT, STUDIES, Arm, arms, pool, training_set, trainings
from synaug.data import ImageDataset
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.statistics.contrasts import select
from synaug.statistics.frames import tidy


def simulated(worth, effects=lambda arm: 0.0, noise=0.05):
    """A frame of the standard run whose images are worth so many fresh ones; effects: points more of an arm."""
    rng, offsets, rows, s = np.random.default_rng(0), {}, [], EXPERIMENT.settings("standard")
    for arm, seed in trainings(s):
        own = offsets.setdefault(seed, rng.normal(0, 0.5))
        gain = 1.9 * np.log1p(worth.get(arm.source, 0) * arm.added / 950) + effects(arm)
        rows.append(
            {
                "dataset": "fashion_mnist",
                "arm": arm.source,
                "seed": seed,
                "x": float(arm.added),
                "mixing": arm.mixing,
                "share": arm.share or arm.added / (arm.n_real + arm.added),
                "n_real": arm.n_real,
                "width": arm.width,
                "metric": "test_error",
                "value": 15 - gain + own + rng.normal(0, noise),
            }
        )
    return tidy(rows, {"parameters": asdict(s)}, experiment=EXPERIMENT.name, profile="standard", swept="images added")


CONJECTURED = simulated(
    {"fresh": 1, "from noise": 0.2, "oracle": 0.45, "reconstruction": 0.1},
    lambda arm: (
        {"repeated": -0.6, "falling": 0.5 * (arm.source != "fresh"), "synthetic_first": 0.5 * (arm.source != "fresh")}.get(arm.mixing, 0)
        + (arm.width - 16) / 8 * (arm.added == 9000)
        - 2 * abs(arm.share - 0.5) * (arm.mixing == "mixed")
    ),
)


def test_a_run_has_every_arm_once_a_seed(frame):
    s = EXPERIMENT.settings("smoke")
    keys = ["arm", "x", "mixing", "share", "n_real", "width", "seed"]
    assert len(frame) == len(trainings(s)) == len(frame.drop_duplicates(keys)) and frame["value"].between(0, 100).all()
    for study in STUDIES:
        assert {Arm(s.n_real, s.width)} <= set(arms(study, s))
    assert set(frame["mixing"]) == {"shuffled", "repeated", "replaced", *ORDERS}
    assert set(frame["arm"]) == {"original", "fresh", "from noise", "reconstruction", "oracle"}


def test_pools_are_of_the_generator_that_their_arm_names():
    s = EXPERIMENT.settings("standard")
    params = {
        (source, n): pool(s, source, n).params
        for source, n in (("from noise", 2000), ("oracle", 2000), ("reconstruction", 2000), ("from noise", 500), ("from noise", 5000))
    }
    assert {key: own["generator"] for key, own in params.items()} == {
        ("from noise", 2000): "fashion_mnist_2000",
        ("oracle", 2000): "fashion_mnist",
        ("from noise", 500): "fashion_mnist_2000",
        ("reconstruction", 2000): "fashion_mnist_2000",
        ("from noise", 5000): "fashion_mnist",
    }
    assert {key[0] for key, own in params.items() if own["sigmas"] is not None} == {"reconstruction"}
    assert 2000 * (params["from noise", 2000]["k"] - 1) >= 9000 and params["from noise", 5000] == params["oracle", 2000]


@pytest.mark.parametrize(
    "how, real, others, distinct",
    [
        ({"mixing": "shuffled", "added": 60}, 40, 60, 60),
        ({"mixing": "repeated", "added": 60, "distinct": 20}, 40, 60, 20),
        ({"mixing": "replaced", "added": 10, "share": 0.25}, 30, 10, 10),
        *(({"mixing": order, "added": 60, "share": 0.9}, 40, 60, 60) for order in ORDERS),
    ],
)
def test_training_sets_hold_what_their_arm_says(how, real, others, distinct):
    def images(n, first):
        return ImageDataset(torch.zeros(n, 1, 8, 8, dtype=torch.uint8), torch.arange(n) % 2, ("a", "b"), torch.arange(first, first + n))

    made = training_set(images(50, 0), images(100, 1000), **{"n_real": 40, "share": 0.0, "seed": 3, "distinct": 60, **how})
    added = made.data.source_index[made.synthetic]
    assert int((~made.synthetic).sum()) == real and len(added) == others and len(added.unique()) == distinct
    assert (added >= 1000).all() and (made.data.source_index[~made.synthetic] < 1000).all()
    seen = made.synthetic[made.batches(50, seed=0, batch_size=20)].double().mean()
    assert seen == pytest.approx(how.get("share", others / (real + others)), abs=0.03)


def test_rules_support_what_they_should_and_nothing_else():
    assert set(verdicts(CONJECTURED).values()) == {"supported"}
    nothing = verdicts(simulated(dict.fromkeys(("fresh", "from noise", "oracle", "reconstruction"), 1.0)))
    assert nothing.pop("ratio-interior") != "supported"
    assert set(nothing.values()) == {"no effect within the margin"}
    flat = verdicts(simulated({"fresh": 0.02}))
    assert {flat[name] for name in flat if name.startswith(("exchange", "order"))} == {"inconclusive"}


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"shares": [0.5, 1.5]}, "shares .*at most 1, got 1.5"),
        ({"n_real": 3000}, "has seen 2,000 images"),
        ({"fresh": [20, 10**5], "compared": 20, "added": [20]}, "100,000 fresh images, fashion_mnist_2000 leaves"),
        ({"compared": 30}, "increasing and hold compared = 30"),
        ({"distinct": 41}, "distinct must be at most compared = 40"),
        ({"generator": "fashion_mnist", "oracle": "fashion_mnist_2000"}, "has not seen 8000"),
        ({"recipe": "adam"}, "recipe"),
        ({"studies": ["chance"]}, "studies must be"),
        ({"sigma": 2 * SIGMA_MAX}, "sigma"),
        ({"architecture": "resnet18"}, "architecture"),
        ({"other_n_real": [20_000]}, "20,000"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings("smoke", **wrong)


def test_seeds_of_the_recorded_run_are_new():
    s = EXPERIMENT.settings("standard")
    assert s.seeds >= 10 and {seed for _, seed in trainings(s)} == set(range(100, 110))


def test_the_baseline_is_trained_once_for_all_studies():
    assert len(select(CONJECTURED, arm="original", n_real=2000, width=16)) == 10


def test_figures_and_words_have_the_truth_of_the_frame():
    found = figures.numbers(CONJECTURED)
    rate = {name.removeprefix("rate, "): float(text.split(" ")[0]) for name, text in found.items() if name.startswith("rate")}
    for name, truth in {"3,000 from noise": 5, "9,000 from noise": 5, "3,000 from noise, oracle generator": 1 / 0.45}.items():
        assert rate[name] == pytest.approx(truth, rel=0.06), name
    assert rate["3,000 from noise, few distinct"] > 10 and found["best share"] == "0.5 [0.5, 0.5]"
    assert set(figures.rates(CONJECTURED)["real images"]) == {"500", "1,000", "2,000", "5,000"}
    advice = figures.what_to_do(CONJECTURED).set_index("your question")["what to do"]
    assert list(
        advice.loc[
            [
                "Draw new ones, or repeat a few?",
                "Synthetic images first, or an even mix?",
                "A falling share, or an even mix?",
                "If not mixed, which first?",
                "More of them for a wider network?",
            ]
        ]
    ) == ["Draw new ones.", "Synthetic first.", "Let it fall.", "Synthetic first.", "Yes."]
    assert "No larger run" in figures.takeaways(CONJECTURED, None) and "No larger" not in figures.takeaways(CONJECTURED, CONJECTURED)
    assert "end on real" in found and figures.order(CONJECTURED).axes and figures.scaling(None, CONJECTURED).axes


def test_data_and_networks_without_a_name_to_read_keep_their_own():
    own = CONJECTURED.assign(dataset="my photos")
    own.attrs["provenance"]["parameters"]["architecture"] = "resnet9"
    assert "my photos, 2,000 real images, resnet9, " in figures.takeaways(own, own)
    assert "Fashion-MNIST, 2,000 real images, ResNet-8, " in figures.takeaways(CONJECTURED, CONJECTURED)


@pytest.mark.parametrize("study", STUDIES)
def test_a_run_of_one_study_can_be_shown(study):
    alone = EXPERIMENT.run("smoke", studies=(study,))
    assert len(figures.what_to_do(alone)) == 11 and "No larger run" in figures.takeaways(alone, None)
    draw = {"exchange": figures.exchange, "ratio": figures.ratio, "order": figures.order, "scaling": figures.scaling}[study]
    assert draw(alone).axes
