"""The confirmatory run of chapter 2: what it refuses, what a run of two draws holds, and that its claims are decided over draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from simulated import verdicts
from test_targeted_augmentation import generator_of

from synaug.chapters import targeted_draws as chapter
from synaug.chapters import targeted_draws_figures as figures
from synaug.chapters.reading import decided
from synaug.chapters.targeted_augmentation import Earliest
from synaug.chapters.targeted_draws import CHOSEN, EXPERIMENT, FIRST_SEED, PROFILES
from synaug.classifiers import build_classifier, train_classifier
from synaug.data import ImageDataset
from synaug.run.results import load_recorded, recordings
from synaug.statistics.claims import judge, load_claims
from synaug.statistics.contrasts import select

pytestmark = pytest.mark.filterwarnings("ignore:the training error had not flattened")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters of a run of seconds: two draws of 60 digits."""
    folder = tmp_path_factory.mktemp("draws")
    generators = [generator_of(folder / f"draw_{i}", 60, start=60 * i) for i in range(2)]
    return dict(profile="smoke", generators=generators, budgets=(0.5, 1.0), more_seeds=1, seeds=2, steps=4, n_evaluate=50, encoder="pixels")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"budgets": (0.5, 2)}, "budgets must hold 1, got"),
        ({"generators": ("absent",)}, "no generator 'absent'"),
        ({"n_quality": 19}, "n_quality must be from 20 to 360, got 19"),
        ({"n_quality": 361}, "n_quality must be from 20 to 360, got 361"),
        ({"steps": 0}, "steps must be .* at least 1"),
    ],
)
def test_bad_parameters_are_refused(small, wrong, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        EXPERIMENT.settings(**{**small, **wrong})


def test_draws_that_share_images_are_refused(small, tmp_path):
    overlapping = generator_of(tmp_path / "overlapping", 60, start=30)
    with pytest.raises(ValueError, match="draws must share no image: .*draw_0 and .*overlapping were both trained on image"):
        EXPERIMENT.settings(**{**small, "generators": [small["generators"][0], overlapping]})


def test_a_run_of_two_draws(small):
    frame = EXPERIMENT.run(**small)
    errors = select(frame, metric="test_error", role="primary")
    places = errors.groupby(["draw", "place"]).agg(n=("seed", "size"), arms=("arm", "nunique"))
    assert len(places) == 2 * 8 and (places["arms"] == 1).all() and (places["n"] == 2 + 1).all()
    assert (errors[errors["chosen"]]["budget"] == 1).all()
    assert errors.groupby("draw")["seed"].unique().map(sorted).tolist() == [[FIRST_SEED + 100 * i, FIRST_SEED + 100 * i + 1] for i in (0, 1)]
    early = select(frame, metric="early_step")
    assert early["value"].between(1, early["steps"]).all() and len(early) == len(errors)
    assert set(select(frame, role="quality")["arm"]) == {"fresh real", "samples"}


def test_budgets_are_those_that_the_recorded_pilots_chose():
    pilots = [run for name, run in recordings("targeted_draws", ("standard",)).items() if name.endswith("pilot")]
    for run in pilots:
        errors = select(run, metric="validation_error", role="primary").pivot_table(index="budget", columns="place", values="value")
        assert CHOSEN[run["dataset"].iloc[0]] == tuple(errors.idxmin())
    assert len(CHOSEN) == len(pilots)


def test_the_design_is_that_of_the_recorded_run():
    standard = PROFILES["standard"]
    assert len(set(standard["generators"])) == 6 and not set(standard["generators"]) & set(PROFILES["quick"]["generators"])
    assert "6 draws, 5 seeds per draw, none shared, from 2100 on" in chapter.design() and "within 0.3 points" in chapter.design()


def test_a_training_is_stopped_at_its_least_loss():
    class Says(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.confidence = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, images):  # one in three is wrong, whatever the confidence
            return self.confidence * torch.eye(2)[torch.tensor([0, 0, 1])]

    images = ImageDataset(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 0]), ("a", "b"))
    early, model = Earliest(images, steps=4, looks=4), Says()
    for step, confidence in enumerate((0.1, 0.7, 4.0, 9.0)):  # at 0.69, log 2, each class is right as often as it says
        model.confidence.data = torch.tensor(confidence)
        early(model, step, None, None)
    found = early.result(model, images)
    assert found["early_step"] == 2 and found["test_error_early"] == pytest.approx(100 / 3)


@pytest.mark.parametrize("at", [1, 4])
def test_a_training_that_diverges_before_a_look_ends_with_its_own_error(at):
    """Not with one of the look's. at: the step, from 1, from which weights are NaN, a look after each."""
    images = ImageDataset(torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), torch.arange(40) % 2, ("a", "b"))
    early, model = Earliest(images, steps=40, looks=40), build_classifier("vgg5", (1, 8, 8), 2, 0, width=4)

    def watched(step, index, logits):
        if step + 1 == at:
            next(model.parameters()).data.fill_(torch.nan)
        early(model, step, index, logits)

    with pytest.raises(ArithmeticError, match="training diverged: the loss is nan at step 20 of 40"):
        train_classifier(model, images.images, images.labels, steps=40, seed=0, batch_size=8, observe=watched)
    assert early.step < max(at, 2)  # of the weights before; or the first, where there are none


