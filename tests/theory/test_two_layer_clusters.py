import math

import pytest
import torch

from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.clusters import cluster_agreement, recovery, separability, speed_ratio

SEEDS = range(5)
ARI, AUC = "adjusted_rand_index", "separability"


def scores(n=400, steps=100, **distribution):
    """`recovery` of a small toy: a row per seed, a column per metric."""
    found = recovery(PatchDistribution(**distribution), n=n, num_filters=20, seeds=SEEDS, steps=steps)
    return found.pivot(index="seed", columns="metric", values="value")


def alignments(rho, steps, lr=0.5, **distribution):
    """max_j <w_j, v_e> and max_j <w_j, v_d> of five paired runs, each ``[steps + 1, 5]``."""
    data = PatchDistribution(**distribution).sample(300, SEEDS, dtype=torch.float64)
    filters = initial_filters(SEEDS, 20, data.distribution.dim, 0.01, torch.float64)
    sets = training_sets(data, [Arm("original")])
    frame = train(sets, filters, steps=steps, lr=lr, rho=rho, record_every=1).frame
    return [frame[frame.metric == f"feature_{speed}"].pivot(index="x", columns="seed", values="value").to_numpy() for speed in ("fast", "slow")]


class TestFeatureLearning:
    """USEFUL's statements, in its toy (beta_d 0.2, beta_e 1, alpha 0.9), scaled down."""

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_gd_learns_the_fast_feature_first(self, reading):
        fast, slow = alignments(0.0, steps=250, reading=reading)
        for of_seed, other in zip(fast.T, slow.T):
            assert (of_seed > 1).any()
            assert other[: (of_seed > 1).argmax() + 1].max() < 0.05

    @pytest.mark.parametrize("beta_d", [0.2, 0.5])
    @pytest.mark.parametrize("rho", [0.005, 0.02])
    def test_sams_gap_is_smaller_at_each_early_iteration(self, rho, beta_d):
        """Each of 60 steps, over which GD's gap multiplies but nothing is learned yet."""
        gd, sam = (fast - slow for fast, slow in (alignments(r, 60, beta_d=beta_d) for r in (0.0, rho)))
        assert (sam[0] == gd[0]).all() and (sam[1:] < gd[1:]).all()
        assert gd[-1].mean() > 3 * gd[0].mean()

    def test_not_for_a_large_radius(self):
        """A perturbation much longer than the filters' parts along the features turns these around."""
        gd, sam = (fast - slow for fast, slow in (alignments(r, 60) for r in (0.0, 0.05)))
        assert (sam[1:] > gd[1:]).any()


class TestSpeedRatio:
    def test_by_hand(self):
        assert math.isclose(speed_ratio(PatchDistribution(alpha=0.9, beta_e=1.0, beta_d=0.5)), 0.9 * 8)
        assert math.isclose(speed_ratio(PatchDistribution(alpha=0.75, beta_d=0.5, reading="B")), 3 * 8)
        assert speed_ratio(PatchDistribution(beta_d=0.0)) == math.inf
        assert speed_ratio(PatchDistribution(alpha=1.0, reading="B")) == math.inf

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_decides_which_feature_is_learned(self, reading):
        """Half and double the ratio at which both are equally fast; initial alignments decide only close to 1."""
        for factor in (0.5, 2.0):
            frequency = 1.0 if reading == "A" else 0.7
            beta_d = (0.3 / frequency / factor) ** (1 / 3)
            options = dict(alpha=0.3, beta_e=1.2, beta_d=1.2 * beta_d, reading=reading)
            assert math.isclose(speed_ratio(PatchDistribution(**options)), factor)
            fast, slow = alignments(0.0, steps=150, **options)
            assert ((fast[-1] > slow[-1]) == (factor > 1)).mean() >= 0.8
            assert factor > 1 or (slow[-1] > 1).all() and (reading == "B" or (fast[-1] < 0.2).all())


