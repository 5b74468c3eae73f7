"""Denoisers: estimates of the clean image from a noisy one.

The contract, for everything in this package that samples:

    denoiser(x, sigma, labels) -> x0

with ``x`` float ``[N, C, H, W]`` (the clean image plus noise of standard deviation ``sigma``),
``sigma`` positive, a scalar or ``[N]``, ``labels`` int64 ``[N]`` or ``None`` for no class, and ``x0`` like ``x``: the
estimate of the posterior mean of the clean image. Any callable of that form will do. Where it carries
``image_shape`` and ``num_classes``, samplers check their input against them before they start (`check_input`); where
it carries ``class_names``, pools check the names of their data set's classes.
"""

import copy
import hashlib
import json
import math
import os
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from synaug import paths
from synaug.checks import in_range, kind_of, number, one_of, texts
from synaug.data import ImageDataset
from synaug.dependencies import code_of
from synaug.diffusion.network_files import WEIGHTS, load_unet, pair, read_json, weight_files
from synaug.diffusion.recipe import NETWORKS
from synaug.precision import memory_format, usable_device

#: Files of a checkpoint, beside its network: what the denoiser is, and how it was trained.
DESCRIPTION, RECORD = "denoiser.json", "training_record.json"
#: What describes a generator of another family (`synaug.generators`) in the place of the first.
OTHER_DESCRIPTION = "generator.json"
#: What `generator_hash` says of a denoiser that another one could be mistaken for.
UNKNOWN = "unknown"
#: The largest networks: far above all that is trained here, below what has no room while it is built.
MOST_CHANNELS, MOST_LAYERS = 4096, 64
#: Bytes of weights per file: with its header, a file stays below the 15 MB that a repository takes without complaint.
SHARD_BYTES = 14_500_000

#: ``denoiser(x, sigma, labels) -> x0``, see above.
Denoiser = Callable[..., Tensor]


