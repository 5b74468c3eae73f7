"""Denoisers: estimates of the clean image from a noisy one.

The contract, for everything in this package that samples:

    denoiser(x, sigma, labels) -> x0

with ``x`` float ``[N, C, H, W]`` (the clean image plus noise of standard deviation ``sigma``),
``sigma`` positive, a scalar or ``[N]``, ``labels`` int64 ``[N]`` or ``None`` for no class, and ``x0`` like ``x``: the
estimate of the posterior mean of the clean image. Any callable of that form will do. Where it carries
``image_shape`` and ``num_classes``, samplers check their input against them before they start (`check_input`).
"""

import copy
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from synaug import paths
from synaug.precision import channels_last

DESCRIPTION = "denoiser.json"
#: Bytes of weights a file: with its header, a file stays below the 15 MB that a repository takes without complaint.
SHARD_BYTES = 14_500_000


class EDMDenoiser(nn.Module):
    """A diffusers ``UNet2DModel`` under EDM preconditioning (Karras et al. 2022, Table 1, last column).

    The network sees images unshuffled by ``patch``, so ``[C, H, W]`` becomes ``[C patch², H/patch, W/patch]``:
    for small images on a CPU this costs little quality and a quarter of the time.

    Class embedding: ``0 .. K-1`` are the classes, ``K .. 2K-1`` the classes of mirrored images, so that mirrored
    training images never leak into samples (the idea of EDM's augmentation labels, appendix F.2), and ``2K``
    stands for no class.

    unet: ``UNet2DModel`` with ``2 K + 1`` class embeddings and ``C patch²`` channels in and out.
    sigma_data: standard deviation of the training images in [-1, 1].
    class_names: the K names. image_shape: (C, H, W).
    ValueError where the network does not fit the images and classes.

    ``precision`` (an attribute, float32) may be set to bfloat16: the network then runs under autocast, which is 1.4
    times as fast on a CPU with AVX512-BF16; preconditioning and sampling stay in float32 and float64.
    """

    def __init__(self, unet, *, sigma_data, class_names, image_shape, patch=2):
        super().__init__()
        self.unet = unet
        self.sigma_data = float(sigma_data)
        self.class_names = tuple(class_names)
        self.image_shape = tuple(image_shape)
        self.patch = int(patch)
        self.precision = torch.float32
        if not self.sigma_data > 1e-5:  # what rounding leaves of 0
            raise ValueError(f"sigma_data must be positive, got {sigma_data}: are the images all the same, or none?")
        channels = self.image_shape[0] * self.patch**2
        if unet.config.in_channels != channels or unet.config.out_channels != channels:
            raise ValueError(f"the network has {unet.config.in_channels} channels in and {unet.config.out_channels} "
                             f"out; images {self.image_shape} unshuffled by {self.patch} need {channels}")
        if unet.config.num_class_embeds != 2 * self.num_classes + 1:
            raise ValueError(f"the network has {unet.config.num_class_embeds} class embeddings; "
                             f"{self.num_classes} classes need {2 * self.num_classes + 1}")

    @property
    def num_classes(self):
        return len(self.class_names)

    def forward(self, x, sigma, labels=None):
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
        if labels is None:
            labels = torch.full((len(x),), 2 * self.num_classes, device=x.device)
        s = sigma.view(-1, 1, 1, 1)
        c_skip = self.sigma_data**2 / (s**2 + self.sigma_data**2)
        c_out = s * self.sigma_data / (s**2 + self.sigma_data**2).sqrt()
        c_in = 1 / (s**2 + self.sigma_data**2).sqrt()
        # EDM's c_noise is ln(sigma)/4; diffusers' sinusoidal embedding expects the range of 1,000 time steps.
        c_noise = 250 * sigma.log()
        inner = pixel_unshuffle((c_in * x).float(), self.patch).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            out = self.unet(inner, c_noise, class_labels=labels).sample
        out = pixel_shuffle(out.float(), self.patch)
        return c_skip * x + c_out * out

    def save(self, folder, shard_bytes=SHARD_BYTES):
        """Write ``folder/unet`` (diffusers format, half precision) and ``folder/denoiser.json``.

        shard_bytes: what a file may hold of weights; more are spread over several files, in which only a single
        tensor that is larger is larger. Each file is moved into its place when it is whole, so a save that is cut
        leaves what can be loaded: the last one or this one.
        """
        folder = Path(folder)
        scratch = folder / "saving.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        half = copy.deepcopy(self.unet).half().to(memory_format=torch.contiguous_format)
        # Shards are named by the weights: those of another save are in no index but its own, so none can be mixed.
        variant = generator_hash(half)
        half.save_pretrained(scratch / "unet", max_shard_size=shard_bytes, variant=variant)
        for file in list((scratch / "unet").glob(f"*.{variant}.*")):  # all but the shards themselves
            file.rename(file.with_name(file.name.replace(f".{variant}", "")))
        described = {"sigma_data": self.sigma_data, "class_names": self.class_names,
                     "image_shape": self.image_shape, "patch": self.patch}
        (scratch / DESCRIPTION).write_text(json.dumps(described, indent=1) + "\n")
        (folder / "unet").mkdir(exist_ok=True)
        # Shards come before their index, and the description last: a folder without it is not a checkpoint yet.
        new = sorted((scratch / "unet").iterdir())
        for file in [*new, scratch / DESCRIPTION]:
            os.replace(file, folder / file.relative_to(scratch))
        # An earlier save's index, which hides a single file of weights, goes first (reverse order), then its shards.
        names = {file.name for file in new}
        for file in sorted((folder / "unet").glob("diffusion_pytorch_model*"), reverse=True):
            if file.name not in names:
                file.unlink()
        shutil.rmtree(scratch)


