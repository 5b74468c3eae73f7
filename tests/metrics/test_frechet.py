import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from synaug.metrics.frechet import frechet_distance


def correlated(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / dim**0.5
    return rng.normal(size=(n, dim)) * np.linspace(0.2, 1.5, dim) @ mixing + shift


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # inside pytorch-fid
def test_agrees_with_pytorch_fid():
    real, fake = correlated(5000, 40, 0), correlated(600, 40, 1, shift=0.1)  # two chunks of rows, and one
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real, fake)]
    assert frechet_distance(real, fake) == pytest.approx(calculate_frechet_distance(*moments[0], *moments[1]), rel=1e-9)


def test_closed_form_for_diagonal_gaussians():
    # Columns that are exactly uncorrelated, with chosen means and standard deviations.
    basis = np.linalg.qr(np.column_stack([np.ones(64), np.random.default_rng(0).normal(size=(64, 6))]))[0][:, 1:]
    basis *= 63**0.5  # sample variance 1, mean 0
    s1, s2, m1, m2 = np.array([[1, 2, 3, 0.5, 1, 4], [2, 2, 1, 0.1, 0, 3], [0] * 6, [1, 0, -2, 0, 0, 0.5]], dtype=float)
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(basis * s1 + m1, basis * s2 + m2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(12, 15), (12, 300), (300, 12), (30, 30), (31, 30)])
def test_fewer_points_than_dimensions(n, m):
    # The square root of a singular covariance by its eigenvectors, negative rounding cut off.
    real, fake = correlated(n, 30, 2), correlated(m, 30, 3, shift=0.2)
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root_a = vectors * np.sqrt(values.clip(0)) @ vectors.T
    middle = np.linalg.eigvalsh(root_a @ b @ root_a).clip(0)
    shift = real.mean(0) - fake.mean(0)
    expected = shift @ shift + np.trace(a) + np.trace(b) - 2 * np.sqrt(middle).sum()
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_dead_and_repeated_features_change_nothing():
    real, fake = correlated(200, 8, 4), correlated(150, 8, 5, shift=0.3)
    expected = frechet_distance(real, fake)
    dead = np.zeros((200, 3)), np.zeros((150, 3))
    assert frechet_distance(np.hstack([real, dead[0]]), np.hstack([fake, dead[1]])) == pytest.approx(expected, rel=1e-9)
    doubled = frechet_distance(np.hstack([real, real]), np.hstack([fake, fake]))
    assert doubled == pytest.approx(2 * expected, rel=1e-7)


def test_invariants():
    real, fake = correlated(120, 9, 6), correlated(90, 9, 7, shift=0.5)
    value = frechet_distance(real, fake)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(fake, real) == pytest.approx(value, rel=1e-10)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(9, 9)))[0]
    assert frechet_distance(3 * real @ rotation + 1, 3 * fake @ rotation + 1) == pytest.approx(9 * value, rel=1e-9)
    single = frechet_distance(torch.from_numpy(real).float(), torch.from_numpy(fake).float())
    assert single == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("real", "fake", "error"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), ValueError),
        (torch.zeros(1, 3), torch.zeros(5, 3), ValueError),
        (torch.zeros(5), torch.zeros(5, 3), ValueError),
        (torch.full((5, 3), torch.nan), torch.zeros(5, 3), ValueError),
        (torch.zeros(5, 3), torch.tensor([[0.0, 0.0, torch.inf]] * 2), ValueError),
        (torch.zeros(5, 3, dtype=torch.uint8), torch.zeros(5, 3), TypeError),
        ([[0.0]], torch.zeros(5, 1), TypeError),
    ],
)
def test_bad_input_is_refused(real, fake, error):
    with pytest.raises(error):
        frechet_distance(real, fake)
