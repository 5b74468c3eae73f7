"""How classifiers are trained.

The whole training set is one tensor; augmentation is a few batched tensor operations. The order of batches depends on
``(seed, number of images)`` alone, and arms take the same number of optimiser steps, so that two training sets of equal
length are compared on paired runs.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from synaug.checks import in_range, number, of_kind, one_of, whole
from synaug.classifiers.checkpoint import TrainingCheckpoint
from synaug.classifiers.optimizers import OPTIMIZERS, RHO, new_optimizer, take_step
from synaug.classifiers.predictions import as_floats, as_inputs, check_images, check_labels
from synaug.classifiers.trivial_augment import trivial_augment
from synaug.files import content_key
from synaug.precision import channels_last, fast_precision, usable_device
from synaug.resources import check_memory
from synaug.seeds import seeded

#: Those that end in "_trivial" apply TrivialAugment to the bytes first, as its authors' code does.
AUGMENTATIONS = ("none", "flip", "flip_crop", "flip_trivial", "flip_crop_trivial")

#: What each recipe is, beside its schedule (`learning_rate_factor`). "one_cycle" is tuned for a few thousand small images and
#: some hundred steps. "paper" is Yamaguchi 2024: SGD at 0.01, times 0.1 after every 30 % of the training; momentum and
#: (no) weight decay follow the author's code. "two_drops" is what targeted augmentation is trained with, as far as
#: known (second hand; so has the public code of Andriushchenko & Flammarion 2022): SGD at 0.1, times 0.1 at half and
#: at three quarters of the training. "fast" is for "resnet9" on a GPU, some ten passes in larger batches: rate,
#: weight decay and smoothing of David Page's "How to train your ResNet" (2018; second hand), the schedule of "one_cycle".
RECIPES: dict[str, dict[str, Any]] = {
    "one_cycle": {"lr": 0.1, "weight_decay": 5e-4, "batch_size": 128, "label_smoothing": 0.0},
    "paper": {"lr": 0.01, "weight_decay": 0.0, "batch_size": 128, "label_smoothing": 0.0},
    "two_drops": {"lr": 0.1, "weight_decay": 5e-4, "batch_size": 128, "label_smoothing": 0.0},
    "fast": {"lr": 0.4, "weight_decay": 5e-4, "batch_size": 512, "label_smoothing": 0.2},
}


def learning_rate_factor(recipe: str, progress: float) -> float:
    """What the peak learning rate is multiplied by after the share ``progress`` of the steps."""
    if recipe == "paper":
        return 0.1 ** math.floor(progress / 0.3 + 1e-9)
    if recipe == "two_drops":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    warm_up = 0.25
    return min(progress / warm_up, (1 - progress) / (1 - warm_up))


def batch_order(n: int, batch_size: int, steps: int, seed: int) -> torch.Tensor:
    """Indices int64 ``[steps, batch_size]``: shuffled passes over ``n`` images, cut into batches."""
    check_memory(16 * steps * batch_size, f"the order of {steps:,} batches of {batch_size:,}")
    generator = torch.Generator().manual_seed(seed)
    passes = math.ceil(steps * batch_size / n)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(passes)])
    return order[: steps * batch_size].view(steps, batch_size)


def augment_batch(images: torch.Tensor, augment: str, generator: torch.Generator) -> torch.Tensor:
    """Random left-right flips ("flip..."), and shifts by up to an eighth of the side ("flip_crop...").

    Images float32 ``[N, C, H, W]``; shifts reflect at the border. The generator is a CPU one on every device, so that a
    run on a GPU sees the same augmentation.
    """
    if augment == "none":
        return images
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator, dtype=torch.float32).to(images.device) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    if augment.startswith("flip_crop"):
        pad = max(1, min(height, width) // 8)
        padded = F.pad(images, (pad,) * 4, mode="reflect")
        shift = torch.randint(0, 2 * pad + 1, (2, n), generator=generator).to(images.device)
        rows = shift[0][:, None] + torch.arange(height, device=images.device)  # [N, H]
        columns = shift[1][:, None] + torch.arange(width, device=images.device)  # [N, W]
        sample = torch.arange(n, device=images.device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images


def check_recipe(recipe: str, augment: str = "none") -> None:
    """Raise ValueError unless these are names of a recipe and of an augmentation."""
    one_of("recipe", recipe, RECIPES)
    one_of("augment", augment, AUGMENTATIONS)


def _check_order(order: torch.Tensor, shape: tuple[int, int], n: int) -> None:
    if not isinstance(order, torch.Tensor):
        raise ValueError(f"order must be a tensor int64 {list(shape)}, got {type(order).__name__}")
    if order.dtype != torch.int64 or tuple(order.shape) != shape:
        raise ValueError(f"order must be int64 {list(shape)}, got {order.dtype} {list(order.shape)}")
    in_range("order", order, n)


@torch.inference_mode(False)
@torch.enable_grad()
def train_classifier(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    seed: int,
    batch_size: int | None = None,
    recipe: str = "one_cycle",
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    augment: str = "flip",
    optimizer: str = "sgd",
    rho: float = RHO,
    order: torch.Tensor | None = None,
    observe: Callable[[int, torch.Tensor, torch.Tensor], bool | None] | None = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> nn.Module:
    """Train ``model`` in place by SGD with Nesterov momentum, or by SAM around it; return it in evaluation mode.

    A step that is interrupted or fails leaves the weights and statistics as they were before it.

    Parameters
    ----------
    model : maps images ``[N, C, H, W]`` in ``[-1, 1]`` to logits ``[N, K]``; its weights are float32 or float64.
    images, labels : uint8, or float in ``[-1, 1]``, ``[N, C, H, W]``; int64 ``[N]`` in ``0..K-1``.
    steps : optimiser steps, each on exactly ``batch_size`` images whatever N is.
    seed : at least 0; decides the order of batches (with N) and, apart from it, the augmentation and the dropout.
    recipe : "one_cycle" or "fast" (rate up for a quarter of the steps, then down to 0), "paper" or "two_drops"; see
        ``RECIPES``.
    batch_size, lr, weight_decay, label_smoothing : of the recipe when None. momentum : of Nesterov's method.
    augment : one of ``AUGMENTATIONS``; those with TrivialAugment take uint8 images.
    optimizer : "sgd", or "sam", whose every step passes the batch twice (the second time, at the perturbed
        weights, without counting in the running statistics of batch normalisation).
    rho : radius of SAM's perturbation.
    order : int64 ``[steps, batch_size]``, the images of each batch; `batch_order` when None.
    observe : called after each step with the step from 0, the batch's indices and its logits in training,
        float32 ``[batch_size, K]``; training ends early when it returns True.
    checkpoint : a file that keeps the state of the training, written every minute. A run with the same file and
        arguments goes on from it, and ends as one that was not cut (on a CPU bit for bit). It is left there at the end.
    device : where the network is trained; the model stays there. progress : show a progress bar.

    Raises
    ------
    ValueError : bad images, labels or options, before the first step.
    ArithmeticError : the loss is no longer finite; says at which step.
    """
    of_kind("model", model, nn.Module)
    check_images(images, labels)
    check_recipe(recipe, augment)
    if augment.endswith("trivial") and images.dtype != torch.uint8:
        raise ValueError(f"augment {augment!r} takes uint8 images, got {images.dtype}")
    one_of("optimizer", optimizer, OPTIMIZERS)
    number("rho", rho, above=0)
    if checkpoint is not None and observe is not None:
        raise ValueError("observe would miss the steps before a cut: give either observe or checkpoint")
    batch_size = RECIPES[recipe]["batch_size"] if batch_size is None else batch_size
    steps, batch_size, seed = whole("steps", steps, 1), whole("batch_size", batch_size, 2), whole("seed", seed, 0)
    if order is None:
        order = batch_order(len(images), batch_size, steps, seed)
    _check_order(order, (steps, batch_size), len(images))
    lr = RECIPES[recipe]["lr"] if lr is None else lr
    weight_decay = RECIPES[recipe]["weight_decay"] if weight_decay is None else weight_decay
    lr, momentum = number("lr", lr, 0), number("momentum", momentum, 0)
    weight_decay = number("weight_decay", weight_decay, 0)
    smoothing = RECIPES[recipe]["label_smoothing"] if label_smoothing is None else number("label_smoothing", label_smoothing, 0, 1)
    if any(p.is_inference() for p in model.parameters()):
        raise ValueError("the model was made under torch.inference_mode, and cannot be trained: make it outside")
    if (dtypes := {p.dtype for p in model.parameters() if p.requires_grad}) not in ({torch.float32}, {torch.float64}):
        raise ValueError(f"the weights to train must be all float32 or all float64, got {dtypes or 'none'}")

    device = usable_device(device)
    precision = fast_precision(device)
    channels_last(model.to(device))
    check_labels(model, images, labels)
    described = [lr, momentum, weight_decay, smoothing, optimizer, rho, recipe, augment, steps, seed]
    optimizer = new_optimizer(optimizer, model.parameters(), lr, momentum, weight_decay, rho)
    generator = torch.Generator().manual_seed(seed + 1_000_003)  # its own stream: the order stays the same
    # Dropout draws from the process's own streams: each step has its seed for it. A CPU's generators read 32 bits.
    draws = torch.randint(2**31, (steps,), generator=torch.Generator().manual_seed(seed + 2_000_003)).tolist()
    kept, done = None, 0
    if checkpoint is not None:
        run = content_key(images, labels, order, *model.state_dict().values(), described)
        kept = TrainingCheckpoint(checkpoint, run, model, optimizer, generator)
        done = kept.resume()
    images, labels, order = images.to(device), labels.to(device), order.to(device)

    model.train()
    for step, index in enumerate(tqdm(order[done:], desc="training", total=steps, initial=done, disable=not progress), start=done):
        optimizer.param_groups[0]["lr"] = lr * learning_rate_factor(recipe, (step + 0.5) / steps)
        batch, target = images[index], labels[index]
        if augment.endswith("trivial"):
            batch = trivial_augment(batch, generator)
        batch = as_inputs(augment_batch(as_floats(batch), augment, generator), model)

        def backward():
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = model(batch)
                loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            return logits.detach(), loss.detach()

        with seeded(draws[step], device):
            logits, loss = take_step(optimizer, model, backward)
        over = observe is not None and observe(step, index, logits.float())
        # Not at every step: reading the loss waits for a GPU, and a loss that is NaN stays NaN.
        if (step % 20 == 19 or step == steps - 1 or over) and not torch.isfinite(loss):
            raise ArithmeticError(f"training diverged: the loss is {loss.item()} at step {step + 1} of {steps}; lower lr={lr:g}")
        if over:
            break
        if kept is not None:
            kept.keep(step + 1)
    return model.eval()
