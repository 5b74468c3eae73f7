"""The pieces of a reconstruction sweep, each a cached cell: pools of reconstructions, a real-trained judge,
classifiers trained on pools. Chapters put them together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.decomposition import PCA

import synaug.data
from synaug.classifiers import architectures
from synaug.classifiers import attention
from synaug.classifiers import training as classifier_training
from synaug import classifiers
from synaug.diffusion import denoisers
from synaug.classifiers import optimizers
from synaug import precision
from synaug.classifiers import predictions
from synaug.diffusion import reconstruction
from synaug.diffusion import samplers
from synaug.diffusion import schedules
from synaug.augmentation import synthetic_pool
from synaug.classifiers import trivial_augment
from synaug.classifiers.attention import explained_block, grad_cam
from synaug.classifiers import accuracy, predict
from synaug.data import ImageDataset, to_bytes
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.metrics.encoders import encode
from synaug.experiments import shared
from synaug.experiments.shared import check_training, digest, real_images, some, trained_once
from synaug.precision import fast_precision
from synaug.run.results import CellCache, fingerprint
from synaug.diffusion.reconstruction import reconstruct

#: What a cell's result depends on beside its parameters: the code, and torch.
CODE = torch.__version__ + " " + fingerprint(
    synaug.data, architectures, attention, classifier_training, classifiers, denoisers, optimizers, precision,
    predictions, reconstruction, samplers, schedules, synthetic_pool, trivial_augment, shared, __file__)


@dataclass(frozen=True)
class Sampler:
    """How images are reconstructed; see `synaug.diffusion.reconstruction.reconstruct` for the arguments."""

    steps: int = 100
    mapping: str = "edm"
    stride: int = 1
    solver: str = "heun"
    churn: float = 0.0

    def __post_init__(self):
        # One wrong word here would cost hours later: look each up now.
        schedules.reverse_sigmas(self.steps, self.steps, self.mapping, self.stride)
        samplers.check_sampler(self.solver, self.churn)


class Sweep:
    """Reconstructions of one generator and what is trained on them.

    generator: name or folder of a checkpoint whose training record says which images it was trained on; those are
    the sources. dataset: the data set they come from, None for the generator's own.
    n_images, n_test: how many source images, and how many test images, are reconstructed and compared (stratified;
    None for all). n_evaluate: test images on which classifiers are scored.
    classifier, classifier_steps, recipe, augment: how classifiers are trained, see `synaug.classifiers`.
    """

    def __init__(self, generator, sampler, *, dataset=None, n_images=None, n_test=None, n_evaluate=None,
                 classifier="resnet8", classifier_steps=800, recipe="one_cycle", augment="flip", device="cpu",
                 progress=False):
        self.denoiser = load_denoiser(generator, device)
        self.denoiser.precision = fast_precision(device)
        self.sampler, self.device, self.progress = sampler, device, progress
        real = real_images(generator, dataset)
        self.dataset = real.test.name
        #: What reconstructions are made of, by split.
        self.sources = {"train": some(real.trained, n_images), "test": some(real.test, n_test)}
        #: Real images that neither the generator nor a classifier has seen, as many as there are sources.
        self.fresh = some(real.unseen, min(len(self.sources["train"]), len(real.unseen)))
        self.evaluate = some(real.test, n_evaluate)
        self.training = {"architecture": classifier, "steps": classifier_steps, "recipe": recipe, "augment": augment}
        explained_block(check_training(real.test, **self.training))  # a network without one would fail hours later
        self.cache = CellCache("reconstruction_sweep", CODE)

    @cached_property
    def generator(self):
        return generator_hash(self.denoiser)

    def pool(self, reverse_step, split="train", seed=0):
        """Reconstructions from a reverse step of the sources of a split: an `ImageDataset`, sources' order."""
        sources = self.sources[split]
        if reverse_step == 0:
            return sources
        key = {"what": "pool", "generator": self.generator, "dataset": self.dataset, "split": split,
               "precision": str(self.denoiser.precision)}
        draw = {"reverse_step": reverse_step, "seed": seed, **vars(self.sampler)}

        def run():
            made = reconstruct(self.denoiser, sources.floats(), sources.labels, source_index=sources.source_index,
                               batch_size=256 if torch.device(self.device).type == "cpu" else 1024,
                               device=self.device, progress=self.progress, **draw)
            return to_bytes(made.images).numpy()

        images = torch.from_numpy(self.cache.get_or_run({**key, **draw, "sources": digest(sources)}, run))
        return ImageDataset(images, sources.labels, sources.class_names, sources.source_index, self.dataset)

    @cached_property
    def judge(self):
        """One classifier trained on the real sources, the judge of reconstructions."""
        return self._train(self.sources["train"], seed=0)

    @cached_property
    def judge_plane(self):
        """The first two principal components (scikit-learn's `PCA`) of the judge's features of the real sources."""
        return PCA(2, svd_solver="full").fit(self._judge_features(self.sources["train"].floats()))

    def in_judge_plane(self, images):
        """Points float64 ``[N, 2]`` of images, float ``[N, C, H, W]``, in the `judge_plane`."""
        return self.judge_plane.transform(self._judge_features(images))

    def _judge_features(self, images):
        return encode(images, self.judge, device=self.device).double().numpy()

    def trained_classifier(self, reverse_step, seed, n_maps=0):
        """A classifier trained on the pool of a reverse step, at the same number of optimiser steps for each.

        Returns ``{"accuracy": on the real test images, "maps": float16 [n_maps, H, W] Grad-CAM maps of the first
        n_maps of them for the true class}``.
        """
        pool = self.pool(reverse_step)
        params = {"what": "classifier", "pool": digest(pool), "seed": seed, **self.training,
                  "evaluate": digest(self.evaluate), "n_maps": n_maps}

        def run():
            model = self._train(pool, seed)
            scored = accuracy(predict(model, self.evaluate.images), self.evaluate.labels)
            shown = slice(0, n_maps)
            maps = grad_cam(model, self.evaluate.images[shown], self.evaluate.labels[shown]).numpy()
            return {"accuracy": scored, "maps": maps.astype(np.float16)}

        return self.cache.get_or_run(params, run)

    def _train(self, pool, seed):
        """A model trained on a pool."""
        return trained_once(self.cache, pool, seed=seed, device=self.device, progress=self.progress, **self.training)
