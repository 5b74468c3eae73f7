import contextlib
import io
import time

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.spatial.distance import cdist

from synaug.metrics import distances, prdc
from synaug.metrics.neighbours import neighbourhoods

NAMES = ("precision", "recall", "density", "coverage")


def gaussian(n: int, dim: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) + shift


def reference(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        return compute_prdc(real.double().numpy(), fake.double().numpy(), k)


def check(real: torch.Tensor, fake: torch.Tensor, k: int = 5) -> None:
    found, expected = prdc(real, fake, k), reference(real, fake, k)
    assert found.pop("k") == k
    assert found == pytest.approx({name: float(expected[name]) for name in NAMES}, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m", "dim", "k"), [(7, 9, 2, 1), (60, 41, 3, 5), (300, 420, 64, 3), (2100, 1100, 16, 5)])
def test_equal_to_prdc(n, m, dim, k, dtype):
    check(gaussian(n, dim, 0).to(dtype), gaussian(m, dim, 1, 0.8).to(dtype), k)


def test_equal_to_prdc_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 7)
    monkeypatch.setattr(distances, "ELEMENTS", 12)
    check(gaussian(50, 4, 2), gaussian(33, 4, 3, 1.2))


def test_far_from_the_origin_and_at_extreme_scales():
    real, fake = gaussian(200, 5, 4), gaussian(200, 5, 5, 0.9)
    expected = prdc(real, fake)
    check(real + 1000, fake + 1000)
    for scale in (2.0**-70, 2.0**70):  # squares leave the range of float32
        assert prdc(real * scale, fake * scale) == expected


def clusters(x, apart):
    """Rows alternate between two places."""
    return x.double() + apart * (torch.arange(len(x)) % 2)[:, None]


@pytest.mark.parametrize(
    "spread",
    [
        lambda x: clusters(0.1 * x, 1e4).float(),
        lambda x: clusters(x, 1e8),
        lambda x: torch.cat([x, torch.full((1, 6), 1e12)]),
        lambda x: torch.cat([x, torch.full((1, 6), 1e25)]),  # its square leaves the range of float32
        lambda x: 1e-22 * torch.cat([x, torch.full((1, 6), 1e22)]),  # the others' squares do
        lambda x: x * 10.0 ** (torch.arange(len(x)) % 12)[:, None],
        lambda x: x.double() + 1e8,
    ],
)
@pytest.mark.parametrize("k", [1, 5])
def test_distances_that_products_cannot_tell(spread, k):
    """Against differences in float64; scipy's, as the prdc package itself multiplies."""
    real, fake = spread(gaussian(240, 6, 6)), spread(gaussian(1100, 6, 7, 0.9))
    within, between = cdist(real.double(), real.double()), cdist(real.double(), fake.double())
    radii = np.sort(within)[:, k]
    found = neighbourhoods(real, fake, k)
    np.testing.assert_allclose(found.real_radii, radii, rtol=1e-12)
    inside = between[:-1, :-1] < radii[:-1, None]  # from an outlier, all others are equally far
    assert (found.real_occupied.numpy()[:-1] == (between[:-1] < radii[:-1, None]).any(1)).all()
    assert (found.fake_counts[:-1].numpy() - inside.sum(0) <= 1).all()
    assert (found.fake_counts[:-1].numpy() >= inside.sum(0)).all()


def test_an_outlier_costs_no_time():
    real, fake = gaussian(2000, 64, 6), gaussian(2000, 64, 7)
    far, seconds = torch.cat([real[1:], torch.full((1, 64), 1e12)]), {}
    for name, some in (("usual", real), ("outlier", far)):
        runs = []
        for _ in range(3):
            start = time.process_time()
            prdc(some, fake)
            runs.append(time.process_time() - start)
        seconds[name] = min(runs)
    assert seconds["outlier"] < 5 * seconds["usual"]


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_features_whose_squares_no_number_holds_are_refused(size):
    with pytest.raises(ValueError, match="between 1e-140 and 1e140"):
        prdc(size * gaussian(20, 3, 0).double(), size * gaussian(20, 3, 1).double())


def test_exact_ties_on_a_lattice():
    generator = torch.Generator().manual_seed(8)
    real, fake = (torch.randint(0, 5, (n, 3), generator=generator).float() for n in (150, 130))
    check(real, fake)


def test_repeated_points():
    real, fake = gaussian(60, 4, 9).repeat(4, 1), gaussian(50, 4, 10).repeat(3, 1)
    check(real, fake, k=6)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_reduced_precision_products_do_not_matter(precision):
    real, fake = gaussian(300, 32, 11), gaussian(300, 32, 12)
    products = torch.backends.mkldnn.matmul
    expected, before = prdc(real, fake), products.fp32_precision
    products.fp32_precision = precision
    try:
        assert prdc(real, fake) == expected
    finally:
        products.fp32_precision = before


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.longdouble),
        lambda x: np.asfortranarray(x),
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    ],
)
def test_arrays_of_any_layout(change):
    real, fake = gaussian(60, 4, 11), gaussian(50, 4, 12)
    assert prdc(change(real.numpy()), change(fake.numpy())) == prdc(real, fake)


def test_identical_sets_and_identical_points():
    real = gaussian(500, 20, 15)
    assert prdc(real, real) == {"k": 5} | dict.fromkeys(NAMES, 1.0)
    assert prdc(torch.ones(20, 3), torch.ones(20, 3)) == {"k": 5} | dict.fromkeys(NAMES, 0.0)


def test_outer_edge_recall_looks_at_the_sparse_points_only():
    centre, edge = gaussian(90, 2, 18, 0.1), gaussian(10, 2, 19, 0.1) * 30
    real = torch.cat([centre, edge])
    near_centre, everywhere = gaussian(100, 2, 20, 0.1), real + gaussian(100, 2, 21, 0.01)
    centred = neighbourhoods(real, near_centre)
    assert centred.indicators()["recall"].mean() > 0.8
    assert centred.indicators()["outer_edge_recall"].mean() == 0
    assert neighbourhoods(real, everywhere).indicators()["outer_edge_recall"].mean() > 0.8
    assert centred.indicators(1.0)["outer_edge_recall"].mean().item() == prdc(real, near_centre)["recall"]
    assert sorted(centred.outer_edge(0.1).tolist()) == list(range(90, 100))
    assert len(centred.outer_edge(0.101)) == 11


@pytest.mark.parametrize("k", [0, -1, 10, 2.0, True])
def test_bad_k_is_refused(k):
    with pytest.raises(ValueError, match="k must be (a whole number of at least 1|at most 9), got"):
        prdc(torch.zeros(10, 2), torch.zeros(20, 2), k)


@pytest.mark.parametrize("quantile", [0.0, 1.5, np.nan])
def test_bad_quantile_is_refused(quantile):
    with pytest.raises(ValueError, match="quantile"):
        neighbourhoods(torch.zeros(10, 2), torch.zeros(20, 2)).indicators(quantile)


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="differ in dimension"):
        prdc(torch.zeros(10, 2), torch.zeros(10, 3))
    with pytest.raises(ValueError, match="NaN"):
        prdc(torch.zeros(10, 2), torch.full((10, 2), torch.nan))
    with pytest.raises(TypeError):
        prdc(torch.zeros(10, 2).long(), torch.zeros(10, 2))
