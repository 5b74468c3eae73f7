"""A generator that knows its training images by heart: where reconstructions snap back to them, and how the trained
network differs.

The second distribution with a closed form: the empirical one of the generator's own training images, whose optimal
denoiser is `synaug.diffusion.empirical.EmpiricalDenoiser`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synaug.chapters.generator_quality import NEAR_COPY_QUANTILE
from synaug.chapters.tasks import network, real, real_images_of, usual_denoiser, weights_of
from synaug.data import ImageDataset, stratified_subset
from synaug.diffusion.denoisers import load_denoiser, log_normal_sigmas
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.diffusion.perturbed import ClassBlind
from synaug.diffusion.reconstruction import per_image_noise, reconstruct
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step
from synaug.metrics.near_copies import nearer_than, nearest
from synaug.run import Experiment, Settings, Task, param
from synaug.statistics import mean_interval, paired_interval, ratio_interval
from synaug.statistics.proportions import wilson_interval

STEPS = 100  # T, of the whole reverse grid
#: The denoisers that reconstruct: the empirical one, told the class or not, and the trained network.
CONDITIONAL, BLIND, NETWORK = ARMS = ("empirical, class-conditional", "empirical, class-blind", "trained network")
#: What a reconstruction can end as: a near-copy of its source, of another training image, or of none.
OUTCOMES = ("own_share", "other_share", "none_share")


@dataclass(frozen=True, kw_only=True)
class Memory(Settings):
    generator: str = param("name or folder of a trained generator", "fashion_mnist")
    n_training: int = param("its training images that the empirical denoiser knows; None: all", at_least=2, optional=True)
    n_sources: int = param("of these, how many are reconstructed", at_least=2)
    n_compared: int = param("training and held-out images on which denoisers are compared", at_least=2)
    reverse_steps: tuple[int, ...] = param("levels t_re, from 0 (the source itself) to 100 (noise alone)", each=True, at_least=0, at_most=STEPS)
    stride: int = param("take every stride-th level of the grid of 100", at_least=1)
    seed: int = param("of the images' noise", 0, at_least=0, at_most=2**31 - 1)

    def check(self):
        levels, images = self.reverse_steps, real_images_of(self.generator)
        if 0 not in levels or list(levels) != sorted(levels) or len(levels) < 2:
            raise ValueError(f"reverse_steps must be increasing whole numbers from 0, the source itself, got {levels}")
        for level in levels:
            reverse_sigmas(level, STEPS, stride=self.stride)
        if len(images.unseen) < images.test.num_classes:
            raise ValueError(f"generator must have left unseen training images, one per class; {self.generator} has left {len(images.unseen)}")
        known, classes = self.n_training or len(images.trained), images.test.num_classes
        self.within(
            "one per class to all", n_training=(classes, len(images.trained)), n_sources=(classes, known), n_compared=(classes, min(known, len(images.test)))
        )


PROFILES = {
    "smoke": dict(n_training=300, n_sources=20, n_compared=20, reverse_steps=(0, 30, 60, 100), stride=25),
    "quick": dict(n_training=1000, n_sources=30, n_compared=50, reverse_steps=(0, 25, 50, 75, 100), stride=10),
    "standard": dict(n_training=None, n_sources=500, n_compared=2000, stride=5, reverse_steps=(0, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 100)),
    "paper": dict(n_training=None, n_sources=1000, n_compared=2000, reverse_steps=tuple(range(0, 101, 5)), stride=1),
}


def training(s: Memory) -> Task:
    return real(s, "trained", s.n_training)


def compared(s: Memory) -> dict[str, Task]:
    """Images to compare denoisers on, by whether they were trained on."""
    return {"train": Task(stratified_subset, {"n": s.n_compared, "seed": 0}, (training(s),)), "held out": real(s, "test", s.n_compared)}


def outcome(s: Memory, arm: str, level: int) -> Task:
    known = training(s)
    parameters = {"arm": arm, "reverse_step": level, "stride": s.stride, "seed": s.seed}
    n = s.n_training or len(real_images_of(s.generator).trained)
    fresh = Task(distances_to, {}, (real(s, "unseen", n), known))
    return Task(outcomes, parameters | (network(s) if arm == NETWORK else {}), (known, Task(stratified_subset, {"n": s.n_sources, "seed": 0}, (known,)), fresh))


def rows(s: Memory):
    """x: the reverse step, sigma its noise level; 95 % limits over images. Metrics: own_share, other_share, none_share
    (see `OUTCOMES`); half_own, the noise level (``value``) at which the share of the own source falls to a half, where
    it does; centre_distance of reconstructions (see `outcomes`); training_share, of the noise levels in the network's
    training, at least sigma; and those of `compared_rows`, on images of a ``split``."""
    every = {"dataset": real_images_of(s.generator).test.name, "seed": s.seed}
    sigmas = {level: sigma_of_reverse_step(level, STEPS) for level in s.reverse_steps}
    for arm in ARMS:
        ends = {level: outcome(s, arm, level) for level in sigmas}
        for level, end in ends.items():
            yield ({**every, "arm": arm, "x": level, "sigma": sigmas[level], "split": "train"}, Task(outcome_rows, {}, (end,)))
        yield ({**every, "arm": arm, "x": 0, "split": "train", "metric": "half_own"}, Task(half_own, {"sigmas": list(sigmas.values())}, tuple(ends.values())))
    for level in s.reverse_steps[1:]:
        at = {**every, "x": level, "sigma": sigmas[level]}
        yield ({**at, "arm": NETWORK}, Task(training_share, {"generator": s.generator, "sigma": sigmas[level], "weights": weights_of(s.generator)}))
        for split, images in compared(s).items():
            found = Task(differences, {**network(s), "sigma": sigmas[level], "seed": s.seed, "known": split == "train"}, (training(s), images))
            yield {**at, "arm": CONDITIONAL, "split": split}, Task(compared_rows, {}, (found,))


EXPERIMENT = Experiment("empirical_score", Memory, PROFILES, rows, constants={"swept": "t_re"})


def knowing(images: ImageDataset) -> EmpiricalDenoiser:
    return EmpiricalDenoiser(images.floats(), images.labels)


def distances_to(images: ImageDataset, training: ImageDataset) -> Tensor:
    """Of images to the nearest training image, in pixels ``[N]``."""
    return nearest(images.floats().flatten(1), training.floats().flatten(1))[0]


def class_means(training: ImageDataset) -> tuple[Tensor, Tensor]:
    """The mean training image of each class ``[C, ...]``, and the mean distance of its images to it ``[C]``."""
    by_class = [training.floats()[training.labels == c] for c in range(training.num_classes)]
    means = torch.stack([own.mean(0) for own in by_class])
    return means, torch.stack([(own - mean).flatten(1).norm(dim=1).mean() for own, mean in zip(by_class, means)])


def outcomes(
    training: ImageDataset,
    sources: ImageDataset,
    fresh_distances: Tensor,
    arm: str,
    reverse_step: int,
    stride: int,
    seed: int,
    generator: str | None = None,
    weights: str | None = None,
    precision: str | None = None,
    device: str = "cpu",
) -> dict:
    """For each source ``[N]``, bool: whether its reconstruction ends as each of `OUTCOMES`; and, where the arm knows
    the class, centre_distance: from the mean training image of the class, over the mean of its training images."""
    denoiser = usual_denoiser(generator, weights, device) if arm == NETWORK else knowing(training)
    back = reconstruct(
        ClassBlind(denoiser) if arm == BLIND else denoiser,
        sources.floats(),
        sources.labels,
        reverse_step=reverse_step,
        stride=stride,
        seed=seed,
        source_index=sources.source_index,
        device=device,
    ).images
    distances, index = nearest(back.flatten(1), training.floats().flatten(1))
    near = nearer_than(distances, fresh_distances, NEAR_COPY_QUANTILE)
    own = training.source_index[index] == sources.source_index
    found = dict(zip(OUTCOMES, (near & own, near & ~own, ~near)))
    if arm != BLIND:
        means, typical = (values[sources.labels] for values in class_means(training))
        found["centre_distance"] = (back - means).flatten(1).norm(dim=1) / typical
    return found


def differences(
    training: ImageDataset, images: ImageDataset, generator: str, weights: str, precision: str, device: str, sigma: float, seed: int, known: bool
) -> dict:
    """`compare_denoisers` of a saved generator."""
    return compare_denoisers(usual_denoiser(generator, weights, device), training, images, sigma, seed, known, device)


@torch.inference_mode()
def compare_denoisers(network, training: ImageDataset, images: ImageDataset, sigma: float, seed: int, known: bool, device="cpu") -> dict:
    """Per image noised to sigma, mean over pixels: squared differences network - empirical, network - clean and
    empirical - clean; the squares and products behind score_factor and detail_slope (see `compared_rows`); and, where
    the images are ``known``, training images, the weight of the own one."""
    clean, labels, empirical = images.floats(), images.labels, knowing(training)
    noisy = clean + sigma * per_image_noise(clean.shape, seed, images.source_index)
    estimates = torch.cat([network(x.to(device), sigma, c.to(device)).cpu() for x, c in zip(noisy.split(256), labels.split(256))])
    exact = empirical(noisy, sigma, labels)
    pairs = {"network_to_empirical": (estimates, exact), "network_error": (estimates, clean), "empirical_error": (exact, clean)}
    found = {name: (a - b).double().square().flatten(1).mean(1) for name, (a, b) in pairs.items()}
    for name, start in (("step", noisy), ("detail", class_means(training)[0][labels])):
        predicted, true = ((end - start).double().flatten(1) for end in (estimates, clean))
        found[f"{name}_square"] = predicted.square().mean(1)
        found[f"{name}_product"] = (predicted * true).mean(1)
    if known:
        found["own_weight"] = empirical.posterior(noisy, sigma, clean, labels)
    return found


def outcome_rows(found: dict) -> pd.DataFrame:
    """Shares of `outcomes` over sources, and the mean centre_distance."""
    table = [row(metric, wilson_interval(int(found[metric].sum()), len(found[metric]))) for metric in OUTCOMES]
    if "centre_distance" in found:
        table.append(row("centre_distance", mean_interval(found["centre_distance"])))
    return pd.DataFrame(table)


def compared_rows(found: dict) -> pd.DataFrame:
    """Means of `compare_denoisers` over images; error_difference, the network's error minus the empirical denoiser's,
    with the p_value of a paired t-test; and two properties of an optimal denoiser, whose error is uncorrelated with
    anything that it could have known, both 1 there.

    score_factor: how many times longer the network's step from the noisy image to its estimate, and so its score, is
    than the best multiple of it, |step|² / <step, true step>. detail_slope: of the detail by which its estimate
    differs from the mean image of the class, the multiple that is in the clean image, <detail, true> / |detail|².
    """
    means = ("network_to_empirical", "network_error", "empirical_error", "own_weight")
    table = [row(metric, mean_interval(found[metric])) for metric in means if metric in found]
    paired = paired_interval(found["network_error"] - found["empirical_error"])
    table.append({**row("error_difference", paired), "p_value": paired.p_value})
    ratios = {"score_factor": ("step_square", "step_product"), "detail_slope": ("detail_product", "detail_square")}
    table += [row(metric, ratio_interval(*(found[name] for name in pair))) for metric, pair in ratios.items()]
    return pd.DataFrame(table)


def half_own(*ends: dict, sigmas: list) -> pd.DataFrame:
    """The noise level where the own share falls to a half, from `outcomes` at each level; limits by bootstrap over
    sources. No row where the share of any resample does not fall that far."""
    own, rng = np.array([end["own_share"].numpy() for end in ends]), np.random.default_rng(0)
    n = own.shape[1]
    found = [half_level(own[:, some].mean(1), sigmas) for some in (np.arange(n), *(rng.integers(n, size=n) for _ in range(1000)))]
    table = [] if None in found else [(found[0], found[0], *np.quantile(found[1:], (0.025, 0.975)), n)]
    return pd.DataFrame(table, columns=["sigma", "value", "low", "high", "n"], dtype=float).astype({"n": int})


def half_level(shares, sigmas) -> float | None:
    """The noise level at which shares, 1 at ``sigmas[0]`` = 0, first fall to 1/2: linear in ln sigma between levels
    (linear in sigma from 0). None where they do not."""
    below = np.flatnonzero(np.asarray(shares) <= 0.5)
    if len(below) == 0 or below[0] == 0:
        return None
    i = below[0]
    part = (shares[i - 1] - 0.5) / (shares[i - 1] - shares[i])
    if sigmas[i - 1] == 0:
        return float(part * sigmas[i])
    return float(sigmas[i - 1] * (sigmas[i] / sigmas[i - 1]) ** part)


def training_share(generator: str, weights: str, sigma: float) -> pd.DataFrame:
    """Share of the noise levels of EDM's training that are at least sigma, in a million draws."""
    drawn = log_normal_sigmas(10**6, load_denoiser(generator).sigma_data, torch.Generator().manual_seed(0))
    return pd.DataFrame([row("training_share", wilson_interval(int((drawn >= sigma).sum()), len(drawn)))])


def row(metric: str, interval) -> dict:
    return {"metric": metric, **interval.columns, "n": interval.n}
