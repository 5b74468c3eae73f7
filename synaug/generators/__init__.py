"""Generators of three families under one contract, `Generator`: `Diffusion`, `VAE` and `GAN`.

Each samples classes, and reconstructs real images at a strength between 0 (itself) and 1 (nothing of it but its
class). ``python -m synaug train-generator --recipe vae`` trains one; `load_generator` loads those of any family.
"""

from pathlib import Path

import torch

from synaug.diffusion.denoisers import OTHER_DESCRIPTION, checkpoint_folder, generator_hash, load_denoiser
from synaug.generators.contract import Diffusion, Generator
from synaug.generators.gan import GAN
from synaug.generators.latent import load_latent
from synaug.generators.vae import VAE

__all__ = ["GAN", "VAE", "Diffusion", "Generator", "load_generator"]


def load_generator(name_or_path: str | Path = "fashion_mnist", device: str | torch.device = "cpu") -> Generator:
    """A saved generator of any family, in evaluation mode, compared with its training record where it has one.

    A denoiser comes as `Diffusion` with its usual settings, and the two have one `generator_hash`. FileNotFoundError
    says what is missing, and which generators there are. ValueError names the file that is damaged.
    """
    folder = checkpoint_folder(name_or_path)
    if (folder / OTHER_DESCRIPTION).is_file():
        return load_latent(folder, {family.family: family for family in (VAE, GAN)}, device)
    made = Diffusion(load_denoiser(folder, device))
    made.recorded = generator_hash(made), generator_hash(made.denoiser)
    return made
