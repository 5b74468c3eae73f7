import math

import pytest
import torch

from synaug.theory.two_layer_cnn.distribution import FAST, NOISE, SLOW, PatchDistribution


def sample(n=400, seeds=(0, 5), dtype=torch.float64, **options):
    return PatchDistribution(**({"dim": 8, "alpha": 0.7} | options)).sample(n, seeds, dtype=dtype)


class TestPatches:
    @pytest.mark.parametrize("reading, num_patches", [("A", 3), ("A", 5), ("B", 2), ("B", 4)])
    def test_feature_patches_of_a_reading(self, reading, num_patches):
        data = sample(num_patches=num_patches, reading=reading)
        assert torch.equal((data.roles == FAST).sum(2), data.has_fast.long())
        has_slow = ~data.has_fast if reading == "B" else torch.ones_like(data.has_fast)
        assert torch.equal((data.roles == SLOW).sum(2), has_slow.long())

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_features_are_as_defined(self, reading):
        data = sample(reading=reading, beta_e=1.5, beta_d=0.25)
        for role, feature in ((FAST, 1.5 * data.v_e), (SLOW, 0.25 * data.v_d)):
            seed, example, position = (data.roles == role).nonzero(as_tuple=True)
            expected = data.true_labels[seed, example, None] * feature[seed]
            torch.testing.assert_close(data.patches[seed, example, position], expected)

    def test_directions_are_orthonormal(self):
        data = sample()
        both = torch.stack([data.v_e, data.v_d], dim=1)
        torch.testing.assert_close(both @ both.mT, torch.eye(2, dtype=torch.float64).expand(2, 2, 2))
        assert not torch.equal(both[0], both[1])

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_moments(self, reading):
        """Frequencies, and the noise's mean and variance in each coordinate, within 5 standard errors."""
        n = 20_000
        data = sample(n, seeds=(3,), reading=reading, noise_std=0.3, label_noise=0.2)
        flipped = data.labels != data.true_labels
        for share, p in ((data.has_fast, 0.7), (data.labels > 0, 0.5), (flipped, 0.2), (flipped & data.has_fast, 0.14)):
            assert share.double().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))
        for role in (FAST, SLOW):
            positions = (data.roles[0] == role).nonzero()[:, 1].bincount() / (data.roles == role).sum()
            assert ((positions - 1 / 3).abs() < 5 * math.sqrt(2 / 9 / (data.roles == role).sum())).all()
        noise = data.patches[data.roles == NOISE]
        assert (noise.mean(0).abs() < 5 * 0.3 / len(noise) ** 0.5).all()
        assert ((noise.square().mean(0) / 0.09 - 1).abs() < 5 * (2 / len(noise)) ** 0.5).all()

    def test_orthogonal_noise(self):
        data = sample(40, seeds=(0, 1), dim=100, orthogonal_noise=True, noise_std=0.3)
        for s in range(2):
            noise = data.patches[s][data.roles[s] == NOISE]
            gram = noise @ noise.T
            torch.testing.assert_close(gram, gram.diag().diag(), rtol=0, atol=1e-12)
            assert (noise @ torch.stack([data.v_e[s], data.v_d[s]]).T).abs().max() < 1e-12
            error = 5 * 0.09 * (2 * 100 / len(noise)) ** 0.5
            assert gram.diag().mean().item() == pytest.approx(0.09 * 100, abs=error)

    def test_no_noise(self):
        data = sample(noise_std=0.0)
        assert (data.patches[data.roles == NOISE] == 0).all()


class TestRandomness:
    def test_streams_share_features_alone(self):
        distribution = PatchDistribution()
        train, test = distribution.sample(50, [0]), distribution.sample(50, [0], stream=1)
        assert torch.equal(train.v_e, test.v_e) and torch.equal(train.v_d, test.v_d)
        assert not (train.patches[train.roles == NOISE][:50] == test.patches[test.roles == NOISE][:50]).any()

    def test_single_precision_is_the_rounded_double(self):
        assert torch.equal(sample(dtype=torch.float32).patches, sample().patches.float())

    def test_does_not_touch_the_global_generator(self):
        before = torch.get_rng_state()
        sample()
        assert torch.equal(before, torch.get_rng_state())


class TestRefusals:
    @pytest.mark.parametrize(
        "options, message",
        [
            ({"reading": "C"}, "unknown reading 'C'"),
            ({"num_patches": 2}, "reading A needs num_patches >= 3, got 2"),
            ({"num_patches": 1, "reading": "B"}, "reading B needs num_patches >= 2"),
            ({"dim": 1}, "dim >= 2"),
            ({"alpha": 1.1}, "alpha must be a finite number of at least 0 and at most 1"),
            ({"alpha": float("nan")}, "alpha must be a finite number of at least 0 and at most 1"),
            ({"beta_d": 2.0}, "beta_d <= beta_e"),
            ({"beta_d": -0.1}, "0 <= beta_d"),
            ({"beta_e": float("inf")}, "beta_e"),
            ({"noise_std": -1.0}, "noise_std"),
            ({"label_noise": 0.6}, "label_noise must be a finite number of at least 0 and at most 0.5"),
        ],
    )
    def test_what_is_no_distribution(self, options, message):
        with pytest.raises(ValueError, match=message):
            PatchDistribution(**options)

    @pytest.mark.parametrize("seeds", [(), (1, 1), (-1,), (0.5,), ("0",)])
    def test_seeds(self, seeds):
        with pytest.raises(ValueError, match="seeds must be distinct integers"):
            PatchDistribution().sample(10, seeds)

    def test_sizes_and_dtype(self):
        with pytest.raises(ValueError, match="at least one example, got n=0"):
            PatchDistribution().sample(0, [0])
        with pytest.raises(ValueError, match="float32 or float64"):
            PatchDistribution().sample(1, [0], dtype=torch.float16)
        with pytest.raises(ValueError, match="needs dim >= 62, got 50"):
            PatchDistribution(orthogonal_noise=True).sample(30, [0])
