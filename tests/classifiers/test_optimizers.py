import copy
import math

import pytest
import torch
from small import digits, resnet
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers import training as classifier_training
from synaug.classifiers.optimizers import new_optimizer, take_step
from synaug.classifiers.training import augment_batch, batch_order
from synaug.data import to_floats
from synaug.precision import channels_last


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """On every machine: bfloat16 would be too coarse to compare with steps by hand."""
    monkeypatch.setattr(classifier_training, "fast_precision", lambda device: torch.float32)


def sam_step_by_hand(model, images, labels, *, lr, momentum, weight_decay, rho, buffers):
    """SAM around Nesterov's SGD with plain autograd: Foret et al. 2021, algorithm 1."""
    parameters = list(model.parameters())

    def gradients():
        return torch.autograd.grad(F.cross_entropy(model(images), labels), parameters)

    first = gradients()
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in first))
    with torch.no_grad():
        before = [p.clone() for p in parameters]
        statistics = {name: b.clone() for name, b in model.named_buffers()}
        for p, g in zip(parameters, first):
            p += rho * g / norm
    second = gradients()
    with torch.no_grad():
        for name, b in model.named_buffers():
            b.copy_(statistics[name])
        for i, (p, old, g) in enumerate(zip(parameters, before, second)):
            g = g + weight_decay * old
            buffers[i] = g.clone() if buffers[i] is None else momentum * buffers[i] + g
            p.copy_(old - lr * (g + momentum * buffers[i]))


@pytest.mark.parametrize("name", ["resnet8", "vit_tiny"])  # with batch norm, and without
def test_sam_is_the_step_written_out_by_hand(name):
    data, model = digits(24), build_classifier(name, (1, 8, 8), 10, seed=0).train()
    other, options = copy.deepcopy(model), dict(lr=0.05, momentum=0.9, weight_decay=5e-4, rho=0.1)
    optimizer, buffers = new_optimizer("sam", model.parameters(), **options), [None] * len(list(model.parameters()))
    for batch in torch.arange(24).split(8):
        images, labels = data.floats(batch), data.labels[batch]

        def backward():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss.item()

        expected_loss = F.cross_entropy(copy.deepcopy(other)(images), labels).item()
        assert take_step(optimizer, model, backward) == pytest.approx(expected_loss, rel=1e-4)
        sam_step_by_hand(other, images, labels, buffers=buffers, **options)
    state, expected = model.state_dict(), other.state_dict()
    for name in state:
        torch.testing.assert_close(state[name], expected[name], rtol=1e-3, atol=2e-5, msg=name)
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_the_perturbed_pass_does_not_count_in_the_running_statistics():
    """After one step of either optimiser they are the first pass's: the same."""
    data, statistics = digits(16), []
    for optimizer in ("sgd", "sam"):
        model = resnet()
        model.stem[1].momentum = None  # an average of all batches
        train_classifier(model, data.images, data.labels, steps=1, batch_size=16, seed=0, optimizer=optimizer, rho=5.0)
        statistics.append(list(model.buffers()))
    assert all(torch.equal(a, b) and a.abs().sum() > 0 for a, b in zip(*statistics))


@pytest.mark.parametrize(("name", "end"), [("sgd", 1), ("sgd", "update"), ("sam", 1), ("sam", 2), ("sam", "update")])
def test_what_ends_a_step_leaves_all_as_it_was_before(name, end):
    """After a pass, or in the update; the next steps are those of a twin that was not interrupted."""
    data, armed = digits(16), []

    def interrupt(place):
        if place in armed:
            raise KeyboardInterrupt

    def twin():
        model = resnet().train()
        model.stem[1].momentum = None  # an average of all batches
        optimizer = new_optimizer(name, model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        getattr(optimizer, "base_optimizer", optimizer).register_step_post_hook(lambda *_: interrupt("update"))

        def step():
            places = iter((1, 2))

            def backward():
                optimizer.zero_grad()
                F.cross_entropy(model(data.floats()), data.labels).backward()
                interrupt(next(places))

            take_step(optimizer, model, backward)

        return model, step

    (model, step), (other, other_step) = twin(), twin()
    step()
    other_step()
    armed.append(end)
    with pytest.raises(KeyboardInterrupt):
        step()
    armed.clear()
    for _ in range(2):
        for value, expected in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(value, expected)
        step()
        other_step()
    assert model.stem[1].momentum is None and model.blocks[0].bn1.momentum == 0.1


def test_training_takes_the_steps_of_its_recipe():
    """The whole loop against plain autograd: order of batches, augmentation, learning rates, SAM."""
    data, model, other = digits(32), resnet(), resnet()
    train_classifier(model, data.images, data.labels, steps=4, batch_size=8, seed=2, optimizer="sam", rho=0.1, recipe="two_drops")
    channels_last(other.train())
    generator, buffers = torch.Generator().manual_seed(2 + 1_000_003), [None] * len(list(other.parameters()))
    for step, index in enumerate(batch_order(32, 8, 4, seed=2)):
        images = augment_batch(to_floats(data.images[index]), "flip", generator)
        sam_step_by_hand(other, images, data.labels[index], lr=0.1 * (1, 1, 0.1, 0.01)[step], momentum=0.9, weight_decay=5e-4, rho=0.1, buffers=buffers)
    torch.testing.assert_close(model.head.weight, other.head.weight, rtol=0, atol=1e-4)
