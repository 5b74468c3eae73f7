import math

import pytest
import torch

from synaug.theory.two_layer_cnn.arms import Arm, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchDistribution
from synaug.theory.two_layer_cnn.network import gradient, initial_filters
from synaug.theory.two_layer_cnn.theory import (
    augmented_size,
    noise_align,
    noise_align_generated,
    noise_align_upsampled,
    noise_strength,
    noise_tolerance,
    norm_tolerance,
    positively_aligned,
)

TWICE = torch.float64


class Augmented:
    """16 examples, upsampled and generated, all noise orthogonal; synthetic noise `scale` times the real one's."""

    def __init__(self, k, scale=1.0, filters=8, std=0.01, reading="B"):
        patches = {"A": 3, "B": 2}[reading]
        dim = 16 * (patches - 1) * k + 2
        data = PatchDistribution(patches, dim, alpha=0.3, reading=reading, orthogonal_noise=True).sample(
            16, [0], dtype=TWICE)
        filters = initial_filters([0], filters, dim, std, TWICE)
        arms = [Arm("upsampled", k), Arm("generated", k, scale * data.distribution.noise_std)]
        sets = training_sets(data, arms)
        self.filters, self.pool = filters, sets.pool
        self.weights = {arm.kind: sets.weights[:, a] for a, arm in enumerate(arms)}
        slow_noise = ((sets.pool.roles == NOISE) & ~sets.pool.has_fast[..., None])[:, None]
        slow_noise = slow_noise.expand(-1, filters.shape[1], -1, -1)
        self.real, self.synthetic = (slow_noise & part[:, None] for part in (sets.part == 0, sets.part > 0))

    @property
    def aligned(self):
        return positively_aligned(self.filters, self.pool.patches, self.pool.labels)

    def gradient(self, arm):
        return gradient(self.filters, self.pool.patches, self.pool.labels, self.weights[arm])

    def align(self, arm, where):
        """N' / 3 times NoiseAlign ``[J]`` of the true gradient of an arm."""
        return self.weights[arm].sum() / 3 * noise_align(self.gradient(arm), self.pool.patches, where)[0]

    def strength(self, where):
        """The mean of `noise_strength` ``[J]``."""
        strength = noise_strength(self.filters, self.pool.patches, self.pool.labels)
        return ((strength * where).sum((-2, -1)) / where.sum((-2, -1)))[0]


def isotropic(k, norm=1.0):
    """Real noise of norm 1, synthetic of norm `norm`, and as many orthogonal filters as dimensions."""
    sets = Augmented(k, filters=16 * k + 2)
    patches = sets.pool.patches
    for part, length in ((sets.real, 1.0), (sets.synthetic, norm)):
        where = part[:, 0]
        patches[where] *= length / patches[where].norm(dim=-1, keepdim=True)
    sets.filters = 1e-3 * torch.linalg.qr(sets.filters).Q
    return sets


