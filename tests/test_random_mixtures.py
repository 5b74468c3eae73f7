import pytest
import torch

from synaug.theory import random_mixtures
from synaug.theory.mixtures import SIGMA_DATA, random_mixture

WORLDS = [random_mixture(seed) for seed in range(30)]


def test_is_the_seeds():
    assert torch.equal(random_mixture(5).means, WORLDS[5].means)
    assert torch.equal(random_mixture(5).covariances, WORLDS[5].covariances)
    assert len({float(world.means.abs().max()) for world in WORLDS}) == 30


def test_mean_and_variance_are_as_stated():
    for world in WORLDS:
        mean = world.weights @ world.means
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
        variances = world.covariances.diagonal(dim1=1, dim2=2) + world.means.square()
        assert float((world.weights @ variances).mean()) == pytest.approx(SIGMA_DATA**2)


def test_every_part_lies_in_its_range_and_the_ranges_are_used():
    dimensions = [world.image_shape[0] for world in WORLDS]
    classes = [world.num_classes for world in WORLDS]
    modes = torch.cat([world.classes.bincount() for world in WORLDS]).tolist()
    for values, ends in ((dimensions, random_mixtures.DIMENSIONS), (classes, random_mixtures.CLASSES),
                         (modes, random_mixtures.MODES_PER_CLASS)):
        assert min(values) == ends[0] and max(values) == ends[1]
    for world in WORLDS:
        of_class = torch.zeros(world.num_classes, dtype=torch.float64).index_add(0, world.classes, world.weights)
        assert of_class.max() <= 3.001 * of_class.min()
        for c in range(world.num_classes):
            within = world.weights[world.classes == c]
            assert within.max() <= 10.001 * within.min()
        spreads = world.eigenvalues.sqrt()
        assert spreads.max() <= 10.001 * spreads.min()


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        random_mixture(seed)
