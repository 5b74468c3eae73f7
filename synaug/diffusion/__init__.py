"""Diffusion models: noise levels, denoisers, samplers, reconstruction, and one run of their training."""
