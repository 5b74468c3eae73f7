"""Samples of one generator and the real images that they are held against, each expensive part a cached cell."""

import json
from functools import cached_property

import torch

from synaug.data import ImageDataset, to_bytes
from synaug.diffusion.denoisers import checkpoint_folder, generator_hash, load_denoiser
from synaug.metrics.encoders import encode
from synaug.experiments.reconstruction_sweep import CODE
from synaug.experiments.shared import check_training, real_images, some, trained_once
from synaug.diffusion.trainer import RECORD
from synaug.metrics.near_copies import nearest
from synaug.precision import fast_precision
from synaug.diffusion.reconstruction import generate
from synaug.run.results import CellCache


class Evaluation:
    """A generator's samples, a judge of them, and sets of real images.

    generator: name or folder of a checkpoint with its training record; dataset: its data set, if it should be checked.
    sampler: a `Sampler`; seed: of its noise. training: architecture, steps and recipe of the judge.
    n_samples: images of each set; n_searched: see `searched`; n_judge: real images that the judge learns from.

    The sets do not overlap, but for the judge's: reference (test images), fresh (images of the training split that
    the generator has not seen), trained (those it was trained on), unseen (more that it has not seen).
    The samples have the reference's classes, image by image.
    """

    def __init__(self, generator, sampler, *, training, dataset=None, n_samples, n_searched=None, n_judge=None, seed=0,
                 device="cpu", progress=False):
        self.denoiser = load_denoiser(generator, device)
        self.denoiser.precision = fast_precision(device)
        self.record = json.loads((checkpoint_folder(generator) / RECORD).read_text())
        self.sampler, self.training, self.seed = sampler, training, seed
        self.device, self.progress = device, progress
        real = real_images(generator, dataset)
        self.dataset, classes = real.test.name, real.test.num_classes
        most = min(len(real.test), len(real.unseen) - 1)
        if not 2 * classes <= n_samples <= most:
            raise ValueError(f"n_samples must lie between {2 * classes} (two a class) and {most} (as many test images, "
                             f"and fewer than the training images that it has not seen), got {n_samples}")
        unseen = some(real.unseen, None)
        self.reference, self.fresh = some(real.test, n_samples), unseen.subset(range(n_samples))
        self.trained, self.unseen = some(real.trained, None), unseen.subset(range(n_samples, len(unseen)))
        self.n_searched = n_searched
        if n_judge is not None and not classes <= n_judge <= len(unseen):
            raise ValueError(f"n_judge must lie between {classes} and {len(unseen)}, the training images that the "
                             f"generator has not seen, got {n_judge}")
        self.judged_by = some(unseen, n_judge)
        check_training(real.test, **training)
        self.cache = CellCache("generator_quality", CODE)

    @cached_property
    def generator(self):
        return generator_hash(self.denoiser)

    @cached_property
    def samples(self):
        """An `ImageDataset`: samples rounded to bytes, as the real images are; labels: the classes asked for."""
        asked = self.reference
        params = {"what": "samples", "generator": self.generator, "asked": asked.labels, "seed": self.seed,
                  "precision": str(self.denoiser.precision), **vars(self.sampler)}

        def run():
            done = generate(self.denoiser, asked.labels, seed=self.seed, device=self.device, progress=self.progress,
                            **vars(self.sampler))
            return to_bytes(done.images).numpy()

        images = torch.from_numpy(self.cache.get_or_run(params, run))
        return ImageDataset(images, asked.labels, asked.class_names, torch.arange(len(images)), self.dataset)

    @cached_property
    def judge(self):
        """A classifier trained on real images that neither the generator nor the reference holds."""
        return trained_once(self.cache, self.judged_by, seed=0, device=self.device, progress=self.progress,
                            **self.training)

    def searched(self, encoder):
        """How many training images, and as many unseen ones, nearest neighbours are searched among."""
        most = min(len(self.trained), len(self.unseen))
        return most if encoder == "pixels" or self.n_searched is None else min(self.n_searched, most)

    def encoded(self, name, encoder, n=None):
        """Features of (the first n images of) a set: "samples", "reference", "fresh", "trained" or "unseen"."""
        return encode(getattr(self, name).floats()[:n], encoder, device=self.device)

    def neighbours(self, name, encoder, among="trained"):
        """`nearest` training images (or, among "unseen", unseen ones) of a set."""
        return nearest(self.encoded(name, encoder), self.encoded(among, encoder, self.searched(encoder)))