class TestScores:
    labels = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])
    fast = torch.tensor([True, True, False, False] * 2)

    @pytest.mark.parametrize(
        "outputs, separable",
        [
            ([5.0, 5.1, 0.1, 0.2, -5.0, -5.1, 0.0, -0.1], 1),
            ([0.0, 0.1, 5.1, 5.2, -0.0, -0.1, -5.0, -5.1], 0),  # swapped: not taken for what they are
            ([9.0, 9.1, 7.0, 7.1, -3.0, -3.1, -1.0, -1.1], 0.75),  # over both classes, two clusters would be the classes
        ],
    )
    def test_two_groups_of_each_class_are_found(self, outputs, separable):
        assert cluster_agreement(torch.tensor(outputs), self.labels, self.fast) == 1
        assert separability(torch.tensor(outputs), self.labels, self.fast) == separable

    def test_of_chance_are_zero_and_a_half(self):
        """Within 4 standard errors (about 0.001 and 0.005) over 10,000 examples."""
        generator = torch.Generator().manual_seed(0)
        outputs, labels = torch.randn(10_000, generator=generator), torch.tensor([1.0, -1.0]).repeat(5000)
        fast = torch.rand(10_000, generator=generator) < 0.5
        assert abs(cluster_agreement(outputs, labels, fast)) < 0.004
        assert abs(separability(outputs, labels, fast) - 0.5) < 0.025

    def test_a_class_without_slow_examples_is_refused(self):
        for score in (cluster_agreement, separability):
            with pytest.raises(ValueError, match="class 1 needs fast and slow examples, got 4 and 0"):
                score(torch.zeros(8), self.labels, self.fast | (self.labels > 0))


class TestRecovery:
    def test_once_the_fast_feature_grows(self):
        """Not at first, and perfectly from 60 steps on, long before the slow feature grows."""
        assert (scores(steps=5)[ARI] < 0.1).all()
        assert (scores(steps=60) == 1).all(axis=None) and (scores(steps=200) == 1).all(axis=None)

    def test_takes_as_much_longer_as_the_fast_feature_is_rarer(self):
        assert all((scores(alpha=alpha)[ARI] == 1).all() for alpha in (0.5, 0.9, 0.97))
        assert scores(alpha=0.1)[ARI].mean() < 0.2 < 0.8 < scores(alpha=0.1, steps=400)[ARI].mean()

    def test_until_features_are_equally_strong(self):
        assert (scores(beta_d=0.95)[ARI] == 1).all()
        assert scores(beta_d=1.0)[ARI].mean() < 0.8

    def test_stops_in_reading_a_where_the_slow_feature_is_faster(self):
        """Every example has it. At alpha = 0.3 that is above beta_d / beta_e = 0.3^(1/3) = 0.67."""
        assert (scores(alpha=0.3, beta_d=0.6, steps=150) == 1).all(axis=None)
        found = scores(alpha=0.3, beta_d=0.8, steps=150)
        assert (found[ARI].abs() < 0.1).all() and (found[AUC] - 0.5).abs().max() < 0.1

    def test_is_reversed_in_reading_b_where_the_slow_feature_is_faster(self):
        """The groups are found, but it is the fast examples that have the higher loss."""
        assert (scores(alpha=0.3, beta_d=0.6, reading="B", steps=150) == 1).all(axis=None)
        found = scores(alpha=0.3, beta_d=0.95, reading="B", steps=150)
        assert (found[ARI] > 0.9).all() and (found[AUC] < 0.01).all()

    def test_fails_under_noise_that_filters_can_fit(self):
        assert (scores(noise_std=0.3)[ARI] > 0.9).all()
        found = scores(noise_std=0.5)
        assert found[ARI].mean() < 0.2 < 0.8 < found[AUC].mean()
        assert scores(noise_std=0.5, n=2000)[ARI].mean() > found[ARI].mean() + 0.2  # more noise is harder to fit

    def test_a_class_that_lacks_slow_examples_is_refused_before_training(self, monkeypatch):
        monkeypatch.setattr("synaug.theory.two_layer_cnn.clusters.train", None)
        with pytest.raises(ValueError, match="needs fast and slow examples"):
            scores(alpha=1.0)
