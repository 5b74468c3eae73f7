import numpy as np
import pytest

from synaug.checks import number, whole
from synaug.diffusion.schedules import edm_sigmas


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value):
    assert whole("k", value, 3) == 3 and type(whole("k", value, 0)) is int


@pytest.mark.parametrize("value", [2, 3.0, np.float32(3), True, np.True_, "3", None, float("nan")])
def test_others_are_refused(value):
    with pytest.raises(ValueError, match="^k must be a whole number of at least 3, got "):
        whole("k", value, 3)


def test_whole_numbers_have_an_upper_limit_too():
    with pytest.raises(ValueError, match="seed must be at most"):
        whole("seed", 2**70, 0)
    with pytest.raises(ValueError, match="steps must be at most 1000000"):
        edm_sigmas(10**9)


def test_numbers():
    assert number("share", np.float32(0.5), 0, 1) == 0.5 and type(number("churn", 2)) is float
    for wrong in (True, None, "1", float("nan"), float("inf"), 10**400, [1.0], -0.1, 1.1):
        with pytest.raises(ValueError, match="^share must be a finite number of at least 0 and at most 1, got "):
            number("share", wrong, 0, 1)


def test_limits_that_are_excluded():
    assert number("quantile", 1, above=0, at_most=1) == 1 and number("n", 1e-300, above=0) == 1e-300
    for wrong in (0, -1, 1.0, float("nan"), None):
        with pytest.raises(ValueError, match="^confidence must be a finite number of more than 0 and less than 1, got "):
            number("confidence", wrong, above=0, below=1)