class EDMDenoiser(nn.Module):
    """A diffusers ``UNet2DModel``, or ``DiTTransformer2DModel``, under EDM preconditioning (Karras et al. 2022, Table 1,
    last column).

    The network sees images unshuffled by ``patch``, so ``[C, H, W]`` becomes ``[C patch², H/patch, W/patch]``:
    for small images on a CPU this costs little quality and a quarter of the time.

    Class embedding: ``0 .. K-1`` are the classes, ``K .. 2K-1`` the classes of mirrored images, so that mirrored
    training images never leak into samples (the idea of EDM's augmentation labels, appendix F.2), and ``2K``
    stands for no class.

    unet: the network, with ``2 K + 1`` class embeddings and ``C patch²`` channels in and out.
    sigma_data: standard deviation of the training images in [-1, 1].
    class_names: the K names. image_shape: (C, H, W).
    ValueError where the network does not fit the images and classes.

    ``precision`` (an attribute, float32) may be set to bfloat16: the network then runs under autocast, which is 1.4
    times as fast on a CPU with AVX512-BF16; preconditioning and sampling stay in float32 and float64.
    """

    recorded: tuple[str, str]  # its `generator_hash` and the weights' hash in its training record, which are right

    def __init__(self, unet: Any, *, sigma_data: float, class_names: Sequence[str], image_shape: Sequence[int], patch: int = 2):
        super().__init__()
        self.unet = unet
        self.sigma_data = float(sigma_data)
        self.class_names = texts("class_names", class_names)
        self.image_shape = tuple(image_shape)
        self.patch = int(patch)
        self.precision = torch.float32
        if not 1e-5 < self.sigma_data < math.inf:  # what rounding leaves of 0
            raise ValueError(f"sigma_data must be positive, got {sigma_data}: are the images all the same, or none?")
        channels = self.image_shape[0] * self.patch**2
        if unet.config.in_channels != channels or unet.config.out_channels != channels:
            raise ValueError(
                f"the network has {unet.config.in_channels} channels in and {unet.config.out_channels} "
                f"out; images {self.image_shape} unshuffled by {self.patch} need {channels}"
            )
        embeddings = unet.config.get("num_class_embeds", unet.config.get("num_embeds_ada_norm"))
        if embeddings != 2 * self.num_classes + 1:
            raise ValueError(f"the network has {embeddings} class embeddings; {self.num_classes} classes need {2 * self.num_classes + 1}")
        if unet.config.sample_size is not None:
            height, width = pair(unet.config.sample_size)
            if self.image_shape[1:] != (self.patch * height, self.patch * width):
                raise ValueError(f"the network is for images of {self.patch * height}x{self.patch * width}, not {self.image_shape}")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The estimate of the clean images, like ``x``, which is float ``[N, C, H, W]``.

        sigma: noise level, positive, a scalar or ``[N]``, on the scale of images in [-1, 1]. labels: int64 ``[N]`` in
        0 .. 2K, or None for no class. Nothing is checked here: see `check_input`.
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
        if labels is None:
            labels = torch.full((len(x),), 2 * self.num_classes, device=x.device)
        s = sigma.view(-1, 1, 1, 1)
        c_skip = self.sigma_data**2 / (s**2 + self.sigma_data**2)
        c_out = s * self.sigma_data / (s**2 + self.sigma_data**2).sqrt()
        c_in = 1 / (s**2 + self.sigma_data**2).sqrt()
        # EDM's c_noise is ln(sigma)/4; diffusers' sinusoidal embedding expects the range of 1,000 time steps.
        c_noise = 250 * sigma.log()
        inner = pixel_unshuffle((c_in * x).to(next(self.unet.parameters()).dtype), self.patch)
        inner = inner.contiguous(memory_format=memory_format(x.device))
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            out = self.unet(inner, c_noise, class_labels=labels).sample
        skipped = c_skip * x
        return (skipped + c_out * pixel_shuffle(out.to(skipped.dtype), self.patch)).to(x.dtype)

    def save(self, folder: str | Path, shard_bytes: int = SHARD_BYTES) -> str:
        """Write ``folder/unet`` (diffusers format, half precision) and ``folder/denoiser.json``.

        shard_bytes: what a file may hold of weights; more are spread over several files, in which only a single
        tensor that is larger is larger. Each file is moved into its place when it is whole, so a save that is cut
        leaves what can be loaded: the last one or this one. Returns the `weights_hash` of what will be loaded.
        """
        folder = Path(folder)
        scratch = folder / "saving.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        half = copy.deepcopy(self.unet).half().to(memory_format=torch.contiguous_format)
        # Shards are named by the weights: those of another save are in no index but its own, so none can be mixed.
        variant = weights_hash(half, "unet.")
        half.save_pretrained(scratch / "unet", max_shard_size=shard_bytes, variant=variant)
        for file in list((scratch / "unet").glob(f"*.{variant}.*")):  # all but the shards themselves
            file.rename(file.with_name(file.name.replace(f".{variant}", "")))
        described = {"sigma_data": self.sigma_data, "class_names": self.class_names, "image_shape": self.image_shape, "patch": self.patch}
        (scratch / DESCRIPTION).write_text(json.dumps(described, indent=1) + "\n")
        (folder / "unet").mkdir(exist_ok=True)
        # Shards come before their index, and the description last: a folder without it is not a checkpoint yet.
        new = sorted((scratch / "unet").iterdir())
        for file in [*new, scratch / DESCRIPTION]:
            os.replace(file, folder / file.relative_to(scratch))
        # An earlier save's index, which hides a single file of weights, goes first (reverse order), then its shards.
        names = {file.name for file in new}
        for file in sorted((folder / "unet").glob(f"{WEIGHTS}*"), reverse=True):
            if file.name not in names:
                file.unlink()
        shutil.rmtree(scratch)
        return variant


def new_denoiser(dataset: ImageDataset, *, patch: int = 2, **options) -> "EDMDenoiser":
    """An untrained `EDMDenoiser` for the images and classes of ``dataset``. options: of `new_unet`."""
    unet = new_unet(dataset.image_shape, dataset.num_classes, patch=patch, **options)
    return EDMDenoiser(unet, sigma_data=float(dataset.floats().std()), class_names=dataset.class_names, image_shape=dataset.image_shape, patch=patch)


