"""synaug: when do images from a diffusion model help train a classifier, and why do they so often not?"""

__version__ = "0.1.0"
