"""Where a classifier looks: Grad-CAM maps, and how alike two sets of maps are."""

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from synaug.checks import of_kind, whole
from synaug.classifiers.predictions import as_inputs, check_images, check_labels, check_tensors, evaluating


def explained_block(model: nn.Module) -> nn.Module:
    """The module that Grad-CAM looks at; ValueError for a model that pools no map, such as a ViT."""
    block = getattr(model, "last_block", None)
    if block is None:
        raise ValueError(f"Grad-CAM needs a model with last_block, a map of features that is pooled; {type(model).__name__} has none")
    return block


@torch.inference_mode(False)
@torch.enable_grad()
def grad_cam(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Grad-CAM maps (Selvaraju et al. 2017, eq. 1 and 2) of ``model.last_block``, through captum.

    The channels of the block's output are averaged with their mean gradients of the target's logit as weights; what is
    negative becomes 0. Each map is enlarged bilinearly to the images and divided by its maximum; one that is 0
    everywhere stays so.

    Parameters
    ----------
    model : a classifier with ``last_block``; used in evaluation mode, on its own device.
    images : uint8, or float in ``[-1, 1]``, ``[N, C, H, W]``.
    targets : int64 ``[N]`` in ``0..K-1``, the class whose logit is explained.

    Returns float32 ``[N, H, W]`` in ``[0, 1]`` on the CPU. Raises ValueError on bad images or targets, or a model
    without ``last_block``.
    """
    of_kind("model", model, nn.Module)
    check_images(images, targets)
    batch_size = whole("batch_size", batch_size, 1)
    block = explained_block(model)
    check_labels(model, images, targets, "targets")
    explain = LayerGradCam(model, block)
    maps = []
    with evaluating(model):
        for batch, target in zip(images.split(batch_size), targets.split(batch_size)):
            batch = as_inputs(batch, model).clone().requires_grad_()  # a model may have no weight that asks for one
            coarse = explain.attribute(batch, target=target.to(batch.device), relu_attributions=True)
            fine = LayerAttribution.interpolate(coarse.detach(), tuple(images.shape[2:]), "bilinear")
            maps.append(fine[:, 0].float().cpu())
    maps = torch.cat(maps)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def agreement(maps_a: torch.Tensor, maps_b: torch.Tensor) -> torch.Tensor:
    """Pearson correlation of the pixels of paired maps: two ``[N, H, W]`` -> float32 ``[N]`` in ``[-1, 1]``.

    NaN where either map is constant (a Grad-CAM map can be 0 everywhere): such a pair says nothing.
    Raises ValueError if the shapes differ.
    """
    check_tensors(maps_a=maps_a, maps_b=maps_b)
    if maps_a.ndim != 3 or maps_a.shape != maps_b.shape:
        raise ValueError(f"need two sets of maps [N, H, W], got {tuple(maps_a.shape)} and {tuple(maps_b.shape)}")
    a, b = (m - m.mean(dim=1, keepdim=True) for m in (maps.flatten(1).double() for maps in (maps_a, maps_b)))
    norms = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(norms > 1e-12, (a * b).sum(dim=1) / norms, torch.nan).float().clamp(-1, 1)
