"""A generator that knows its training images by heart: where reconstructions snap back to them, and how the trained
network differs.

The second world with a closed form: the optimal denoiser of the empirical distribution of the generator's own
training images. ``python -m synaug.experiments.empirical_score --profile standard`` records the results of a profile.
"""

import time
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import synaug.data
from synaug import denoisers, empirical_denoiser, perturbed_denoisers, precision, reconstruction, samplers, schedules
from synaug.denoisers import generator_hash, load_denoiser
from synaug.empirical_denoiser import EmpiricalDenoiser
from synaug.experiments import shared
from synaug.experiments.command_line import record_profile
from synaug.experiments.generator_quality import NEAR_COPY_QUANTILE
from synaug.experiments.shared import digest, real_images, some
from synaug.metrics import near_copies
from synaug.metrics.near_copies import nearer_than, nearest
from synaug.parameters import resolve_profile
from synaug.perturbed_denoisers import ClassBlind
from synaug.precision import fast_precision
from synaug.proportions import wilson_interval
from synaug.reconstruction import per_image_noise, reconstruct
from synaug.results import CellCache, fingerprint, provenance, tidy
from synaug.schedules import reverse_sigmas, sigma_of_reverse_step
from synaug.statistics import mean_interval

EXPERIMENT = "empirical_score"
STEPS = 100  # T, of the whole reverse grid

#: What a cell's result depends on beside its parameters.
CODE = torch.__version__ + " " + fingerprint(
    synaug.data, denoisers, empirical_denoiser, perturbed_denoisers, precision, reconstruction, samplers, schedules,
    shared, near_copies, __file__)

#: The denoisers that reconstruct: the empirical one, told the class or not, and the trained network.
CONDITIONAL, BLIND, NETWORK = ARMS = ("empirical, class-conditional", "empirical, class-blind", "trained network")
#: What a reconstruction can end as: a near-copy of its source, of another training image, or of none.
OUTCOMES = ("own_share", "other_share", "none_share")

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(n_training=300, n_sources=20, n_compared=20, reverse_steps=(0, 30, 60, 100), stride=25),
    "quick": dict(n_training=2000, n_sources=50, n_compared=50, reverse_steps=(0, 20, 30, 40, 50, 60, 80, 100),
                  stride=10),
    "standard": dict(n_training=None, n_sources=200, n_compared=500, stride=5,
                     reverse_steps=(0, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 100)),
    "paper": dict(n_training=None, n_sources=1000, n_compared=2000, reverse_steps=tuple(range(0, 101, 5)), stride=1),
}


class Memory:
    """A generator's denoiser beside the empirical one of its training images, on the same images."""

    def __init__(self, generator, dataset, settings, device, progress):
        self.network = load_denoiser(generator, device)
        self.network.precision = fast_precision(device)
        real = real_images(generator, dataset)
        self.dataset, self.device, self.progress = real.test.name, device, progress
        self.training = some(real.trained, settings["n_training"])
        self.sources = some(self.training, settings["n_sources"])
        #: Images to compare denoisers on, by whether they were trained on; and those that say what a near-copy is.
        self.compared = {"train": some(self.training, settings["n_compared"]),
                         "held out": some(real.test, settings["n_compared"])}
        self.fresh = some(real.unseen, min(len(self.training), len(real.unseen)))
        self.empirical = EmpiricalDenoiser(self.training.floats(), self.training.labels)
        self.cache = CellCache(EXPERIMENT, CODE)

    @cached_property
    def generator(self):
        return generator_hash(self.network)

    @cached_property
    def fresh_distances(self):
        """Of fresh real images to the nearest training image, ``[N]``."""
        params = {"what": "fresh", "fresh": digest(self.fresh), "training": digest(self.training)}
        pixels = self.fresh.floats().flatten(1), self.training.floats().flatten(1)
        return torch.from_numpy(self.cache.get_or_run(params, lambda: nearest(*pixels)[0].numpy()))

    def outcomes(self, arm, reverse_step, stride, seed):
        """bool ``[3, n_sources]``: which reconstructions end as each of `OUTCOMES`."""
        denoiser = {CONDITIONAL: self.empirical, BLIND: ClassBlind(self.empirical), NETWORK: self.network}[arm]
        params = {"what": "outcomes", "generator": generator_hash(denoiser), "precision": str(self.network.precision),
                  "sources": digest(self.sources), "training": digest(self.training), "fresh": digest(self.fresh),
                  "reverse_step": reverse_step, "stride": stride, "seed": seed}

        def run():
            device = self.device if arm == NETWORK else "cpu"
            back = reconstruct(denoiser, self.sources.floats(), self.sources.labels, reverse_step=reverse_step,
                               stride=stride, seed=seed, source_index=self.sources.source_index, device=device,
                               progress=self.progress)
            distances, index = nearest(back.images.flatten(1), self.training.floats().flatten(1))
            near = nearer_than(distances, self.fresh_distances, NEAR_COPY_QUANTILE)
            own = self.training.source_index[index] == self.sources.source_index
            return torch.stack([near & own, near & ~own, ~near]).numpy()

        return self.cache.get_or_run(params, run)

    @torch.inference_mode()
    def squared_differences(self, split, sigma, seed):
        """Per image of a split noised to sigma, mean over pixels: squared differences network - empirical,
        network - clean and empirical - clean; and on training images the weight of the own image."""
        images = self.compared[split]
        params = {"what": "differences", "generator": self.generator, "precision": str(self.network.precision),
                  "images": digest(images), "training": digest(self.training), "sigma": sigma, "seed": seed}

        def run():
            clean, labels = images.floats(), images.labels
            noisy = clean + sigma * per_image_noise(clean.shape, seed, images.source_index)
            network = torch.cat([self.network(x.to(self.device), sigma, c.to(self.device)).cpu()
                                 for x, c in zip(noisy.split(256), labels.split(256))])
            empirical = self.empirical(noisy, sigma, labels)
            pairs = {"network_to_empirical": (network, empirical), "network_error": (network, clean),
                     "empirical_error": (empirical, clean)}
            found = {name: (a - b).double().square().flatten(1).mean(1).numpy() for name, (a, b) in pairs.items()}
            if split == "train":
                found["own_weight"] = self.empirical.posterior(noisy, sigma, clean, labels).numpy()
            return found

        return self.cache.get_or_run(params, run)


