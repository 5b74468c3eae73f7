import numpy as np
import pytest
import torch

from synaug.metrics import centroid_distance_ratio, covariance_logdet_ratio
from synaug.metrics.concentration import principal_axes


def classes(n: int, dim: int, seed: int, scale: float = 1.0, n_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian classes around fixed means; ``scale`` shrinks them towards their means."""
    rng = np.random.default_rng(seed)
    means = 5 * np.random.default_rng(7).normal(size=(n_classes, dim))
    labels = np.arange(n) % n_classes
    features = means[labels] + scale * rng.normal(size=(n, dim)) * np.linspace(1, 3, dim)
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def test_real_against_itself():
    real, labels = classes(300, 20, 0)
    assert centroid_distance_ratio(real, real, labels, labels) == 1.0
    assert covariance_logdet_ratio(real, real, labels, labels) == 0.0


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3])
def test_shrinking_towards_the_centroids_is_measured_exactly(scale):
    real, labels = classes(300, 20, 1)
    real = real.double()
    centroids = torch.stack([real[labels == c].mean(0) for c in range(3)])[labels]
    fake = centroids + scale * (real - centroids)
    assert centroid_distance_ratio(real, fake, labels, labels) == pytest.approx(scale)
    assert covariance_logdet_ratio(real, fake, labels, labels) == pytest.approx(2 * np.log(scale))


def test_logdet_sees_one_axis_collapse_and_ignores_shifts():
    real, labels = classes(600, 6, 2)
    fake = real.double()
    fake[:, 3] *= 0.1
    all_axes = covariance_logdet_ratio(real, fake, labels, labels, components=6)
    assert all_axes == pytest.approx(2 * np.log(0.1) / 6, abs=1e-6)
    shifted = real + 10.0
    assert covariance_logdet_ratio(real, shifted, labels, labels, components=6) == pytest.approx(0, abs=1e-4)
    assert centroid_distance_ratio(real, shifted, labels, labels) > 2


def test_by_hand_for_one_dimension():
    real, fake = torch.tensor([[-1.0], [1.0], [9.0], [11.0]]), torch.tensor([[-0.5], [0.5], [8.0], [12.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert centroid_distance_ratio(real, fake, labels, labels) == pytest.approx((0.5 + 2) / 2)
    expected = (np.log(0.5**2) + np.log(2.0**2)) / 2
    assert covariance_logdet_ratio(real, fake, labels, labels, components=1) == pytest.approx(expected, abs=1e-12)


def test_axes_are_those_of_pooled_within_class_variance():
    real, labels = classes(3000, 5, 3)
    axes = principal_axes(real, labels, 2)
    assert axes.T @ axes == pytest.approx(np.eye(2), abs=1e-10)
    assert np.abs(axes[[4, 3], [1, 0]]).min() > 0.95  # the last coordinates vary most; class means do not matter


def test_order_and_label_type_do_not_matter():
    (real, labels), (fake, _) = classes(120, 8, 4), classes(90, 8, 5, 0.7)
    fake_labels = labels[:90]
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    for metric in (centroid_distance_ratio, lambda *a: covariance_logdet_ratio(*a, components=4)):
        value = metric(real, fake, labels, fake_labels)
        assert metric(real, fake[order], labels, fake_labels[order]) == pytest.approx(value, rel=1e-9)
        assert metric(real.numpy(), fake.numpy(), labels.int().numpy(), fake_labels.numpy()) == value


def test_a_collapsed_class_is_minus_infinity():
    real, labels = classes(120, 4, 6)
    fake = torch.zeros_like(real)
    assert covariance_logdet_ratio(real, fake, labels, labels, components=2) == -np.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_class_within_a_subspace_is_minus_infinity(dtype):
    """Also where it is far from 0, in single precision, of few copied points; thin but full classes stay finite."""
    real, labels = classes(120, 6, 6)
    flat = real.double() @ torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 0])).double()
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    thin = real.double() @ torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 1e-3])).double()
    few = real[:9][torch.arange(120) % 9].double()  # three points per class
    for fake in (flat @ turned, (flat + 100) @ turned, few):
        assert covariance_logdet_ratio(real, fake.to(dtype), labels, labels, components=6) == -np.inf
        assert covariance_logdet_ratio(fake.to(dtype), fake.to(dtype), labels, labels, components=1) == 0
    assert covariance_logdet_ratio(real, thin.to(dtype), labels, labels, components=6) == pytest.approx(np.log(1e-6) / 6, rel=1e-3)
    part = real.double()
    part[labels == 0] = flat[labels == 0]
    assert covariance_logdet_ratio(part.to(dtype), real, labels, labels, components=6) == np.inf
    assert np.isnan(covariance_logdet_ratio(part.to(dtype), part.to(dtype), labels, labels, components=6))


def test_full_classes_have_the_determinants_of_their_covariances():
    (real, labels), (fake, _) = classes(120, 4, 4), classes(120, 4, 5, 0.7)
    dets = [[np.linalg.slogdet(np.cov(some[labels == c].double().numpy().T))[1] for c in range(3)] for some in (real, fake)]
    expected = (np.mean(dets[1]) - np.mean(dets[0])) / 4
    assert covariance_logdet_ratio(real, fake, labels, labels, components=4) == pytest.approx(expected, rel=1e-10)


def test_bad_input_is_refused():
    real, labels = classes(60, 12, 8)
    with pytest.raises(ValueError, match="classes differ"):
        centroid_distance_ratio(real, real, labels, torch.zeros_like(labels))
    with pytest.raises(ValueError, match="at least 11 points"):
        covariance_logdet_ratio(real[:30], real[:30], labels[:30], labels[:30])
    with pytest.raises(ValueError, match="one label per feature row"):
        centroid_distance_ratio(real, real, labels, labels[:-1])
    with pytest.raises(TypeError, match="integers"):
        centroid_distance_ratio(real, real, labels, labels.float())
    with pytest.raises(ValueError, match="components must be (a whole number of at least 1|at most 12), got"):
        covariance_logdet_ratio(real, real, labels, labels, components=13)
    with pytest.raises(ValueError, match="fewer than 5 axes"):
        flat = torch.cat([real[:, :4], torch.zeros(60, 8)], dim=1)
        covariance_logdet_ratio(flat, flat, labels, labels, components=5)
    with pytest.raises(ValueError, match="coincide"):
        centroid_distance_ratio(torch.zeros(60, 2), real[:, :2], labels, labels)
