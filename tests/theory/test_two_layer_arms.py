import pytest
import torch

from synaug.theory.two_layer_cnn.arms import Arm, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchDistribution
from synaug.theory.two_layer_cnn.network import gradient, initial_filters

N, SEEDS = 60, (0, 3, 8)


def data(**options):
    return PatchDistribution(**({"dim": 12, "alpha": 0.6} | options)).sample(N, SEEDS, dtype=torch.float64)


def slow_counts(examples):
    return (~examples.has_fast).sum(1)


class TestWeights:
    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("k", [2, 5])
    def test_size(self, k, reading):
        """Fast examples once, slow ones k times: alpha N + k (1 - alpha) N of the definition."""
        examples = data(reading=reading)
        sets = training_sets(examples, [Arm("upsampled", k), Arm("generated", k)])
        expected = N + (k - 1) * slow_counts(examples)
        assert torch.equal(sets.weights.sum(2), expected.double()[:, None].expand(-1, 2))

    def test_upsampling_is_duplicating(self):
        examples, k = data(), 3
        sets = training_sets(examples, [Arm("original"), Arm("upsampled", k)])
        filters = initial_filters(SEEDS, 4, 12, std=0.6, dtype=torch.float64)
        weighted = gradient(filters, sets.pool.patches, sets.pool.labels, sets.weights[:, 1])
        for s in range(len(SEEDS)):
            slow = (~examples.has_fast[s]).nonzero()[:, 0]
            index = torch.cat([torch.arange(N)] + [slow] * (k - 1))
            expected = gradient(filters[s], examples.patches[s, index], examples.labels[s, index])
            torch.testing.assert_close(weighted[s], expected)

    def test_only_what_an_arm_uses(self):
        arms = [Arm("original"), Arm("generated", 2), Arm("generated", 4)]
        sets = training_sets(data(), arms)
        used = [sorted(set(sets.part[(weights > 0).any(0)].tolist())) for weights in sets.weights.unbind(1)]
        assert used == [[0], [0, 1], [0, 1, 2, 3]]


class TestGenerated:
    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_same_features_and_label_new_noise(self, reading):
        examples = data(reading=reading, label_noise=0.3)
        sets = training_sets(examples, [Arm("generated", 3)])
        pool = sets.pool
        for s in range(len(SEEDS)):
            slow = (~examples.has_fast[s]).nonzero()[:, 0]
            for part in (1, 2):
                mine = (sets.part == part) & (sets.source[s] >= 0)
                assert torch.equal(sets.source[s, mine], slow)
                for name in ("labels", "true_labels", "has_fast", "roles"):
                    assert torch.equal(getattr(pool, name)[s, mine], getattr(examples, name)[s, slow])
                is_noise = examples.roles[s, slow] == NOISE
                new, old = pool.patches[s, mine], examples.patches[s, slow]
                assert torch.equal(new[~is_noise], old[~is_noise])
                assert not (new[is_noise] == old[is_noise]).any()

    def test_real_examples_come_first(self):
        examples = data()
        sets = training_sets(examples, [Arm("generated", 2)])
        assert torch.equal(sets.pool.patches[:, :N], examples.patches)
        assert (sets.part[:N] == 0).all() and torch.equal(sets.source[0, :N], torch.arange(N))
        empty = sets.source < 0  # of seeds with fewer slow examples than others
        assert empty.any() and not sets.pool.patches[empty].any() and not sets.weights[:, 0][empty].any()

    def test_noise_level(self):
        """That of the data; variance within 5 standard errors."""
        for std in (0.125, 0.5, 0.0):
            sets = training_sets(data(noise_std=std), [Arm("generated", 4)])
            synthetic = (sets.part > 0) & (sets.source >= 0)
            noise = sets.pool.patches[synthetic[:, :, None] & (sets.pool.roles == NOISE)]
            error = 5 * std**2 * (2 / noise.numel()) ** 0.5
            assert noise.square().mean().item() == pytest.approx(std**2, abs=error)

    def test_a_larger_k_shares_random_numbers(self):
        small, large = (training_sets(data(), [Arm("generated", k)]).pool.patches for k in (2, 4))
        assert torch.equal(large[:, : small.shape[1]], small)

    def test_orthogonal_noise_stays_orthogonal(self):
        distribution = PatchDistribution(num_patches=2, reading="B", dim=60, alpha=0.5, orthogonal_noise=True)
        sets = training_sets(distribution.sample(20, [1], dtype=torch.float64), [Arm("generated", 3)])
        pool = sets.pool
        noise = pool.patches[0][(pool.roles[0] == NOISE) & (sets.weights[0, 0] > 0)[:, None]]
        assert len(noise) == sets.weights.sum()
        gram = noise @ noise.T
        torch.testing.assert_close(gram, gram.diag().diag(), rtol=0, atol=1e-12)
        assert max((noise @ v[0]).abs().max() for v in (pool.v_e, pool.v_d)) < 1e-12

    def test_nothing_is_slow(self):
        sets = training_sets(data(alpha=1.0), [Arm("generated", 3), Arm("upsampled", 3)])
        assert sets.weights.shape == (len(SEEDS), 2, N) and (sets.weights == 1).all()


class TestRefusals:
    @pytest.mark.parametrize(
        "options, message",
        [
            (("copied",), "unknown arm 'copied'"),
            (("original", 2), "k must be 1 for the original, got 2"),
            (("upsampled", 0), "k must be a whole number of at least 1, got 0"),
            (("upsampled", float("nan")), "k must be a whole number"),
            (("generated", 2.5), "k must be a whole number of at least 1, got 2.5"),
        ],
    )
    def test_what_is_no_arm(self, options, message):
        with pytest.raises(ValueError, match=message):
            Arm(*options)

    def test_arms(self):
        with pytest.raises(ValueError, match="at least one arm and none twice"):
            training_sets(data(), [])
        with pytest.raises(ValueError, match="none twice"):
            training_sets(data(), [Arm("generated", 2), Arm("generated", 2)])

    def test_too_small_a_dimension_for_orthogonal_noise(self):
        distribution = PatchDistribution(num_patches=2, reading="B", dim=30, alpha=0.5, orthogonal_noise=True)
        with pytest.raises(ValueError, match="orthogonal noise of all generated examples needs dim >= "):
            training_sets(distribution.sample(20, [1]), [Arm("generated", 3)])
