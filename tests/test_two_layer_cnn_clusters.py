import math

import pytest
import torch

from synaug.run.results import check_frame
from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.clusters import cluster_agreement, recovery, separability, speed_ratio

SEEDS = range(5)
ARI, AUC = "adjusted_rand_index", "separability"


def scores(*args, **options):
    """`recovery` of a small toy, as one row a value and seed and one column a metric."""
    options = {"n": 400, "num_filters": 20, "seeds": SEEDS, **options}
    return recovery(*args, **options).pivot(index=["x", "seed"], columns="metric", values="value")


def alignments(rho, steps, lr=0.5, **distribution):
    """max_j <w_j, v_e> and max_j <w_j, v_d> of five paired runs, each ``[steps + 1, 5]``."""
    data = PatchDistribution(**distribution).sample(300, SEEDS, dtype=torch.float64)
    filters = initial_filters(SEEDS, 20, data.distribution.dim, 0.01, torch.float64)
    sets = training_sets(data, [Arm("original")])
    frame = train(sets, filters, steps=steps, lr=lr, rho=rho, record_every=1).frame
    return [frame[frame.metric == f"feature_{speed}"].pivot(index="x", columns="seed", values="value").to_numpy()
            for speed in ("fast", "slow")]


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

    def test_a_frequent_slow_feature_is_learned_first(self):
        """Speed is frequency times strength cubed: at alpha = 0.3 and beta_d = 0.9 that of v_d is larger."""
        fast, slow = alignments(0.0, steps=250, alpha=0.3, beta_d=0.9)
        assert (slow[-1] > 1).all() and (fast[-1] < 0.2).all()


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


class TestScores:
    labels = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])
    fast = torch.tensor([True, True, False, False] * 2)

    def test_two_groups_are_found(self):
        outputs = torch.tensor([5.0, 5.1, 0.1, 0.2, -5.0, -5.1, 0.0, -0.1])
        assert cluster_agreement(outputs, self.labels, self.fast) == 1
        assert separability(outputs, self.labels, self.fast) == 1

    def test_swapped_groups_agree_but_are_not_taken_for_what_they_are(self):
        outputs = torch.tensor([0.0, 0.1, 5.1, 5.2, -0.0, -0.1, -5.0, -5.1])
        assert cluster_agreement(outputs, self.labels, self.fast) == 1
        assert separability(outputs, self.labels, self.fast) == 0

    def test_classes_are_clustered_apart(self):
        """Over both classes, two clusters would be the classes."""
        outputs = torch.tensor([9.0, 9.1, 7.0, 7.1, -3.0, -3.1, -1.0, -1.1])
        assert cluster_agreement(outputs, self.labels, self.fast) == 1

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
        found = scores("steps", [5, 60, 200])
        assert (found.loc[5, ARI] < 0.1).all()
        assert (found.loc[[60, 200]] == 1).all(axis=None)

    def test_takes_as_much_longer_as_the_fast_feature_is_rarer(self):
        found = scores("alpha", [0.1, 0.5, 0.9, 0.97], steps=100)
        assert (found.loc[[0.5, 0.9, 0.97], ARI] == 1).all()
        assert found.loc[0.1, ARI].mean() < 0.2
        assert scores("steps", [400], PatchDistribution(alpha=0.1))[ARI].mean() > 0.8

    def test_until_features_are_equally_strong(self):
        found = scores("beta_ratio", [0.2, 0.95, 1.0], steps=100)
        assert (found.loc[[0.2, 0.95], ARI] == 1).all()
        assert found.loc[1.0, ARI].mean() < 0.8

    def test_stops_in_reading_a_where_the_slow_feature_is_faster(self):
        """Every example has it. At alpha = 0.3 that is above beta_d / beta_e = 0.3^(1/3) = 0.67."""
        found = scores("beta_ratio", [0.6, 0.8], PatchDistribution(alpha=0.3), steps=150)
        assert (found.loc[0.6] == 1).all(axis=None)
        assert (found.loc[0.8, ARI].abs() < 0.1).all() and (found.loc[0.8, AUC] - 0.5).abs().max() < 0.1

    def test_is_reversed_in_reading_b_where_the_slow_feature_is_faster(self):
        """The groups are found, but it is the fast examples that have the higher loss."""
        found = scores("beta_ratio", [0.6, 0.95], PatchDistribution(alpha=0.3, reading="B"), steps=150)
        assert (found.loc[0.6] == 1).all(axis=None)
        assert (found.loc[0.95, ARI] > 0.9).all() and (found.loc[0.95, AUC] < 0.01).all()

    def test_fails_under_noise_that_filters_can_fit(self):
        found = scores("noise_std", [0.125, 0.3, 0.5], steps=100)
        assert (found.loc[0.125, ARI] == 1).all() and (found.loc[0.3, ARI] > 0.9).all()
        assert found.loc[0.5, ARI].mean() < 0.2 < 0.8 < found.loc[0.5, AUC].mean()
        more = scores("noise_std", [0.5], steps=100, n=2000)
        assert more[ARI].mean() > found.loc[0.5, ARI].mean() + 0.2  # with more examples noise is harder to fit

    def test_frame_is_tidy_and_repeatable(self):
        options = dict(n=60, seeds=[0, 3], num_filters=4, steps=3)
        frame = recovery("alpha", [0.5, 0.6], **options)
        check_frame(frame.assign(experiment="theory", dataset="toy", profile="smoke"))
        assert len(frame) == 2 * 2 * 2 and set(frame.seed) == {0, 3}
        assert recovery("alpha", [0.5, 0.6], **options).equals(frame)

    @pytest.mark.parametrize("args, message", [
        (("beta_d", [0.1]), "unknown swept 'beta_d': choose one of alpha, beta_ratio, noise_std, steps"),
        (("alpha", []), "at least one value"),
        (("alpha", [0.5, 1.0]), "needs fast and slow examples"),
        (("beta_ratio", [1.5]), "beta_d <= beta_e"),
        (("noise_std", [-1.0]), "noise_std must be finite and not negative"),
        (("steps", [5, 0]), "steps must be whole numbers of at least 1, got 0"),
        (("steps", [2.5]), "steps must be whole numbers of at least 1, got 2.5"),
    ])
    def test_bad_input_is_refused_before_training(self, args, message, monkeypatch):
        monkeypatch.setattr("synaug.theory.two_layer_cnn.clusters.train", None)
        with pytest.raises(ValueError, match=message):
            scores(*args)
