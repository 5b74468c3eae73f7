"""Checks of values that functions of several folders take."""

import warnings
from numbers import Integral

import torch


def whole(name: str, value: object, at_least: int, at_most: int = 2**62) -> int:
    """``value`` as an int; ValueError unless it is a whole number (NumPy's are, True is not) within these limits."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
    if int(value) > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {value}")
    return int(value)


def warn_unit_range(images: torch.Tensor, stacklevel: int = 3) -> None:
    """A warning where images, float in [-1, 1] by contract, all lie in [0, 1]: most likely they were never rescaled.

    stacklevel: the call that the warning points at; 3 is that of the function which calls this one.
    """
    if images.numel() and images.min() >= 0 and images.max() <= 1:
        warnings.warn("the images all lie in [0, 1]; they are taken as they are, with -1 for black and 1 for white "
                      "(2 * images - 1 brings [0, 1] there)", stacklevel=stacklevel)