def prepare(profile=None, dataset=None, generator="fashion_mnist", n_training=None, n_sources=None, n_compared=None,
            reverse_steps=None, stride=None, seed=0, device="cpu", progress=False):
    """The images and denoisers behind a run, its parameters checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    dataset, generator: a generator's name or folder; its data set, if it should be checked.
    n_training: of the generator's training images, those that the empirical denoiser knows (None for all).
    n_sources: of these, the ones that are reconstructed. n_compared: training and held-out images on which denoisers
    are compared. reverse_steps: levels in 0 .. 100, of which 0 is the source itself; stride, seed: see
    `synaug.reconstruction.reconstruct`.
    Returns (`Memory`, dict of all parameters). ValueError says what was wrong and what is allowed.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile}
    settings["reverse_steps"] = levels = tuple(settings["reverse_steps"])
    for name in ("n_training", "n_sources", "n_compared", "seed"):
        value, least = settings[name], 0 if name == "seed" else 2
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    for level in levels:
        reverse_sigmas(level, STEPS, stride=settings["stride"])
    if 0 not in levels or sorted(set(levels)) != list(levels) or len(levels) < 2:
        raise ValueError(f"reverse_steps must be increasing whole numbers from 0, the source itself, got {levels}")
    return Memory(generator, dataset, settings, device, progress), settings


def run(**parameters):
    """Every measurement as a tidy frame with 95 % limits over images; the arguments are those of `prepare`.

    x: the reverse step, sigma its noise level. Metrics: own_share, other_share, none_share (see `OUTCOMES`); half_own,
    the noise level (``value``) at which the share of the own source falls to a half, where it does; on images of a
    ``split`` and in squared pixel values, network_to_empirical, network_error and empirical_error; own_weight.
    """
    start = time.perf_counter()
    memory, settings = prepare(**parameters)
    levels, rows = settings["reverse_steps"], []
    sigmas = [sigma_of_reverse_step(level, STEPS) for level in levels]
    for arm in tqdm(ARMS, disable=not settings["progress"], desc=EXPERIMENT):
        ends = [memory.outcomes(arm, level, settings["stride"], settings["seed"]) for level in levels]
        rows += [{"arm": arm, "x": level, "sigma": sigma, "metric": metric, "split": "train",
                  **limits(wilson_interval(int(who.sum()), len(who)))}
                 for level, sigma, end in zip(levels, sigmas, ends) for metric, who in zip(OUTCOMES, end)]
        rows += half_own_rows(arm, np.array([end[0] for end in ends]), sigmas)
    for split in memory.compared:
        for level, sigma in zip(levels[1:], sigmas[1:]):
            found = memory.squared_differences(split, sigma, settings["seed"])
            rows += [{"arm": CONDITIONAL, "x": level, "sigma": sigma, "metric": metric, "split": split,
                      **limits(mean_interval(values))} for metric, values in found.items()]
    seconds = time.perf_counter() - start - memory.cache.elapsed + memory.cache.wall_seconds
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds, settings["device"],
                                 memory.generator),
                experiment=EXPERIMENT, dataset=memory.dataset, profile=settings["profile"], seed=settings["seed"],
                swept="t_re")


def half_own_rows(arm, own, sigmas, n_bootstrap=1000):
    """The row of the noise level where the own share falls to a half; limits by bootstrap over sources.

    own: bool ``[levels, n]``. No row where the share of any resample does not fall that far.
    """
    rng, n = np.random.default_rng(0), own.shape[1]
    found = [half_level(own[:, some].mean(1), sigmas) for some in
             (np.arange(n), *(rng.integers(n, size=n) for _ in range(n_bootstrap)))]
    if None in found:
        return []
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return [{"arm": arm, "x": 0, "sigma": found[0], "metric": "half_own", "split": "train", "value": found[0],
             "low": low, "high": high, "n": n}]


def half_level(shares, sigmas):
    """The noise level at which shares, 1 at ``sigmas[0]`` = 0, first fall to 1/2: linear in ln sigma between levels
    (linear in sigma from 0). None where they do not."""
    below = np.flatnonzero(np.asarray(shares) <= 0.5)
    if len(below) == 0 or below[0] == 0:
        return None
    i = below[0]
    part = (shares[i - 1] - 0.5) / (shares[i - 1] - shares[i])
    if sigmas[i - 1] == 0:
        return part * sigmas[i]
    return float(sigmas[i - 1] * (sigmas[i] / sigmas[i - 1]) ** part)


def limits(interval):
    return {"value": interval.estimate, "low": interval.low, "high": interval.high, "n": interval.n}


if __name__ == "__main__":
    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0])
