"""Optimisers of classifier training: SGD, and sharpness-aware minimisation (SAM, Foret et al. 2021) around it."""

import math

import torch

OPTIMIZERS = ("sgd", "sam")

#: Radius of SAM's perturbation: the CIFAR-10 command in the public code of Andriushchenko & Flammarion 2022. Foret
#: et al. 2021 have 0.05 for CIFAR-10 (second hand).
RHO = 0.1


def check_optimizer(name: str, rho: float) -> None:
    """ValueError for what `new_optimizer` does not take."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be positive and finite, got {rho}")


def new_optimizer(name: str, parameters, lr: float, momentum: float, weight_decay: float, rho: float = RHO):
    """SGD, with Nesterov's momentum where there is momentum, or SAM of radius ``rho`` around that SGD."""
    options = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    if name == "sgd":
        return torch.optim.SGD(parameters, **options)
    from pytorch_optimizer import SAM  # here, so that those who use SGD need not load it

    return SAM(parameters, torch.optim.SGD, rho=rho, **options)


def take_step(optimizer, model: torch.nn.Module, backward):
    """One step of an optimiser of `new_optimizer`; returns what ``backward()`` returned at the weights before it.

    backward : computes the gradients of the model's parameters at their present values. SAM calls it twice; the
        pass at the perturbed weights does not count in the running statistics of batch normalisation.
    """
    result = backward()
    if isinstance(optimizer, torch.optim.SGD):
        optimizer.step()
        return result
    from pytorch_optimizer.optimizer.utils import disable_running_stats, enable_running_stats

    disable_running_stats(model)
    optimizer.step(backward)
    enable_running_stats(model)
    return result