def new_unet(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    channels: Sequence[int] = (64, 128),
    layers: int = 1,
    patch: int = 2,
    attention: Sequence[int] = (),
    dropout: float = 0.0,
    network: str = "unet",
    seed: int = 0,
) -> nn.Module:
    """An untrained network of an `EDMDenoiser`.

    channels: width of each resolution level, the finest first: multiples of 16 (the groups of its normalisation), the
    last a multiple of 32 (the width of an attention head). H/patch and W/patch must halve len(channels) - 1 times
    without a remainder. layers: residual blocks per level. attention: heights of the maps of features at which levels
    have attention, beside the middle, which always has; their widths must be multiples of 32. dropout: in residual
    blocks, 0..1. network: "dit" for a transformer (Peebles & Xie 2023) in the U-Net's place: of one width, layers blocks
    deep, on patches of 2 x 2 of what the network sees. seed: of the initial weights. ValueError otherwise.
    channels (256, 256, 256), layers 4, patch 1, attention (16,) and dropout 0.13 are of the class that EDM trains on
    CIFAR-10 (the DDPM++ network of Karras et al. 2022, by its public code; 56 million parameters there, 59 here).
    """
    from diffusers import DiTTransformer2DModel, UNet2DModel

    one_of("network", network, NETWORKS)
    if min(len(channels), layers, patch) < 1 or layers > MOST_LAYERS:
        raise ValueError(f"channels, layers and patch must be at least one, and layers at most {MOST_LAYERS}, got {channels}, {layers} and {patch}")
    if any(not 1 <= width <= MOST_CHANNELS or width % 16 for width in channels) or channels[-1] % 32:
        raise ValueError(f"channels must be multiples of 16, the last a multiple of 32, of at most {MOST_CHANNELS}; got {tuple(channels)}")
    c, h, w = image_shape
    factor = patch * 2 ** (len(channels) - 1)
    if h % factor or w % factor:
        raise ValueError(
            f"images of {h}x{w} cannot be unshuffled by {patch} and halved {len(channels) - 1} times; height and width must be multiples of {factor}"
        )
    width_of = {h // patch // 2**i: width for i, width in enumerate(channels)}
    if not set(attention) <= set(width_of) or any(width_of[height] % 32 for height in attention):
        raise ValueError(
            f"attention must be some of {', '.join(map(str, width_of))}, the heights of the maps, whose "
            f"channels are multiples of 32; got {tuple(attention)} with channels {tuple(channels)}"
        )
    number("dropout", dropout, 0, below=1)
    kinds = ["Attn" if height in attention else "" for height in width_of]
    if network == "dit" and (h != w or h % (2 * patch) or len(channels) > 1 or attention):
        raise ValueError(
            f"a transformer takes square images whose side is a multiple of {2 * patch}, one width in channels "
            f"and no attention, got {h}x{w}, {tuple(channels)} and {tuple(attention)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if network == "dit":
            return with_labels_alone(
                DiTTransformer2DModel(
                    num_attention_heads=channels[0] // 32,
                    attention_head_dim=32,
                    in_channels=c * patch**2,
                    out_channels=c * patch**2,
                    num_layers=layers,
                    dropout=dropout,
                    sample_size=h // patch,
                    patch_size=2,
                    num_embeds_ada_norm=2 * num_classes + 1,
                )
            )
        unet: Any = UNet2DModel(
            sample_size=(h // patch, w // patch),
            in_channels=c * patch**2,
            out_channels=c * patch**2,
            layers_per_block=layers,
            block_out_channels=channels,
            norm_num_groups=16,
            attention_head_dim=32,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            dropout=dropout,
            num_class_embeds=2 * num_classes + 1,
        )
    return unet


def with_labels_alone(network: Any) -> Any:
    """A network that gets no class but those it is given: diffusers' transformer drops a tenth of its own accord."""
    for part in network.modules():
        if type(part).__name__ == "LabelEmbedding":
            part.dropout_prob = 0.0
    return network


def holds_generator(folder: Path) -> bool:
    """Whether a folder is that of a saved generator, of any family."""
    return any((folder / name).is_file() for name in (DESCRIPTION, OTHER_DESCRIPTION))


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint: a path as it is, or a name below `synaug.paths.checkpoints_dir`; FileNotFoundError,
    which lists the names, where neither holds one."""
    for folder in (Path(name_or_path).expanduser(), paths.checkpoints_dir() / str(name_or_path)):
        if holds_generator(folder):
            return folder
    known = sorted(folder.name for folder in paths.checkpoints_dir().glob("*") if holds_generator(folder))
    raise FileNotFoundError(
        f"no generator {str(name_or_path)!r}: neither a folder with {DESCRIPTION} nor one of "
        f"{known} (synaug.diffusion.adapters loads diffusers' DDPM pipelines and EDM checkpoints)"
    )


def load_denoiser(name_or_path: str | Path = "fashion_mnist", device: str | torch.device = "cpu") -> "EDMDenoiser":
    """A saved `EDMDenoiser` in float32 evaluation mode, compared with its training record where it has one.

    FileNotFoundError says what is missing, and which generators there are. ValueError names the file that is damaged.
    """
    folder, device = checkpoint_folder(name_or_path), usable_device(device)
    if (folder / OTHER_DESCRIPTION).is_file():
        raise ValueError(f"{folder} holds no diffusion model: synaug.generators.load_generator loads what it holds")
    described = read_json(folder / DESCRIPTION)
    unet = with_labels_alone(load_unet(folder / "unet"))
    try:
        denoiser = EDMDenoiser(unet, **described).eval().requires_grad_(False)
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise ValueError(f"{folder / DESCRIPTION} is damaged, or not of the network in unet: {error}") from error
    record = compare_with_record(denoiser, folder, weight_files(folder / "unet"))
    if record.get("sigma_data", denoiser.sigma_data) != denoiser.sigma_data:
        raise ValueError(f"{folder / DESCRIPTION} is damaged: its sigma_data is {denoiser.sigma_data}, and {record['sigma_data']} in {RECORD}")
    return denoiser.to(device)


def compare_with_record(model: Any, folder: Path, files: Sequence[Path]) -> dict:
    """The training record in a folder, {} without one; ValueError, naming the files of weights, where it is about
    others than the model's. What agrees is what `generator_hash` knows the model by."""
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    if "weights" in record:
        weights = weights_hash(model)
        if record["weights"] != weights:
            names = " or ".join(file.name for file in files)
            raise ValueError(
                f"{files[0].parent}: {names} is damaged, or not what {RECORD} is about: the weights' hash is {weights}, there it is {record['weights']}"
            )
        model.recorded = generator_hash(model), weights
    return record


def weights_hash(module: nn.Module, prefix: str = "") -> str:
    """First 16 hex digits of the sha256 of a module's weights as float32. prefix: of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update((prefix + name).encode())
        digest.update(value.detach().cpu().float().contiguous().flatten().numpy())
    return digest.hexdigest()[:16]


#: How a denoiser computes, not what: its number format, whether it is compiled; and its hash as it was loaded.
APART = ("precision", "_compiled_call_impl", "recorded")


def generator_hash(denoiser: object, code: bool = False) -> str:
    """What a denoiser is known by: 16 hex digits, or `UNKNOWN` where another one could have the same.

    Of what `load_denoiser` has compared with its training record: the weights' hash that stands there. Of others: a
    hash of its class and all that it holds (but for `APART`), as long as that is data, or objects of classes of
    this package, diffusers and torch. Functions, methods, hooks and classes of one's own, subclasses too, are unknown;
    so is a network in training mode, whose dropout draws anew at each call. Code is looked into where that is asked for:
    with ``code`` it is another hash, which changes with the code of this package that its classes have.
    """
    digest, kinds = hashlib.sha256(), set[type]()
    try:
        _tell(denoiser, digest.update, kinds)
    except (_Unknown, RuntimeError):  # what holds itself is a RecursionError; some tensors have no bytes to show
        return UNKNOWN
    if code:
        own = sorted(code_of(kind) for kind in kinds if kind.__module__.partition(".")[0] == "synaug")
        digest.update(" ".join(own).encode())
        return digest.hexdigest()
    whole = digest.hexdigest()[:16]
    recorded, weights = getattr(denoiser, "recorded", (UNKNOWN, UNKNOWN))
    return weights if whole == recorded else whole


class _Unknown(Exception):
    """A value that does not tell all that a result may depend on."""


def _tell(value, write, kinds):
    """Write all that there is to a value, as bytes, and add the classes met to ``kinds``; `_Unknown` where that cannot be told."""
    kind = type(value)
    kinds.add(kind)
    write(f"{kind.__module__}.{kind.__qualname__} ".encode())
    if value is None or kind in (bool, int, float, str, slice, torch.dtype, torch.device):
        write(f"{value!r} ".encode())
    elif kind in (Tensor, nn.Parameter):
        write(f"{value.dtype} {list(value.shape)} ".encode())
        write(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif kind in (list, tuple, set, torch.Size):
        write(f"{len(value)} ".encode())
        for item in sorted(value, key=repr) if kind is set else value:
            _tell(item, write, kinds)
    elif isinstance(value, dict) and (kind in (dict, OrderedDict) or _is_public(kind)):
        for name, item in value.items():
            if kind in (dict, OrderedDict) or not name.startswith("_"):  # diffusers: where a configuration came from
                _tell([name, item], write, kinds)
        write(b"} ")
    elif _is_public(kind) and hasattr(value, "__dict__") and not (isinstance(value, nn.Module) and value.training):
        _tell({name: item for name, item in vars(value).items() if name not in APART}, write, kinds)
    else:
        raise _Unknown


def _is_public(kind):
    """Whether a class is one of this package, diffusers or torch (modules only), with the code that it has there."""
    ours = ("synaug", "diffusers", "torch")
    of_torch = kind.__module__.partition(".")[0] == "torch"
    methods = [part for base in kind.__mro__ for part in vars(base).values() if isinstance(part, FunctionType)]
    return (
        kind.__module__.partition(".")[0] in ours
        and (issubclass(kind, nn.Module) or not of_torch)
        and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
        and all(str(method.__module__).partition(".")[0] in ours for method in methods)
    )


def estimate(denoiser: Denoiser, x: Tensor, sigma: float | Tensor, labels: Tensor | None) -> Tensor:
    """What a denoiser says. TypeError or ValueError unless that is a tensor of the shape of x."""
    x0 = denoiser(x, sigma, labels)
    if not isinstance(x0, Tensor):
        raise TypeError(
            f"a denoiser must return the clean images, a tensor; this one returns {type(x0).__name__} (models of diffusers have the tensor in its .sample)"
        )
    if x0.shape != x.shape:
        raise ValueError(f"the denoiser turned {list(x.shape)} into {list(x0.shape)}")
    return x0


def check_input(denoiser: object, x: Tensor, labels: Tensor | None) -> None:
    """Refuse what cannot be given to a denoiser. TypeError or ValueError, before anything is computed.

    x must be a float tensor ``[N, ...]``, labels int64 ``[N]`` or None; their image shape and range must be the
    denoiser's own where it has ``image_shape`` and ``num_classes``.
    """
    if not callable(denoiser) or isinstance(denoiser, type):
        raise TypeError(f"a denoiser must be a function, or an object, of (x, sigma, labels); got {denoiser!r}")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"images must be a floating point tensor, got {kind_of(x)}; synaug.data.to_floats converts bytes")
    shape = getattr(denoiser, "image_shape", None)
    if shape is not None and tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"the denoiser is for images {tuple(shape)}, got {tuple(x.shape[1:])}")
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels must be an int64 tensor, got {kind_of(labels)}")
    if labels.shape != (len(x),):
        raise ValueError(f"labels must be [N] with N = {len(x)} images, got {list(labels.shape)}")
    classes = getattr(denoiser, "num_classes", None)
    if classes is not None:
        in_range("labels", labels, classes)


def denoising_loss(denoiser: Any, images: Tensor, labels: Tensor | None, sigma: Tensor, noise: Tensor) -> Tensor:
    """EDM's weighted denoising loss of each image, ``[N]`` (Karras et al. 2022, eqs. 2 and 8, weight of Table 1).

    images, noise: float ``[N, C, H, W]``, noise standard normal; sigma: ``[N]``.
    The weight (sigma² + sigma_data²) / (sigma sigma_data)² makes the loss of a network that answers 0 one at every
    sigma (for images of mean 0).
    """
    s = sigma.view(-1, 1, 1, 1)
    error = (denoiser(images + s * noise, sigma, labels) - images).square().mean(dim=(1, 2, 3))
    return error * edm_weight(sigma, denoiser.sigma_data)


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """What the squared error counts at each noise level in EDM's loss."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def log_normal_sigmas(n: int, sigma_data: float, generator: torch.Generator, *, p_mean: float = -1.2, p_std: float = 1.2) -> Tensor:
    """Training noise levels ``[n]``, on the generator's device: ln sigma ~ N(p_mean + ln(sigma_data / 0.5), p_std²).

    EDM's values (Table 1) are for sigma_data = 0.5; the shift keeps them where they are relative to the data.
    """
    centre = p_mean + math.log(sigma_data / 0.5)
    return (centre + p_std * torch.randn(n, generator=generator, device=generator.device)).exp()
