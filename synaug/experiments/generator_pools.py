"""Pools of samples of a generator: how they are drawn (sampler, noise level, exploration term), each a cached cell."""

import torch

import synaug.data
from synaug.diffusion import denoisers
from synaug.diffusion import exploration
from synaug.diffusion import perturbed as perturbed_denoisers
from synaug.diffusion import reconstruction
from synaug.diffusion import samplers
from synaug.diffusion import schedules
from synaug.data import ImageDataset, to_bytes
from synaug.experiments import generator_ladder
from synaug.experiments.shared import digest
from synaug.diffusion.exploration import AnnealedClass, Autoguided, GuidedInterval, MinorityGuided, ParticleGuided
from synaug.precision import fast_precision
from synaug.diffusion.reconstruction import generate, reconstruct
from synaug.run.results import CellCache, fingerprint
from synaug.diffusion.samplers import check_sampler
from synaug.diffusion.schedules import sigmas_from

#: What a pool depends on beside its parameters.
CODE = generator_ladder.CODE + " " + fingerprint(synaug.data, denoisers, exploration, perturbed_denoisers,
                                                 reconstruction, samplers, schedules, __file__)

#: Guidance interval of Kynkäänniemi et al. (2024) for ImageNet-512, in units of the data's standard deviation.
INTERVAL = (0.28 / 0.5, 2.9 / 0.5)
#: S_churn in steps of the grid where noise is inflated: every step first raises its noise level by a fifth.
INFLATED_CHURN = 0.2

#: Exploration terms: the denoiser that one makes of (denoiser, strength, seed, weak denoiser).
NOISE_INFLATION, AUTOGUIDANCE = "noise inflation", "autoguidance"
TERMS = {
    NOISE_INFLATION: lambda denoiser, strength, seed, weak: denoiser,  # s_noise of the sampler, see `pool`
    "CADS": lambda denoiser, strength, seed, weak: AnnealedClass(denoiser, strength, seed=seed),
    "guidance interval": lambda denoiser, strength, seed, weak: GuidedInterval(
        denoiser, strength, *(denoiser.sigma_data * edge for edge in INTERVAL)),
    AUTOGUIDANCE: lambda denoiser, strength, seed, weak: Autoguided(denoiser, weak, strength),
    "particle guidance": lambda denoiser, strength, seed, weak: ParticleGuided(denoiser, strength),
    "minority guidance": lambda denoiser, strength, seed, weak: MinorityGuided(denoiser, strength, seed),
}


def pool(generator, steps, solver="heun", churn=0.0, s_noise=1.0, sigma=None, term=None, strength=None, weak=None,
         seed=0):
    """How a pool is drawn, as plain data. ValueError or TypeError for what makes no sense.

    generator, weak: descriptions, see `generator_ladder`. steps, solver, churn, s_noise: of the sampler. sigma: the
    noise level that sources are taken to, None for noise alone. term: one of ``TERMS`` with its strength.
    """
    if term is not None and term not in TERMS:
        raise ValueError(f"unknown exploration term {term!r}; there are {', '.join(TERMS)}")
    if term == NOISE_INFLATION:
        churn, s_noise = INFLATED_CHURN * steps, strength
    check_sampler(solver, churn, s_noise)
    sigmas_from(1.0 if sigma is None else sigma, steps)
    return {"generator": generator, "steps": steps, "solver": solver, "churn": churn, "s_noise": s_noise,
            "sigma": sigma, "term": term, "strength": strength, "weak": weak if term == AUTOGUIDANCE else None,
            "seed": seed}


def explorer(denoiser, term, strength, seed=0, weak=None):
    """The denoiser of an exploration term; the denoiser itself for None."""
    return denoiser if term is None else TERMS[term](denoiser, strength, seed, weak)


def draw(cache_name, pool, sources, device="cpu"):
    """The images of a pool for the classes of ``sources`` (or from the sources themselves): an `ImageDataset`."""
    def run():
        denoiser = generator_ladder.load(pool["generator"], device)
        weak = None if pool["weak"] is None else generator_ladder.load(pool["weak"], device)
        term = explorer(denoiser, pool["term"], pool["strength"], pool["seed"], weak)
        options = {name: pool[name] for name in ("steps", "solver", "churn", "s_noise", "seed")}
        options |= {"source_index": sources.source_index, "device": device}
        if pool["sigma"] is None:
            made = generate(term, sources.labels, image_shape=sources.image_shape, **options)
        else:
            made = reconstruct(term, sources.floats(), sources.labels, sigma=pool["sigma"], **options)
        return to_bytes(made.images).numpy()

    key = {"what": "pool", **pool, "sources": digest(sources), "precision": str(fast_precision(device))}
    images = torch.from_numpy(CellCache(cache_name, CODE).get_or_run(key, run))
    return ImageDataset(images, sources.labels, sources.class_names, sources.source_index, sources.name)
