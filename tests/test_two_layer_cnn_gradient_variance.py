import math

import pytest
import torch

from synaug.theory.two_layer_cnn.gradient_variance import (
    duplicate_term,
    excess_tolerance,
    generated_variance,
    minibatch_gradients,
    total_variance,
    upsampled_variance,
)
from synaug.theory.two_layer_cnn.network import gradient, initial_filters

TWICE = torch.float64
DRAWS, DIM, NUM_FILTERS, NOISE_STD = 1500, 12, 40, 0.125


def data_sets(n, alpha, k, arm, scale=1.0, seed=0, draws=DRAWS):
    """Augmented sets in reading B, patches ``[R, N', 2, d]`` and labels ``[R, N']``, each with its own noise.

    Exactly alpha n examples are fast. Noise has no part in the first two coordinates, those of the features; synthetic
    noise is `scale` times the real one.
    """
    generator = torch.Generator().manual_seed(seed)
    fast_n = round(alpha * n)
    source = torch.cat([torch.arange(n), torch.arange(fast_n, n).repeat(k - 1)])
    labels = (2 * torch.randint(0, 2, (draws, n), generator=generator) - 1).to(TWICE)[:, source]
    distinct = n if arm == "upsampled" else len(source)
    noise = NOISE_STD * torch.randn(draws, distinct, DIM, dtype=TWICE, generator=generator)
    noise[..., :2] = 0
    noise[:, n:] *= scale
    features = torch.zeros(len(source), DIM, dtype=TWICE)
    features[source < fast_n, 0], features[source >= fast_n, 1] = 1.0, 0.2
    noise = noise[:, source] if arm == "upsampled" else noise
    return torch.stack([labels[..., None] * features, noise], 2), labels


FILTERS = initial_filters([0], NUM_FILTERS, DIM, 1e-3, TWICE)[0]  # so small that every l_i is 1/2


def per_example_variance():
    """Of one example's gradient outside the features' plane, by the moments of a Gaussian.

    For one filter it is -(3/2) y <w, xi>^2 xi, and E[<w, xi>^4 ||xi||^2] = std^6 (3 m + 12) |w|^4 in m coordinates.
    """
    return 2.25 * NOISE_STD**6 * (3 * (DIM - 2) + 12) * FILTERS[:, 2:].square().sum(1).square().sum().item()


def measured(patches, labels, batch_size, seed=1):
    """Variance, relative to per_example / B, of the gradient's noise part on one batch a data set; standard error."""
    gradients = minibatch_gradients(FILTERS, patches, labels, batch_size, torch.Generator().manual_seed(seed))
    return [value * batch_size / per_example_variance() for value in total_variance(gradients[..., 2:])]


#: n, B, k, alpha.
SETTINGS = [(50, 10, 2, 0.6), (50, 10, 5, 0.6), (50, 10, 8, 0.6), (50, 25, 5, 0.6), (50, 50, 5, 0.8), (100, 20, 5, 0.3)]


