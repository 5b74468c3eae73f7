import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from synaug.metrics.near_copies import nearer_than, nearest


def points(n, dim, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


def test_nearest_as_scikit_learn_over_several_blocks():
    x, pool = points(1500, 20, 0) + 100, points(700, 20, 1) + 100  # far from the origin: cancellation would show
    distances, index = nearest(x, pool)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pool.double())
    expected, expected_index = search.kneighbors(x.double())
    np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-6)
    assert (index.numpy() == expected_index[:, 0]).mean() > 0.999


@pytest.mark.parametrize("types", [(torch.float32, torch.float64), (torch.float64, torch.float32),
                                   (torch.float64, torch.float64)])
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


def test_share_of_copies_is_found_and_fresh_images_reach_the_floor():
    trained, fresh, other = points(1000, 8, 3), points(4000, 8, 4), points(4000, 8, 5)
    to_trained, floor = nearest(fresh, trained)[0], nearest(other, trained)[0]
    assert abs(nearer_than(floor, to_trained).double().mean() - 0.01) < 0.005
    copies = torch.cat([other[:900], trained[:100] + 1e-3])
    assert nearer_than(nearest(copies, trained)[0], to_trained)[900:].all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="dimension"):
        nearest(points(3, 4, 0), points(3, 5, 0))
    with pytest.raises(ValueError, match="quantile"):
        nearer_than(torch.ones(3), torch.ones(3), 0)
    with pytest.raises(ValueError, match="at least one"):
        nearer_than(torch.ones(0), torch.ones(3))
