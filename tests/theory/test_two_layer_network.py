import pytest
import torch
from torch.nn import functional as F

from synaug.theory.two_layer_cnn import fast_gradient
from synaug.theory.two_layer_cnn.arms import Arm, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchDistribution
from synaug.theory.two_layer_cnn.fast_gradient import FastNetwork
from synaug.theory.two_layer_cnn.groups import grouped
from synaug.theory.two_layer_cnn.network import gradient, initial_filters, logit_terms, logits

DIM, FILTERS, SEEDS = 10, 4, (0, 1, 2)


def instance(n=30, dtype=torch.float64, **options):
    """Filters large enough for margins of order 1, data, and uneven example weights."""
    distribution = PatchDistribution(**({"dim": DIM, "alpha": 0.6, "beta_d": 0.4, "noise_std": 0.3} | options))
    data = distribution.sample(n, SEEDS, dtype=dtype)
    filters = initial_filters(SEEDS, FILTERS, DIM, std=0.6, dtype=dtype)
    weights = torch.rand(len(SEEDS), n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    return filters, data, weights


def loss(filters, patches, labels, weights=None):
    """The weighted mean of log(1 + exp(-y f))."""
    weights = torch.ones_like(labels) if weights is None else weights
    return (weights / weights.sum(-1, keepdim=True) * F.softplus(-labels * logits(filters, patches))).sum(-1)


class TestNetwork:
    def test_logits_spelled_out(self):
        filters, data, _ = instance(n=3)
        found = logits(filters, data.patches)
        for s in range(len(SEEDS)):
            for i in range(3):
                expected = sum(torch.dot(w, x).item() ** 3 for w in filters[s] for x in data.patches[s, i])
                assert found[s, i].item() == pytest.approx(expected, rel=1e-12)

    def test_logit_terms(self):
        filters, data, _ = instance()
        margins = data.labels * logits(filters, data.patches)
        torch.testing.assert_close(logit_terms(filters, data.patches, data.labels), 1 / (1 + margins.exp()))

    @pytest.mark.parametrize("weighted", [True, False])
    def test_gradient_is_autograds(self, weighted):
        filters, data, weights = instance()
        weights = weights if weighted else None
        filters.requires_grad_()
        (expected,) = torch.autograd.grad(loss(filters, data.patches, data.labels, weights).sum(), filters)
        found = gradient(filters.detach(), data.patches, data.labels, weights)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)

    def test_leading_dimensions_broadcast(self):
        filters, data, weights = instance()
        arms = torch.stack([filters, 2 * filters], dim=1)
        found = gradient(arms, data.patches[:, None], data.labels[:, None], weights[:, None])
        for a in range(2):
            torch.testing.assert_close(found[:, a], gradient(arms[:, a], data.patches, data.labels, weights))

    def test_initial_filters(self):
        """Standard deviation within 5 standard errors; each seed its own, whatever the others."""
        filters = initial_filters((0, 4), 100, 50, std=0.02, dtype=torch.float64)
        assert filters.std().item() == pytest.approx(0.02, rel=5 / (2 * filters.numel()) ** 0.5)
        assert torch.equal(filters[1:], initial_filters((4,), 100, 50, std=0.02, dtype=torch.float64))
        assert not (filters[0] == filters[1]).any()


ARMS = (Arm("original"), Arm("upsampled", 3), Arm("generated", 3), Arm("generated", 2))


def fast_network(sets):
    pool = sets.pool
    strengths = pool.v_e.new_tensor([pool.distribution.beta_e, pool.distribution.beta_d])
    return FastNetwork(grouped(sets), torch.stack([pool.v_e, pool.v_d], dim=1), strengths, FILTERS)


def arms_instance(dtype=torch.float64, **options):
    """Sets of all kinds of arms, and filters of their own for each arm."""
    filters, data, _ = instance(dtype=dtype, **options)
    sets = training_sets(data, ARMS)
    shifts = torch.randn(len(SEEDS), len(ARMS), FILTERS, DIM, generator=torch.Generator().manual_seed(1))
    return filters[:, None] + 0.2 * shifts.to(dtype), sets


class TestFastNetwork:
    @pytest.mark.parametrize("block", [50, 1_000, 2**17])  # pieces of a seed, a few seeds, everything at once
    @pytest.mark.parametrize("options", [{}, {"label_noise": 0.3}, {"num_patches": 5}, {"reading": "B"}, {"reading": "B", "num_patches": 2}])
    def test_gradient_is_the_dense_one(self, options, block, monkeypatch):
        monkeypatch.setattr(fast_gradient, "BLOCK", block)
        filters, sets = arms_instance(**options)
        expected = gradient(filters, sets.pool.patches[:, None], sets.pool.labels[:, None], sets.weights)
        torch.testing.assert_close(fast_network(sets).gradient(filters), expected, rtol=1e-11, atol=1e-13)

    def test_in_single_precision(self):
        filters, sets = arms_instance(dtype=torch.float32)
        expected = gradient(filters.double(), sets.pool.patches[:, None].double(), sets.pool.labels[:, None].double(), sets.weights)
        found = fast_network(sets).gradient(filters)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected.double(), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("block", [50, 2**17])
    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_outputs_are_the_dense_ones(self, reading, block, monkeypatch):
        """Sorted, since groups have an order of their own."""
        monkeypatch.setattr(fast_gradient, "BLOCK", block)
        filters, sets = arms_instance(reading=reading, label_noise=0.2)
        pool, a = sets.pool, 2
        margins = pool.labels * logits(filters[:, a], pool.patches)
        z = pool.labels[:, :, None, None] * torch.einsum("sjd,snpd->snpj", filters[:, a], pool.patches)
        is_noise = pool.roles == NOISE
        noise = (z.amax(3) * is_noise).sum(2) / is_noise.sum(2)
        found = list(fast_network(sets).outputs(filters))
        for s in range(len(SEEDS)):
            used = sets.weights[s, a] > 0
            rows = [(group, group.arms.index(a), m, x) for group, m, x in found if a in group.arms]
            for expected, values in ((margins, [m[s, i][g.present[s]] for g, i, m, _ in rows]), (noise, [x[s, i][g.present[s]] for g, i, _, x in rows])):
                torch.testing.assert_close(torch.cat(values).sort().values, expected[s, used].sort().values)


class TestRefusals:
    def test_weights(self):
        filters, data, weights = instance()
        for bad in (-weights, 0 * weights, weights * float("nan"), weights * float("inf")):
            with pytest.raises(ValueError, match="finite and not negative"):
                gradient(filters, data.patches, data.labels, bad)

    def test_initial_filters(self):
        for options in ({"num_filters": 0}, {"dim": 0}, {"std": 0.0}, {"std": float("nan")}):
            with pytest.raises(ValueError, match="need num_filters >= 1"):
                initial_filters([0], **({"num_filters": 3, "dim": 5} | options))
