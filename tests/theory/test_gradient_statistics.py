"""Gradient statistics against gradients written out one by one, against sampling, and against closed forms."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier
from synaug.classifiers.gradients import mean_gradient, per_example_gradients
from synaug.theory import gradient_statistics
from synaug.theory.gradient_statistics import gradient_products, relative_set_variance
from synaug.theory.two_layer_cnn.gradient_variance import duplicate_term, total_variance
from synaug.theory.two_layer_cnn.theory import augmented_size

# Six sources; 1, 3 and 4 have further members, of groups of their own. Not in the order of sources.
SOURCE = torch.tensor([0, 1, 2, 3, 4, 5, 4, 1, 3, 1, 4, 3])
GROUP = torch.tensor([0, 1, 0, 1, 1, 0, 2, 2, 2, 3, 3, 3])
UPSAMPLED = torch.tensor([1, 3, 1, 3, 3, 1] + 6 * [0]) / 12
GENERATED = torch.ones(12) / 12


def network():
    """A small residual network whose batch normalisation has seen data."""
    model = build_classifier("resnet8", (1, 8, 8), 3, seed=0, width=4)
    model(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    return model.eval()


def members(n=12):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(n, 1, 8, 8, generator=generator) * 2 - 1, torch.randint(0, 3, (n,), generator=generator)


@pytest.fixture(scope="module")
def gradients():
    """Of each member, by autograd on it alone, float64 ``[T, P]``."""
    model, (images, labels) = network(), members()
    rows = []
    for image, label in zip(images, labels):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(rows).double()


@pytest.fixture(scope="module")
def products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_statistics, "CHUNK", 4)
        return gradient_products(network(), *members(), SOURCE, GROUP)


def close(value, expected):
    torch.testing.assert_close(torch.as_tensor(value).double(), expected, rtol=1e-4, atol=1e-8)


def residuals(gradients):
    return gradients - torch.stack([gradients[GROUP == g].mean(0) for g in range(4)])[GROUP]


class TestAgainstGradientsOneByOne:
    def test_per_example_gradients(self, gradients):
        close(per_example_gradients(network(), *members()), gradients)
        close(mean_gradient(network(), *members()), gradients.mean(0))

    def test_bytes_are_taken_as_images(self):
        images, labels = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1, 2])
        close(per_example_gradients(network(), images, labels), per_example_gradients(network(), images / 127.5 - 1, labels).double())

    @pytest.mark.parametrize("weights", [UPSAMPLED, GENERATED])
    def test_variances(self, gradients, products, weights):
        full = weights.double() @ gradients
        away = weights[:, None] * (gradients - full)
        variance = (away * (gradients - full)).sum()
        close(products.batch_variance(weights, 5, set_size=12), variance / 5 * 7 / 11)
        clusters = torch.zeros(6, away.shape[1], dtype=torch.float64).index_add_(0, SOURCE, away)
        close(products.set_variance(weights), clusters.square().sum() * 6 / 5)

    @pytest.mark.parametrize("weights", [UPSAMPLED, GENERATED])
    def test_alignments_and_speed(self, gradients, products, weights):
        full, rest = weights.double() @ gradients, residuals(gradients)
        close(products.speed(weights), gradients @ full)
        close(products.alignment(weights), rest @ full)
        same = (SOURCE[:, None] == SOURCE) * weights
        close(products.own_alignment(weights), ((rest @ rest.T) * same).sum(1))

    def test_correlation_and_mean_ratio(self, gradients, products):
        first, second = torch.tensor([1, 3, 4]), torch.tensor([7, 8, 6])
        a, b = residuals(gradients)[first], residuals(gradients)[second]
        close(products.same_source_correlation(first, second), (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
        a, b = gradients[first], gradients[second]
        others = ~torch.eye(3, dtype=torch.bool)  # pairs of different sources
        close(products.mean_ratio(first, second), (a @ b.T)[others].sum() / (a @ a.T)[others].sum())
        close(products.mean_ratio(first, first), torch.tensor(1.0).double())

    def test_pieces_and_mode_do_not_matter(self, products):
        model = network().train()
        before = copy.deepcopy(model.state_dict())
        whole = gradient_products(model, *members(), SOURCE, GROUP)
        close(whole.own, products.own)
        close(whole.onto, products.onto)
        assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_variance_of_sampled_batches(gradients, products):
    """Of mini-batches of shuffled passes; 400 draws of a variance with a standard error of about 3 %."""
    index = torch.arange(6).repeat_interleave((12 * UPSAMPLED[:6]).round().long())
    generator = torch.Generator().manual_seed(0)
    drawn = [gradients[index[torch.randperm(12, generator=generator)[:4]]].mean(0) for _ in range(400)]
    found, error = total_variance(torch.stack(drawn))
    assert abs(found - products.batch_variance(UPSAMPLED, 4, 12)) < 4 * error < 0.3 * found


class Linear(nn.Module):
    """Two logits, of which the second is 0: at weight 0 the gradient of a pixel's weight is half the pixel."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16))

    def forward(self, images):
        logit = images.flatten(1) @ self.weight
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


