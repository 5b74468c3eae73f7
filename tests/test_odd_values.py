"""Whatever a person gives the package's functions, what they say is a sentence of their own, before any work."""

import traceback
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from synaug import (
    ImageDataset,
    build_classifier,
    compare_with_floor,
    draw_splits,
    encode,
    frechet_distance,
    generate,
    generate_pool,
    load_dataset,
    load_denoiser,
    prdc,
    reconstruct,
    select,
    train_classifier,
    warm_up,
    with_generated,
)
from synaug.augmentation import mixture, upsampled, with_synthetic
from synaug.augmentation.pool_filters import filter_pool
from synaug.classifiers import accuracy, output_entropy, predict
from synaug.classifiers.attention import grad_cam
from synaug.classifiers.warm_up import WarmUp
from synaug.data import content_hash, same_classes, stratified_subset, to_bytes, to_floats
from synaug.data.torch_datasets import TorchImages, from_torch
from synaug.diffusion.adapters import load_ddpm, load_edm
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.diffusion.samplers import sample
from synaug.metrics import compare
from synaug.metrics.near_copies import nearer_than
from synaug.statistics.intervals import bootstrap_interval, holm, mean_interval
from synaug.statistics.proportions import newcombe_interval, wilson_interval

REAL = stratified_subset(load_dataset("digits"), 30, 0)
FLOATS, FEATURES = REAL.floats(), REAL.floats().flatten(1)
KNOWN = EmpiricalDenoiser(FLOATS, REAL.labels)
POOL = generate_pool(KNOWN, REAL, [0, 2], k=2, sigmas=0.5, steps=1)
MODEL = build_classifier("resnet8", (1, 8, 8), 10, seed=0, width=4)
WARM = WarmUp(torch.randn(30, 10), REAL.labels, torch.ones(2, 30, dtype=torch.bool))

CALLS = [
    (ImageDataset, dict(images=REAL.images, labels=REAL.labels, class_names=REAL.class_names)),
    (REAL.subset, dict(indices=[1])),
    (stratified_subset, dict(dataset=REAL, n=10, seed=0)),
    (lambda dataset, n, seed: draw_splits(dataset, n, seed=seed), dict(dataset=REAL, n=1, seed=0)),
    (same_classes, dict(ours=("a",), theirs=("a",))),
    (content_hash, dict(dataset=REAL)),
    (to_bytes, dict(images=FLOATS)),
    (to_floats, dict(images=REAL.images)),
    (from_torch, dict(dataset=TensorDataset(FLOATS, REAL.labels), value_range=(-1.0, 1.0), class_names=REAL.class_names)),
    (TorchImages, dict(data=REAL)),
    (load_denoiser, dict(device="cpu")),
    (
        reconstruct,
        dict(
            denoiser=KNOWN,
            images=FLOATS,
            labels=REAL.labels,
            reverse_step=2,
            steps=3,
            mapping="edm",
            stride=1,
            solver="heun",
            churn=0.0,
            s_noise=1.0,
            seed=0,
            source_index=REAL.source_index,
            batch_size=8,
            device="cpu",
        ),
    ),
    (generate, dict(denoiser=KNOWN, labels=REAL.labels, n=30, image_shape=(1, 8, 8), steps=1, seed=0, device="cpu")),
    (sample, dict(denoiser=KNOWN, x=FLOATS, sigmas=[1.0, 0.0], labels=REAL.labels, solver="heun", churn=0.0, s_noise=1.0, s_min=0.0, s_max=1.0)),
    (generate_pool, dict(denoiser=KNOWN, dataset=REAL, sources=[0], k=2, sigmas=0.5, steps=1, solver="heun", churn=0.0, seed=0, batch_size=8, device="cpu")),
    (POOL.take, dict(sources=[0], k=2)),
    (POOL.keep, dict(kept=[True, False])),
    (build_classifier, dict(name="resnet8", image_shape=(1, 8, 8), num_classes=10, seed=0, width=4)),
    (
        train_classifier,
        dict(
            model=MODEL,
            images=REAL.images,
            labels=REAL.labels,
            steps=1,
            seed=0,
            batch_size=8,
            recipe="one_cycle",
            lr=0.1,
            momentum=0.9,
            weight_decay=0.0,
            label_smoothing=0.1,
            augment="flip",
            optimizer="sgd",
            rho=0.1,
            order=torch.zeros(1, 8, dtype=torch.int64),
            device="cpu",
        ),
    ),
    (warm_up, dict(model=MODEL, images=REAL.images, labels=REAL.labels, steps=4, seed=0, passes=1, batch_size=8)),
    (predict, dict(model=MODEL, images=REAL.images, batch_size=8)),
    (grad_cam, dict(model=MODEL, images=REAL.images, targets=REAL.labels, batch_size=8)),
    (accuracy, dict(probabilities=torch.eye(10), labels=torch.arange(10))),
    (output_entropy, dict(probabilities=torch.eye(10))),
    (WarmUp, dict(logits=WARM.logits, labels=WARM.labels, correct=WARM.correct)),
    (select, dict(name="random", warm_up=WARM, size=3, seed=0)),
    (encode, dict(images=FLOATS, encoder="pixels", batch_size=8, device="cpu")),
    (
        compare,
        dict(
            reference_features=FEATURES,
            candidate_features=FEATURES,
            reference_labels=REAL.labels % 2,
            candidate_labels=REAL.labels % 2,
            k=3,
            quantile=0.1,
            components=1,
            n_bootstrap=2,
            jackknife_groups=2,
            seed=0,
        ),
    ),
    (compare_with_floor, dict(reference_features=FEATURES, fresh_features=FEATURES, candidates={"a": FEATURES}, candidate_labels={"a": None}, n_bootstrap=0)),
    (frechet_distance, dict(real=FEATURES, fake=FEATURES)),
    (prdc, dict(real=FEATURES, fake=FEATURES, k=3)),
    (nearer_than, dict(distances=torch.ones(3), fresh_distances=torch.ones(3), quantile=0.1)),
    (mixture, dict(data=REAL, generated=POOL.data, synthetic_share=0.05, seed=0)),
    (upsampled, dict(data=REAL, sources=[0], k=2)),
    (with_generated, dict(data=REAL, pool=POOL, sources=[0], k=2, order="shuffled")),
    (with_synthetic, dict(data=REAL, synthetic=POOL.data, n=2, order="shuffled", seed=0)),
    (filter_pool, dict(pool=POOL, real=REAL, near_copy_quantile=0.1, judge=MODEL, min_probability=0.1)),
    (mean_interval, dict(values=[1.0, 2.0], confidence=0.9)),
    (bootstrap_interval, dict(values=[1.0, 2.0], confidence=0.9, n_bootstrap=2, seed=0)),
    (holm, dict(p_values=[0.1])),
    (wilson_interval, dict(successes=1, n=2, confidence=0.9)),
    (newcombe_interval, dict(successes=1, n=2, baseline_successes=1, baseline_n=2, confidence=0.9)),
]


