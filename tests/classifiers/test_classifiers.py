import math

import numpy as np
import pytest
import torch
from small import resnet
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import accuracy, build_classifier, output_entropy, predict, train_classifier
from synaug.classifiers.training import augment_batch, batch_order, learning_rate_factor
from synaug.precision import channels_last, fast_precision


def squares(n, seed=0):
    """uint8 [n, 1, 8, 8]: class 0 bright above, class 1 bright below."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 100, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, :4] += 120
    images[labels == 1, :, 4:] += 120
    return images, labels


@pytest.mark.parametrize(
    ("name", "shape", "dim", "map_side"),
    [
        ("resnet8", (1, 28, 28), 64, 7),
        ("resnet8", (3, 32, 32), 64, 8),
        ("resnet8", (1, 8, 8), 64, 2),
        ("vgg5", (1, 28, 28), 64, 7),
        ("vgg5", (3, 8, 8), 64, 2),
        ("resnet18", (3, 32, 32), 512, 4),
    ],
)
def test_shapes_and_what_is_pooled(name, shape, dim, map_side):
    model = build_classifier(name, shape, 10, seed=0).eval()
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = []
    model.last_block.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        logits, features = model(images), model.features(images)
    assert seen[0].shape == (2, dim, map_side, map_side)
    assert features.shape == (2, dim)
    torch.testing.assert_close(features, seen[0].mean(dim=(2, 3)))
    torch.testing.assert_close(logits, model.head(features))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg", (1, 28, 28), 10, 0), "resnet8, vgg5"),
        (("resnet8", (28, 28), 10, 0), "(C, H, W)"),
        (("resnet18", (3, 8, 8), 10, 0), "at least 16 x 16"),
        (("resnet8", (1, 28, 28), 1, 0), "num_classes must be a whole number of at least 2, got 1"),
        (("resnet8", (1, 28, 28), 10, 0.5), "seed must be a whole number"),
        (("resnet8", (1, 28.0, 28), 10, 0), "image_shape must be a whole number of at least 1, got 28.0"),
        (("resnet18", (3, 32, 32), 10, 0, 16), "width 16: it is of one width"),
        (("vgg5", (3, 32, 32), 10, 0, 0), "width must be a whole number of at least 1"),
        (("convnext_tiny", (3, 28, 28), 10, 0), "at least 32 x 32, got (28, 28)"),
        (("vit_tiny", (1, 30, 30), 10, 0), "multiples of 4, got 30 x 30"),
        (("vit_small", (3, 32, 64), 10, 0), "square"),
    ],
)
def test_bad_architectures_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        build_classifier(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("recipe", ["one_cycle", "paper"])
def test_training_separates_separable_classes(recipe):
    images, labels = squares(64)
    model = resnet(2)
    returned = train_classifier(model, images, labels, steps=40, batch_size=32, recipe=recipe, seed=1)
    assert returned is model and not model.training
    test_images, test_labels = squares(100, seed=1)
    assert accuracy(predict(model, test_images), test_labels) > 0.97


def test_training_is_deterministic_and_takes_bytes_and_floats_alike():
    images, labels = squares(16)
    weights = []
    for form in (images, images.float() / 127.5 - 1):
        model = resnet(2)
        weights.append(train_classifier(model, form, labels, steps=3, batch_size=8, seed=1).head.weight)
    assert torch.equal(*weights)


def test_batches_depend_on_seed_and_length_alone_and_cover_every_image_equally():
    order = batch_order(10, 4, 5, seed=0)
    assert order.shape == (5, 4)
    assert torch.equal(order.flatten().bincount(), torch.full((10,), 2))
    assert torch.equal(order, batch_order(10, 4, 5, seed=0))
    assert torch.equal(order[:3], batch_order(10, 4, 3, seed=0))
    assert not torch.equal(order, batch_order(10, 4, 5, seed=1))
    assert batch_order(3, 8, 2, seed=0).shape == (2, 8)  # fewer images than a batch


def test_flips_and_shifts():
    images = torch.arange(2 * 8 * 8, dtype=torch.float32).view(2, 1, 8, 8).repeat(128, 1, 1, 1)
    assert augment_batch(images, "none", None) is images
    flipped = augment_batch(images, "flip", torch.Generator().manual_seed(0))
    kept, turned = ((flipped == form).all(dim=(1, 2, 3)) for form in (images, images.flip(3)))
    assert (kept ^ turned).all() and 96 < kept.sum() < 160
    moved = augment_batch(images, "flip_crop", torch.Generator().manual_seed(0))
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    windows = [padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    windows += [window.flip(3) for window in windows]
    found = torch.stack([(moved == window).all(dim=(1, 2, 3)) for window in windows])
    assert found.any(dim=0).all() and found.any(dim=1).all()  # always one of them, each of them somewhere


def test_learning_rates():
    assert [learning_rate_factor("one_cycle", p) for p in (0.25, 0.125, 1.0)] == [1, 0.5, 0]
    assert learning_rate_factor("fast", 0.25) == 1
    for recipe, expected in (
        ("paper", {0: 1, 0.29: 1, 0.3: 0.1, 0.6: 0.01, 0.95: 0.001}),
        ("two_drops", {0: 1, 0.49: 1, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01, 0.99: 0.01}),
    ):
        assert {p: learning_rate_factor(recipe, p) for p in expected} == pytest.approx(expected), recipe


def test_the_fast_recipe_is_sgd_on_smoothed_labels_in_batches_of_its_size():
    images, labels = squares(16)
    ours, theirs = resnet(2), channels_last(resnet(2))
    train_classifier(ours, images, labels, steps=2, seed=0, recipe="fast", augment="none")
    given = train_classifier(resnet(2), images, labels, steps=2, seed=0, recipe="one_cycle", lr=0.4, batch_size=512, augment="none", label_smoothing=0.2)
    for one, other in zip(given.state_dict().values(), ours.state_dict().values()):
        assert torch.equal(one, other)  # the options of "fast"
    optimizer = torch.optim.SGD(theirs.parameters(), 0.4, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for step, index in enumerate(batch_order(16, 512, 2, seed=0)):
        optimizer.param_groups[0]["lr"] = 0.4 * learning_rate_factor("fast", (step + 0.5) / 2)
        with torch.autocast("cpu", fast_precision(), enabled=fast_precision() != torch.float32):
            logits = theirs(images[index].float() / 127.5 - 1)
        smoothed = 0.8 * F.one_hot(labels[index], 2) + 0.2 / 2
        optimizer.zero_grad()
        (-(smoothed * logits.float().log_softmax(1)).sum(1).mean()).backward()
        optimizer.step()
    for value, expected in zip(ours.state_dict().values(), theirs.state_dict().values()):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)


def test_divergence_is_an_error():
    images, labels = squares(32)
    model = resnet(2)
    with torch.no_grad():
        model.head.weight.fill_(math.inf)
    with pytest.raises(ArithmeticError, match="diverged.*step 2 of 2.*lower lr"):
        train_classifier(model, images, labels, steps=2, batch_size=8, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "adam"}, "one_cycle, paper"),
        ({"augment": "mixup"}, "none, flip, flip_crop"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"lr": math.nan}, "lr must be a finite number of at least 0, got nan"),
        ({"momentum": -0.1}, "momentum must be"),
        ({"model": resnet(2).half()}, "all float32 or all float64, got {torch.float16}"),
        ({"model": resnet(2).requires_grad_(False)}, "got none"),
        ({"model": nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(0))}, r"logits \[N, K\], got torch.Size\(\[128\]\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "one per image"),
        ({"labels": torch.full((8,), 2)}, r"0\.\.1, got 2\.\.2"),
        ({"labels": torch.zeros(8)}, "int64"),
        ({"images": torch.full((8, 1, 8, 8), 1.5)}, r"\[-1, 1\]"),
        ({"images": torch.full((8, 1, 8, 8), math.nan)}, r"\[-1, 1\]"),
        ({"images": torch.zeros(8, 8, 8)}, r"\[N, C, H, W\]"),
        ({"images": np.zeros((8, 1, 8, 8), np.float32)}, "images must be a tensor, got ndarray; torch.as_tensor"),
        ({"labels": [0] * 8}, "labels must be a tensor, got list"),
        ({"optimizer": "adam"}, "sgd, sam"),
        ({"rho": 0.0}, "rho must be a finite number of more than 0, got 0.0"),
        ({"rho": math.nan}, "rho must be a finite number of more than 0, got nan"),
        ({"order": [0]}, "order must be a tensor int64"),
        ({"order": torch.zeros(1, 4, dtype=torch.int64), "batch_size": 8}, r"int64 \[1, 8\], got torch.int64 \[1, 4\]"),
        ({"order": torch.zeros(1, 8), "batch_size": 8}, r"int64 \[1, 8\]"),
        ({"order": torch.full((1, 8), 8), "batch_size": 8}, r"0\.\.7, got 8\.\.8"),
        ({"images": torch.zeros(8, 1, 8, 8), "augment": "flip_trivial"}, "takes uint8 images"),
        ({"images": torch.zeros(8, 3, 8, 8)}, r"takes no images of shape \(3, 8, 8\)"),
        ({"lr": "x"}, "lr must be a finite number of at least 0, got 'x'"),
        ({"seed": 2**70}, "seed must be at most"),
        ({"device": "gpu"}, "no device gpu"),
        ({"momentum": True}, "momentum must be a finite number of at least 0, got True"),
        ({"model": torch.inference_mode()(resnet)(2)}, "made under torch.inference_mode"),
    ],
)
def test_bad_training_input_is_refused(change, message):
    images, labels = squares(8)
    with pytest.raises(ValueError, match=message):
        train_classifier(**{"model": resnet(2), "images": images, "labels": labels, "steps": 1, "seed": 0, **change})


def test_training_and_predictions_wherever_gradients_are_off_and_in_double_precision():
    images, labels = squares(16)
    found = []
    for around in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        model = resnet(2).double()
        with around():
            train_classifier(model, images.clone(), labels, steps=3, batch_size=8, seed=1)
            found.append(predict(model, images))
    assert model.head.weight.dtype == torch.float64
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    torch.testing.assert_close(predict(model.float(), images), found[0])
    torch.testing.assert_close(predict(model.bfloat16(), images), found[0], rtol=0, atol=0.03)


def test_predictions_leave_each_layer_in_its_mode():
    images, model = squares(4)[0], resnet(2).train()
    model.stem.eval()  # statistics that are kept in training
    predict(model, images)
    with pytest.raises(ValueError, match=r"the model takes no images of shape \(2, 8, 8\)"):
        predict(model, images.expand(4, 2, 8, 8))  # channels that it does not have
    assert model.training and model.blocks[0].bn1.training and not model.stem[1].training


def test_predictions_are_softmax_of_evaluation_logits_whatever_the_batch():
    images, _ = squares(7)
    model = resnet(3).train()
    probabilities = predict(model, images, batch_size=2)
    assert model.training  # as it was
    with torch.no_grad():
        expected = model.eval()(images.float() / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(probabilities, expected)
    assert probabilities.dtype == torch.float32


def test_accuracy_and_entropy_against_closed_forms():
    probabilities = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(output_entropy(probabilities), torch.tensor([0.0, math.log(3), math.log(2)]))
    one_hot = torch.eye(3)[[0, 1, 2, 0]]
    assert accuracy(one_hot, torch.tensor([0, 1, 1, 0])) == 0.75
    with pytest.raises(ValueError, match="sum to 1"):
        output_entropy(torch.ones(2, 3))
    with pytest.raises(ValueError, match="probabilities"):
        accuracy(one_hot, torch.tensor([0]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_told(value):
    model, images = resnet(2), squares(5)[0]
    model.head.bias.data[1] = value
    with pytest.raises(ValueError, match="outputs are NaN or infinite for 5 of 5 images, first for image 0: its training may have diverged"):
        predict(model.train(), images)
    assert model.training
    model.head.bias.data[1] = -math.inf  # says that a class is impossible
    assert predict(model, images)[:, 0].tolist() == [1] * 5


@pytest.mark.parametrize(
    "probabilities, labels, message",
    [
        (torch.eye(3), [0, 1, 99], r"0\.\.2, got 0\.\.99"),
        (torch.eye(3), [0, -1, 2], r"0\.\.2, got -1\.\.2"),
        (torch.eye(3), [0.0, 1.0, 2.5], "int64, got torch.float32"),
        (torch.eye(3), [True, True, False], "int64, got torch.bool"),
        (torch.full((3, 3), math.nan), [0, 0, 0], "hold NaN"),
    ],
)
def test_accuracy_is_of_numbers_and_of_labels_that_there_are(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        accuracy(probabilities, torch.tensor(labels))
