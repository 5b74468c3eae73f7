"""A generator that knows its training images by heart: where reconstructions snap back to them, and how the trained
network differs.

The second world with a closed form: the optimal denoiser of the empirical distribution of the generator's own
training images. ``python -m synaug.experiments.empirical_score --profile standard`` records the results of a profile.
"""

import time
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

import synaug.data
from synaug.diffusion import denoisers
from synaug.diffusion import empirical as empirical_denoiser
from synaug.diffusion import perturbed as perturbed_denoisers
from synaug import precision
from synaug.diffusion import reconstruction
from synaug.diffusion import samplers
from synaug.diffusion import schedules
from synaug.diffusion.denoisers import log_normal_sigmas
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.experiments import shared
from synaug.experiments.command_line import record_profile
from synaug.experiments.empirical_score_rows import calibration_rows, difference_rows, half_own_rows, limits
from synaug.experiments.generator_quality import NEAR_COPY_QUANTILE
from synaug.experiments.shared import digest, real_images, some
from synaug.metrics import near_copies
from synaug.metrics.near_copies import nearer_than, nearest
from synaug.run.parameters import resolve_profile
from synaug.diffusion.perturbed import ClassBlind
from synaug.precision import fast_precision
from synaug.statistics.proportions import wilson_interval
from synaug.diffusion.reconstruction import per_image_noise, reconstruct
from synaug.run.results import CellCache, fingerprint, provenance, tidy
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step
from synaug.statistics import mean_interval

EXPERIMENT = "empirical_score"
STEPS = 100  # T, of the whole reverse grid

#: What a cell's result depends on beside its parameters.
CODE = torch.__version__ + " " + fingerprint(
    synaug.data, denoisers, empirical_denoiser, perturbed_denoisers, precision, reconstruction, samplers,
    schedules, shared, near_copies, __file__)

#: The denoisers that reconstruct: the empirical one, told the class or not, and the trained network.
CONDITIONAL, BLIND, NETWORK = ARMS = ("empirical, class-conditional", "empirical, class-blind", "trained network")
#: What a reconstruction can end as: a near-copy of its source, of another training image, or of none.
OUTCOMES = ("own_share", "other_share", "none_share")

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(n_training=300, n_sources=20, n_compared=20, reverse_steps=(0, 30, 60, 100), stride=25),
    "quick": dict(n_training=2000, n_sources=50, n_compared=50, reverse_steps=(0, 20, 30, 40, 50, 60, 80, 100),
                  stride=10),
    "standard": dict(n_training=None, n_sources=500, n_compared=2000, stride=5,
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
    def centres(self):
        """The mean training image of each class ``[C, H, W]``, and the mean distance of its images to it."""
        by_class = [self.training.floats()[self.training.labels == c] for c in range(self.training.num_classes)]
        means = torch.stack([own.mean(0) for own in by_class])
        return means, torch.stack([(own - mean).flatten(1).norm(dim=1).mean() for own, mean in zip(by_class, means)])

    @cached_property
    def fresh_distances(self):
        """Of fresh real images to the nearest training image, ``[N]``."""
        params = {"what": "fresh", "fresh": digest(self.fresh), "training": digest(self.training)}
        pixels = self.fresh.floats().flatten(1), self.training.floats().flatten(1)
        return torch.from_numpy(self.cache.get_or_run(params, lambda: nearest(*pixels)[0].numpy()))

    def outcomes(self, arm, reverse_step, stride, seed):
        """For each source ``[n_sources]``, bool: whether its reconstruction ends as each of `OUTCOMES`; and, where the
        arm knows the class, centre_distance: from the mean training image of the class, over the mean of the class's
        training images."""
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
            found = dict(zip(OUTCOMES, (near & own, near & ~own, ~near)))
            if arm != BLIND:
                means, typical = (values[self.sources.labels] for values in self.centres)
                found["centre_distance"] = (back.images - means).flatten(1).norm(dim=1) / typical
            return {name: values.numpy() for name, values in found.items()}

        return self.cache.get_or_run(params, run)

    @torch.inference_mode()
    def differences(self, split, sigma, seed):
        """Per image of a split noised to sigma, mean over pixels: squared differences network - empirical,
        network - clean and empirical - clean; on training images the weight of the own image; and the squares and
        products behind `calibration_rows`."""
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
            means = self.centres[0][labels]
            for name, start in (("step", noisy), ("detail", means)):
                predicted, true = ((end - start).double().flatten(1) for end in (network, clean))
                found[f"{name}_square"] = predicted.square().mean(1).numpy()
                found[f"{name}_product"] = (predicted * true).mean(1).numpy()
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
    `synaug.diffusion.reconstruction.reconstruct`.
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
    ``split`` and in squared pixel values, network_to_empirical, network_error, empirical_error and error_difference,
    the network's minus the empirical denoiser's with the p_value of a paired t-test; own_weight; score_factor and
    detail_slope (see `calibration_rows`); centre_distance of reconstructions (see `Memory.outcomes`); training_share,
    of the noise levels in the network's training, at least sigma.
    """
    start = time.perf_counter()
    memory, settings = prepare(**parameters)
    levels, rows = settings["reverse_steps"], []
    sigmas = [sigma_of_reverse_step(level, STEPS) for level in levels]
    for arm in tqdm(ARMS, disable=not settings["progress"], desc=EXPERIMENT):
        ends = [memory.outcomes(arm, level, settings["stride"], settings["seed"]) for level in levels]
        for level, sigma, end in zip(levels, sigmas, ends):
            at = {"arm": arm, "x": level, "sigma": sigma, "split": "train"}
            rows += [{**at, "metric": metric, **limits(wilson_interval(int(end[metric].sum()), len(end[metric])))}
                     for metric in OUTCOMES]
            if "centre_distance" in end:
                rows.append({**at, "metric": "centre_distance", **limits(mean_interval(end["centre_distance"]))})
        rows += half_own_rows(arm, np.array([end["own_share"] for end in ends]), sigmas)
    drawn = log_normal_sigmas(10**6, memory.network.sigma_data, torch.Generator().manual_seed(0))
    for level, sigma in zip(levels[1:], sigmas[1:]):
        rows.append({"arm": NETWORK, "x": level, "sigma": sigma, "metric": "training_share",
                     **limits(wilson_interval(int((drawn >= sigma).sum()), len(drawn)))})
        for split in memory.compared:
            found = memory.differences(split, sigma, settings["seed"])
            rows += [{"arm": CONDITIONAL, "x": level, "sigma": sigma, "split": split, **row}
                     for row in difference_rows(found) + calibration_rows(found)]
    seconds = time.perf_counter() - start - memory.cache.elapsed + memory.cache.wall_seconds
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds, settings["device"],
                                 memory.generator),
                experiment=EXPERIMENT, dataset=memory.dataset, profile=settings["profile"], seed=settings["seed"],
                swept="t_re")


if __name__ == "__main__":
    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0])
