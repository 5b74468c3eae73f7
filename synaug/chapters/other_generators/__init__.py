"""Chapter 7: a VAE and a GAN beside the diffusion model, other data, and other settings of the diffusion model."""
