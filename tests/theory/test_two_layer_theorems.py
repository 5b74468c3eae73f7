"""The theorems of targeted augmentation against true gradients and Monte Carlo, where their premises hold and where not."""

import math

import pytest
import torch

from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE
from synaug.theory.two_layer_cnn.gradient_variance import (
    augmented_draws,
    duplicate_term,
    excess_tolerance,
    minibatch_gradients,
    relative_variance,
    total_variance,
)
from synaug.theory.two_layer_cnn.network import gradient, inner_products, logit_terms
from synaug.theory.two_layer_cnn.theory import (
    arm_noise_align,
    augmented_size,
    measured_sam_ratio,
    measured_tolerance,
    noise_align,
    noise_strength,
    noise_tolerance,
    perturbation_scale,
    positively_aligned,
)

TWICE = torch.float64


def drawn(n=20, seeds=range(3), filters=10, std=0.01, dim=64, **distribution):
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
    """The page's factor of every noise patch: 1 - 3 rho_t / N l_i y_i <w_j, xi_i> ||xi_i||^2."""
    own = data.labels * logit_terms(filters, data.patches, data.labels) / data.labels.shape[1]
    squares = data.patches.square().sum(-1)[:, None]
    return 1 - 3 * rho_t[..., None] * own[:, None, :, None] * inner_products(filters, data.patches) * squares


class TestTheorem41:
    """SAM suppresses noise learning on I_{j,+}: one SAM and one GD step from equal filters."""

    def draws(self, **options):
        data, filters = drawn(seeds=range(100), **options)
        noise = (data.roles == NOISE)[:, None]
        aligned = positively_aligned(filters, data.patches, data.labels)
        return data, filters, noise & aligned, noise & ~aligned

    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("std", [0.01, 0.3])
    def test_factors_give_perturbed_filters_and_gradients(self, reading, std):
        data, filters = drawn(std=std, reading=reading)
        gd, perturbed, rho_t = sam_step(filters, data, 0.05)
        torch.testing.assert_close(torch.linalg.matrix_norm(perturbed - filters), torch.full((3,), 0.05, dtype=TWICE))
        factors, noise = noise_factors(filters, data, rho_t), (data.roles == NOISE)[:, None].expand(-1, 10, -1, -1)
        before, after = inner_products(filters, data.patches), inner_products(perturbed, data.patches)
        torch.testing.assert_close(after[noise], (before * factors)[noise], rtol=1e-10, atol=1e-14)
        old, new = (logit_terms(w, data.patches, data.labels)[:, None, :, None] for w in (filters, perturbed))
        measured = measured_sam_ratio(filters, data.patches, data.labels, 0.05)
        torch.testing.assert_close(measured[noise], (factors**2 * new / old)[noise])

    def test_without_perturbation_nothing_changes(self):
        data, filters = drawn()
        assert (measured_sam_ratio(filters, data.patches, data.labels, 0.0) == 1).all()
        with pytest.raises(ValueError, match="rho must be a finite number of at least 0, got -0.1"):
            measured_sam_ratio(filters, data.patches, data.labels, -0.1)

    def test_on_every_patch_with_controlled_logits_and_almost_every_one_with_true_logits(self):
        """The exceptions are patches that w hardly sees: their factor is within the change of the logit terms."""
        data, filters, positive, negative = self.draws()
        ratio = noise_factors(filters, data, sam_step(filters, data, 0.02)[2]) ** 2
        assert (ratio[positive] < 1).all() and (ratio[negative] > 1).all()
        ratio = measured_sam_ratio(filters, data.patches, data.labels, 0.02)
        assert 0.99 < (ratio[positive] < 1).double().mean() < 1 and (ratio[negative] > 1).all()

    def test_after_one_step_noise_is_learned_less(self):
        data, filters, positive, negative = self.draws()
        gd, perturbed, _ = sam_step(filters, data, 0.02)
        sam, eta = gradient(perturbed, data.patches, data.labels), 0.1
        learned = [inner_products(filters - eta * g, data.patches) * data.labels[:, None, :, None] for g in (sam, gd)]
        more = learned[0] - learned[1]
        assert (more[positive] < 0).double().mean() > 0.99 and (more[negative] > -1e-16).all()

    def test_true_logits_undo_it_for_large_filters(self):
        """J std^3 n no longer small against ||xi||^3, at the same n and still at small logits."""
        data, filters, positive, _ = self.draws(std=0.15, filters=40)
        assert (logit_terms(filters, data.patches, data.labels) - 0.5).abs().mean() < 0.05
        factors = noise_factors(filters, data, sam_step(filters, data, 0.02)[2])
        assert (factors[positive] ** 2 < 1).all()
        assert (measured_sam_ratio(filters, data.patches, data.labels, 0.02)[positive] < 1).double().mean() < 0.5

    def test_fails_without_orthogonal_noise(self):
        """The toy's Gaussian noise overlaps with the features, and they decide what happens along it."""
        data, filters = drawn(n=500, seeds=range(5), filters=40, dim=50, alpha=0.9, orthogonal_noise=False)
        positive = positively_aligned(filters, data.patches, data.labels) & (data.roles == NOISE)[:, None]
        gd_noise = inner_products(gradient(filters, data.patches, data.labels), data.patches).abs()[positive]
        ratio = measured_sam_ratio(filters, data.patches, data.labels, 0.02)[positive]
        own = 3 / 500 * noise_strength(filters, data.patches, data.labels)[positive]
        assert gd_noise.square().mean() > 100 * 500 / 50 * own.square().mean()  # far above what other noise adds
        assert (ratio < 1).double().mean() < 0.6
        assert (ratio * gd_noise).mean() > 1.1 * gd_noise.mean()  # on average SAM learns more of the noise

    def test_overlap_of_noise_exceeds_its_own_term(self):
        """Without features, by about sqrt(n / d), since n inner products of random sign add up (within 15 %)."""
        n, d = 2000, 50
        data, filters = drawn(n=n, seeds=[0], filters=20, dim=d, beta_e=0.0, beta_d=0.0, num_patches=2, reading="B", orthogonal_noise=False)
        noise = (data.roles == NOISE)[:, None].expand(-1, 20, -1, -1)
        own = 3 / n * noise_strength(filters, data.patches, data.labels)[noise]
        rest = inner_products(gradient(filters, data.patches, data.labels), data.patches)[noise]
        rest = rest + own * data.labels[:, None, :, None].expand_as(noise)[noise]  # the own term is -own y
        assert math.isclose((rest.square().mean() / own.square().mean()).sqrt(), math.sqrt(n / d), rel_tol=0.15)


