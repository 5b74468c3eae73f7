"""What is recorded while the two-layer CNN trains, and the tidy frame of it."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch.nn import functional as F

from synaug.theory.two_layer_cnn.arms import Arm
from synaug.theory.two_layer_cnn.fast_gradient import FastNetwork

#: What each metric is. "Fast" and "slow" examples are those with and without the fast patch; only real ones count
#: (not generated ones), each once, except in train_loss.
METRICS = {
    "feature_fast": "max_j <w_j, v_e>",
    "feature_slow": "max_j <w_j, v_d>",
    "noise_fast": "mean over the noise patches xi of fast training examples of max_j y <w_j, xi>",
    "noise_slow": "the same for slow training examples",
    "train_loss": "the arm's own loss: the weighted mean over its training set",
    "train_loss_fast": "mean logistic loss of fast training examples",
    "train_loss_slow": "the same for slow training examples",
    "train_error": "share of training examples with y f(x) <= 0",
    "train_error_fast": "the same among fast examples",
    "train_error_slow": "the same among slow examples",
    "test_loss": "mean logistic loss of the test examples",
    "test_loss_fast": "the same among fast examples",
    "test_loss_slow": "the same among slow examples",
    "test_error": "share of test examples with y f(x) <= 0",
    "test_error_fast": "the same among fast examples",
    "test_error_slow": "the same among slow examples",
}


def measure(filters: torch.Tensor, train: FastNetwork, test: FastNetwork | None = None) -> dict[str, torch.Tensor]:
    """Every one of ``METRICS`` (without test examples, no test ones), ``[S, A]``; NaN where no example counts."""
    alignments = train.alignments(filters).amax(2)
    found = {"feature_fast": alignments[..., 0], "feature_slow": alignments[..., 1]}
    objective = torch.zeros_like(alignments[..., 0])
    found |= {f"train_{name}": value for name, value in _means(train, filters, objective).items()}
    found["train_loss"] = objective
    for speed in ("fast", "slow"):
        found[f"noise_{speed}"] = found.pop(f"train_noise_{speed}")
    if test is not None:
        means = _means(test, filters, torch.zeros_like(objective))
        found |= {f"test_{name}": value for name, value in means.items()}
    return {metric: found[metric] for metric in METRICS if metric in found}


def _means(network, filters, objective):
    """Means over the real examples, all, fast and slow; adds the weighted loss of all examples to objective."""
    sums = torch.zeros(4, 2, *filters.shape[:2], dtype=torch.float64)  # count, loss, error, noise of fast, slow
    for group, margins, noise in network.outputs(filters):
        losses = F.softplus(-margins)
        objective[:, list(group.arms)] += (group.shares * losses).sum(2)
        if group.real:
            values = torch.stack([torch.ones_like(losses), losses, (margins <= 0).to(losses.dtype), noise])
            sums[:, 0 if group.fast else 1] += (values * group.present[:, None]).sum(3)
    everything = {"_fast": sums[:, 0], "_slow": sums[:, 1], "": sums.sum(1)}
    return {f"{name}{speed}": values[i] / values[0] for speed, values in everything.items() for i, name in enumerate(("loss", "error", "noise"), start=1)}


def tidy_frame(steps: Sequence[int], records: Sequence[dict[str, torch.Tensor]], arms: Sequence[Arm], seeds: Sequence[int]) -> pd.DataFrame:
    """One row per step, metric, seed and arm, for what `measure` gave at those steps.

    Columns: arm (its kind), k, seed, swept ("step"), x (the step), metric, value; an experiment
    adds the constants that `synaug.statistics.frames.tidy` asks for. Values that no example counts for are left out.
    """
    values = torch.stack([torch.stack([value.double() for value in record.values()]) for record in records])
    index = pd.MultiIndex.from_product([steps, records[0], seeds, range(len(arms))], names=["x", "metric", "seed", "number"])
    frame = pd.DataFrame({"value": values.flatten().numpy()}, index=index).reset_index().dropna(subset="value")
    described = pd.DataFrame([{"number": i, "arm": a.kind, "k": float(a.k), "swept": "step"} for i, a in enumerate(arms)])
    return frame.merge(described, on="number")[["arm", "k", "seed", "swept", "x", "metric", "value"]]
