"""The pieces of a reconstruction sweep, each a cached cell: pools of reconstructions, a real-trained judge,
classifiers trained on pools. Chapters put them together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

import synaug.data
from synaug import attention, classifier_training, classifiers, denoisers, reconstruction, samplers, schedules
from synaug.attention import grad_cam
from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.data import ImageDataset, load_dataset, stratified_subset, to_bytes
from synaug.denoisers import generator_hash, load_denoiser
from synaug.generator_training import trained_on
from synaug.reconstruction import reconstruct
from synaug.results import CellCache, fingerprint

CODE = fingerprint(synaug.data, attention, classifier_training, classifiers, denoisers, reconstruction, samplers,
                   schedules)


@dataclass(frozen=True)
class Sampler:
    """How images are reconstructed; see `synaug.reconstruction.reconstruct` for the arguments."""

    steps: int = 100
    mapping: str = "edm"
    stride: int = 1
    solver: str = "heun"
    churn: float = 0.0

    def __post_init__(self):
        # One wrong word here would cost hours later: look each up now.
        schedules.reverse_sigmas(self.steps, self.steps, self.mapping, self.stride)
        if self.solver not in samplers.SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; there are {', '.join(samplers.SOLVERS)}")
        if not 0 <= self.churn < float("inf"):
            raise ValueError(f"churn must be non-negative and finite, got {self.churn}")


class Sweep:
    """Reconstructions of one generator and what is trained on them.

    generator: name or folder of a checkpoint whose training record says which images it was trained on; those are
    the sources. dataset: the data set they come from, None for the generator's own.
    n_images, n_test: how many source images, and how many test images, are reconstructed and compared (stratified;
    None for all). n_evaluate: test images on which classifiers are scored.
    """

    def __init__(self, generator, sampler, *, dataset=None, n_images=None, n_test=None, n_evaluate=None,
                 classifier="resnet8", classifier_steps=800, recipe="one_cycle", device="cpu", progress=False):
        self.denoiser = load_denoiser(generator, device)
        self.sampler, self.device, self.progress = sampler, device, progress
        whole, trained = trained_on(generator)
        if dataset not in (None, whole.name):
            raise ValueError(f"the generator {generator} was trained on {whole.name}, not on {dataset}: "
                             f"name one that was, or leave dataset out")
        unseen = torch.ones(len(whole), dtype=torch.bool)
        unseen[trained.source_index] = False
        rest, test = whole.subset(unseen.nonzero().flatten()), load_dataset(whole.name, "test")
        self.dataset = whole.name
        #: What reconstructions are made of, by split.
        self.sources = {"train": some(trained, n_images), "test": some(test, n_test)}
        #: Real images that neither the generator nor a classifier has seen, as many as there are sources.
        self.fresh = some(rest, min(len(self.sources["train"]), len(rest)))
        self.evaluate = some(test, n_evaluate)
        self.training = {"architecture": classifier, "steps": classifier_steps, "recipe": recipe}
        build_classifier(classifier, trained.image_shape, trained.num_classes, 0)  # refuses a wrong name now
        self.cache = CellCache("reconstruction_sweep", CODE)

    @cached_property
    def generator(self):
        return generator_hash(self.denoiser)

    def pool(self, reverse_step, split="train", seed=0):
        """Reconstructions from a reverse step of the sources of a split: an `ImageDataset`, sources' order."""
        sources = self.sources[split]
        if reverse_step == 0:
            return sources
        params = {"what": "pool", "generator": self.generator, "dataset": self.dataset, "split": split, "seed": seed,
                  "reverse_step": reverse_step, **vars(self.sampler), "sources": digest(sources)}

        def run():
            done = reconstruct(self.denoiser, sources.floats(), sources.labels, reverse_step=reverse_step, seed=seed,
                               source_index=sources.source_index, device=self.device, progress=self.progress,
                               **vars(self.sampler))
            return to_bytes(done.images).numpy()

        images = torch.from_numpy(self.cache.get_or_run(params, run))
        return ImageDataset(images, sources.labels, sources.class_names, sources.source_index, self.dataset)

    def judge(self, seed=0):
        """One classifier trained on the real sources, the judge of reconstructions."""
        model, _ = self._train(self.sources["train"], seed)
        return model

    def trained_classifier(self, reverse_step, seed, n_maps=0):
        """A classifier trained on the pool of a reverse step, at the same number of optimiser steps for each.

        Returns ``{"accuracy": on the real test images, "maps": float16 [n_maps, H, W] Grad-CAM maps of the first
        n_maps of them for the true class}``.
        """
        pool = self.pool(reverse_step)
        params = {"what": "classifier", "pool": digest(pool), "seed": seed, **self.training,
                  "evaluate": digest(self.evaluate), "n_maps": n_maps}

        def run():
            model, _ = self._train(pool, seed)
            scored = accuracy(predict(model, self.evaluate.images), self.evaluate.labels)
            shown = slice(0, n_maps)
            maps = grad_cam(model, self.evaluate.images[shown], self.evaluate.labels[shown]).numpy()
            return {"accuracy": scored, "maps": maps.astype(np.float16)}

        return self.cache.get_or_run(params, run)

    def _train(self, pool, seed):
        """A model trained on a pool, its weights cached."""
        params = {"what": "weights", "pool": digest(pool), "seed": seed, **self.training}
        model = build_classifier(self.training["architecture"], pool.image_shape, pool.num_classes, seed)

        def run():
            train_classifier(model, pool.images, pool.labels, steps=self.training["steps"], seed=seed,
                             recipe=self.training["recipe"], device=self.device, progress=self.progress)
            return {name: value.cpu().numpy() for name, value in model.state_dict().items()}

        weights = self.cache.get_or_run(params, run)
        model.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
        return model.to(self.device).eval(), weights


def some(dataset, n, seed=0):
    """The first n of the data set's stratified order, all of it in that order for None."""
    return stratified_subset(dataset, len(dataset) if n is None else n, seed)


def digest(dataset):
    """Hex digest of a data set's images and labels: the part of a cell's key that stands for its data."""
    import hashlib

    content = hashlib.sha256(dataset.images.contiguous().numpy().tobytes())
    content.update(dataset.labels.numpy().tobytes())
    return content.hexdigest()[:16]
