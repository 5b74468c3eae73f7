"""The exact-score control: marginals, what is measured, and that a run measures what its tables say."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest, norm

from synaug.experiments import exact_score as experiment
from synaug.experiments import mixture_worlds
from synaug.experiments.exact_score import EXACT, come_back, excess, prepare, run
from synaug.experiments.mixture_worlds import measure, measure_floor, within_class_variance, world_draws
from synaug.figures import exact_score as figures
from synaug.metrics import FRESH_REAL
from synaug.diffusion.perturbed import ScaledScore
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.schedules import reverse_sigmas, sigmas_from
from synaug.statistics import mean_interval


@pytest.fixture(scope="module")
def frame():
    return run(profile="smoke")


class TestMarginal:
    """An exact score and a fine grid keep the distribution; the same test notices a score 5 % too strong.

    The test: Kolmogorov-Smirnov of 10 projections against their closed-form distribution, and of the log-density
    against 20,000 fresh draws; the smallest p-value times 11 (Bonferroni) has level 0.01 at the limit 0.01.
    """

    N = 3000

    def p_value(self, draws, points):
        world, generator = draws.world, torch.Generator().manual_seed(9)
        found = []
        for u in torch.randn(10, *world.image_shape, generator=generator, dtype=torch.float64):
            centres, spreads = (world.means @ u).numpy(), (u @ world.covariances @ u).sqrt().numpy()
            weights = world.weights.numpy()
            cdf = lambda t: (weights * norm.cdf((t[:, None] - centres) / spreads)).sum(1)
            found.append(kstest((points @ u).numpy(), cdf).pvalue)
        others = world.sample(20_000, generator)[0]
        found.append(ks_2samp(world.log_density(points), world.log_density(others)).pvalue)
        return min(1, 11 * min(found))

    @pytest.mark.parametrize("world", [3, 7, 8])
    @pytest.mark.parametrize("level", [50, 100])
    def test_is_kept_and_the_test_has_power(self, world, level):
        draws = world_draws(world, self.N, 5)
        sigmas, from_noise = reverse_sigmas(level, 100), level == 100
        exact = come_back(draws.world, draws, sigmas, from_noise=from_noise)
        assert (exact - draws.sources).norm(dim=1).median() > 0.05  # they are not the points that we came from
        assert self.p_value(draws, exact) > 0.01
        strong = come_back(ScaledScore(draws.world, 1.05), draws, sigmas, from_noise=from_noise)
        assert self.p_value(draws, strong) < 1e-6

    def test_level(self):
        """Of 40 sets of fresh draws, 0.4 are expected to be rejected; more than 3 have a chance of 1 in 1,000."""
        draws = world_draws(7, self.N, 5)
        sets = (draws.world.sample(self.N, torch.Generator().manual_seed(100 + i))[0] for i in range(40))
        assert sum(self.p_value(draws, points) < 0.01 for points in sets) <= 3


class Flat:
    """A world whose points are images ``[N, D, 1, 1]``, for `reconstruct`."""

    def __init__(self, world):
        self.world, self.image_shape, self.num_classes = world, (*world.image_shape, 1, 1), world.num_classes

    def __call__(self, x, sigma, labels=None):
        return self.world(x.flatten(1), sigma, labels).view_as(x)


class TestComeBack:
    @pytest.fixture
    def draws(self):
        """Sources that `reconstruct` takes; results outside [-1, 1] are clamped there, and here for the comparison."""
        draws = world_draws(3, 100, 5)
        return dataclasses.replace(draws, sources=draws.sources.clamp(-1, 1))

    @pytest.mark.parametrize("solver, churn", [("heun", 0.0), ("euler", 5.0)])
    def test_is_reconstruct_for_points(self, draws, solver, churn):
        images = draws.sources.float()[:, :, None, None]
        theirs = reconstruct(Flat(draws.world), images, draws.labels, sigma=0.9, steps=20, solver=solver, churn=churn,
                             seed=draws.seed)
        ours = come_back(draws.world, draws, sigmas_from(0.9, 20), solver, churn).clamp(-1, 1)
        torch.testing.assert_close(theirs.images.flatten(1).double(), ours, rtol=0, atol=2e-5)

    @pytest.mark.parametrize("level", [40, 100])
    def test_at_a_reverse_step(self, draws, level):
        images = draws.sources.float()[:, :, None, None]
        theirs = reconstruct(Flat(draws.world), images, draws.labels, reverse_step=level, seed=draws.seed)
        ours = come_back(draws.world, draws, reverse_sigmas(level, 100), from_noise=level == 100).clamp(-1, 1)
        torch.testing.assert_close(theirs.images.flatten(1).double(), ours, rtol=0, atol=1e-4)

    def test_step_0_gives_the_sources(self, draws):
        assert torch.equal(come_back(draws.world, draws, reverse_sigmas(0, 100)), draws.sources)


class TestMeasure:
    @pytest.fixture
    def draws(self):
        return world_draws(2, 400, 5)

    def of(self, draws, points, labels):
        return measure(draws, points, labels).set_index(["metric", "reference"])["value"]

    def test_sources_against_themselves(self, draws):
        found = self.of(draws, draws.sources, draws.labels)
        assert found["precision", "source"] == found["recall", "source"] == found["outer_edge_recall", "source"] == 1
        assert found["recall", "fresh"] < 1
        assert found["mean_log_density", "world"] == pytest.approx(draws.world.log_density(draws.sources).mean().item())

    def test_class_variances_are_the_worlds(self, draws):
        points, component = draws.world.sample(200_000, torch.Generator().manual_seed(0))
        labels = draws.world.classes[component]
        for c, expected in enumerate(draws.class_variances.tolist()):
            assert points[labels == c].var(0).sum().item() == pytest.approx(expected, rel=0.02)

    def test_shrunk_classes(self, draws):
        centres = torch.stack([draws.sources[draws.labels == c].mean(0) for c in range(draws.world.num_classes)])
        shrunk = centres[draws.labels] + 0.5 * (draws.sources - centres[draws.labels])
        before, after = self.of(draws, draws.sources, draws.labels), self.of(draws, shrunk, draws.labels)
        assert after["variance_ratio", "world"] == pytest.approx(before["variance_ratio", "world"] / 4)
        apart = after["covariance_logdet_ratio", "fresh"] - before["covariance_logdet_ratio", "fresh"]
        assert apart == pytest.approx(np.log(1 / 4))
        numpy = sum(len(own) * np.cov(own.T.numpy()).trace() for own in
                    (draws.sources[draws.labels == c] for c in range(draws.world.num_classes)))
        assert within_class_variance(draws.sources, draws.labels).item() == pytest.approx(numpy / 400)

    def test_one_mode_only(self, draws):
        likeliest = int(draws.expected.argmax())
        points = draws.world.means[likeliest] + 1e-3 * (draws.sources - draws.sources.mean(0))
        found = self.of(draws, points, draws.labels)
        assert found["occupancy_error", "world"] == pytest.approx(1 - draws.expected[likeliest].item())
        assert found["rare_mode_ratio", "world"] == 0
        own_class = (draws.labels == draws.world.classes[likeliest]).double().mean().item()
        assert found["class_agreement", "world"] == pytest.approx(own_class)

    def test_floor_is_the_mean_over_fresh_draws(self, draws):
        values = [self.of(draws, *some)["recall", "fresh"] for some in draws.floor]
        assert len(set(values)) > 1
        floor = measure_floor(2, 400, 5).set_index(["metric", "reference"])["value"]
        assert floor["recall", "fresh"] == pytest.approx(np.mean(values))
        assert floor["variance_ratio", "world"] == pytest.approx(1, abs=0.05)
        assert floor["rare_mode_ratio", "world"] == pytest.approx(1, abs=0.2)

    def test_draws_are_independent_of_each_other_and_of_the_world(self, draws):
        sets = [draws.sources, draws.fresh, *(points for points, _ in draws.floor)]
        assert len({points[0, 0].item() for points in sets}) == len(sets)
        assert len(draws.floor) == mixture_worlds.FLOOR_DRAWS


class TestRun:
    def test_frame_is_complete(self, frame):
        # 3 levels; 4 solvers at 2 grids; factors 2, noise, width, guidance, class-blind; floor. 13 measurements each.
        assert len(frame) == 2 * 13 * (3 + 4 * 2 + 6 + 1) and not frame["value"].isna().any()
        assert set(frame["arm"]) == {FRESH_REAL, EXACT, *experiment.SOLVERS, *experiment.PERTURBATIONS}
        assert set(frame["sigma"][frame["t_re"] == 100]) == {80.0}
        assert frame.attrs["provenance"]["parameters"]["n_points"] == 150

    def test_a_second_run_resumes(self, frame, monkeypatch):
        monkeypatch.setattr(experiment, "sample", lambda *a, **k: pytest.fail("computed again"))
        assert run(profile="smoke").equals(frame)

    def test_directions(self, frame):
        """At every world: few Euler steps and too strong a score contract, few Heun steps and too weak a one expand."""
        changes = excess(frame, "variance_ratio", "world").set_index(["arm", "x"])["value"]
        for arm, x, sign in (("Euler", 5.0, -1), ("Heun", 5.0, 1), ("scaled score", 0.9, 1), ("scaled score", 1.1, -1)):
            assert (sign * changes[arm, x] > 0.1).all()

    def test_excess_subtracts_the_worlds_own_floor(self, frame):
        rows = excess(frame, "recall", "source", arm="Heun", x=5.0)
        assert list(rows["seed"]) == [0, 1]
        of_recall = frame[(frame["metric"] == "recall") & (frame["reference"] == "source")]
        for _, row in rows.iterrows():
            own = of_recall[of_recall["seed"] == row["seed"]].set_index(["arm", "x"])["value"]
            assert row["value"] == pytest.approx(own["Heun", 5.0] - own[FRESH_REAL, 0.0])


class TestFigures:
    def test_curves_are_differences_from_the_floor(self, frame):
        ax = figures.coarse_grids(frame).axes[1]
        line = next(line for line in ax.lines if line.get_label() == "this build, Euler")
        rows = excess(frame, "recall", arm="Euler", t_re=100)
        np.testing.assert_allclose(line.get_xdata(), [5, 10])
        np.testing.assert_allclose(line.get_ydata(), rows.groupby("x")["value"].mean())

    def test_the_neutral_dial_is_the_exact_score(self, frame):
        ax = figures.score_errors(frame).axes[0]
        line = next(line for line in ax.lines if line.get_label() == "this build, recall")
        assert list(line.get_xdata()) == [0.9, 1.0, 1.1]
        exact = excess(frame, "recall", arm=EXACT, x=100.0)["value"].mean()
        assert line.get_ydata()[1] == pytest.approx(exact)
        guided = next(line for line in ax.figure.axes[3].lines if line.get_label() == "this build, recall")
        assert list(guided.get_xdata()) == [0, 1, 2]

    def test_recorded_and_live_are_told_apart(self, frame):
        for draw in (figures.fine_grid, figures.coarse_grids, figures.score_errors):
            figure = draw(frame, frame)
            figure.draw_without_rendering()
            names = [text.get_text() for text in figure.legends[0].get_texts()]
            assert sum("recorded" in name for name in names) == sum("this build" in name for name in names) > 0
            assert all(ax.get_xlabel() for ax in figure.axes)

    def test_the_table_of_controls_says_what_the_run_measured(self, frame):
        table = figures.controls_table(frame, [(EXACT, 100), ("Euler", 5), ("Euler", 7), ("class-blind", 0)])
        assert list(table[""]) == ["exact score, fine grid", "5 Euler steps", "score without the class"]
        differences = excess(frame, "occupancy_error", "world", arm="Euler", x=5.0)["value"]
        interval = mean_interval(differences)
        assert table["distance between shares of modes"].iloc[1] == (
            f"{differences.mean():+.3f} ± {(interval.high - interval.low) / 2:.3f}")
        assert table.shape == (3, 9) and table.notna().all(axis=None)

    def test_point_clouds(self):
        points = experiment.shown_points(7, {"few steps": ("Euler", 5)}, n_points=100)
        assert points.groupby("panel").size().to_dict() == {"fresh draws": 100, "few steps": 100}
        figures.point_clouds(points).draw_without_rendering()
        with pytest.raises(ValueError, match="world 0 has 16 dimensions, not 2"):
            experiment.shown_points(0, {})


@pytest.mark.parametrize("wrong, message", [
    (dict(profile="huge"), "profile is 'huge'"), (dict(worlds=0), "worlds must be a whole number"),
    (dict(n_points=2.5), "n_points"), (dict(n_points=12), "n_points = 12 are too few"), (dict(k=0), "k must be"),
    (dict(k=150), "too few"), (dict(reverse_steps=(0, 50)), "must hold 0, the sources, and 100"),
    (dict(reverse_steps=(0, 100.5, 100)), "whole number"), (dict(levels=(0, 100)), "levels no 0"),
    (dict(levels=(100, 100)), "different values"), (dict(stride=0), "stride"), (dict(grids=(0,)), "steps must be"),
    (dict(churn=-1.0), "churn"), (dict(factors=(0.0,)), "factor must be"), (dict(noises=(-0.1,)), "level must be"),
    (dict(widths=(float("nan"),)), "width must be"), (dict(guidances=(-1.0,)), "scale must be"),
])
def test_bad_parameters_are_refused_before_anything_runs(wrong, message, monkeypatch):
    monkeypatch.setattr(experiment, "sample", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(ValueError, match=message):
        prepare(**{"profile": "smoke", **wrong})