@pytest.mark.parametrize("function, good", CALLS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_wrong_values_are_refused_in_sentences_of_the_package(function, good):
    function(**good)
    for name, wrong in product(good, (object(), float("nan"), "no such thing", [None], {"b": 1}, np.array([None]))):
        try:
            function(**{**good, name: wrong})
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            own = "/synaug/" in last.filename and last.line.startswith("raise")
            assert own and isinstance(error, (ValueError, TypeError, MemoryError)), f"{name}={wrong!r}: {error!r}"
        else:
            pytest.fail(f"{name}={wrong!r} was taken")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "gpu", "", "cpu:9", "meta", None, 2.0, -1, 2**70])
@pytest.mark.parametrize(
    "enter",
    [
        lambda device: load_denoiser(device=device),
        lambda device: load_ddpm("nowhere", device),
        lambda device: load_edm("nowhere", device=device),
        lambda device: generate(KNOWN, [0], steps=1, device=device),
        lambda device: reconstruct(KNOWN, FLOATS, REAL.labels, sigma=0, steps=1, device=device),
        lambda device: encode(FLOATS, "pixels", device=device),
        lambda device: generate_pool(KNOWN, REAL, [0], k=2, from_noise=True, device=device),
    ],
)
def test_a_device_that_is_not_here_is_refused_wherever_it_enters(enter, device):
    with pytest.raises(ValueError, match=f"there is no device {device} here; cpu is always there"):
        enter(device)


def test_a_denoiser_elsewhere_is_told_so():
    with pytest.raises(ValueError, match="the denoiser is on meta, and device is cpu: they must be the same"):
        generate(load_denoiser("fashion_mnist_2000").to("meta"), [0], steps=1)


def test_numbers_and_arrays_of_numpy_are_as_good_as_others():
    plain = generate(KNOWN, [3, 5], steps=2, seed=4, source_index=torch.tensor([1, 0]), batch_size=1)
    numpy = generate(KNOWN, np.array([5, 3])[::-1], steps=np.int64(2), seed=np.uint8(4), batch_size=np.int32(1), source_index=np.array([0, 1], ">i8")[::-1])
    assert torch.equal(plain.images, numpy.images)
    pools = [
        generate_pool(KNOWN, REAL, places, k=number(2), sigmas=sigmas, steps=1, seed=number(1), batch_size=number(4))
        for places, sigmas, number in (([0, 7], [0.5], int), (np.array([7, 0], ">u2"), np.array([0.5]), np.int64))
    ]
    assert torch.equal(pools[0].data.images, pools[1].data.images)
    assert torch.equal(encode(FLOATS, MODEL, batch_size=np.int64(7)), encode(FLOATS, MODEL, batch_size=7))
    assert torch.equal(select("random", WARM, size=3, seed=np.int64(1)).indices, select("random", WARM, size=3, seed=1).indices)
    mixed = [mixture(REAL, POOL.data, synthetic_share=0.05, seed=number(3)).data.images for number in (int, np.int64)]
    assert torch.equal(*mixed)


def test_what_has_no_room_is_refused_before_it_is_made():
    with pytest.raises(MemoryError, match="making 1,000,000,000,000 images needs about"):
        generate(KNOWN, n=10**12, steps=1)
    with pytest.raises(MemoryError, match="the order of 10,000,000,000 batches of 8 needs about"):
        train_classifier(MODEL, REAL.images, REAL.labels, steps=10**10, seed=0, batch_size=8)
    with pytest.raises(MemoryError, match="1,000,000,000,000 times each of 1 images needs about"):
        upsampled(REAL, [0], 10**12)
