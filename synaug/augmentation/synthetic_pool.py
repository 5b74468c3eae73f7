"""Pools of generated images: k - 1 copies of each chosen source, made once, stored with where they come from.

An image depends on the generator, its source, the seed and its copy number alone, never on k: the pool of k = 5 holds
the images of k = 2, and every arm of a comparison takes its part of one pool (`SyntheticPool.take`).
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synaug.checks import as_tensor, number, of_kind, whole
from synaug.data import ImageDataset, same_classes, to_bytes
from synaug.data.images import HINT, Indices
from synaug.dependencies import code_of
from synaug.diffusion.adapters import DDPMDenoiser
from synaug.diffusion.denoisers import UNKNOWN, Denoiser, check_input, generator_hash
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.samplers import check_sampler
from synaug.diffusion.schedules import SIGMA_MAX, sigmas_from
from synaug.files import content_key, kept, storable
from synaug.generators.contract import Generator
from synaug.paths import cache_dir
from synaug.precision import usable_device
from synaug.provenance import versions
from synaug.resources import check_memory

#: Sources whose copies are stored together: about a minute's work of a CPU, what a run that is cut loses at most.
BLOCK = 1024
#: Copies have seeds of their own: seed * MOST_COPIES + copy, so no copy of one seed is a copy of another seed.
MOST_COPIES = 2**16


@storable
@dataclass(frozen=True, eq=False)
class SyntheticPool:
    """Generated images: all sources' copy 1, then all sources' copy 2, ...; sources ascending.

    data: the images, with the labels and source indices of their sources.
    provenance: one row per image: source (its source's place in the data set), copy (from 1), and the columns of
    `synaug.diffusion.reconstruction.Reconstruction`; seed is the copy's.
    sources: int64 ``[n]``, the places that images were made for. k: the original and k - 1 copies.
    """

    data: ImageDataset
    provenance: pd.DataFrame
    sources: Tensor
    k: int

    def __len__(self) -> int:
        return len(self.data)

    def take(self, sources: Indices | None = None, k: int | None = None) -> "SyntheticPool":
        """The part that belongs to some of the sources (int64 places in the data set) and to a smaller k.

        ValueError where the pool has no images of a source, a source is given twice, or k is not from 1 to the pool's own.
        """
        sources = self.sources if sources is None else as_places(sources)
        k = self.k if k is None else whole("k", k, 1, self.k)
        if missing := sorted(set(sources.tolist()) - set(self.sources.tolist())):
            raise ValueError(f"the pool has no images of {len(missing)} of the sources, such as {missing[0]}")
        wanted = self.provenance["source"].isin(sources.tolist()) & (self.provenance["copy"] < k)
        return SyntheticPool(*self._rows(wanted.to_numpy(copy=True)), sources, k)

    def keep(self, kept: Collection[bool]) -> "SyntheticPool":
        """The images where ``kept``, bool ``[len(self)]`` (else ValueError), is true; sources and k stay."""
        kept = np.asarray(kept)
        if kept.dtype != bool or kept.shape != (len(self),):
            raise ValueError(f"kept must be bool [{len(self)}], one per image, got {kept.dtype} {list(kept.shape)}")
        return SyntheticPool(*self._rows(kept), self.sources, self.k)

    def _rows(self, wanted) -> tuple[ImageDataset, pd.DataFrame]:
        wanted = torch.as_tensor(wanted).nonzero().flatten()
        return self.data.subset(wanted), self.provenance.iloc[wanted.numpy()].reset_index(drop=True)


def generate_pool(
    denoiser: Denoiser | Generator,
    dataset: ImageDataset,
    sources: Indices,
    *,
    k: int,
    sigmas: float | Sequence[float] | None = None,
    from_noise: bool = False,
    steps: int = 18,
    solver: str = "heun",
    churn: float = 0.0,
    seed: int = 0,
    folder: str | Path | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    progress: bool = False,
    strengths: float | Sequence[float] | None = None,
) -> SyntheticPool:
    """k - 1 images of each source's class, from the source itself at a noise level or from noise alone.

    denoiser: see `synaug.diffusion.denoisers`, or a `Generator` of any family, which takes strengths in the place of
    sigmas and has its own steps, solver and churn; class names that it has must be those of ``dataset``, in any order.
    sources: the places in ``dataset`` to augment, each once.
    sigmas: the noise level that a source is taken to; of several, the copies take turns (copy 1 the first, ...; of more
    levels than copies the last are not used), as targeted augmentation fills a large quota with images of different
    denoising depth (second hand). from_noise: start from noise alone, at 80 (EDM's highest level) where no sigmas are
    given. strengths: of a `Generator`, each in 0..1, taken in turns as sigmas are; 1 is from noise alone.
    steps, solver, churn, batch_size: see `synaug.diffusion.reconstruction.reconstruct`; 18 steps are EDM's for small
    images.
    seed: a copy's noise depends on (seed, copy, the source's ``source_index``) alone.
    folder: where copies are kept and looked up, `BLOCK` sources of one copy to a file, so that a run that is cut goes
    on; by default ``pools`` in `synaug.paths.cache_dir`. Of a denoiser whose `generator_hash` is unknown nothing is.
    device: where the denoiser is; a `Generator` runs where it is. progress: show a bar.
    ValueError or TypeError, or MemoryError where the pool has no room, before the first image is made.
    """
    sources = as_places(sources)
    of_kind("dataset", dataset, ImageDataset, HINT)
    whole("k, the original and its copies,", k, 2, MOST_COPIES)
    whole("seed", seed, 0, 2**47 - 1)
    if isinstance(denoiser, Generator):
        settings = _of_strengths(strengths, sigmas, from_noise)
    else:
        settings = _of_sigmas(sigmas, from_noise, steps, solver, churn, strengths)
    batch_size = whole("batch_size", batch_size, 1)
    usable_device(device)
    real, classes = dataset.subset(sources), _classes_of(denoiser, dataset)
    check_input(denoiser, real.floats([0]), classes[real.labels[:1]])
    what = f"a pool of {(k - 1) * len(real):,} images"
    check_memory(2 * (k - 1) * real.images.numel(), what)  # its blocks, and they together

    folder = cache_dir() / "pools" if folder is None else Path(folder)
    make_images: Any = denoiser.reconstruct if isinstance(denoiser, Generator) else partial(reconstruct, denoiser, device=device)
    known, precision = generator_hash(denoiser, code=True), str(getattr(denoiser, "precision", torch.float32))
    request = code_of(generate_pool), versions(), known, precision
    parts = []
    for copy in range(1, k):
        draw = {**settings[(copy - 1) % len(settings)], "seed": int(seed) * MOST_COPIES + copy}
        # Whole batches, so that images do not depend on the blocks, not even by rounding.
        for places in torch.arange(len(real)).split(-(-BLOCK // batch_size) * batch_size):
            block = real.subset(places)
            labels = classes[block.labels]

            def make():
                made = make_images(block.floats(), labels, source_index=block.source_index, batch_size=batch_size, progress=progress, **draw)
                return {"images": to_bytes(made.images), "provenance": made.provenance}

            key = content_key(*request, draw, block.images, labels, block.source_index)
            parts.append(make() if known == UNKNOWN else kept(folder / f"{key}.zip", make))
    images = torch.cat([part["images"] for part in parts])
    provenance = pd.concat([part["provenance"] for part in parts], ignore_index=True)
    provenance = provenance.assign(
        label=real.labels.repeat(k - 1).numpy(), source=sources.repeat(k - 1).numpy(), copy=torch.arange(1, k).repeat_interleave(len(sources)).numpy()
    )
    pool = ImageDataset(images, real.labels.repeat(k - 1), dataset.class_names, real.source_index.repeat(k - 1), dataset.name)
    return SyntheticPool(pool, provenance, sources, int(k))


def _of_strengths(strengths, sigmas, from_noise) -> list[dict]:
    """What `Generator.reconstruct` takes for each of the copies that take turns."""
    levels = [1.0] if strengths is None else as_tensor("strengths", strengths).double().reshape(-1).tolist()
    if sigmas is not None or (strengths is None) != bool(from_noise) or not levels:
        raise ValueError("of a Generator give either strengths, 0..1, or from_noise=True; sigmas are for denoisers")
    return [{"strength": number("each of strengths", level, 0, 1)} for level in levels]


def _of_sigmas(sigmas, from_noise, steps, solver, churn, strengths) -> list[dict]:
    """What `reconstruct` takes for each of the copies that take turns."""
    if strengths is not None:
        raise ValueError("strengths are for generators: synaug.generators.Diffusion makes one of a denoiser")
    if sigmas is None and not from_noise:
        raise ValueError("give the noise level(s) sigmas that real images are taken to, or from_noise=True")
    levels = [SIGMA_MAX] if sigmas is None else as_tensor("sigmas", sigmas).double().reshape(-1).tolist()
    if not levels or not min(levels) > 0:
        raise ValueError(f"sigmas must be positive, got {levels}")
    for level in levels:
        sigmas_from(level, steps)
    check_sampler(solver, churn)
    return [{"steps": int(steps), "solver": solver, "churn": float(churn), "from_noise": bool(from_noise), "sigma": level} for level in levels]


def _classes_of(denoiser, dataset: ImageDataset) -> Tensor:
    """The denoiser's label of each class of a data set, int64 ``[K]``."""
    known, names = (getattr(denoiser, name, None) for name in ("num_classes", "class_names"))
    if names is not None:
        return same_classes(dataset.class_names, names)
    if isinstance(denoiser, DDPMDenoiser) and known == dataset.num_classes + 1:
        warnings.warn(
            f"the generator has {known} class embeddings, the data set has {known - 1} classes: the last of "
            f"them is taken to stand for no class (DDPMDenoiser's null_class says so)",
            stacklevel=3,
        )
    elif known not in (None, dataset.num_classes):
        raise ValueError(f"the denoiser knows {known} classes, the data set has {dataset.num_classes}")
    return torch.arange(dataset.num_classes)


def as_places(indices: Indices) -> Tensor:
    """Places in a data set, integers ``[n]``, n > 0, each once, as an ascending int64 tensor; else ValueError."""
    indices = as_tensor("sources", indices).cpu()
    if indices.ndim != 1 or len(indices) == 0 or indices.dtype == torch.bool or indices.is_floating_point():
        raise ValueError(f"sources must be whole numbers [n] with n > 0, got {indices.dtype} {list(indices.shape)}")
    ascending = indices.long().unique()
    if len(ascending) < len(indices):
        raise ValueError("sources must be given once each; k says how many copies of them there are")
    return ascending
