"""Small checks of what a user hands in."""

import warnings

import torch


def warn_unit_range(images: torch.Tensor, stacklevel: int = 3) -> None:
    """A warning where images, float in [-1, 1] by contract, all lie in [0, 1]: most likely they were never rescaled.

    stacklevel: the call that the warning points at; 3 is that of the function which calls this one.
    """
    if images.numel() and images.min() >= 0 and images.max() <= 1:
        warnings.warn("all values of the images lie in [0, 1], where [-1, 1] is expected, 0 being mid-grey: "
                      "2 * images - 1 converts them", stacklevel=stacklevel)
