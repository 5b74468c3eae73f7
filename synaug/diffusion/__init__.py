"""Diffusion models: noise levels, denoisers, samplers, reconstruction, and the training of small generators."""
