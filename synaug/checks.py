"""Checks of values that functions of several folders take."""

from numbers import Integral


def whole(name: str, value, at_least: int) -> int:
    """``value`` as an int; ValueError unless it is a whole number (NumPy's are, True is not) of at least that."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
    return int(value)