class TestTheorem42:
    """Generation's NoiseAlign lies below upsampling's exactly while the synthetic noise is within the tolerance."""

    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("k", [2, 5, 8])
    def test_closed_forms_equal_the_true_gradients(self, k, reading):
        sets = Augmented(k, scale=1.3, std=0.2, reading=reading)
        a, a_gamma = sets.strength(sets.real), sets.strength(sets.synthetic)
        torch.testing.assert_close(sets.align("upsampled", sets.real), noise_align_upsampled(a, k))
        torch.testing.assert_close(
            sets.align("generated", sets.real | sets.synthetic), noise_align_generated(a, a_gamma, k))

    @pytest.mark.parametrize("k", range(2, 9))
    def test_below_exactly_while_tolerated(self, k):
        """Filter by filter on I_{j,+}, with the tolerance for the numbers of patches that are in it."""
        below = 0
        for scale in torch.linspace(0.8, 2.2, 8).tolist():
            sets = Augmented(k, scale, filters=50, std=0.2)
            real, synthetic = sets.real & sets.aligned, sets.synthetic & sets.aligned
            upsampled, generated = sets.align("upsampled", real), sets.align("generated", real | synthetic)
            a, a_gamma = sets.strength(real), sets.strength(synthetic)
            counts = [where.sum((-2, -1))[0].double() for where in (real, synthetic)]
            for j in torch.nonzero(counts[0] * counts[1])[:, 0]:
                r = (counts[1][j] / (k - 1) / counts[0][j]).item()
                assert (generated[j] < upsampled[j]) == (a_gamma[j] / a[j] < noise_tolerance(k, r))
                torch.testing.assert_close(generated[j], noise_align_generated(a[j], a_gamma[j], k, r))
            below += (generated < upsampled).double().mean().item()
        assert 1 < below < 7  # both sides of the threshold were seen

    @pytest.mark.parametrize("k", range(2, 9))
    def test_threshold_by_bisection(self, k):
        """Of the norm of the synthetic noise, for exactly isotropic filters and l_i within 1e-6 of 1/2."""
        low, high = 0.5, 3.0
        for _ in range(20):
            middle = (low + high) / 2
            sets = isotropic(k, middle)
            generated = sets.align("generated", sets.real | sets.synthetic).mean()
            low, high = (middle, high) if generated < sets.align("upsampled", sets.real).mean() else (low, middle)
        assert math.isclose(low, norm_tolerance(k), rel_tol=1e-5)

    def test_filters_that_fit_the_noise_tolerate_more(self):
        """Each aligned with all the real noise and half of the synthetic: k + 2, in the mean over filters."""
        sets = Augmented(k=3, filters=2000)
        learned = (sets.pool.labels[..., None, None] * sets.pool.patches)[sets.real[:, 0]].sum(0)
        sets.filters = sets.filters + 0.1 * learned
        share = [(sets.aligned & where).sum() / where.sum() for where in (sets.real, sets.synthetic)]
        assert share[0] > 0.99 and abs(share[1] - 0.5) < 0.02
        assert math.isclose(noise_tolerance(3, (share[1] / share[0]).item()), 3 + 2, rel_tol=0.02)

    def test_summed_once_over_distinct_patches_nothing_is_tolerated(self):
        """The definition matters: A + (k - 1) A_gamma against k A, so equal strengths give equal sums."""
        sets = isotropic(k=4)
        sums = [sets.align(arm, where).mean().item() * where[0, 0].sum().item() for arm, where in
                (("upsampled", sets.real), ("generated", sets.real | sets.synthetic))]
        assert math.isclose(*sums, rel_tol=1e-5)

    def test_features_are_learned_alike(self):
        """Generation that is faithful to them changes only the noise part of the gradient."""
        sets = isotropic(k=4)
        for v in (sets.pool.v_e, sets.pool.v_d):
            upsampled, generated = (sets.gradient(arm) @ v[..., None] for arm in ("upsampled", "generated"))
            torch.testing.assert_close(upsampled, generated, rtol=1e-5, atol=0)

    def test_a_filter_without_such_a_patch_has_none(self):
        sets = Augmented(2)
        assert sets.align("upsampled", torch.zeros_like(sets.real)).isnan().all()

    def test_tolerances(self):
        assert [noise_tolerance(k) for k in (2, 5, 8)] == [3, 6, 9]
        assert noise_tolerance(5, aligned_ratio=0.5) == 7
        assert norm_tolerance(15) == 2
        for bad in (1, 0.5, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"k must be finite and more than 1, got {bad}"):
                noise_tolerance(bad)
        with pytest.raises(ValueError, match="aligned_ratio must be finite and positive, got 0"):
            noise_tolerance(2, 0)
        with pytest.raises(ValueError, match="k must be finite and at least 1, got 0"):
            noise_align_upsampled(1.0, 0)


class TestAugmentedSize:
    def test_counts_what_is_there(self):
        assert augmented_size(50_000, 0.7, 1) == 50_000
        sets = Augmented(4)
        alpha = sets.pool.has_fast[:, :16].double().mean().item()
        for weights in sets.weights.values():
            assert math.isclose(weights.sum(), augmented_size(16, alpha, 4))

    @pytest.mark.parametrize("alpha, k, added", [(0.7, 2, 0.3), (0.6, 2, 0.4), (0.7, 5, 1.2), (0.6, 5, 1.6)])
    def test_the_papers_settings(self, alpha, k, added):
        """30 and 40 % more images at k = 2; at k = 5 it is 120 and 160 %."""
        assert math.isclose(augmented_size(1, alpha, k) - 1, added)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="k must be finite and at least 1, got 0.5"):
            augmented_size(10, 0.5, 0.5)
        with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], got 1.5"):
            augmented_size(10, 1.5, 2)
