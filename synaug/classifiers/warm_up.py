"""The beginning of a training run, and what it shows of each example: the evidence that selection reads.

What the network says of an example is read off the training passes themselves, as Toneva et al. 2019 (algorithm 1) do
for forgetting: it costs no further pass.
"""

import warnings
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synaug.checks import in_range, whole
from synaug.classifiers.predictions import check_images, check_tensors
from synaug.classifiers.training import RECIPES, check_recipe, train_classifier

#: The error curve is flat once a pass lowers the error by less than this share of all that it has fallen so far, ...
FLAT = 0.05
#: ... and it has fallen by this share of the first pass's error: a rising learning rate makes a flat start, too.
FALLEN = 0.25


@dataclass(frozen=True, eq=False)
class WarmUp:
    """What a network says of N training examples early in training.

    logits: float ``[N, K]``, its outputs; any outputs will do, such as those of one's own training loop.
    labels: int64 ``[N]`` in 0 .. K - 1.
    correct: bool ``[passes, N]``, whether each example was classified correctly in each pass; None if not known.
    All are kept on the CPU. ValueError for other types or shapes, outputs that are not finite, labels out of range.
    """

    logits: Tensor
    labels: Tensor
    correct: Tensor | None = None

    def __post_init__(self):
        logits, labels, correct = self.logits, self.labels, self.correct
        check_tensors(logits=logits, labels=labels, **({} if correct is None else {"correct": correct}))
        if not logits.is_floating_point() or logits.ndim != 2 or len(logits) == 0 or logits.shape[1] < 2:
            raise ValueError(f"logits must be float [N, K] with K >= 2, got {logits.dtype} {list(logits.shape)}")
        if not logits.isfinite().all():
            raise ValueError("the logits hold NaN or infinite values")
        if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
            raise ValueError(f"labels must be int64 [{len(logits)}], got {labels.dtype} {list(labels.shape)}")
        in_range("labels", labels, logits.shape[1])
        if correct is not None and (correct.dtype != torch.bool or correct.shape[1:] != labels.shape):
            raise ValueError(f"correct must be bool [passes, {len(labels)}], got {correct.dtype} {list(correct.shape)}")
        object.__setattr__(self, "logits", logits.detach().float().cpu())
        object.__setattr__(self, "labels", labels.cpu())
        object.__setattr__(self, "correct", None if correct is None else correct.cpu())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def errors(self) -> list[float]:
        """The training error of each pass, the share of its examples that were misclassified."""
        return [] if self.correct is None else (1 - self.correct.double().mean(dim=1)).tolist()

    def evidence(self) -> pd.DataFrame:
        """One row an example: label, loss (cross-entropy), margin (the label's logit minus the largest other, negative
        where misclassified), misclassified; where the passes are known forgetting_events (how often it went from
        correct to wrong from one pass to the next) and learned (whether it was ever correct)."""
        own = self.logits.gather(1, self.labels[:, None])[:, 0]
        others = self.logits.scatter(1, self.labels[:, None], -torch.inf).amax(dim=1)
        columns = {
            "label": self.labels,
            "loss": F.cross_entropy(self.logits.double(), self.labels, reduction="none"),
            "margin": own - others,
            "misclassified": self.logits.argmax(dim=1) != self.labels,
        }
        if self.correct is not None:
            columns["forgetting_events"] = (self.correct[:-1] & ~self.correct[1:]).sum(dim=0)
            columns["learned"] = self.correct.any(dim=0)
        return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def is_flat(errors: list[float], share: float = FLAT) -> bool:
    """Whether a curve of training errors, one per pass, has flattened at its last pass.

    It has when the last pass lowered the error by less than ``share`` of its whole fall since the first pass, and that
    fall is at least the share ``FALLEN`` of the first pass's error. A rise in the last pass is flat too; fewer than
    three passes never are. The rule needs no look ahead, so the warm-up can stop by it. It puts in numbers what USEFUL
    reads off a figure (Nguyen et al. 2024, second hand: where the decrease slows).
    """
    if len(errors) < 3:
        return False
    fall = errors[0] - errors[-1]
    return fall >= FALLEN * errors[0] and errors[-2] - errors[-1] < share * fall


def warm_up(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    seed: int,
    passes: int | None = None,
    batch_size: int | None = None,
    recipe: str = "one_cycle",
    **options,
) -> WarmUp:
    """Train ``model`` in place for the first passes of a run of ``steps`` steps, and keep what it says of each image.

    Batches and learning rates are those of `synaug.classifiers.train_classifier` with this ``seed``, and so are further
    ``options``, but for order and observe, which the warm-up decides, and for checkpoint.
    images: uint8, or float in [-1, 1], ``[N, C, H, W]``. labels: int64 ``[N]``. passes: how many passes over the images,
    the T0 of targeted augmentation; by default until the error curve flattens (`is_flat`).
    Each example's logits are those of the last pass, in training: augmented, at the weights of its step. For those of
    one evaluation pass instead, make a `WarmUp` of what the model says of the images afterwards.
    Warns where the error curve has not flattened after ``steps`` steps: the last whole pass is taken then.
    ValueError where ``steps`` steps do not hold ``passes`` passes (three without), or as `train_classifier`.
    """
    if taken := {"order", "observe"} & set(options):
        raise ValueError(f"the warm-up decides {taken.pop()} itself")
    if options.get("checkpoint") is not None:
        raise ValueError("a warm-up keeps no checkpoint: it would miss what the network said before a cut")
    check_images(images, labels)
    check_recipe(recipe)
    batch_size = RECIPES[recipe]["batch_size"] if batch_size is None else batch_size
    n, held = len(images), whole("steps", steps, 1) * whole("batch_size", batch_size, 2) // len(images)
    if held < (3 if passes is None else whole("passes", passes, 1)):
        raise ValueError(
            f"{steps} steps of {batch_size} are {held} whole passes over {n} images; the warm-up needs {'three to see a curve' if passes is None else passes}"
        )
    watch = _Watch(labels, passes)
    train_classifier(model, images, labels, steps=steps, seed=seed, batch_size=batch_size, recipe=recipe, observe=watch, **options)
    if passes is None and not is_flat(watch.errors):
        warnings.warn(f"the training error had not flattened after {steps} steps, at pass {len(watch.errors)}", stacklevel=2)
    return WarmUp(watch.logits, labels, torch.stack(watch.correct))


class _Watch:
    """Keeps each example's logits pass by pass; True once there are as many passes as asked for."""

    def __init__(self, labels, passes):
        self.labels, self.passes = labels, passes
        self.seen, self.logits, self.correct, self.errors = [], None, [], []

    def __call__(self, step, index, logits):
        self.seen.append((index, logits))
        n = len(self.labels)
        # A batch may hold the end of one pass and the beginning of the next, or several.
        while sum(len(index) for index, _ in self.seen) >= n:
            index, logits = (torch.cat(parts) for parts in zip(*self.seen))
            self.seen = [(index[n:], logits[n:])]
            self.logits = torch.empty_like(logits[:n]).index_copy_(0, index[:n], logits[:n])
            self.correct.append(self.logits.argmax(dim=1) == self.labels.to(logits.device))
            self.errors.append(1 - self.correct[-1].double().mean().item())
            if is_flat(self.errors) if self.passes is None else len(self.errors) == self.passes:
                return True
        return False
