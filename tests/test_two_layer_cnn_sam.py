import math

import pytest
import torch

from synaug.theory.two_layer_cnn.distribution import NOISE, PatchDistribution
from synaug.theory.two_layer_cnn.network import gradient, initial_filters, logit_terms
from synaug.theory.two_layer_cnn.theory import (
    inner_products,
    measured_sam_ratio,
    noise_strength,
    parallel_k,
    perturbation_scale,
    positively_aligned,
    sam_feature_factor,
    sam_gradient_ratio,
    sam_noise_factor,
)

TWICE = torch.float64


def world(n=20, seeds=range(3), filters=10, std=0.01, dim=64, **distribution):
    """Data with the proofs' orthogonal noise, unless told otherwise, and initial filters, in float64."""
    distribution = {"orthogonal_noise": True, "alpha": 0.6, "dim": dim, **distribution}
    data = PatchDistribution(**distribution).sample(n, seeds, dtype=TWICE)
    return data, initial_filters(seeds, filters, dim, std, TWICE)


def sam_step(filters, data, rho):
    """GD's gradient, the perturbed filters and rho_t."""
    gd = gradient(filters, data.patches, data.labels)
    rho_t = perturbation_scale(gd, rho)
    return gd, filters + rho_t * gd, rho_t


def noise_factors(filters, data, rho_t):
    """`sam_noise_factor` of every patch (meaningless for features)."""
    logits = logit_terms(filters, data.patches, data.labels)
    return sam_noise_factor(inner_products(filters, data.patches), data.labels[:, None, :, None],
                            logits[:, None, :, None], data.patches.square().sum(-1)[:, None], data.labels.shape[1],
                            rho_t[..., None])


def logit_ratios(filters, perturbed, data):
    """l~ / l, shaped to broadcast against ``[S, J, n, P]``."""
    before, after = (logit_terms(w, data.patches, data.labels) for w in (filters, perturbed))
    return (after / before)[:, None, :, None]


