"""Every network behind `build_classifier` on tiny images, and torchvision's against torchvision's own."""

import pytest
import torch
from torch import nn
from torchvision import models

from synaug.classifiers import build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.attention import grad_cam
from synaug.classifiers.warm_up import warm_up
from synaug.metrics.encoders import encode

SMALL = ("resnet8", "vgg5", "vit_tiny")
VITS = ("vit_tiny", "vit_small")


def side(name):
    """The smallest that the network takes."""
    return ARCHITECTURES[name].smallest


def random_bytes(n, shape):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def floats(n, shape):
    return random_bytes(n, shape).float() / 127.5 - 1


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_goes_through_the_package(name):
    """Warm-up with SAM, features, predictions, Grad-CAM; no draw from the global generator; all weights take part."""
    images, labels = random_bytes(4, (1, side(name), side(name))), torch.tensor([0, 1, 2, 0])
    state = torch.get_rng_state()
    model = build_classifier(name, tuple(images.shape[1:]), 3, seed=0)
    evidence = warm_up(model, images, labels, steps=1, passes=1, seed=0, batch_size=4, optimizer="sam", lr=1e-3)
    assert evidence.logits.shape == (4, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())
    inputs = images.float() / 127.5 - 1
    features = encode(inputs, model, cache=False)
    with torch.no_grad():
        torch.testing.assert_close(model.head(features).softmax(dim=1), predict(model, images), rtol=1e-3, atol=1e-5)
    if name in VITS:
        with pytest.raises(ValueError, match="TokenClassifier has none"):
            grad_cam(model, images, labels)
    else:
        maps = grad_cam(model, images, labels)
        assert maps.shape == (4, side(name), side(name)) and maps.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_small_networks_take_grey_and_coloured_images(name, shape):
    assert build_classifier(name, shape, 7, seed=0)(floats(2, shape)).shape == (2, 7)
    assert count(build_classifier(name, shape, 10, seed=0)) < 120_000


@pytest.mark.parametrize("name", ["resnet8", "vgg5", "vit_tiny", "densenet121"])
def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_classifier(name, (1, 16, 16), 2, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (build_classifier(name, (1, 16, 16), 2, seed=s).state_dict() for s in (3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert sum(not torch.equal(first[key], other[key]) for key in first) >= 5


def torchvision_resnet18():
    net = models.resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def torchvision_vgg19():
    net = models.vgg19_bn(num_classes=10)
    net.features, net.avgpool, net.classifier = net.features[:-1], nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10)
    return net


def torchvision_densenet121():
    net = models.densenet121(num_classes=10)
    net.features.conv0, net.features.pool0 = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def torchvision_convnext_tiny():
    net = models.convnext_tiny(num_classes=10)
    net.features[0][0] = nn.Conv2d(3, 96, 2, 2)
    return net


def torchvision_swin_tiny():
    net = models.swin_t(num_classes=10)
    net.features[0][0] = nn.Conv2d(3, 96, 2, 2)
    for module in net.modules():
        if isinstance(module, models.swin_transformer.ShiftedWindowAttention):
            module.window_size, module.shift_size = [4, 4], [2 * (shift > 0) for shift in module.shift_size]
            module.define_relative_position_bias_table()
            module.define_relative_position_index()
    return net


def torchvision_vit_tiny():
    return models.VisionTransformer(32, 4, num_layers=3, num_heads=2, hidden_dim=64, mlp_dim=128, num_classes=10)


def torchvision_vit_small():
    return models.VisionTransformer(32, 4, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536, num_classes=10)


@pytest.mark.parametrize(
    "changed",
    [
        torchvision_resnet18,
        torchvision_vgg19,
        torchvision_densenet121,
        torchvision_convnext_tiny,
        torchvision_swin_tiny,
        torchvision_vit_tiny,
        torchvision_vit_small,
    ],
)
def test_what_is_computed_is_what_torchvision_computes_but_for_our_changes(changed):
    """torchvision's own network and forward, with our first layers put in and our weights, in their order."""
    ours = build_classifier(changed.__name__.removeprefix("torchvision_"), (3, 32, 32), 10, seed=0).eval()
    with torch.no_grad():
        for p in ours.parameters():  # some start so small, or at 0, that what they weigh would not be seen
            p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    with torch.device("meta"):
        theirs = changed().eval()
    values, names = list(ours.state_dict().values()), list(theirs.state_dict())
    assert len(values) == len(names) and count(ours) == count(theirs)
    theirs.load_state_dict(dict(zip(names, values)), assign=True)
    images = floats(2, (3, 32, 32))
    with torch.no_grad():
        logits = ours(images)
        torch.testing.assert_close(logits, theirs(images), rtol=1e-3, atol=1e-4)
    assert logits.std() > 0.01


def test_a_vit_shows_its_heads():
    """What caches are keyed on: the heads are in no weight's shape."""
    assert [f"heads={heads}" in repr(build_classifier(name, (1, 8, 8), 2, seed=0)) for name, heads in (("vit_tiny", 2), ("vit_small", 6))] == [True, True]