def drawn(gains, draws=6, seeds=5, between=0.05):
    """A frame of arms with these mean errors below the original's, which differ between draws."""
    rng, rows = np.random.default_rng(0), []
    for (arm, k), gain in gains.items():
        for draw in range(draws):
            own = 14 - gain + rng.normal(0, between)
            rows += [{"arm": arm, "x": float(k), "draw": str(draw), "seed": seed, "value": own + rng.normal(0, 0.05)} for seed in range(seeds)]
    return pd.DataFrame(rows).assign(
        metric="test_error", role="primary", chosen=True, augment="flip", swept="k", experiment=EXPERIMENT.name, dataset="none", profile="standard"
    )


PUBLISHED = {
    ("original", 1): 0,
    ("upsampled", 2): 0.6,
    ("upsampled", 5): -0.4,
    ("generated", 5): 1.6,
    ("generated, from noise", 5): 0.1,
    ("generated, random", 5): 0.7,
    ("fresh", 5): 3,
}


def test_what_is_shown_of_the_draws():
    frame = pd.concat([drawn(PUBLISHED).assign(budget=1.0), drawn(PUBLISHED).assign(budget=2.0, chosen=False)], ignore_index=True)
    frame = pd.concat([frame, frame.assign(metric="test_error_early", value=frame["value"] - 0.5)], ignore_index=True)
    rows = figures.primaries({"none": frame})
    assert len(rows) == 6 and (rows["low"] > 0).all() and set(rows["verdict"]) == {"supported"}
    others = figures.secondaries(frame).set_index("arm")
    assert others.loc["generated, from noise, k = 5", "estimate"] == pytest.approx(0.1, abs=0.1)
    assert (others["adjusted"] >= others["p_value"]).all() and others.loc["fresh, k = 5", "low"] > 2.5
    table = figures.draws_table(frame.assign(role="quality", arm="samples", metric="precision").drop_duplicates("draw"))
    assert len(table) == 6 and "precision" in table
    for figure in (figures.forest_of(rows), figures.budgets(frame), figures.others(frame)):
        assert figure.axes
    assert "fresh, k = 5 +3.0" in figures.found(frame)
    chosen, twice, early = (figures.by_steps(frame).set_index("contrast")[name] for name in ("as chosen", "2 times the steps", "stopped early"))
    assert len(chosen) == 6 and chosen.equals(early) and chosen.equals(twice)
    lower = frame["value"].where(frame["arm"] != "generated", frame["value"] - (frame["budget"] == 2))
    moved = figures.by_steps(frame.assign(value=lower)).set_index("contrast")
    assert float(moved.loc["generated over copies, k = 5", "2 times the steps"].split()[0]) == pytest.approx(3, abs=0.15)
    assert float(moved.loc["generated over copies, k = 5", "1 times the steps"].split()[0]) == pytest.approx(2, abs=0.15)
    further = drawn({("original", 1): 0, ("generated", 3): 1.0})
    further = further[further["arm"] == "generated"].assign(role="secondary", chosen=np.nan, budget=1.0)
    both = pd.concat([frame, further]).assign(optimizer="sgd", architecture="resnet8")
    assert figures.secondaries(both).set_index("arm").loc["generated, k = 3", "estimate"] == pytest.approx(1, abs=0.15)
    costs = [frame.assign(metric=metric, value=seconds) for metric, seconds in (("training_seconds", 60), ("generation_seconds", 30))]
    answers = figures.answers({"none": pd.concat([frame, *costs])}).set_index("arm")
    assert answers.loc["fresh, k = 5", "none: minutes"] == "1.5" and answers.loc["fresh, k = 5", "none: gain (points)"].startswith("+3.0")
    assert "6 of 6" in figures.takeaways({"none": frame})


def test_the_six_claims_are_decided_over_draws():
    def words(**options):
        return set(verdicts(drawn(**options)).values())

    assert len(load_claims(EXPERIMENT.name)) == 6
    assert words(gains=PUBLISHED) == {"supported"}
    ceiling = {("fresh", 5): 3}
    assert words(gains={arm: -gain for arm, gain in PUBLISHED.items()} | ceiling) == {"opposite"}
    assert words(gains=dict.fromkeys(PUBLISHED, 0) | ceiling) == {"no effect within the margin"}
    assert words(gains=PUBLISHED | {("fresh", 5): 0}) == {"inconclusive"}
    assert words(gains=PUBLISHED, draws=2) == words(gains=PUBLISHED, between=3) == {"inconclusive"}
    assert set(decided("targeted_draws", drawn(PUBLISHED))["verdict"]) == {"supported"}
    assert len(decided("targeted_draws")) == 6 and "verdict" not in decided("targeted_draws")
    open_one = judge(load_claims()["draws-generation-helps"], drawn(PUBLISHED, between=3))
    assert "6 draws could have seen" in open_one.evidence and "would decide" in open_one.evidence
    assert "(6 draws, 30 paired seeds)" in open_one.evidence


def test_the_table_of_the_pilot_marks_what_was_chosen():
    pilot = load_recorded("targeted_draws", "standard", "pilot")
    table = figures.pilot_table(pilot)
    steps = [next(name for name in table if str(row[name]).endswith("*")) for row in table.to_dict("records")]
    assert [float(name.split()[0]) / 800 for name in steps] == list(CHOSEN["fashion_mnist"])
    assert table["arm"].iloc[-1] == "TrivialAugment" and len(table) == 8
