"""Optimisers of classifier training: SGD, and sharpness-aware minimisation (SAM, Foret et al. 2021) around it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

OPTIMIZERS = ("sgd", "sam")

#: Radius of SAM's perturbation: the CIFAR-10 command in the public code of Andriushchenko & Flammarion 2022. Foret
#: et al. 2021 have 0.05 for CIFAR-10 (second hand).
RHO = 0.1


def new_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float, weight_decay: float, rho: float = RHO
) -> torch.optim.Optimizer:
    """SGD, with Nesterov's momentum where there is momentum, or SAM of radius ``rho`` around that SGD."""
    options: dict[str, Any] = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    if name == "sgd":
        return torch.optim.SGD(parameters, **options)
    from pytorch_optimizer import SAM  # here, so that those who use SGD need not load it

    return SAM(parameters, torch.optim.SGD, rho=rho, **options)


def take_step(optimizer: torch.optim.Optimizer, model: torch.nn.Module, backward: Callable[[], Any]) -> Any:
    """One step of an optimiser of `new_optimizer`; returns what ``backward()`` returned at the weights before it.

    backward : computes the gradients of the model's parameters at their present values. SAM calls it twice; the
        pass at the perturbed weights does not count in the model's buffers: the statistics of batch normalisation.
    What interrupts the step, or fails in it, leaves parameters, buffers and momentum as they were before.
    """
    values = [value.detach() for value in (*model.parameters(), *model.buffers())]
    before = [value.clone() for value in values]
    momentum = {p: {"momentum_buffer": state["momentum_buffer"].clone()} for p, state in optimizer.state.items() if state.get("momentum_buffer") is not None}
    try:
        result = backward()
        if isinstance(optimizer, torch.optim.SGD):
            optimizer.step()
        else:
            statistics = [buffer.clone() for buffer in model.buffers()]
            optimizer.step(backward)
            _restore(model.buffers(), statistics)
    except BaseException:
        _restore(values, before)
        optimizer.state.clear()
        optimizer.state.update(momentum)
        raise
    return result


@torch.no_grad()
def _restore(values, kept):
    for value, old in zip(values, kept):
        value.copy_(old)
