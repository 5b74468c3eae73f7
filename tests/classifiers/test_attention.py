import pytest
import torch
from torch import nn

from synaug.classifiers.attention import agreement, grad_cam


class TwoDetectors(nn.Module):
    """Two channels, the image and its negative part, pooled 2 x 2; then a linear head with known weights."""

    def __init__(self, head):
        super().__init__()
        self.last_block = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(2, len(head), bias=False)
        with torch.no_grad():
            self.last_block[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor(head))

    def forward(self, images):
        return self.head(self.last_block(images).mean(dim=(2, 3)))


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("head", [[[2.0, -1.0], [-1.0, 3.0]], [[1.0, 1.0], [0.5, -4.0]]])
def test_equals_the_closed_form_of_a_linear_head(head, images):
    model, targets = TwoDetectors(head), torch.tensor([0, 1, 0, 1, 1])
    maps = grad_cam(model, images, targets, batch_size=2)
    # The gradient of a logit in every pixel of a channel is its head weight over the number of pixels.
    block = model.last_block(images).detach()
    weights = torch.tensor(head)[targets] / 16
    expected = (weights[:, :, None, None] * block).sum(dim=1, keepdim=True).clamp(min=0)
    expected = nn.functional.interpolate(expected, (8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps, expected / expected.amax(dim=(1, 2), keepdim=True))
    assert maps.shape == (5, 8, 8) and maps.dtype == torch.float32
    assert maps.min() >= 0 and (maps.amax(dim=(1, 2)) == 1).all()


def test_a_class_that_nothing_speaks_for_has_an_empty_map(images):
    maps = grad_cam(TwoDetectors([[-1.0, -1.0], [1.0, 1.0]]), images[:2], torch.tensor([0, 1]))
    assert (maps[0] == 0).all() and maps[1].max() == 1


def test_the_model_keeps_its_mode_and_its_gradients(images):
    model = TwoDetectors([[1.0, 0.0], [0.0, 1.0]]).train()
    grad_cam(model, images, torch.zeros(5, dtype=torch.int64))
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_off_and_weights_frozen_or_of_another_precision(around, images):
    model, targets = TwoDetectors([[2.0, -1.0], [-1.0, 3.0]]), torch.tensor([0, 1, 0, 1, 1])
    expected = grad_cam(model, images, targets)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-6), (torch.float16, 0.01)):
        model.requires_grad_(False).to(dtype)
        with around():
            torch.testing.assert_close(grad_cam(model, images.clone(), targets), expected, rtol=0, atol=tolerance)


def test_agreement_is_pearson_correlation():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 4, 6, 6, generator=generator)
    expected = [torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] for x, y in zip(a, b)]
    torch.testing.assert_close(agreement(a, b), torch.stack(expected))
    torch.testing.assert_close(agreement(a, 0.5 * a + 0.2), torch.ones(4))
    torch.testing.assert_close(agreement(a, 1 - a), -torch.ones(4))
    a[1] = 0
    assert torch.equal(agreement(a, b).isnan(), torch.tensor([False, True, False, False]))


def test_bad_input_is_refused(images):
    model = TwoDetectors([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="one per image"):
        grad_cam(model, images, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"targets must be in 0\.\.1, got 0\.\.2"):
        grad_cam(model, images, torch.tensor([0, 1, 2, 0, 0]))
    with pytest.raises(ValueError, match="maps"):
        agreement(torch.zeros(2, 3, 3), torch.zeros(3, 3, 3))
