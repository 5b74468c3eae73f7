"""Checks of values that functions of several folders take."""

import math
import warnings
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch


def whole(name: str, value: object, at_least: int, at_most: int = 2**62) -> int:
    """``value`` as an int; ValueError unless it is a whole number (NumPy's are, True is not) within these limits."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
    if int(value) > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {value}")
    return int(value)


def number(name: str, value: Any, at_least: float = -math.inf, at_most: float = math.inf, *, above: float = -math.inf, below: float = math.inf) -> float:
    """``value`` as a float; ValueError unless it is a finite number (NumPy's are, True is not) within these limits, of
    which ``above`` and ``below`` are excluded themselves."""
    words = {"at least": at_least, "more than": above, "at most": at_most, "less than": below}
    limits = " and ".join(f"{word} {limit:g}" for word, limit in words.items() if math.isfinite(limit))
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # a whole number beyond floats
        found = math.inf
    if not (math.isfinite(found) and at_least <= found <= at_most and above < found < below):
        raise ValueError(f"{name} must be a finite number{' of ' * bool(limits)}{limits}, got {value!r}")
    return found


def one_of(name: str, value: Any, known: Collection[str]) -> None:
    """ValueError unless ``value`` is one of these names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")


def of_kind(name: str, value: Any, kind: type, hint: str = "") -> None:
    """TypeError unless ``value`` is of a class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of the class {kind.__name__}, got {type(value).__name__}{hint}")


def kind_of(value: Any) -> str:
    """What a value is, for an error: a tensor's number format, or the name of its class."""
    return str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__


def in_range(name: str, values: torch.Tensor, n: int) -> None:
    """ValueError unless whole numbers, if there are any, all lie in 0 .. n - 1."""
    if len(values) and not 0 <= values.min() <= values.max() < n:
        raise ValueError(f"{name} must be in 0..{n - 1}, got {int(values.min())}..{int(values.max())}")


def texts(name: str, values: Any) -> tuple[str, ...]:
    """Names as a tuple; TypeError for anything else than several texts."""
    found = tuple(values) if isinstance(values, Iterable) and getattr(values, "ndim", None) != 0 else (None,)
    if isinstance(values, str) or not all(isinstance(value, str) for value in found):
        raise TypeError(f"{name} must be several texts, got {values!r}")
    return found


def as_tensor(name: str, values: Any) -> torch.Tensor:
    """A tensor of one, of an array of any byte order and layout (long doubles become float64), or of a list; TypeError
    where none can be."""
    if isinstance(values, torch.Tensor):
        return values
    try:
        array = np.asarray(values)
        kind = np.float64 if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
        return torch.from_numpy(np.require(array, kind, ["C", "W"]))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, as a tensor, an array or a list; got {type(values).__name__} ({error})") from error


def warn_unit_range(images: torch.Tensor, stacklevel: int = 3) -> None:
    """A warning where images, float in [-1, 1] by contract, all lie in [0, 1]: most likely they were never rescaled.

    stacklevel: the call that the warning points at; 3 is that of the function which calls this one.
    """
    if images.numel() and images.min() >= 0 and images.max() <= 1:
        warnings.warn(
            "the images all lie in [0, 1]; they are taken as they are, with -1 for black and 1 for white (2 * images - 1 brings [0, 1] there)",
            stacklevel=stacklevel,
        )