def new_denoiser(dataset, *, channels=(64, 128), layers=1, patch=2, attention=(), dropout=0.0, seed=0):
    """An untrained `EDMDenoiser` for the images and classes of ``dataset``. The other arguments are `new_unet`'s."""
    unet = new_unet(dataset.image_shape, dataset.num_classes, channels=channels, layers=layers, patch=patch,
                    attention=attention, dropout=dropout, seed=seed)
    return EDMDenoiser(unet, sigma_data=float(dataset.floats().std()), class_names=dataset.class_names,
                       image_shape=dataset.image_shape, patch=patch)


def new_unet(image_shape, num_classes, *, channels=(64, 128), layers=1, patch=2, attention=(), dropout=0.0, seed=0):
    """An untrained network of an `EDMDenoiser`.

    channels: width of each resolution level, the finest first: multiples of 16 (the groups of its normalisation), the
    last a multiple of 32 (the width of an attention head). H/patch and W/patch must halve len(channels) - 1 times
    without a remainder. layers: residual blocks per level. attention: heights of the maps of features at which levels
    have attention, beside the middle, which always has; their widths must be multiples of 32. dropout: in residual
    blocks, 0..1. seed: of the initial weights. ValueError otherwise.
    channels (256, 256, 256), layers 4, patch 1, attention (16,) and dropout 0.13 are of the class that EDM trains on
    CIFAR-10 (the DDPM++ network of Karras et al. 2022, by its public code; 56 million parameters there, 59 here).
    """
    from diffusers import UNet2DModel

    if min(len(channels), layers, patch) < 1:
        raise ValueError(f"channels, layers and patch must be at least one, got {channels}, {layers} and {patch}")
    if any(width < 1 or width % 16 for width in channels) or channels[-1] % 32:
        raise ValueError(f"channels must be multiples of 16, the last a multiple of 32; got {tuple(channels)}")
    c, h, w = image_shape
    factor = patch * 2 ** (len(channels) - 1)
    if h % factor or w % factor:
        raise ValueError(f"images of {h}x{w} cannot be unshuffled by {patch} and halved {len(channels) - 1} times; "
                         f"height and width must be multiples of {factor}")
    width_of = {h // patch // 2**i: width for i, width in enumerate(channels)}
    if not set(attention) <= set(width_of) or any(width_of[height] % 32 for height in attention):
        raise ValueError(f"attention must be some of {', '.join(map(str, width_of))}, the heights of the maps, whose "
                         f"channels are multiples of 32; got {tuple(attention)} with channels {tuple(channels)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in 0..1, below 1, got {dropout}")
    kinds = ["Attn" if height in attention else "" for height in width_of]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=(h // patch, w // patch), in_channels=c * patch**2, out_channels=c * patch**2,
            layers_per_block=layers, block_out_channels=channels, norm_num_groups=16, attention_head_dim=32,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)), dropout=dropout,
            num_class_embeds=2 * num_classes + 1)
    return channels_last(unet)