class Augmented:
    """16 examples, upsampled and generated, all noise orthogonal; synthetic noise `scale` times the real one's."""

    def __init__(self, k, scale=1.0, filters=8, std=0.01, reading="B"):
        patches = {"A": 3, "B": 2}[reading]
        dim = 16 * (patches - 1) * k + 2
        data, filters = drawn(16, [0], filters, std, dim, num_patches=patches, alpha=0.3, reading=reading)
        self.sets = training_sets(data, [Arm("upsampled", k), Arm("generated", k)])
        self.filters, self.pool = filters[0], self.sets.pool
        slow_noise = (self.pool.roles[0] == NOISE) & ~self.pool.has_fast[0][:, None]
        self.real, self.synthetic = (slow_noise & part[:, None] for part in (self.sets.part == 0, self.sets.part > 0))
        self.pool.patches[0][self.synthetic] *= scale

    @property
    def aligned(self):
        return positively_aligned(self.filters, self.pool.patches[0], self.pool.labels[0])

    def gradient(self, arm):
        return gradient(self.filters, self.pool.patches[0], self.pool.labels[0], self.sets.weights[0, arm])

    def align(self, arm, where):
        """N' / 3 times NoiseAlign ``[J]`` of the true gradient of an arm (0: upsampled)."""
        where = where.expand(len(self.filters), -1, -1)
        return self.sets.weights[0, arm].sum() / 3 * noise_align(self.gradient(arm), self.pool.patches[0], where)

    def strength(self, where):
        """The mean of `noise_strength` ``[J]``."""
        strength = noise_strength(self.filters, self.pool.patches[0], self.pool.labels[0])
        return (strength * where).sum((-2, -1)) / where.sum((-2, -1))


