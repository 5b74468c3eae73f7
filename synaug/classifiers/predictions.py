"""What a classifier is given, and what is read off it: its predictions, their accuracy and entropy."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from synaug.checks import in_range, of_kind, warn_unit_range, whole
from synaug.data import to_floats


def as_floats(images: torch.Tensor) -> torch.Tensor:
    """uint8 images to float32 in ``[-1, 1]``; float images as they are."""
    return to_floats(images) if images.dtype == torch.uint8 else images.float()


def check_tensors(**values) -> None:
    """Raise ValueError unless all are tensors."""
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one")


def check_images(images: torch.Tensor, *labels: torch.Tensor) -> None:
    """Raise ValueError unless these are images (and labels that fit them, where they are given)."""
    check_tensors(images=images, **dict(zip(("labels",), labels)))
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images must be [N, C, H, W] with N > 0, got {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images must be uint8 or float in [-1, 1], got {images.dtype}")
    if images.is_floating_point() and not bool(((images >= -1.001) & (images <= 1.001)).all()):
        raise ValueError("float images must be finite and lie in [-1, 1]")
    if images.is_floating_point():
        warn_unit_range(images, stacklevel=4)
    for given in labels:
        if given.shape != images.shape[:1] or given.dtype != torch.int64:
            raise ValueError(f"labels must be int64 [{len(images)}], one per image, got {given.dtype} {list(given.shape)}")


def as_inputs(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Images as floats of the precision, and on the device, of a model's weights."""
    weight = next((p for p in model.parameters() if p.is_floating_point()), images.new_empty(0, dtype=torch.float32))
    return as_floats(images.to(weight.device)).to(weight.dtype)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it, all of a model is in evaluation mode; after it each module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a model says of images, ``[N, K]``; ValueError where it takes none of this shape, or says something else."""
    try:
        logits = model(as_inputs(images, model))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"the model takes no images of shape {tuple(images.shape[1:])}: {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError(f"the model must map images to logits [N, K], got {getattr(logits, 'shape', type(logits))}")
    return logits


@torch.no_grad()
def check_labels(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str = "labels") -> None:
    """Raise ValueError unless the model maps these images to logits that have all of the labels."""
    with evaluating(model):
        logits = logits_of(model, images[:1])
    in_range(name, labels, logits.shape[1])


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, batch_size: int = 512) -> torch.Tensor:
    """Class probabilities float32 ``[N, K]`` on the CPU, in evaluation mode on the model's device.

    ``images``: uint8, or float in ``[-1, 1]``, ``[N, C, H, W]``. Raises ValueError on anything else, and where outputs
    are NaN or infinite, as those of a network whose training has diverged.
    """
    of_kind("model", model, nn.Module)
    check_images(images)
    batch_size = whole("batch_size", batch_size, 1)
    with evaluating(model):
        logits = [logits_of(model, batch).float().cpu() for batch in images.split(batch_size)]
    probabilities = torch.cat(logits).softmax(dim=1)
    if len(lost := probabilities.isnan().any(dim=1).nonzero()):  # an infinite output, too, leaves NaN
        raise ValueError(
            f"the model's outputs are NaN or infinite for {len(lost)} of {len(images)} images, first for image {int(lost[0])}: its training may have diverged"
        )
    return probabilities


def accuracy(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of samples, in ``[0, 1]``, whose most probable class is the label.

    ``probabilities``: ``[N, K]``, not NaN; ``labels``: int64 ``[N]`` in ``0..K-1``. Raises ValueError on others.
    """
    check_tensors(probabilities=probabilities, labels=labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(f"need probabilities [N, K], labels [N], got {[*probabilities.shape]}, {[*labels.shape]}")
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {labels.dtype}")
    in_range("labels", labels, probabilities.shape[1])
    if probabilities.isnan().any():
        raise ValueError("the probabilities hold NaN")
    return (probabilities.argmax(dim=1) == labels).double().mean().item()


def output_entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of each row in nats, float32 ``[N]`` in ``[0, ln K]``; 0 ln 0 = 0.

    Its mean over samples is the mean conditional entropy of Yamaguchi 2024, eq. 4 (called "marginal" there). Raises
    ValueError unless rows are distributions.
    """
    check_tensors(probabilities=probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be [N, K] with K >= 2, got {tuple(probabilities.shape)}")
    if (probabilities < 0).any() or not ((probabilities.sum(dim=1) - 1).abs() <= 1e-4).all():
        raise ValueError("each row of probabilities must be non-negative and sum to 1")
    return torch.special.entr(probabilities).sum(dim=1)