class TestSAMFactors:
    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("std", [0.01, 0.3])
    def test_of_features_give_perturbed_filters_and_gradients(self, reading, std):
        data, filters = world(std=std, reading=reading)
        gd, perturbed, rho_t = sam_step(filters, data, 0.05)
        sam = gradient(perturbed, data.patches, data.labels)
        logits, logits_after = (logit_terms(w, data.patches, data.labels) for w in (filters, perturbed))
        has_slow = torch.ones_like(data.has_fast) if reading == "A" else ~data.has_fast
        for v, beta, has in ((data.v_e, 1.0, data.has_fast), (data.v_d, 0.2, has_slow)):
            on_v = (filters @ v[..., None])[..., 0]
            mean, mean_after = ((value * has).mean(1, keepdim=True) for value in (logits, logits_after))
            factor = sam_feature_factor(on_v, beta, mean, rho_t[..., 0])
            torch.testing.assert_close((perturbed @ v[..., None])[..., 0], on_v * factor, rtol=1e-10, atol=1e-14)
            along_gd, along_sam = ((g @ v[..., None])[..., 0] for g in (gd, sam))
            expected = along_gd * sam_gradient_ratio(factor, mean_after / mean)
            torch.testing.assert_close(along_sam, expected, rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("std", [0.01, 0.3])
    def test_of_noise_give_perturbed_filters_and_gradients(self, reading, std):
        data, filters = world(std=std, reading=reading)
        gd, perturbed, rho_t = sam_step(filters, data, 0.05)
        factors, noise = noise_factors(filters, data, rho_t), (data.roles == NOISE)[:, None].expand(-1, 10, -1, -1)
        before, after = inner_products(filters, data.patches), inner_products(perturbed, data.patches)
        torch.testing.assert_close(after[noise], (before * factors)[noise], rtol=1e-10, atol=1e-14)
        ratio = sam_gradient_ratio(factors, logit_ratios(filters, perturbed, data))
        along_gd, along_sam = (inner_products(g, data.patches)[noise] for g in
                               (gd, gradient(perturbed, data.patches, data.labels)))
        torch.testing.assert_close(along_sam, along_gd * ratio[noise], rtol=1e-10, atol=1e-16)
        measured = measured_sam_ratio(filters, data.patches, data.labels, 0.05)[noise]
        torch.testing.assert_close(measured * along_gd.abs(), along_sam.abs())

    def test_without_perturbation_nothing_changes(self):
        data, filters = world()
        assert (measured_sam_ratio(filters, data.patches, data.labels, 0.0) == 1).all()
        with pytest.raises(ValueError, match="rho must be finite and not negative, got -0.1"):
            measured_sam_ratio(filters, data.patches, data.labels, -0.1)

    def test_perturbation_has_length_rho(self):
        data, filters = world()
        gd, perturbed, _ = sam_step(filters, data, 0.05)
        torch.testing.assert_close(torch.linalg.matrix_norm(perturbed - filters), torch.full((3,), 0.05, dtype=TWICE))


class TestTheorem41:
    """SAM suppresses noise learning on I_{j,+}: one SAM and one GD step from equal filters."""

    def draws(self, **options):
        data, filters = world(seeds=range(100), **options)
        noise = (data.roles == NOISE)[:, None]
        aligned = positively_aligned(filters, data.patches, data.labels)
        return data, filters, noise & aligned, noise & ~aligned

    def test_with_controlled_logits_on_every_patch_of_every_draw(self):
        data, filters, positive, negative = self.draws()
        _, _, rho_t = sam_step(filters, data, 0.02)
        ratio = sam_gradient_ratio(noise_factors(filters, data, rho_t))
        assert (ratio[positive] < 1).all() and (ratio[negative] > 1).all()

    def test_with_true_logits_on_almost_every_patch(self):
        """The exceptions are patches that w hardly sees: their factor is within the change of the logit terms."""
        data, filters, positive, negative = self.draws()
        ratio = measured_sam_ratio(filters, data.patches, data.labels, 0.02)
        assert 0.99 < (ratio[positive] < 1).double().mean() < 1
        assert (ratio[negative] > 1).all()

    def test_after_one_step_noise_is_learned_less(self):
        data, filters, positive, negative = self.draws()
        gd, perturbed, _ = sam_step(filters, data, 0.02)
        sam, eta = gradient(perturbed, data.patches, data.labels), 0.1
        learned = [inner_products(filters - eta * g, data.patches) * data.labels[:, None, :, None] for g in (sam, gd)]
        more = learned[0] - learned[1]
        assert (more[positive] < 0).double().mean() > 0.99
        assert (more[negative] > -1e-16).all()

    def test_true_logits_undo_it_for_large_filters(self):
        """J std^3 n no longer small against ||xi||^3, at the same n and still at small logits."""
        data, filters, positive, _ = self.draws(std=0.15, filters=40)
        logits = logit_terms(filters, data.patches, data.labels)
        assert (logits - 0.5).abs().mean() < 0.05
        _, perturbed, rho_t = sam_step(filters, data, 0.02)
        factors = noise_factors(filters, data, rho_t)
        assert (sam_gradient_ratio(factors)[positive] < 1).all()
        assert (measured_sam_ratio(filters, data.patches, data.labels, 0.02)[positive] < 1).double().mean() < 0.5

    def test_fails_without_orthogonal_noise(self):
        """The toy's Gaussian noise overlaps with the features, and they decide what happens along it."""
        data, filters = world(n=500, seeds=range(5), filters=40, dim=50, alpha=0.9, orthogonal_noise=False)
        positive = positively_aligned(filters, data.patches, data.labels) & (data.roles == NOISE)[:, None]
        gd, _, _ = sam_step(filters, data, 0.02)
        gd_noise = inner_products(gd, data.patches).abs()[positive]
        ratio = measured_sam_ratio(filters, data.patches, data.labels, 0.02)[positive]
        own = 3 / 500 * noise_strength(filters, data.patches, data.labels)[positive]
        assert gd_noise.square().mean() > 100 * 500 / 50 * own.square().mean()  # far above what other noise adds
        assert (ratio < 1).double().mean() < 0.6
        assert (ratio * gd_noise).mean() > 1.1 * gd_noise.mean()  # on average SAM learns more of the noise

    def test_overlap_of_noise_exceeds_its_own_term(self):
        """Without features, by about sqrt(n / d), since n inner products of random sign add up (within 15 %)."""
        n, d = 2000, 50
        data, filters = world(n=n, seeds=[0], filters=20, dim=d, beta_e=0.0, beta_d=0.0, num_patches=2, reading="B",
                              orthogonal_noise=False)
        noise = (data.roles == NOISE)[:, None].expand(-1, 20, -1, -1)
        own = 3 / n * noise_strength(filters, data.patches, data.labels)[noise]
        rest = inner_products(gradient(filters, data.patches, data.labels), data.patches)[noise]
        rest = rest + own * data.labels[:, None, :, None].expand_as(noise)[noise]  # the own term is -own y
        assert math.isclose((rest.square().mean() / own.square().mean()).sqrt(), math.sqrt(n / d), rel_tol=0.15)


class OneStep:
    """Data without noise, positive filters, SAM's gradient, and GD's on data whose slow examples count k times."""

    def __init__(self, reading, std, filters=1):
        self.data, w = world(n=50, seeds=[1], filters=filters, std=std, dim=6, reading=reading, noise_std=0.0,
                             orthogonal_noise=False, beta_d=0.8, axis_aligned=True)
        self.filters = w.abs()
        _, perturbed, self.rho_t = sam_step(self.filters, self.data, 0.3 * w.norm().item())
        self.sam = gradient(perturbed, self.data.patches, self.data.labels)

    def upsampled(self, k):
        weights = 1 + (k - 1) * (~self.data.has_fast).to(TWICE)
        return gradient(self.filters, self.data.patches, self.data.labels, weights)


class TestParallelK:
    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_with_controlled_logits(self, reading):
        """Filters so small that every l_i is 1/2 to 1e-8."""
        step = OneStep(reading, 1e-3)
        alpha, w = step.data.has_fast.double().mean().item(), step.filters
        slow_share = 1 if reading == "A" else 1 - alpha
        fast = sam_feature_factor(w[..., 0], 1.0, alpha / 2, step.rho_t[..., 0]).item()
        slow = sam_feature_factor(w[..., 1], 0.8, slow_share / 2, step.rho_t[..., 0]).item()
        k = parallel_k(fast, slow, alpha, reading)
        assert abs(k - 1) > 0.1
        assert misaligned(step.upsampled(k), step.sam) < 1e-7 < 1e-3 < misaligned(step.upsampled(1), step.sam)

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_with_true_logits(self, reading):
        """The same formula, with the ratio of true gradients and the slow examples' share of the slow gradient."""
        step = OneStep(reading, 0.5)
        gd, terms = step.upsampled(1), logit_terms(step.filters, step.data.patches, step.data.labels)
        fast, slow = (math.sqrt(step.sam[..., i] / gd[..., i]) for i in (0, 1))
        share = (terms * ~step.data.has_fast).sum() / terms.sum()
        k = parallel_k(fast, slow, 1 - share.item(), reading)
        assert misaligned(step.upsampled(k), step.sam) < 1e-10 < 1e-3 < misaligned(gd, step.sam)

    def test_no_k_serves_two_filters(self):
        step = OneStep("A", 1e-3, filters=2)
        distances = [misaligned(step.upsampled(k.item()), step.sam) for k in torch.linspace(0.1, 10, 500)]
        assert min(distances) > 1e-3

    def test_bad_input(self):
        with pytest.raises(ValueError, match="unknown reading 'C': choose one of A, B"):
            parallel_k(0.9, 1.0, 0.5, "C")
        with pytest.raises(ValueError, match="without slow examples"):
            parallel_k(0.9, 1.0, 1.0, "A")


def misaligned(one, other):
    """Distance of two unit vectors."""
    return (one / one.norm() - other / other.norm()).norm().item()
