"""Which training examples to augment, from what a network says of them early in training."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from synaug.checks import of_kind, one_of, whole
from synaug.classifiers.predictions import check_tensors
from synaug.classifiers.warm_up import WarmUp

#: Those that take a size.
SIZED = ("high_loss", "forgetting", "random")
SELECTIONS = ("slow_learnable", *SIZED, "misclassified", "all")


@dataclass(frozen=True, eq=False)
class Selection:
    """indices: int64 ``[n]``, the selected examples' places in the data set, ascending.

    evidence: one row per example of the whole set: the columns of `WarmUp.evidence`; cluster (1 slow, 0 fast), where
    clusters were needed; selected.
    """

    name: str
    indices: Tensor
    evidence: pd.DataFrame

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def fraction(self) -> float:
        """The share of the data set that is selected."""
        return len(self.indices) / len(self.evidence)


def select(name: str, warm_up: WarmUp, *, size: int | float | None = None, seed: int = 0) -> Selection:
    """Select examples by what ``warm_up`` shows of them.

    name:

    - "slow_learnable": of two clusters of the outputs of each class, the one of higher mean loss (see
      `slow_clusters`);
    - "high_loss": the examples of highest loss, over all classes;
    - "misclassified": all that are;
    - "forgetting": without a size, all that were forgotten at least once or never learned (Toneva et al. 2019,
      sec. 3); with one, those of most forgetting events, the never learned first, among equals by loss;
    - "random": drawn without replacement, over all classes;
    - "all".

    size: of "high_loss", "forgetting" and "random": how many, or (float in (0, 1)) which share. By default
    "high_loss" and "random" select as many as "slow_learnable" does.
    seed: of the clusters' starting points and of the random draw.

    ValueError for an unknown name, a size that does not fit, a selection of nothing, a loss that is NaN; for "forgetting"
    where the warm-up does not know its passes.
    """
    one_of("selection", name, SELECTIONS)
    of_kind("warm_up", warm_up, WarmUp)
    seed = whole("seed", seed, 0, 2**32 - 1)
    if size is not None and name not in SIZED:
        raise ValueError(f"{name!r} decides its own size; a size is for {', '.join(SIZED)}")
    if name == "forgetting" and (warm_up.correct is None or len(warm_up.correct) < 2):
        raise ValueError("'forgetting' needs a warm-up with the outcomes of two passes or more")
    n, evidence = len(warm_up), warm_up.evidence()
    if evidence["loss"].isna().any():
        raise ValueError(f"the loss of example {int(evidence['loss'].isna().argmax())} is NaN")
    count = None if size is None else _count(size, n)
    if name == "slow_learnable" or (count is None and name in ("high_loss", "random")):
        evidence["cluster"] = slow_clusters(warm_up.logits, warm_up.labels, seed=seed).numpy().astype(np.int64)
        count = int(evidence["cluster"].sum())
    if name == "slow_learnable":
        chosen = evidence["cluster"] == 1
    elif name == "misclassified":
        chosen = evidence["misclassified"]
    elif name == "forgetting" and count is None:
        chosen = (evidence["forgetting_events"] > 0) | ~evidence["learned"]
    elif name == "all":
        chosen = np.ones(n, bool)
    else:
        chosen = np.zeros(n, bool)
        chosen[_ranked(name, evidence, seed)[:count]] = True
    evidence["selected"] = np.asarray(chosen)
    indices = torch.from_numpy(np.flatnonzero(evidence["selected"]))
    if len(indices) == 0:
        raise ValueError(f"{name!r} selects none of the {n} examples")
    return Selection(name, indices, evidence)


def slow_clusters(logits: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    """bool ``[N]``: the examples in the slow-learnable cluster of their class.

    k-means with two clusters on the logits of each class; the cluster of higher mean cross-entropy is slow (Nguyen et
    al. 2024, USEFUL; second hand, which does not say whether logits or probabilities are clustered).
    logits: finite float ``[N, K]``, of any scale. labels: int64 ``[N]``. A class whose outputs do not fall into two
    clusters (they are all the same) has no slow examples; a warning names it. ValueError for a class of one example,
    and logits that are not finite.
    """
    check_tensors(logits=logits, labels=labels)
    if logits.ndim != 2 or labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [N, K] and labels int64 [N], got {list(logits.shape)} and {labels.dtype} {list(labels.shape)}")
    seed = whole("seed", seed, 0, 2**32 - 1)
    if len(bad := (~logits.isfinite()).any(1).nonzero()):
        raise ValueError(f"the logits of example {int(bad[0])} are NaN or infinite")
    classes, counts = labels.unique(return_counts=True)
    if (counts < 2).any():
        alone = int(classes[counts.argmin()])
        raise ValueError(f"two clusters per class need two examples per class; class {alone} has one")
    loss = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    slow, undivided = torch.zeros(len(labels), dtype=torch.bool), []
    for label in classes:
        members = (labels == label).nonzero().flatten()
        # About their middle and in units of the largest: k-means squares them.
        outputs = logits[members].double()
        outputs = outputs - outputs.min(0).values / 2 - outputs.max(0).values / 2
        cluster = torch.zeros(len(members))
        if (largest := outputs.abs().max()) > 0:
            cluster = torch.from_numpy(KMeans(2, n_init=10, random_state=seed).fit_predict((outputs / largest).numpy()))
        if len(cluster.unique()) < 2:
            undivided.append(int(label))
            continue
        slower = max((0, 1), key=lambda c: loss[members[cluster == c]].mean().item())
        slow[members[cluster == slower]] = True
    if undivided:
        warnings.warn(
            f"the outputs of classes {', '.join(map(str, undivided))} do not fall into two clusters: none of their examples counts as slow", stacklevel=2
        )
    return slow


def _count(size, n: int) -> int:
    """How many of n examples a size stands for."""
    if isinstance(size, float) and 0 < size < 1:
        return max(1, round(size * n))
    return whole("size, where it is no share between 0 and 1,", size, 1, n)


def _ranked(name: str, evidence: pd.DataFrame, seed: int) -> np.ndarray:
    """All places, those to select first first."""
    if name == "random":
        return torch.randperm(len(evidence), generator=torch.Generator().manual_seed(seed)).numpy()
    keys = [-evidence["loss"].to_numpy()]
    if name == "forgetting":  # the last key counts most
        keys += [-evidence["forgetting_events"].to_numpy(), evidence["learned"].to_numpy()]
    return np.lexsort(keys)
