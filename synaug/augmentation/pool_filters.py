"""Filters of generated images: near-copies of real ones, and images that a judge finds off their class.

Both are off unless asked for, and what they find is reported image by image.
"""

import pandas as pd
import torch
from torch import nn

from synaug.augmentation.synthetic_pool import SyntheticPool
from synaug.checks import number, of_kind
from synaug.classifiers import predict
from synaug.data import ImageDataset
from synaug.data.images import HINT
from synaug.metrics.distances import neighbour_radii, prepare
from synaug.metrics.encoders import encode
from synaug.metrics.inputs import Features, as_features
from synaug.metrics.near_copies import nearer_than, nearest


def filter_pool(
    pool: SyntheticPool, real: ImageDataset, *, near_copy_quantile: float | None = None, judge: nn.Module | None = None, min_probability: float | None = None
) -> tuple[SyntheticPool, pd.DataFrame]:
    """The pool without near-copies and off-class images, and a report on each image of the pool.

    real: the images that the classifier is trained on.
    near_copy_quantile: in (0, 1). A generated image is a near-copy if it lies nearer to some real image than that
    quantile of the real images lie to their nearest other real image, or is a copy of one. Of fresh real images about
    that share would be called near-copies. Distances are those of pixels.
    min_probability: in (0, 1]. An image is off-class if the judge gives its label a lower probability.
    judge: a classifier, see `synaug.classifiers`, which stays where it is. One that errs on slow examples errs on images
    made of them.
    Report: one row per image: source, copy, near_copy and its distance, off_class and its label_probability (those of
    the filters that are on), kept. ValueError for a rule without what it needs, values that make no rule, or NaN
    in what a rule compares.
    """
    of_kind("pool", pool, SyntheticPool)
    of_kind("real", real, ImageDataset, HINT)
    if near_copy_quantile is not None:
        number("near_copy_quantile", near_copy_quantile, above=0, below=1)
    if (min_probability is None) != (judge is None):
        raise ValueError("the filter of off-class images needs both a judge and a min_probability")
    if min_probability is not None:
        number("min_probability", min_probability, above=0, at_most=1)
    if pool.data.image_shape != real.image_shape:
        raise ValueError(f"the pool has images {pool.data.image_shape}, the real ones are {real.image_shape}")
    if near_copy_quantile is not None and len(real) < 2:
        raise ValueError("near-copies need at least two real images to compare with")
    if judge is not None and len(pool):
        known = predict(judge, pool.data.images[:1]).shape[1]
        if known != pool.data.num_classes:
            raise ValueError(f"the judge knows {known} classes, the pool has {pool.data.num_classes}")
    report = pool.provenance[["source", "copy"]].copy()
    dropped = torch.zeros(len(pool), dtype=torch.bool)
    if near_copy_quantile is not None and len(pool):
        own, others = (encode(data.floats(), "pixels") for data in (pool.data, real))
        distance, near, _ = near_copies(own, others, near_copy_quantile)
        report["distance"], report["near_copy"] = distance.numpy(), near.numpy()
        dropped |= near
    if judge is not None and min_probability is not None and len(pool):
        probability = predict(judge, pool.data.images).gather(1, pool.data.labels[:, None])[:, 0]
        off_class = probability < min_probability
        report["label_probability"], report["off_class"] = probability.numpy(), off_class.numpy()
        dropped |= off_class
    report["kept"] = ~dropped.numpy()
    return pool.keep(~dropped), report


def near_copies(generated: Features, real: Features, quantile: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance of each generated image to its nearest real one, float64 ``[N]``, whether it is a near-copy, bool, and
    which real images lie as near to another one, bool ``[M]``: their share, where there are few above the quantile, is what
    to expect of fresh images.

    generated ``[N, D]``, real ``[M, D]``: features. See `filter_pool` for the rule. Distances that rounding of the
    features explains are those of copies: such images are always near-copies, and real images that are duplicates in
    this sense have no part in the quantile.
    """
    to_real, _ = nearest(generated, real)
    distinct, place = as_features(real, "real features", at_least=1).unique(dim=0, return_inverse=True)
    rounding = 100 * torch.finfo(distinct.dtype).eps * distinct.norm(dim=1).max()
    near, of_real = to_real <= rounding, torch.zeros(len(distinct), dtype=torch.bool, device=distinct.device)
    if len(distinct) > 1:
        between = neighbour_radii(prepare(distinct, distinct)[0], 1).sqrt()
        if len(apart := between[between > rounding]):
            near |= nearer_than(to_real, apart, quantile)
            of_real = (between > rounding) & (between <= apart.double().quantile(quantile))
    return to_real, near, of_real[place]
