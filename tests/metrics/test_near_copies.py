import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from synaug.augmentation.pool_filters import near_copies
from synaug.metrics import nearer_than, nearest


def points(n, dim, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


def test_nearest_as_scikit_learn_over_several_blocks():
    x, pool = points(1500, 20, 0) + 100, points(700, 20, 1) + 100  # far from the origin: cancellation would show
    distances, index = nearest(x, pool)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pool.double())
    expected, expected_index = search.kneighbors(x.double())
    np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-6)
    assert (index.numpy() == expected_index[:, 0]).mean() > 0.999


@pytest.mark.parametrize("types", [(torch.float32, torch.float64), (torch.float64, torch.float32), (torch.float64, torch.float64)])
def test_precisions_may_differ(types):
    features, pool = points(20, 5, 0), points(30, 5, 1)
    distances, index = nearest(features.to(types[0]), pool.to(types[1]))
    expected, expected_index = nearest(features, pool)
    torch.testing.assert_close(distances, expected)
    assert torch.equal(index, expected_index)


def test_a_copy_has_distance_zero():
    pool = points(50, 784, 2)
    distances, index = nearest(pool[[7, 3]], pool)
    assert distances.tolist() == [0, 0] and index.tolist() == [7, 3]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="dimension"):
        nearest(points(3, 4, 0), points(3, 5, 0))
    with pytest.raises(ValueError, match="quantile"):
        nearer_than(torch.ones(3), torch.ones(3), 0)
    with pytest.raises(ValueError, match="at least one"):
        nearer_than(torch.ones(0), torch.ones(3))


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_far_clusters_are_searched_exactly(scale):
    """Within a cluster, distances are far below the rounding of float32 products."""
    where = torch.from_numpy(np.random.default_rng(6).integers(-3, 4, (160, 1)) * 1e3).float()
    x = scale * points(160, 6, 6) + where
    distances, index = nearest(x[:80], x[80:])
    expected = cdist(x[:80].double(), x[80:].double())
    np.testing.assert_allclose(distances, expected.min(1), rtol=1e-12)
    assert (index.numpy() == expected.argmin(1)).all()


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_duplicates_among_the_real_images_do_not_switch_the_filter_off(noise):
    real = points(1000, 16, 7)
    reference = near_copies(real[500:], real[6:], 0.01)[1]
    real[:6] = real[6:12] + noise * points(6, 16, 8)
    generated = torch.cat([real[500:520] + noise * points(20, 16, 9), points(200, 16, 10)])
    distances, near, _ = near_copies(generated, real, 0.01)
    assert near[:20].all() and near[20:].sum() <= 5 and reference.all()
    for same in (real[:1].repeat(30, 1), real[:1]):
        assert near_copies(torch.cat([same[:1], generated[50:]]), same, 0.5)[1].nonzero().tolist() == [[0]]
    # Fresh images that are copies leave the quantile as it is without them.
    fresh = torch.linspace(1, 2, 100, dtype=torch.float64)
    spoilt = torch.cat([fresh, torch.zeros(20, dtype=torch.float64)])
    sample = torch.tensor([0, 1.04, 1.06], dtype=torch.float64)
    for among in (fresh, spoilt):
        assert nearer_than(sample, among, 0.05).tolist() == [True, True, False]
    assert nearer_than(sample, torch.zeros(3), 0.05).tolist() == [True, False, False]


def test_nan_is_an_error_that_says_where():
    broken = points(5, 4, 0)
    broken[3, 2] = torch.nan
    for call in (lambda: nearest(broken, points(3, 4, 1)), lambda: near_copies(points(3, 4, 1), broken, 0.1)):
        with pytest.raises(ValueError, match="NaN or infinity, first in row 3"):
            call()
    with pytest.raises(ValueError, match="fresh_distances hold NaN, first at place 3"):
        nearer_than(torch.ones(3), broken[:, 2])