class TestTheorem43:
    """Monte Carlo over 1,500 data sets and batches; agreement within 4 of its standard errors (about 2 %)."""

    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    def test_upsampling_against_monte_carlo(self, n, batch_size, k, alpha):
        relative, error = measured(*data_sets(n, alpha, k, "upsampled"), batch_size)
        assert error < 0.03 * relative
        exact = upsampled_variance(k, alpha, batch_size, n, batch_size, exact=True)
        assert abs(relative - exact) < 4 * error
        # The paper's term is larger by about 1 in B.
        term = duplicate_term(k, alpha, batch_size, n)
        assert 0 < term - (exact - 1) < 1.01 * term / batch_size

    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    @pytest.mark.parametrize("scale", [1.0, 1.2])
    def test_generation_against_monte_carlo(self, n, batch_size, k, alpha, scale):
        """Synthetic noise of `scale` times the real one's norm has scale^6 times its variance: the network is cubic."""
        relative, error = measured(*data_sets(n, alpha, k, "generated", scale), batch_size)
        expected = generated_variance(k, alpha, batch_size, n, batch_size, batch_size * (scale**6 - 1))
        assert abs(relative - expected) < 4 * error
        assert (expected == 1) == (scale == 1)

    def test_the_check_has_power(self):
        """At k = 5 and B/n = 1/2 the term is over 20 standard errors: Monte Carlo tells copies from new examples."""
        n, batch_size, k, alpha = 50, 25, 5, 0.6
        relative, error = measured(*data_sets(n, alpha, k, "upsampled"), batch_size)
        assert relative - 1 > 20 * error

    def test_full_gradient_has_all_of_it(self):
        """The weights' sum of squares, and the same absolute term whatever B."""
        n, k, alpha = 50, 4, 0.6
        size = 110
        shares = [1 / size] * 30 + [k / size] * 20
        full = upsampled_variance(k, alpha, size, n, exact=True)
        assert math.isclose(full, sum(share**2 for share in shares))
        terms = [upsampled_variance(k, alpha, b, n) - 1 / b for b in (1, 10, 50)]
        assert math.isclose(terms[0], terms[1]) and math.isclose(terms[1], terms[2])

    def test_a_fixed_data_set_has_none_of_it(self):
        """Batches drawn with replacement from one upsampled set: its own population variance over B."""
        batch_size, generator = 20, torch.Generator().manual_seed(0)
        patches, labels = (x[0] for x in data_sets(50, 0.6, 5, "upsampled", draws=1))
        picks = torch.randint(0, len(labels), (DRAWS, batch_size), generator=generator)
        variance, error = total_variance(gradient(FILTERS, patches[picks], labels[picks]))
        each = gradient(FILTERS, patches[:, None], labels[:, None])
        population = (each - each.mean(0)).square().sum((1, 2)).mean().item()
        assert abs(variance - population / batch_size) < 4 * error
        assert error < 0.1 * duplicate_term(5, 0.6, batch_size, 50) * population / batch_size

    def test_original_data_have_no_term(self):
        assert duplicate_term(1, 0.6, 10, 50) == duplicate_term(1, 0.6, 10, 50, exact=True) == 0
        assert duplicate_term(1, 0.0, 1, 1, exact=True) == 0
        assert generated_variance(1, 0.6, 10, 50, excess=5.0) == upsampled_variance(1, 0.6, 10, 50) == 0.1

    def test_batches_hold_distinct_examples(self):
        """With as many as there are, every batch is the whole set."""
        patches, labels = data_sets(20, 0.5, 3, "upsampled", draws=5)
        whole = minibatch_gradients(FILTERS, patches, labels, 40, torch.Generator().manual_seed(0))
        torch.testing.assert_close(whole, gradient(FILTERS, patches, labels))

    def test_bad_input(self):
        for wrong in (0, 111):
            with pytest.raises(ValueError, match=rf"must lie in 1..110, the number of examples, got {wrong}"):
                duplicate_term(4, 0.6, wrong, 50)
        with pytest.raises(ValueError, match="k must be finite and at least 1, got 0.5"):
            upsampled_variance(0.5, 0.6, 10, 50)
        with pytest.raises(ValueError, match=r"batch_size must lie in 1..40"):
            minibatch_gradients(FILTERS, *data_sets(20, 0.5, 3, "upsampled", draws=2), 41, torch.Generator())
        with pytest.raises(ValueError, match="at least two draws, got 1"):
            total_variance(torch.zeros(1, 3))


class TestCorollary44:
    @pytest.mark.parametrize("n, batch_size, k, alpha", SETTINGS)
    def test_threshold_by_bisection(self, n, batch_size, k, alpha):
        low, high = 0.0, 100.0
        for _ in range(60):
            middle = (low + high) / 2
            below = generated_variance(k, alpha, batch_size, n, excess=middle) < upsampled_variance(
                k, alpha, batch_size, n)
            low, high = (middle, high) if below else (low, middle)
        assert math.isclose(low, excess_tolerance(k, alpha, batch_size, n), rel_tol=1e-9)

    @pytest.mark.parametrize("share, lower", [(0.3, True), (2.5, False)])
    def test_order_by_monte_carlo(self, share, lower):
        """Synthetic noise with a share of the tolerated excess; the difference is over 3 standard errors."""
        n, batch_size, k, alpha = 50, 50, 5, 0.6
        scale = (1 + share * excess_tolerance(k, alpha, batch_size, n)) ** (1 / 6)
        generated, error = measured(*data_sets(n, alpha, k, "generated", scale), batch_size)
        upsampled, other = measured(*data_sets(n, alpha, k, "upsampled", seed=2), batch_size)
        assert abs(generated - upsampled) > 3 * math.hypot(error, other)
        assert (generated < upsampled) == lower

    def test_practical_size(self):
        """CIFAR-10 with batches of 128: copies add 0.3 % to the variance; generation may add 0.6 % to an example's."""
        term = duplicate_term(5, 0.7, 128, 50_000)
        assert math.isclose(term, 128 / 50_000 * 20 * 0.3 / 2.2**2) and round(100 * term, 1) == 0.3
        assert round(excess_tolerance(5, 0.7, 128, 50_000), 4) == 0.0058

    def test_bad_input(self):
        with pytest.raises(ValueError, match="k must be finite and more than 1, got 1"):
            excess_tolerance(1, 0.6, 10, 50)
        with pytest.raises(ValueError, match="batch_size must lie in"):
            excess_tolerance(2, 0.6, 0, 50)
