"""Linear classifiers on frozen features; a network's last layer, fitted anew while all before it stays."""

import copy
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from synaug.checks import number, of_kind
from synaug.classifiers.predictions import check_images, check_labels, evaluating, logits_of


def fit_linear(features: np.ndarray, labels: np.ndarray, strength: float, **options) -> LogisticRegression:
    """Logistic regression on features ``[N, D]`` that minimises mean loss + strength |w|^2 / 2, whatever N."""
    # Its products are small: where BLAS shares them among threads, those wait for each other and for torch's.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # one that is nearly there does
        return LogisticRegression(C=1 / (strength * len(labels)), **{"max_iter": 200, **options}).fit(features, labels)


@torch.no_grad()
def refit_last_layer(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, strength: float = 5e-4, batch_size: int = 512) -> nn.Module:
    """A copy of a classifier whose last linear layer is fitted to these images: what of an error sits in the head alone.

    The layers before it are frozen and in evaluation mode; the new layer minimises the mean cross-entropy +
    strength |w|^2 / 2 (Kirichenko et al. 2023, "Last layer re-training", with an L2 penalty, without its averaging).
    model: any whose last ``nn.Linear`` gives its logits ``[N, K]``. images uint8 or float in [-1, 1] ``[N, C, H, W]``,
    labels int64 ``[N]``, each of the K classes among them. strength: > 0; by default the weight decay that
    `train_classifier` has. ValueError for other input, and for a model whose logits are not those of its last layer.
    """
    of_kind("model", model, nn.Module)
    check_images(images, labels)
    check_labels(model, images, labels)
    number("strength", strength, above=0)
    model = copy.deepcopy(model)
    layer = next((part for part in reversed(list(model.modules())) if isinstance(part, nn.Linear)), None)
    if layer is None:
        raise ValueError("the model has no linear layer (torch.nn.Linear) that could be refitted")
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        with evaluating(model):
            logits = torch.cat([logits_of(model, batch) for batch in images.split(batch_size)])
        features = torch.cat(seen)
    finally:
        hook.remove()
    if features.shape[:-1] != logits.shape[:1] or not torch.allclose(layer(features), logits, atol=1e-4):
        raise ValueError("the model's logits are not what its last linear layer gives: it cannot be refitted alone")
    if missing := set(range(logits.shape[1])) - set(labels.tolist()):
        raise ValueError(f"each class needs images to refit its logit; there are none of class {min(missing)}")
    binary = logits.shape[1] == 2  # scikit-learn has one row for both, whose penalty is twice that of two
    found = fit_linear(features.double().cpu().numpy(), labels.cpu().numpy(), strength / (1 + binary), max_iter=2000, tol=1e-6)
    weights, bias = (torch.from_numpy(np.concatenate([-v, v]) / 2 if binary else v) for v in (found.coef_, found.intercept_))
    layer.weight.copy_(weights)
    if layer.bias is None:
        layer.bias = nn.Parameter(bias.to(layer.weight))
    else:
        layer.bias.copy_(bias)
    return model
