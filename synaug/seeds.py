"""Randomness that a seed decides where what draws takes no generator, such as dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, what draws from the process's random streams is decided by the seed; after it they are as before."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device], device_type="cuda" if device.type == "cpu" else device.type):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch other devices too
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed)
        yield