def isotropic(k, norm=1.0):
    """Real noise of norm 1, synthetic of norm `norm`, and as many orthogonal filters as dimensions."""
    a = Augmented(k, filters=16 * k + 2)
    for part, length in ((a.real, 1.0), (a.synthetic, norm)):
        patches = a.pool.patches[0]
        patches[part] *= length / patches[part].norm(dim=-1, keepdim=True)
    a.filters = 1e-3 * torch.linalg.qr(a.filters).Q
    return a


class TestTheorem42:
    """Generation's NoiseAlign lies below upsampling's exactly while the synthetic noise is within the tolerance."""

    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("k", [2, 5, 8])
    def test_the_pages_closed_forms_equal_the_true_gradients(self, k, reading):
        a = Augmented(k, scale=1.3, std=0.2, reading=reading)
        real, synthetic = a.strength(a.real), a.strength(a.synthetic)
        torch.testing.assert_close(a.align(0, a.real), k * real)
        torch.testing.assert_close(a.align(1, a.real | a.synthetic), (real + (k - 1) * synthetic) / k)

    @pytest.mark.parametrize("k", range(2, 9))
    def test_below_exactly_while_tolerated(self, k):
        """Filter by filter on I_{j,+}: k + 1 / r with r the aligned share of synthetic patches over that of real ones."""
        below = 0
        for scale in torch.linspace(0.8, 2.2, 8).tolist():
            a = Augmented(k, scale, filters=50, std=0.2)
            real, synthetic = a.real & a.aligned, a.synthetic & a.aligned
            upsampled, generated = a.align(0, real), a.align(1, real | synthetic)
            ratio = a.strength(synthetic) / a.strength(real)
            r = synthetic.sum((-2, -1)) / (k - 1) / real.sum((-2, -1))
            both = (r > 0) & r.isfinite()
            assert torch.equal((generated < upsampled)[both], (ratio < k + 1 / r)[both])
            below += (generated < upsampled).double().mean().item()
        assert 1 < below < 7  # both sides of the threshold were seen

    @pytest.mark.parametrize("k", range(2, 9))
    def test_threshold(self, k):
        """Exactly isotropic filters, l_i within 1e-6 of 1/2: k + 1 in strength, its fourth root in the noise's norm."""
        for factor, below in ((1 - 1e-5, True), (1 + 1e-5, False)):
            a = isotropic(k, factor * noise_tolerance(k) ** 0.25)
            assert (a.align(1, a.real | a.synthetic).mean() < a.align(0, a.real).mean()) == below

    def test_of_arms_on_the_aligned_patches(self):
        """The experiment's measures, against the same by hand."""
        a = Augmented(3, filters=200)
        for arm, where in ((0, a.real), (1, a.real | a.synthetic)):
            where = where & a.aligned
            by_hand = (inner_products(a.gradient(arm), a.pool.patches[0]).abs() * where).sum((-2, -1))
            mean, total = arm_noise_align(a.sets, arm, a.filters)
            assert math.isclose(total, by_hand.mean(), rel_tol=1e-9)
            assert math.isclose(mean, (by_hand / where.sum((-2, -1))).nanmean(), rel_tol=1e-9)
        assert math.isclose(measured_tolerance(a.sets, 0, 1, a.filters), noise_tolerance(3), rel_tol=0.1)

    def test_filters_that_fit_the_noise_tolerate_more(self):
        """Each aligned with all the real noise and half of the synthetic: k + 2, in the mean over filters."""
        a = Augmented(k=3, filters=2000)
        a.filters = a.filters + 0.1 * (a.pool.labels[0][:, None, None] * a.pool.patches[0])[a.real].sum(0)
        share = [(a.aligned & where).sum() / (len(a.filters) * where.sum()) for where in (a.real, a.synthetic)]
        assert share[0] > 0.99 and abs(share[1] - 0.5) < 0.02

    def test_summed_once_over_distinct_patches_nothing_is_tolerated(self):
        """The definition matters: A + (k - 1) A_gamma against k A, so equal strengths give equal sums."""
        a = isotropic(k=4)
        sums = [a.align(arm, where).mean().item() * where.sum().item() for arm, where in ((0, a.real), (1, a.real | a.synthetic))]
        assert math.isclose(*sums, rel_tol=1e-5)

    def test_features_are_learned_alike(self):
        """Generation that is faithful to them changes only the noise part of the gradient."""
        a = isotropic(k=4)
        for v in (a.pool.v_e[0], a.pool.v_d[0]):
            torch.testing.assert_close(a.gradient(0) @ v, a.gradient(1) @ v, rtol=1e-5, atol=0)

    def test_tolerances(self):
        assert [noise_tolerance(k) for k in (2, 5, 8)] == [3, 6, 9]
        a = Augmented(2)
        assert a.align(0, a.real & False).isnan().all()  # filters without such a patch
        for bad in (1, 0.5, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"k must be a finite number of more than 1, got {bad}"):
                noise_tolerance(bad)