@pytest.mark.parametrize(("copies", "correlation"), [("copied", 1.0), ("fresh", 0.0), ("half", 0.5)])
def test_variance_over_training_sets(copies, correlation):
    """Gaussian images, 30 fast and 30 slow sources, k = 3: the formula, what it estimates, and new draws agree."""
    k, n, slow, draws = 3, 60, 30, 400
    generator = torch.Generator().manual_seed(3)
    source = torch.cat([torch.arange(n), *[torch.arange(n - slow, n)] * (k - 1)])
    estimates, full = [], []
    for draw in range(draws):
        images = 0.2 * torch.randn(n, 1, 4, 4, generator=generator)
        own = images[source]
        share = {"copied": 1.0, "fresh": 0.0, "half": 0.5**0.5}[copies]
        common, rest = images[n - slow :], 0.2 * torch.randn(k * slow, 1, 4, 4, generator=generator)
        if copies != "copied":  # each member is a common part and a part of its own
            own[n - slow :] = share * torch.cat([common] * k) + (1 - share**2) ** 0.5 * rest
        labels = torch.zeros(len(source), dtype=torch.int64)
        full.append(own.flatten(1).mean(0) / -2)
        if draw < 20:
            group = torch.cat([torch.zeros(n - slow), torch.ones(slow), *[torch.full((slow,), 2.0 + c) for c in range(k - 1)]]).long()
            products = gradient_products(Linear(), own.clamp(-1, 1), labels, source, group)
            close(products.speed(torch.ones(120) / 120).sum() / 120, full[-1].double().square().sum())
            estimates.append(products.set_variance(torch.ones(len(source)) / len(source)))
    actual, error = total_variance(torch.stack(full))
    formula = relative_set_variance(k, 0.5, correlation) * 16 * 0.04 / 4 / n
    assert abs(actual - formula) < 4 * error < 0.15 * actual
    assert abs(torch.tensor(estimates).mean() / formula - 1) < 0.08


def test_relative_set_variance_is_the_theorem():
    """Copies: one example's variance over N' and the term that copies add; new examples: over N' alone."""
    for k, alpha in ((2, 0.7), (5, 0.6)):
        of_size = 1 / augmented_size(1, alpha, k)
        assert relative_set_variance(k, alpha, 0) == pytest.approx(of_size)
        assert relative_set_variance(k, alpha, 1) == pytest.approx(of_size + duplicate_term(k, alpha, 1, 1))
    assert relative_set_variance(1, 0.7, 1) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_keeps_its_mode(monkeypatch, fails):
    model, (images, labels) = network().train(), members()
    model.stem[1].eval()  # a batch normalisation that was frozen
    modes = [module.training for module in model.modules()]
    if fails:
        labels = labels + 7  # which the model has not
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            gradient_products(model, images, labels, SOURCE, GROUP)
    else:
        gradient_products(model, images, labels, SOURCE, GROUP)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": GROUP + 1}, "group must be numbered 0, 1"),
        ({"source": SOURCE[:5]}, r"source must be int64 \[12\], one per member, got torch.int64 \[5\]"),
        ({"group": GROUP.float()}, "group must be int64"),
        ({"images": torch.full((12, 1, 8, 8), 3.0)}, r"lie in \[-1, 1\]"),
    ],
)
def test_bad_members_are_refused(change, message):
    images, labels = members()
    with pytest.raises(ValueError, match=message):
        gradient_products(network(), **{"images": images, "labels": labels, "source": SOURCE, "group": GROUP, **change})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (UPSAMPLED[:6], r"weights must be \[12\]"),
        (UPSAMPLED * 2, "sum to 1, got 0 and a sum of 2"),
        (torch.tensor([2.0, 1, 0] + 9 * [1]) / 12, "members of one group must have one weight"),
    ],
)
def test_bad_weights_are_refused(products, weights, message):
    for method in (products.speed, products.alignment, products.own_alignment, products.set_variance):
        with pytest.raises(ValueError, match=message):
            method(weights)


def test_other_bad_input_is_refused(products):
    with pytest.raises(ValueError, match="call model.eval"):
        per_example_gradients(network().train(), *members())
    for batch_size in (0, 13):
        with pytest.raises(ValueError, match="batch_size must be at least 1 and at most set_size = 12, got"):
            products.batch_variance(GENERATED, batch_size, 12)
    with pytest.raises(ValueError, match="of one source each"):
        products.same_source_correlation(torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(ValueError, match="whole groups"):
        products.mean_ratio(torch.tensor([1]), torch.tensor([7]))
