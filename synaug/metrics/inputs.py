"""Checks shared by every metric: what a set of features and its labels must look like."""

from collections.abc import Sequence

import numpy as np
import torch

from synaug.checks import as_tensor

#: What metrics take: features ``[N, D]`` and integer labels ``[N]``.
Features = torch.Tensor | np.ndarray
Labels = torch.Tensor | np.ndarray | Sequence[int]


def as_features(features: Features, name: str, at_least: int = 2) -> torch.Tensor:
    """``features`` as a finite floating tensor ``[N, D]``, N >= ``at_least``, on the device it came from.

    Tensors and NumPy arrays are taken; half precision becomes float32. Raises TypeError for anything
    that is not a floating-point array, ValueError for a wrong shape, too few rows, NaN or infinity.
    """
    if isinstance(features, np.ndarray):
        features = as_tensor(name, features)
    if not isinstance(features, torch.Tensor) or not features.is_floating_point():
        found = features.dtype if isinstance(features, torch.Tensor) else type(features).__name__
        raise TypeError(f"{name} must be a floating-point tensor or array [N, D], got {found}")
    if features.dim() != 2 or features.shape[0] < at_least or features.shape[1] < 1:
        raise ValueError(f"{name} must have shape [N, D] with N >= {at_least}, got {list(features.shape)}")
    # The sum is finite unless an entry is not, or it overflows: only then look at every entry.
    if not torch.isfinite(features.sum()) and not torch.isfinite(features).all():
        first = int((~torch.isfinite(features)).any(1).nonzero()[0])
        raise ValueError(f"{name} contain NaN or infinity, first in row {first}")
    return features.detach() if features.dtype in (torch.float32, torch.float64) else features.detach().float()


def as_feature_pair(real: Features, fake: Features, at_least: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets as ``as_features`` gives them; raises ValueError when their dimensions differ."""
    real, fake = as_features(real, "real features", at_least), as_features(fake, "fake features", at_least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real and fake features differ in dimension: {real.shape[1]} and {fake.shape[1]}")
    return real, fake.to(real.device)


def as_labels(labels: Labels, name: str, n: int) -> np.ndarray:
    """Integer labels ``[n]`` as an int64 array; raises TypeError or ValueError for anything else."""
    labels = as_tensor(name, labels).cpu().numpy()
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name} must be integers, got {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"{name} must have shape [{n}], one label per feature row, got {list(labels.shape)}")
    return labels.astype(np.int64)
