"""The audit's own test: known defects, planted into real images, and whether it finds them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from synaug.auditing.inputs import Images, Sets, gather
from synaug.auditing.report import Audit, check_settings, of_sets
from synaug.metrics.encoders import Encoder

#: Shares of the images that are planted, and the shares of them that must be found.
COPIES, WRONG = 0.05, 0.1
LEAST = {"copies": 0.95, "wrong labels": 0.5}


def check(
    real: Images,
    held_out: Images | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    unreadable: str = "refuse",
    encoder: Encoder = "efficientnet_lite0",
    k: int = 5,
    device: str = "cpu",
    seed: int = 0,
    cache: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """Plant defects into real images, audit them as if they were synthetic, and report what was found.

    Half of the real images that are not held out stands for the synthetic ones; a perfect generator could not do
    better. Into it are planted, each alone: nothing; near-copies of the other half, changed by noise of 2 of 255
    levels (5 % of the images); wrong labels (10 %); a blur of 1/28 of the width (standard deviation); in one class,
    the loss of one of its two clusters of images; in another, a shift by an eighth of the width.

    One row per defect: defect; planted, how many images; by, the number that must show it; found, the share of
    planted images that are named (or the share of planted defects that show: 0 or 1); demanded, what found must at least
    be; false_alarms, the share of all
    other images that are named; ok: whether found is as the defect demands: 0.95 of copies, 0.5 of wrong labels
    (a judge cannot tell all of them), and for others that the interval of that number lies beyond the baseline's;
    for nothing: that no threshold is crossed. Errors as in `synaug.audit`.
    """
    check_settings(encoder, k, device, seed)
    sets = gather(real, None, held_out, image_size=image_size, mode=mode, unreadable=unreadable, seed=seed, cache=cache, progress=progress)
    rows = []
    for name, plant in tqdm(PLANTED.items(), desc="defects", disable=not progress):
        synthetic, where, scope = plant(sets, seed)
        found = of_sets(replace(sets, synthetic=synthetic), encoder, k, {}, device, seed, cache, False)
        by, rate, false_alarms, ok = _found(name, found, where, scope)
        rows.append((name, int(where.sum()), by, rate, LEAST.get(name, 1.0), false_alarms, ok))
    return pd.DataFrame(rows, columns=["defect", "planted", "by", "found", "demanded", "false_alarms", "ok"])


def _found(name: str, audit: Audit, where: np.ndarray, scope: str):
    """by, found, false_alarms, ok."""
    if name in LEAST:
        by = {"copies": "near_copy", "wrong labels": "off_label"}[name]
        named = audit.images[by].to_numpy()
        row = audit.value({"near_copy": "near_copies"}.get(by, by))
        rate = named[where].mean()
        return by, rate, named[~where].mean(), bool(rate >= LEAST[name] and row["low"] > row["baseline"])
    false_alarms = audit.images["drop"].mean()
    if name == "nothing":
        return "all thresholds", float(audit.passed), false_alarms, audit.passed
    by = {"blur": "two_sample_auc", "dropped mode": "distance_ratio_pictures", "shifted class": "distance_ratio_pictures"}[name]
    row = audit.value(by, scope)
    beyond = row["low"] > np.nanmax([row["baseline"], row["baseline_high"]])
    return (by if scope == "all" else f"{by} of {scope}"), float(beyond), false_alarms, bool(beyond)


def _nothing(sets: Sets, seed: int):
    return sets.synthetic, np.zeros(len(sets.synthetic), bool), "all"


def _copies(sets: Sets, seed: int):
    """Images of the same class of the half that is learned from, with a little noise."""
    rng, images, where = np.random.default_rng(seed), sets.synthetic.images.clone(), _some(sets, COPIES, seed)
    for i in np.flatnonzero(where):
        source = rng.choice(np.flatnonzero(sets.train.labels == sets.synthetic.labels[i]))
        noise = torch.from_numpy(rng.normal(0, 2, images.shape[1:]))
        images[i] = (sets.train.images[source] + noise).round().clamp(0, 255).to(torch.uint8)
    return replace(sets.synthetic, images=images), where, "all"


def _wrong_labels(sets: Sets, seed: int):
    rng, labels, where = np.random.default_rng(seed), sets.synthetic.labels.clone(), _some(sets, WRONG, seed)
    by = torch.from_numpy(rng.integers(1, sets.held.num_classes, int(where.sum())))
    labels[where] = (labels[where] + by) % sets.held.num_classes
    return replace(sets.synthetic, labels=labels), where, "all"


def _blur(sets: Sets, seed: int):
    images = sets.synthetic.images
    sigma = images.shape[-1] / 28
    kernel = max(1, min(2 * round(2 * sigma) + 1, 2 * (min(images.shape[-2:]) // 2) - 1))
    blurred = gaussian_blur(images, [kernel, kernel], [sigma, sigma])
    return replace(sets.synthetic, images=blurred), np.ones(len(images), bool), "all"


def _dropped_mode(sets: Sets, seed: int):
    """Of the class of most images, one of two clusters is replaced by repeats, turned left to right, of the other."""
    label = int(sets.synthetic.labels.bincount().argmax())
    own = (sets.synthetic.labels == label).nonzero().flatten()
    images = sets.synthetic.images.clone()
    cluster = torch.from_numpy(KMeans(2, n_init=10, random_state=seed).fit_predict(images[own].flatten(1).float().numpy()))
    lost, kept = own[cluster == cluster.bincount().argmin()], own[cluster == cluster.bincount().argmax()]
    images[lost] = images[kept[torch.arange(len(lost)) % len(kept)]].flip(-1)
    where = np.zeros(len(images), bool)
    where[lost] = True
    return replace(sets.synthetic, images=images), where, sets.held.class_names[label]


def _shifted_class(sets: Sets, seed: int):
    label = int(sets.synthetic.labels.bincount().argmax())
    where = (sets.synthetic.labels == label).numpy()
    images = sets.synthetic.images.clone()
    images[where] = images[where].roll(max(1, images.shape[-1] // 8), -1)
    return replace(sets.synthetic, images=images), where, sets.held.class_names[label]


def _some(sets: Sets, share: float, seed: int) -> np.ndarray:
    where = np.zeros(len(sets.synthetic), bool)
    where[np.random.default_rng(seed + 1).permutation(len(where))[: max(1, round(share * len(where)))]] = True
    return where


PLANTED = {"nothing": _nothing, "copies": _copies, "wrong labels": _wrong_labels, "blur": _blur, "dropped mode": _dropped_mode, "shifted class": _shifted_class}
