"""Generators that others have trained, as denoisers of `synaug.diffusion.denoisers`.

`load_ddpm` takes a DDPM pipeline of diffusers, `load_edm` a checkpoint of EDM (Karras et al. 2022) that its own code
has written.
"""

import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from synaug.diffusion.network_files import load_unet, pair, read_json
from synaug.precision import usable_device

NO_CLASSES = (
    "this generator knows no classes: labels are ignored, so what it makes from noise has the class asked "
    "for only by chance, and what it makes from a real image only as far as the noise leaves it"
)


class DDPMDenoiser(nn.Module):
    """A diffusers ``UNet2DModel`` that was trained with a variance-preserving schedule of discrete time steps.

    At step t the network has seen sqrt(abar_t) x0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4), here scaled back to
    unit signal: sigma_t = sqrt((1 - abar_t) / abar_t). A sigma between two steps gets a fractional step, linear in ln
    sigma, which the sinusoidal embedding of t takes; below the first step that has noise it is that step. Above the
    last step's sigma the network is not defined: ValueError.

    unet: ``UNet2DModel``. scheduler: the one it was trained with, for ``alphas_cumprod``, ``prediction_type`` (epsilon,
    v_prediction or sample) and ``clip_sample``: where set, x0 is clipped, as in diffusers' own sampling.
    A network without class embeddings ignores labels. null_class: whether the last of its embeddings stands for no
    class, as training for classifier-free guidance makes it; a network without such needs labels at each call.
    ``precision``: see `synaug.diffusion.denoisers.EDMDenoiser`. ValueError for networks and schedulers of other kinds.
    """

    def __init__(self, unet: Any, scheduler: Any, null_class: bool = False):
        super().__init__()
        config, abar = unet.config, getattr(scheduler, "alphas_cumprod", None)
        if abar is None:
            raise ValueError(f"{type(scheduler).__name__} has no alphas_cumprod: it is no variance-preserving schedule")
        self.prediction = scheduler.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"the network predicts {self.prediction!r}, not epsilon, v_prediction or sample")
        if scheduler.config.get("thresholding"):
            raise ValueError("dynamic thresholding is not supported: it depends on the image, x0 would be no estimate")
        if config.time_embedding_type != "positional" or config.get("class_embed_type"):
            raise ValueError(
                f"the network must embed time by sinusoids and classes by a table; this one has "
                f"{config.time_embedding_type!r} and {config.get('class_embed_type')!r}"
            )
        if config.out_channels != config.in_channels:
            raise ValueError(
                f"the network has {config.in_channels} channels in and {config.out_channels} out, perhaps "
                f"a learned variance: only the mean of x0 has a place here"
            )
        self.unet = unet
        self.clip = scheduler.config.clip_sample_range if scheduler.config.get("clip_sample") else math.inf
        self.precision = torch.float32
        self.image_shape = None if config.sample_size is None else (config.in_channels, *pair(config.sample_size))
        self.null_class = bool(null_class)
        if config.num_class_embeds is not None:
            self.num_classes = config.num_class_embeds - self.null_class
        elif null_class:
            raise ValueError("the network has no class embeddings, so none that stands for no class")
        abar = abar.detach().cpu().double()
        levels = ((1 - abar) / abar).sqrt().log()
        #: The steps that have both signal and noise, and ln sigma of each. No buffers: `half` would round them.
        self.steps = levels.isfinite().nonzero().flatten()
        self.log_sigmas = levels[self.steps]
        if len(self.steps) == 0:
            raise ValueError("no step of the schedule has both signal and noise")

    def time_step(self, sigma: Tensor) -> Tensor:
        """The step, a fraction, of each noise level; float32 ``[N]``."""
        wanted, highest = sigma.detach().cpu().double().log(), self.log_sigmas[-1]
        if (wanted > highest + 1e-4).any():
            raise ValueError(f"the generator was trained up to sigma {highest.exp():.4g}, got {sigma.max():.4g}: start lower")
        return torch.from_numpy(np.interp(wanted, self.log_sigmas, self.steps)).float().to(sigma.device)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The estimate of the clean images ``[N, C, H, W]``, like ``x``.

        sigma: noise level, positive, a scalar or ``[N]``. labels: int64 ``[N]``, or None for no class. ValueError for
        None where the network has no class that stands for none, and above the last step's sigma.
        """
        exact = torch.promote_types(x.dtype, torch.float32)
        sigma = torch.as_tensor(sigma, dtype=exact, device=x.device).expand(len(x))
        known = {}
        if hasattr(self, "num_classes"):
            if labels is None and not self.null_class:
                raise ValueError("this generator knows no class that stands for none: pass labels")
            none = torch.full((len(x),), self.num_classes, device=x.device)
            known["class_labels"] = none if labels is None else labels
        s = sigma.view(-1, 1, 1, 1)
        scale = (1 + s**2).rsqrt()
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            out = self.unet((scale * x).to(self.unet.conv_in.weight.dtype), self.time_step(sigma), **known).sample
        out = out.to(exact)
        if self.prediction == "epsilon":
            out = x - s * out
        elif self.prediction == "v_prediction":  # v = (eps - sigma x0) / sqrt(1 + sigma²), Salimans & Ho 2022
            out = scale**2 * x - s * scale * out
        return out.clamp(-self.clip, self.clip).to(x.dtype)


def load_ddpm(name_or_path: str | Path, device: str | torch.device = "cpu", *, null_class: bool = False) -> DDPMDenoiser:
    """A DDPM (or DDIM) pipeline of diffusers as a denoiser, in float32 evaluation mode.

    name_or_path: its folder, or the name of one that the Hugging Face cache of this machine has; nothing is downloaded.
    For example ``google/ddpm-cifar10-32``, which knows no classes. null_class: see `DDPMDenoiser`.
    FileNotFoundError where there is no pipeline or one of its files is missing, ValueError where a file is damaged
    (both name it) or the pipeline is of another kind.
    """
    import diffusers
    from huggingface_hub import snapshot_download

    folder, device = Path(name_or_path), usable_device(device)
    try:
        if not folder.is_dir():
            folder = Path(snapshot_download(str(name_or_path), local_files_only=True))
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder} has no such file")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"no pipeline {str(name_or_path)!r}: neither a folder with model_index.json nor a name in this machine's "
            f"Hugging Face cache ({error}). To have it there, run once where the internet can be reached: "
            f"diffusers.DDPMPipeline.from_pretrained({str(name_or_path)!r})"
        ) from error
    index = read_json(folder / "model_index.json")
    try:
        (_, network), (_, schedule) = index["unet"], index["scheduler"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'model_index.json'} names no unet and scheduler: it is no DDPM pipeline") from error
    if network != "UNet2DModel":
        raise ValueError(f"{name_or_path} has a {network}, not a UNet2DModel, which makes images by itself")
    # A part may have a folder of its own.
    network, settings = (part if part.is_dir() else folder for part in (folder / "unet", folder / "scheduler"))
    unet, settings = load_unet(network, use_safetensors=None), settings / "scheduler_config.json"
    try:
        scheduler = getattr(diffusers, schedule).from_config(read_json(settings))
    except (AttributeError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{settings} is no configuration of a {schedule} ({error})") from error
    denoiser = DDPMDenoiser(unet, scheduler, null_class)
    if not hasattr(denoiser, "num_classes"):
        warnings.warn(f"{name_or_path}: {NO_CLASSES}", stacklevel=2)
    return denoiser.eval().requires_grad_(False).to(device)


class EDMCheckpoint(nn.Module):
    """A network of EDM's own code, which is a denoiser already: ``net(x, sigma, class_labels)``, classes one-hot.

    net: a module with ``img_resolution``, ``img_channels`` and ``label_dim`` (0: it knows no classes, labels are
    ignored). No labels are all zeros, EDM's own way: a network that was trained with classes only has never seen that.
    """

    def __init__(self, net: Any):
        super().__init__()
        self.net = net
        self.image_shape = (net.img_channels, net.img_resolution, net.img_resolution)
        if net.label_dim:
            self.num_classes = net.label_dim

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The estimate of the clean images, like ``x``, which is float ``[N, C, H, W]``; computed in float32.

        sigma: noise level, positive, a scalar or ``[N]``. labels: int64 ``[N]`` in 0 .. K-1, or None for no class.
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
        told = None if labels is None or not self.net.label_dim else one_hot(labels, self.net.label_dim).float()
        return self.net(x.float(), sigma, told).to(x.dtype)


def load_edm(path: str | Path, *, trust_pickle: bool = False, device: str | torch.device = "cpu") -> EDMCheckpoint:
    """A checkpoint of EDM's own code (``network-snapshot-*.pkl``: a pickled dict whose "ema" is the network).

    path: the file. trust_pickle: must be True, as loading a pickle runs whatever code it holds. EDM's code must be
    importable, since the pickle asks for it. PermissionError without consent, ImportError without the code,
    FileNotFoundError without the file, ValueError where it holds something else.
    """
    path, device = Path(path), usable_device(device)
    if not path.is_file():
        raise FileNotFoundError(f"no EDM checkpoint at {path}")
    if not trust_pickle:
        raise PermissionError(
            f"{path} is a pickle: loading it runs whatever code it holds, with all that you may do "
            f"on this machine. Where you trust whoever made it, pass trust_pickle=True"
        )
    try:
        with open(path, "rb") as file:
            content = pickle.load(file)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"{path} asks for code that is not here ({error}). For checkpoints of EDM, get its code "
            f"(https://github.com/NVlabs/edm) and put its folder on PYTHONPATH"
        ) from error
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is no pickle, or truncated ({error})") from error
    net = content.get("ema") if isinstance(content, dict) else None
    missing = [name for name in ("img_resolution", "img_channels", "label_dim") if not hasattr(net, name)]
    if not isinstance(net, nn.Module) or missing:
        held = f"the keys {', '.join(map(repr, content))}" if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path} is no checkpoint of EDM, a dict whose "ema" is a network with img_resolution, img_channels and label_dim: it holds {held}')
    denoiser = EDMCheckpoint(net)
    if not net.label_dim:
        warnings.warn(f"{path}: {NO_CLASSES}", stacklevel=2)
    return denoiser.eval().requires_grad_(False).to(device)
