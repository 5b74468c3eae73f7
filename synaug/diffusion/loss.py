"""What a denoiser is trained to make small: EDM's weighted denoising loss, and the noise levels it is taken at."""

import math

import torch


def denoising_loss(denoiser, images, labels, sigma, noise):
    """EDM's weighted denoising loss of each image, ``[N]`` (Karras et al. 2022, eqs. 2 and 8, weight of Table 1).

    images, noise: float ``[N, C, H, W]``, noise standard normal; sigma: ``[N]``.
    The weight (sigma² + sigma_data²) / (sigma sigma_data)² makes the loss of a network that answers 0 one at every
    sigma (for images of mean 0).
    """
    s = sigma.view(-1, 1, 1, 1)
    error = (denoiser(images + s * noise, sigma, labels) - images).square().mean(dim=(1, 2, 3))
    data = denoiser.sigma_data
    return error * (sigma**2 + data**2) / (sigma * data) ** 2


def log_normal_sigmas(n, sigma_data, generator, *, p_mean=-1.2, p_std=1.2):
    """Training noise levels ``[n]``, on the generator's device: ln sigma ~ N(p_mean + ln(sigma_data / 0.5), p_std²).

    EDM's values (Table 1) are for sigma_data = 0.5; the shift keeps them where they are relative to the data.
    """
    centre = p_mean + math.log(sigma_data / 0.5)
    return (centre + p_std * torch.randn(n, generator=generator, device=generator.device)).exp()
