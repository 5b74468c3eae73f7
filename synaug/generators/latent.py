"""What the VAE and the GAN share: their networks, the way of an image through a latent space and back, their files."""

import copy
import json
import math
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from synaug.checks import number, texts, warn_unit_range, whole
from synaug.diffusion.denoisers import OTHER_DESCRIPTION, compare_with_record, generator_hash, weights_hash
from synaug.diffusion.network_files import read_json, refuse_pointer
from synaug.diffusion.reconstruction import Reconstruction, checked, per_image_noise
from synaug.files import atomic_write
from synaug.generators.contract import Generator, Labels
from synaug.precision import home_of, usable_device

WEIGHTS = "generator.safetensors"
#: Length of the vectors that stand for classes, groups of a group normalisation, the largest networks.
CLASS_WIDTH, GROUPS, MOST = 8, 8, 4096


class LatentGenerator(nn.Module, Generator):
    """A generator that makes an image of a latent vector ``[latent]`` and a class.

    image_shape: (C, H, W), H and W multiples of 2 to the number of channels. class_names: the K names.
    channels: the widths of levels, the finest first, multiples of 8; each halves height and width. Without any, the
    networks are linear. latent: at least 2. seed: of the initial weights. ValueError or TypeError otherwise.
    Labels are 0 .. K-1; in training K .. 2K-1 are the classes of mirrored images. That, and ``precision``, an
    attribute, are as in `EDMDenoiser`.

    Encoder: a convolution of stride 2, group normalisation and SiLU per level, then a linear layer. Decoder: a
    linear layer, then `ClassNorm`, ReLU and a transposed convolution per level. Both linear layers see the class, too.
    What a family adds, with ``noise(stream, *shape)``, standard normal ``[N, *shape]``, a function of image and stream:
    ``draw(labels, noise)``, latent vectors of classes alone; ``encode(images, labels)``, those of images;
    ``between(z, drawn, labels, strength)``, those on the way from one to the other; ``render(z, labels, noise)``, their
    images; ``settings()``, what may be set of a trained generator, by its name.
    """

    family: str
    recorded: tuple[str, str]  # as an `EDMDenoiser` has it
    #: Outputs of the encoder for each latent dimension, how much narrower it is than the decoder, and how the decoder
    #: normalises: over the batch, or over groups of channels.
    outputs, narrower, batch = 1, 1, False

    def __init__(self, image_shape: Collection[int], class_names: Collection[str], channels: Collection[int], latent: int, seed: int = 0):
        super().__init__()
        c, h, w = self.image_shape = tuple(whole("each of image_shape", size, 1) for size in image_shape)  # type: ignore[assignment]
        self.precision = torch.float32
        self.class_names, self.channels = texts("class_names", class_names), tuple(channels)
        self.latent, factor = whole("latent", latent, 2, MOST), 2 ** len(self.channels)
        if any(whole("each of channels", width, 1, MOST) % GROUPS for width in self.channels):
            raise ValueError(f"channels must be multiples of {GROUPS}, got {self.channels}")
        if h % factor or w % factor:
            raise ValueError(f"images of {h}x{w} cannot be halved {len(self.channels)} times; height and width must be multiples of {factor}")
        narrow = (c, *(GROUPS * max(1, width // self.narrower // GROUPS) for width in self.channels))
        self.start = (c, *self.channels)[-1], h // factor, w // factor
        area = h * w // factor**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.classes = nn.Embedding(2 * self.num_classes, CLASS_WIDTH)
            levels = [(nn.Conv2d(here, below, 4, 2, 1), nn.GroupNorm(GROUPS, below), nn.SiLU()) for here, below in pairwise(narrow)]
            self.body = nn.Sequential(*(layer for level in levels for layer in level), nn.Flatten())
            self.head = nn.Linear(narrow[-1] * area + CLASS_WIDTH, self.outputs * self.latent)
            self.stem = nn.Linear(self.latent + CLASS_WIDTH, math.prod(self.start))
            upwards = list(pairwise((*reversed(self.channels), c)))
            self.norms = nn.ModuleList(ClassNorm(width, self.batch) for width, _ in upwards)
            self.ups = nn.ModuleList(nn.ConvTranspose2d(here, above, 4, 2, 1) for here, above in upwards)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def encoded(self, images: Tensor, labels: Tensor, amount: float = 1.0) -> Tensor:
        """What the encoder says of images. amount: how much of the class it sees, 0..1."""
        with self.fast():
            return self.head(torch.cat([self.body(images), amount * self.classes(labels)], 1)).float()

    def decoded(self, z: Tensor, labels: Tensor, amount: float = 1.0) -> Tensor:
        """What the decoder makes of latent vectors ``[N, latent]``."""
        classes = amount * self.classes(labels)
        with self.fast():
            x = self.stem(torch.cat([z, classes], 1)).unflatten(1, self.start)
            for norm, up in zip(self.norms, self.ups):
                x = up(F.relu(norm(x, classes)))
        return x.float()

    def fast(self) -> torch.autocast:
        """Within it, networks compute in the number format ``precision``."""
        return torch.autocast(self.classes.weight.device.type, self.precision, enabled=self.precision != torch.float32)

    @torch.no_grad()
    def reconstruct(
        self,
        images: Tensor,
        labels: Labels,
        strength: float,
        seed: int = 0,
        *,
        source_index: Labels | None = None,
        batch_size: int = 256,
        progress: bool = False,
    ) -> Reconstruction:
        """See `Generator.reconstruct`. ValueError also where the generator is in training mode."""
        images, known, index = checked(self, images, labels, seed, source_index)
        if known is None:
            raise ValueError(f"labels must be given: a {self.family} makes images of classes only")
        if self.training:
            raise ValueError(f"the {self.family} is in training mode: call its eval()")
        strength, batch_size = number("strength", strength, 0, 1), whole("batch_size", batch_size, 1)
        model: Any = self
        settings, device = model.settings(), home_of(self, torch.device("cpu"))
        if strength < 1:
            warn_unit_range(images)
        provenance = pd.DataFrame(
            {
                "source_index": index.numpy(),
                "label": known.numpy(),
                "strength": strength,
                "seed": seed,
                "generator": generator_hash(self),
                "family": self.family,
                **settings,
                "precision": str(self.precision).removeprefix("torch."),
            }
        )
        result = torch.empty_like(images)
        for batch in tqdm(torch.arange(len(images)).split(batch_size), disable=not progress, desc=self.family):
            x, y = images[batch].to(device), known[batch].to(device)

            def noise(stream, *shape):
                return per_image_noise((len(x), *shape), seed, index[batch], stream).to(device)

            z = model.encode(x, y) if strength < 1 else model.draw(y, noise)
            if 0 < strength < 1:
                z = model.between(z, model.draw(y, noise), y, strength)
            result[batch] = model.render(z, y, noise).clamp(-1, 1).cpu()
        return Reconstruction(result, known, provenance)

    def save(self, folder: str | Path) -> str:
        """Write the weights, in half precision, and what describes them. Returns the `weights_hash` of what will be
        loaded."""
        folder, half = Path(folder), copy.deepcopy(self).half()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / WEIGHTS) as path:
            save_file({name: value.contiguous() for name, value in half.state_dict().items()}, path)
        described = {"family": self.family, "image_shape": self.image_shape, "class_names": self.class_names, "channels": self.channels, "latent": self.latent}
        with atomic_write(folder / OTHER_DESCRIPTION) as path:
            path.write_text(json.dumps(described, indent=1) + "\n")
        return weights_hash(half)


def load_latent(folder: Path, families: dict[str, type[LatentGenerator]], device: str | torch.device = "cpu") -> LatentGenerator:
    """A saved generator of one of the families; see `synaug.generators.load_generator`."""
    device, described, path = usable_device(device), read_json(folder / OTHER_DESCRIPTION), folder / WEIGHTS
    try:
        model = families[described.pop("family")](**described)
    except (TypeError, ValueError, LookupError) as error:
        raise ValueError(f"{folder / OTHER_DESCRIPTION} is damaged: {error!r}") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    refuse_pointer(path)
    try:
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except Exception as error:  # of any kind, as the file may hold anything
        raise ValueError(f"{path} is damaged, or not of the network in {OTHER_DESCRIPTION}: {error}") from error
    model.eval().requires_grad_(False)
    compare_with_record(model, folder, [path])
    return model.to(device)


class ClassNorm(nn.Module):
    """Normalisation with a gain and a shift that depend on the class (conditional batch norm, Dumoulin et al. 2017),
    both linear in its vector and at first the same for all.

    batch: by the batch's own statistics in training, in evaluation by ``mean`` and ``var``, which somebody must set;
    else by groups of channels.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, width: int, batch: bool):
        super().__init__()
        self.batch, self.scale = batch, nn.Linear(CLASS_WIDTH, 2 * width)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)
        if batch:
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("var", torch.ones(width))

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        if not self.batch:
            x = F.group_norm(x, GROUPS)
        elif self.training:
            x = F.batch_norm(x, None, None, training=True)
        else:
            x = F.batch_norm(x, self.mean, self.var)
        gain, shift = self.scale(classes)[:, :, None, None].chunk(2, 1)
        return x * (1 + gain) + shift