@pytest.mark.parametrize("alpha, k, added", [(0.7, 1, 0), (0.7, 2, 0.3), (0.6, 2, 0.4), (0.7, 5, 1.2), (0.6, 5, 1.6)])
def test_augmented_size_in_the_papers_settings(alpha, k, added):
    """30 and 40 % more images at k = 2; at k = 5 it is 120 and 160 %."""
    assert math.isclose(augmented_size(1, alpha, k) - 1, added)
    for bad, message in (
        ((10, 0.5, 0.5), "k must be a finite number of at least 1"),
        ((10, 1.5, 2), "alpha must be a finite number of at least 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            augmented_size(*bad)


#: n, B, k, alpha.
SETTINGS = [(50, 10, 2, 0.6), (50, 10, 5, 0.6), (50, 10, 8, 0.6), (50, 25, 5, 0.6), (50, 50, 5, 0.8), (100, 20, 5, 0.3)]


def measured(kind, n, batch_size, k, alpha, scale=1.0, seed=1):
    return relative_variance(kind, n, alpha, k, batch_size, draws=1500, seed=seed, scale=scale)


def exact_term(k, alpha, batch_size, n):
    """`duplicate_term` for batches without replacement."""
    size = augmented_size(n, alpha, k)
    return k * (k - 1) * (1 - alpha) * n / size * (batch_size - 1) / (size - 1)


def generated_variance(k, alpha, n, excess):
    """Of a batch's gradient, relative to a real example's over B: 1 + pi excess, pi the share of synthetic examples."""
    return 1 + (k - 1) * (1 - alpha) * n / augmented_size(n, alpha, k) * excess


class TestTheorem43:
    """Monte Carlo over 1,500 data sets and batches; agreement within 4 of its standard errors (about 2 %)."""

    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    def test_upsampling_against_monte_carlo(self, n, batch_size, k, alpha):
        relative, error = measured("upsampled", n, batch_size, k, alpha)
        exact = exact_term(k, alpha, batch_size, n)
        assert error < 0.03 * relative and abs(relative - 1 - exact) < 4 * error
        assert batch_size < n / 2 or relative - 1 > 20 * error  # copies are told from new examples
        # The paper's term is larger by about 1 in B.
        term = duplicate_term(k, alpha, batch_size, n)
        assert 0 < term - exact < 1.01 * term / batch_size

    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    @pytest.mark.parametrize("scale", [1.0, 1.2])
    def test_generation_against_monte_carlo(self, n, batch_size, k, alpha, scale):
        """Synthetic noise of `scale` times the real one's norm has scale^6 times its variance: the network is cubic."""
        relative, error = measured("generated", n, batch_size, k, alpha, scale)
        expected = generated_variance(k, alpha, n, scale**6 - 1)
        assert abs(relative - expected) < 4 * error and (expected == 1) == (scale == 1)

    def test_full_gradient_has_all_of_it(self):
        """The weights' sum of squares, and the same absolute term whatever B."""
        n, k, alpha, size = 50, 4, 0.6, 110
        full = (1 + exact_term(k, alpha, size, n)) / size
        assert math.isclose(full, 30 / size**2 + 20 * (k / size) ** 2)
        terms = [duplicate_term(k, alpha, b, n) / b for b in (1, 10, 50)]
        assert math.isclose(terms[0], terms[1]) and math.isclose(terms[1], terms[2])

    def test_a_fixed_data_set_has_none_of_it(self):
        """Batches drawn with replacement from one upsampled set: its own population variance over B."""
        batch_size, generator = 20, torch.Generator().manual_seed(0)
        filters = initial_filters([0], 40, 12, 1e-3, TWICE)[0]
        patches, labels = (x[0] for x in augmented_draws("upsampled", 50, 0.6, 5, 1, 0.125, generator))
        picks = torch.randint(0, len(labels), (1500, batch_size), generator=generator)
        variance, error = total_variance(gradient(filters, patches[picks], labels[picks]))
        each = gradient(filters, patches[:, None], labels[:, None])
        population = (each - each.mean(0)).square().sum((1, 2)).mean().item()
        assert abs(variance - population / batch_size) < 4 * error
        assert error < 0.1 * duplicate_term(5, 0.6, batch_size, 50) * population / batch_size

    def test_original_data_have_no_term(self):
        assert duplicate_term(1, 0.6, 10, 50) == duplicate_term(1, 0.0, 1, 1) == 0

    def test_batches_hold_distinct_examples(self):
        """With as many as there are, every batch is the whole set."""
        generator, filters = torch.Generator().manual_seed(0), initial_filters([0], 40, 12, 1e-3, TWICE)[0]
        patches, labels = augmented_draws("upsampled", 20, 0.5, 3, 5, 0.125, generator)
        whole = minibatch_gradients(filters, patches, labels, 40, generator)
        torch.testing.assert_close(whole, gradient(filters, patches, labels))

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda: duplicate_term(4, 0.6, 111, 50), "must lie in 1..110, the number of examples, got 111"),
            (lambda: excess_tolerance(2, 0.6, 0, 50), "batch_size must lie in"),
            (lambda: duplicate_term(0.5, 0.6, 10, 50), "k must be a finite number of at least 1, got 0.5"),
            (lambda: excess_tolerance(1, 0.6, 10, 50), "k must be a finite number of more than 1, got 1"),
            (lambda: measured("upsampled", 20, 41, 3, 0.5), r"batch_size must lie in 1..40"),
            (lambda: total_variance(torch.zeros(1, 3)), "at least two draws, got 1"),
        ],
    )
    def test_bad_input(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestCorollary44:
    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    def test_both_arms_vary_alike_at_the_threshold(self, n, batch_size, k, alpha):
        excess = excess_tolerance(k, alpha, batch_size, n)
        generated, upsampled = generated_variance(k, alpha, n, excess), 1 + duplicate_term(k, alpha, batch_size, n)
        assert math.isclose(generated, upsampled, rel_tol=1e-9)

    @pytest.mark.parametrize("share, lower", [(0.3, True), (2.5, False)])
    def test_order_by_monte_carlo(self, share, lower):
        """Synthetic noise with a share of the tolerated excess; the difference is over 3 standard errors."""
        n, batch_size, k, alpha = 50, 50, 5, 0.6
        scale = (1 + share * excess_tolerance(k, alpha, batch_size, n)) ** (1 / 6)
        generated, error = measured("generated", n, batch_size, k, alpha, scale)
        upsampled, other = measured("upsampled", n, batch_size, k, alpha, seed=2)
        assert abs(generated - upsampled) > 3 * math.hypot(error, other) and (generated < upsampled) == lower

    def test_practical_size(self):
        """CIFAR-10 with batches of 128: copies add 0.3 % to the variance; generation may add 0.6 % to an example's."""
        term = duplicate_term(5, 0.7, 128, 50_000)
        assert math.isclose(term, 128 / 50_000 * 20 * 0.3 / 2.2**2) and round(100 * term, 1) == 0.3
        assert round(excess_tolerance(5, 0.7, 128, 50_000), 4) == 0.0058