def checkpoint_folder(name_or_path):
    """The folder of a checkpoint: a path as it is, or a name below `synaug.paths.checkpoints_dir`."""
    for folder in (Path(name_or_path), paths.checkpoints_dir() / str(name_or_path)):
        if (folder / DESCRIPTION).is_file():
            return folder
    known = sorted(p.parent.name for p in paths.checkpoints_dir().glob(f"*/{DESCRIPTION}"))
    raise FileNotFoundError(f"no generator {str(name_or_path)!r}: neither a folder with {DESCRIPTION} nor one of "
                            f"{known} (synaug.diffusion.adapters loads diffusers' DDPM pipelines and EDM checkpoints)")


def load_denoiser(name_or_path="fashion_mnist", device="cpu"):
    """A saved `EDMDenoiser` in float32 evaluation mode. FileNotFoundError names what is there."""
    from diffusers import UNet2DModel

    folder = checkpoint_folder(name_or_path)
    described = json.loads((folder / DESCRIPTION).read_text())
    with silent_diffusers():
        unet = UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, local_files_only=True,
                                           low_cpu_mem_usage=False)  # else it asks for accelerate
    denoiser = EDMDenoiser(channels_last(unet), **described)
    return denoiser.eval().requires_grad_(False).to(device)


@contextmanager
def silent_diffusers():
    """Within it, diffusers shows no progress bars."""
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def generator_hash(denoiser):
    """First 16 hex digits of the sha256 of a module's weights.

    Of another callable: of its qualified name and what it holds as attributes: tensors, numbers, and callables, such
    as a denoiser that it wraps, by their own hash.
    """
    digest = hashlib.sha256()
    if isinstance(denoiser, nn.Module):
        held = denoiser.state_dict()
    else:
        named = denoiser if hasattr(denoiser, "__qualname__") else type(denoiser)
        digest.update(f"{named.__module__}.{named.__qualname__}".encode())
        held = {name: v for name, v in getattr(denoiser, "__dict__", {}).items()
                if isinstance(v, (Tensor, int, float)) or callable(v)}
    for name, value in sorted(held.items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        else:
            digest.update((generator_hash(value) if callable(value) else repr(value)).encode())
    return digest.hexdigest()[:16]


def check_input(denoiser, x, labels):
    """Refuse what cannot be given to a denoiser. TypeError or ValueError, before anything is computed.

    x must be a float tensor ``[N, ...]``, labels int64 ``[N]`` or None; their image shape and range must be the
    denoiser's own where it has ``image_shape`` and ``num_classes``.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"images must be a floating point tensor, got {getattr(x, 'dtype', type(x).__name__)}; "
                        f"synaug.data.to_floats converts bytes")
    shape = getattr(denoiser, "image_shape", None)
    if shape is not None and tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"the denoiser is for images {tuple(shape)}, got {tuple(x.shape[1:])}")
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels must be an int64 tensor, got {getattr(labels, 'dtype', type(labels).__name__)}")
    if labels.shape != (len(x),):
        raise ValueError(f"labels must be [N] with N = {len(x)} images, got {list(labels.shape)}")
    classes = getattr(denoiser, "num_classes", None)
    if classes is not None and len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must be in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
