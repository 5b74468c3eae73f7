"""How the loss changes around a classifier's weights, and on the line to another's.

All on real images, in evaluation mode, with the statistics of batch normalisation computed on these images, so that what
a network was trained on leaves no trace but its weights.
"""

import copy
import math
import warnings
from dataclasses import dataclass

import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn import functional as F

from synaug.checks import number, of_kind, whole
from synaug.classifiers.gradients import per_example_gradients
from synaug.classifiers.predictions import as_floats, check_images, check_labels, evaluating
from synaug.seeds import seeded

#: Relative residual of the largest eigenvalue, whose own error is of second order in it; vectors of Lanczos' basis: for one
#: eigenvalue, few cost least.
PRECISION, BASIS = 0.05, 8
NUMBERS_AT_ONCE = 2**24  # of gradients of single images, 64 MB


@dataclass(frozen=True)
class Sharpness:
    """At the weights of a classifier, all of them even where training freezes some, of the mean cross-entropy on images:

    loss: itself. largest_eigenvalue, trace: of its Hessian. filter_normalised: how much it rises on average one ``radius``
    away along random directions whose filters have the norms of the network's (Li et al. 2018, sec. 4; biases and norms
    stay), which does not depend on the scale of weights as the Hessian does. gradient_variance: the trace of the covariance
    of the gradients of single images.
    """

    loss: float
    largest_eigenvalue: float
    trace: float
    filter_normalised: float
    gradient_variance: float


def sharpness(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, probes: int = 5, radius: float = 0.25, seed: int = 0, batch_size: int = 250
) -> Sharpness:
    """`Sharpness` of a classifier on images uint8 or float in [-1, 1] ``[N, C, H, W]`` with labels int64 ``[N]``.

    Products with the Hessian by curvlinops, its largest eigenvalue by Lanczos, its trace by Hutchinson's
    estimator; probes: random vectors for the trace, and directions. Takes some 10 + probes products of all images.
    ValueError for other input, and where a loss is not finite.
    """
    probes, batch_size = whole("probes", probes, 1), whole("batch_size", batch_size, 1)
    number("radius", radius, above=0)
    model = refreshed(model, images, labels)
    images, labels = as_floats(images), labels.clone()
    batches = list(zip(images.split(batch_size), labels.split(batch_size)))
    weights = list(model.requires_grad_(True).parameters())  # of a copy
    loss = _loss(model, images, labels, "the network")
    # torch warns of its own use of torch.jit, and of that by what curvlinops imports.
    with warnings.catch_warnings(action="ignore", category=FutureWarning), seeded(seed, torch.device("cpu")):
        from curvlinops import HessianLinearOperator, hutchinson_trace  # they start slowly

        hessian = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, batches, check_deterministic=False)
        start = torch.randn(hessian.shape[0]).numpy()
        dim = hessian.shape[0]
        (largest,) = eigsh(hessian.to_scipy(), k=1, which="LA", tol=PRECISION, ncv=min(dim, BASIS), v0=start, return_eigenvectors=False)
        trace = hutchinson_trace(hessian, min(probes, dim - 1)).item()
        rises = []
        for _ in range(probes):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                for p in (p for p in moved.parameters() if p.ndim > 1):
                    draw = torch.randn_like(p)
                    scale = p.flatten(1).norm(dim=1) / draw.flatten(1).norm(dim=1)
                    p.add_(radius * draw * scale.view(-1, *[1] * (p.ndim - 1)))
            rises.append(_loss(moved, images, labels, f"a network {radius:g} away") - loss)
    return Sharpness(loss, float(largest), trace, sum(rises) / probes, _gradient_variance(model, batches))


@torch.no_grad()
def loss_barrier(model: nn.Module, other: nn.Module, images: torch.Tensor, labels: torch.Tensor, points: int = 9) -> float:
    """The most by which the loss on the line between two networks' weights lies above the line between their losses.

    The barrier of Entezari et al. 2022; that of Frankle et al. 2020 (sec. 2) subtracts the mean of the two ends instead,
    and is another where these differ. At ``points`` between, at each of which the statistics of batch normalisation are
    computed (Jordan et al. 2023); 0 where the networks are the same or lie in one basin. ValueError for networks of other
    weights, and where the loss of one, or of one between, is not finite.
    """
    one, two = (refreshed(m, images, labels) for m in (model, other))
    first, second = one.state_dict(), two.state_dict()
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        raise ValueError("there is no line between networks whose weights differ in number or shape")
    ends = _loss(one, images, labels, "the first network"), _loss(two, images, labels, "the other network")
    between, barrier = copy.deepcopy(one), 0.0
    for i in range(1, whole("points", points, 1) + 1):
        t = i / (points + 1)
        between.load_state_dict({name: torch.lerp(v, second[name], t) if v.is_floating_point() else v for name, v in first.items()})
        found = _loss(refreshed(between, images, labels), images, labels, f"the network {t:.0%} of the way to the other")
        barrier = max(barrier, found - (1 - t) * ends[0] - t * ends[1])
    return barrier


@torch.no_grad()
def refreshed(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """A float32 copy of a classifier on the CPU, in evaluation mode, whose statistics of batch normalisation are those of
    these images: means over parts of some 250, drawn at random, for parts of one class each would have other variances."""
    of_kind("model", model, nn.Module)
    check_images(images, labels)
    check_labels(model, images, labels)
    model = copy.deepcopy(model).cpu().float().eval()
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # a plain mean over parts
        part.train()
    if norms:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        for part in order.tensor_split(max(1, len(images) // 250)):
            model(as_floats(images[part]))
    return model.eval()


@torch.no_grad()
def _loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str) -> float:
    """The mean cross-entropy; ValueError with the name of the network where it is not finite, which no comparison shows."""
    with evaluating(model):
        losses = [F.cross_entropy(model(as_floats(x)), y, reduction="sum") for x, y in zip(images.split(500), labels.split(500))]
    loss = float(sum(losses)) / len(images)
    if not math.isfinite(loss):
        raise ValueError(f"the loss of {name} on these images is {loss}")
    return loss


def _gradient_variance(model: nn.Module, batches) -> float:
    squares, total, n = 0.0, torch.tensor(0.0), 0
    step = max(1, NUMBERS_AT_ONCE // sum(p.numel() for p in model.parameters()))
    for images, labels in batches:
        for x, y in zip(images.split(step), labels.split(step)):
            gradients = per_example_gradients(model, x, y)
            squares, total, n = squares + float(gradients.square().sum()), total + gradients.sum(0), n + len(x)
    return squares / n - float((total / n).square().sum())
