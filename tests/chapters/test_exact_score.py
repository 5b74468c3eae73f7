"""The exact score in random mixtures: marginals, what is measured, and that a run measures what its tables say."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest, norm

from synaug.chapters.where_concentration_comes_from import exact_score as chapter
from synaug.chapters.where_concentration_comes_from import exact_score_figures as figures
from synaug.chapters.where_concentration_comes_from.exact_score import (
    EXACT,
    EXPERIMENT,
    draws_of,
    measure,
    measured_baseline,
    reconstructions,
    within_class_variance,
)
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.metrics import FRESH_REAL
from synaug.statistics import mean_interval
from synaug.statistics.contrasts import select


class TestMarginal:
    """An exact score and a fine grid keep the distribution; the same test notices a score 5 % too strong.

    The test: Kolmogorov-Smirnov of 10 projections against their closed-form distribution, and of the log-density
    against 20,000 fresh draws; the smallest p-value times 11 (Bonferroni) has level 0.01 at the limit 0.01.
    """

    N = 3000

    def p_value(self, draws, points):
        mixture, generator = draws.mixture, torch.Generator().manual_seed(9)
        found = []
        for u in torch.randn(10, *mixture.image_shape, generator=generator, dtype=torch.float64):
            centres, spreads = (mixture.means @ u).numpy(), (u @ mixture.covariances @ u).sqrt().numpy()
            weights = mixture.weights.numpy()
            found.append(kstest((points @ u).numpy(), lambda t, m=centres, s=spreads: (weights * norm.cdf((t[:, None] - m) / s)).sum(1)).pvalue)
        others = mixture.sample(20_000, generator)[0]
        found.append(ks_2samp(mixture.log_density(points), mixture.log_density(others)).pvalue)
        return min(1, 11 * min(found))

    @pytest.mark.parametrize("seed", [3, 7, 8])
    @pytest.mark.parametrize("level", [50, 100])
    def test_is_kept_and_the_test_has_power(self, seed, level):
        draws = draws_of(seed, self.N, 5)
        exact = reconstructions(draws, EXACT, level, level)
        assert (exact - draws.sources).norm(dim=1).median() > 0.05  # they are not the points that we came from
        assert self.p_value(draws, exact) > 0.01
        assert self.p_value(draws, reconstructions(draws, "scaled score", 1.05, level)) < 1e-6

    def test_level(self):
        """Of 40 sets of fresh draws, 0.4 are expected to be rejected; more than 3 have a chance of 1 in 1,000."""
        draws = draws_of(7, self.N, 5)
        sets = (draws.mixture.sample(self.N, torch.Generator().manual_seed(100 + i))[0] for i in range(40))
        assert sum(self.p_value(draws, points) < 0.01 for points in sets) <= 3


class Flat:
    """A mixture whose points are images ``[N, D, 1, 1]``, for `reconstruct`."""

    def __init__(self, mixture):
        self.mixture, self.image_shape, self.num_classes = mixture, (*mixture.image_shape, 1, 1), mixture.num_classes

    def __call__(self, x, sigma, labels=None):
        return self.mixture(x.flatten(1), sigma, labels).view_as(x)


@pytest.mark.parametrize(
    "arm, x, level, churn, options",
    [
        (EXACT, 40, 40, 0.0, dict(reverse_step=40)),
        (EXACT, 100, 100, 0.0, dict(reverse_step=100)),
        ("Heun", 20, 50, 0.0, dict(steps=20)),
        ("Euler, churn", 20, 50, 5.0, dict(steps=20, solver="euler", churn=5.0)),
    ],
)
def test_reconstructions_are_those_of_images(arm, x, level, churn, options):
    """Of sources that `reconstruct` takes; results outside [-1, 1] are clamped there, and here for the comparison."""
    draws = draws_of(3, 100, 5)
    draws = dataclasses.replace(draws, sources=draws.sources.clamp(-1, 1))
    options = options if "reverse_step" in options else {**options, "sigma": sigma_of_reverse_step(level, 100)}
    theirs = reconstruct(Flat(draws.mixture), draws.sources.float()[:, :, None, None], draws.labels, seed=3, **options)
    ours = reconstructions(draws, arm, x, level, churn=churn).clamp(-1, 1)
    torch.testing.assert_close(theirs.images.flatten(1).double(), ours, rtol=0, atol=1e-4)
    assert torch.equal(reconstructions(draws, EXACT, 0, 0), draws.sources)


class TestMeasure:
    @pytest.fixture
    def draws(self):
        return draws_of(2, 400, 5)

    def of(self, draws, points, labels):
        return measure(draws, points, labels).set_index(["metric", "reference"])["value"]

    def test_sources_against_themselves(self, draws):
        found = self.of(draws, draws.sources, draws.labels)
        assert found["precision", "source"] == found["recall", "source"] == found["outer_edge_recall", "source"] == 1
        assert found["recall", "fresh"] < 1
        assert found["mean_log_density", "mixture"] == pytest.approx(draws.mixture.log_density(draws.sources).mean().item())

    def test_class_variances_are_the_mixtures(self, draws):
        points, component = draws.mixture.sample(200_000, torch.Generator().manual_seed(0))
        labels = draws.mixture.classes[component]
        for c, expected in enumerate(draws.class_variances.tolist()):
            assert points[labels == c].var(0).sum().item() == pytest.approx(expected, rel=0.02)

    def test_shrunk_classes(self, draws):
        centres = torch.stack([draws.sources[draws.labels == c].mean(0) for c in range(draws.mixture.num_classes)])
        shrunk = centres[draws.labels] + 0.5 * (draws.sources - centres[draws.labels])
        before, after = self.of(draws, draws.sources, draws.labels), self.of(draws, shrunk, draws.labels)
        assert after["variance_ratio", "mixture"] == pytest.approx(before["variance_ratio", "mixture"] / 4)
        apart = after["covariance_logdet_ratio", "fresh"] - before["covariance_logdet_ratio", "fresh"]
        assert apart == pytest.approx(np.log(1 / 4))
        numpy = sum(len(own) * np.cov(own.T.numpy()).trace() for own in (draws.sources[draws.labels == c] for c in range(draws.mixture.num_classes)))
        assert within_class_variance(draws.sources, draws.labels).item() == pytest.approx(numpy / 400)

    def test_one_mode_only(self, draws):
        likeliest = int(draws.expected.argmax())
        points = draws.mixture.means[likeliest] + 1e-3 * (draws.sources - draws.sources.mean(0))
        found = self.of(draws, points, draws.labels)
        assert found["occupancy_error", "mixture"] == pytest.approx(1 - draws.expected[likeliest].item())
        assert found["rare_mode_ratio", "mixture"] == 0
        own_class = (draws.labels == draws.mixture.classes[likeliest]).double().mean().item()
        assert found["class_agreement", "mixture"] == pytest.approx(own_class)

    def test_the_baseline_is_the_mean_over_independent_fresh_draws(self, draws):
        sets = [draws.sources, draws.fresh, *(points for points, _ in draws.others)]
        assert len({points[0, 0].item() for points in sets}) == len(sets) == 2 + chapter.BASELINE_DRAWS
        found = measured_baseline(2, 400, 5).set_index(["metric", "reference"])["value"]
        assert found["recall", "fresh"] == pytest.approx(np.mean([self.of(draws, *own)["recall", "fresh"] for own in draws.others]))
        assert found["variance_ratio", "mixture"] == pytest.approx(1, abs=0.05)
        assert found["rare_mode_ratio", "mixture"] == pytest.approx(1, abs=0.2)


class TestRun:
    def test_frame_is_complete(self, frame):
        # 3 levels; 4 solvers at 2 grids; factors 2, noise, width, guidance, class-blind; baseline. each 13 measurements
        assert len(frame) == 2 * 13 * (3 + 4 * 2 + 6 + 1) and not frame["value"].isna().any()
        assert set(frame["arm"]) == {FRESH_REAL, EXACT, *chapter.SOLVERS, *chapter.PERTURBATIONS}
        assert set(frame["sigma"][frame["t_re"] == 100]) == {80.0}
        assert frame.attrs["provenance"]["parameters"]["n_points"] == 150

    def test_directions(self, frame):
        """In every mixture few Euler steps and too strong scores contract, few Heun steps and too weak ones expand."""
        changes = figures.above_baseline(frame[frame["metric"] == "variance_ratio"]).set_index(["arm", "x"])["value"]
        for arm, x, sign in (("Euler", 5.0, -1), ("Heun", 5.0, 1), ("scaled score", 0.9, 1), ("scaled score", 1.1, -1)):
            assert (sign * changes[[(arm, x)]] > 0.1).all() and len(changes[[(arm, x)]]) == 2

    def test_what_is_drawn_is_above_the_mixtures_own_baseline(self, frame):
        of_recall = select(frame, metric="recall", reference="source")
        rows, own = figures.above_baseline(of_recall), of_recall.set_index(["arm", "x", "seed"])["value"]
        rows = select(rows, arm="Heun", x=5)
        assert rows.set_index("seed")["value"].to_dict() == pytest.approx({seed: own["Heun", 5.0, seed] - own[FRESH_REAL, 0.0, seed] for seed in (0, 1)})


class TestFigures:
    def test_curves(self, frame):
        rows = figures.above_baseline(frame[frame["reference"] == "fresh"])
        mean = rows.groupby(["metric", "arm", "x"])["value"].mean()
        drawn = [line.get_xydata().tolist() for line in figures.coarse_grids(frame).axes[1].lines]
        assert [[x, mean["recall", "Euler", x]] for x in (5.0, 10.0)] in drawn
        figure = figures.score_errors(frame)
        drawn = [line.get_xydata().tolist() for line in figure.axes[0].lines]
        assert [[0.9, mean["recall", "scaled score", 0.9]], [1.0, mean["recall", EXACT, 100.0]], [1.1, mean["recall", "scaled score", 1.1]]] in drawn
        assert [0, 1, 2] in [list(line.get_xdata()) for line in figure.axes[3].lines]

    def test_the_table_of_controls_says_what_the_run_measured(self, frame):
        table = figures.controls_table(frame, [(EXACT, 100), ("Euler", 5), ("Euler", 7), ("class-blind", 0)])
        assert list(table[""]) == ["exact score, fine grid", "5 Euler steps", "score without the class"]
        rows = figures.above_baseline(frame[frame["metric"] == "occupancy_error"])
        interval = mean_interval(rows[(rows["arm"] == "Euler") & (rows["x"] == 5)]["value"])
        assert table["distance between shares of modes"].iloc[1] == (f"{interval.estimate:+.3f} ± {interval.high - interval.estimate:.3f}")
        assert table.shape == (3, 9) and table.notna().all(axis=None)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(mixtures=0), "mixtures must be a whole number"),
        (dict(k=0), "k must be"),
        (dict(n_points=12), "n_points = 12 are too few"),
        (dict(k=150), "too few"),
        (dict(reverse_steps=(0, 50)), "must hold 0, the sources, and 100"),
        (dict(reverse_steps=50), "must hold 0"),
        (dict(levels=(0, 100)), "levels must be .* at least 1"),
        (dict(stride=0), "stride"),
        (dict(grids=(0,)), "grids must be"),
        (dict(churn=-1.0), "churn"),
        (dict(factors=(0.0,)), "factors: factor must be"),
        (dict(noises=(-0.1,)), "noises must be"),
        (dict(guidances=(-1.0,)), "guidances must be"),
    ],
)
def test_bad_parameters_are_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings(**{"profile": "smoke", **wrong})
