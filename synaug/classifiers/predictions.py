"""What is read off a classifier: its predictions, their accuracy and entropy."""

import torch
from torch import nn

from synaug.classifiers.training import as_floats, check_images


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, batch_size: int = 512) -> torch.Tensor:
    """Class probabilities float32 ``[N, K]`` on the CPU, in evaluation mode on the model's device.

    ``images``: uint8, or float in ``[-1, 1]``, ``[N, C, H, W]``. Raises ValueError on anything else.
    """
    check_images(images)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    logits = [model(as_floats(batch.to(device))).float().cpu() for batch in images.split(batch_size)]
    model.train(training)
    return torch.cat(logits).softmax(dim=1)


def accuracy(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of samples, in ``[0, 1]``, whose most probable class is the label.

    ``probabilities``: ``[N, K]``; ``labels``: int64 ``[N]``. Raises ValueError on other shapes.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"need probabilities [N, K] and labels [N], got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    return (probabilities.argmax(dim=1) == labels).double().mean().item()


def output_entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of each row in nats, float32 ``[N]`` in ``[0, ln K]``; 0 ln 0 = 0.

    Its mean over samples is the mean conditional entropy of Yamaguchi 2024, eq. 4 (called
    "marginal" there). Raises ValueError unless rows are distributions.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be [N, K] with K >= 2, got {tuple(probabilities.shape)}")
    if bool((probabilities < 0).any()) or not torch.allclose(
        probabilities.sum(dim=1), torch.ones(len(probabilities), dtype=probabilities.dtype), atol=1e-4
    ):
        raise ValueError("each row of probabilities must be non-negative and sum to 1")
    return -torch.xlogy(probabilities, probabilities).sum(dim=1)
