"""Gradients of a classifier's loss in its weights: of a set of images, and of each image."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from synaug.classifiers.predictions import as_floats


def mean_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy over these images, flat ``[P]``, in the mode that the model is in.

    images: uint8, or float in [-1, 1], ``[n, C, H, W]``. labels: int64 ``[n]``. In training mode batch normalisation
    uses, and takes into its running statistics, those of the batch, as in training.
    """
    loss = F.cross_entropy(model(as_floats(images)), labels)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def per_example_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each image's cross-entropy, ``[n, P]``, parameters in the order of ``model.parameters()``.

    images, labels: as in `mean_gradient`. ValueError for a model in training mode: there a gradient is the batch's.
    """
    if model.training:
        raise ValueError("gradients of single examples need the model in evaluation mode: call model.eval()")
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters, image, label):
        return F.cross_entropy(functional_call(model, (parameters, buffers), (image[None],)), label[None])

    gradients = vmap(grad(loss), (None, 0, 0))(parameters, as_floats(images), labels)
    return torch.cat([part.flatten(1) for part in gradients.values()], dim=1)
