"""What a generator is trained on and how: the recipe, its learning rate and its batches."""

import math
import shlex
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from synaug.checks import number, one_of, whole
from synaug.data import ImageDataset, stratified_subset

STRATA, FAMILIES = ("proportional", "equal"), ("diffusion", "vae", "gan")
NETWORKS, WEIGHTINGS = ("unet", "dit"), ("edm", "error")
#: Fields that not every family of generators has: which do, and what they are in a recipe of the others.
OF_FAMILIES = {
    "layers": (("diffusion",), 1),
    "patch": (("diffusion",), 2),
    "attention": (("diffusion",), ()),
    "dropout": (("diffusion",), 0.0),
    "drop_label": (("diffusion",), 0.0),
    "latent": (("vae", "gan"), 0),
    "unconditional": (("gan",), 0),
    "network": (("diffusion",), "unet"),
    "weighting": (("diffusion",), "edm"),
}


@dataclass(frozen=True)
class Recipe:
    """What a generator is trained on and how. ValueError for values that make no sense.

    dataset, subset_size, subset_seed, strata: a stratified subset of the training split (`stratified_subset`), whose
    size is a number of images, a share below 1 or "all" (a record has the number), with "proportional" or "equal"
    counts per class. subset_start: how many images of the stratified order are left to other subsets, so that disjoint
    ones can be drawn: the subset is those that follow.
    channels, layers, patch, attention, dropout: of `new_unet`. batch_size: images per step. learning_rate: the highest,
    reached after ``warmup`` steps and held until ``decay_from``, then falling as 1/sqrt(step) (Karras et al. 2024,
    eq. 67).
    ema_power: the average at step t keeps a share 1 - (1 + t)^-power of itself. flip: share of mirrored images.
    drop_label: share trained without a class, which guidance needs. seed: of the weights, the order, the noise.
    family: "diffusion", or "vae" or "gan" of `synaug.generators`; their channels are the widths of levels that each
    halve height and width. latent: the length of a VAE's or a GAN's latent vector. unconditional: steps of a GAN
    before its classes come in, which then takes as many again.
    network: "unet", or "dit", a transformer (see `new_unet`). weighting: of noise levels in the loss, "edm", or "error",
    which counts the error of the clean image alike at all of them.
    """

    dataset: str = "fashion_mnist"
    subset_size: int | float | str = 10_000
    subset_seed: int = 0
    channels: tuple = (64, 128)
    layers: int = 1
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 200
    decay_from: int = 3000
    ema_power: float = 0.75
    flip: float = 0.25
    drop_label: float = 0.1
    seed: int = 0
    patch: int = 2
    attention: tuple = ()
    dropout: float = 0.0
    strata: str = "proportional"
    subset_start: int = 0
    family: str = "diffusion"
    latent: int = 0
    unconditional: int = 0
    network: str = "unet"
    weighting: str = "edm"

    def __post_init__(self):
        for name in ("channels", "attention"):  # lists, where it was read from a file
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("learning_rate", "warmup", "decay_from", "ema_power"):
            number(name, getattr(self, name), above=0)
        for name in ("flip", "drop_label"):
            number(name, getattr(self, name), 0, 1)
        for name, options in (("family", FAMILIES), ("network", NETWORKS), ("weighting", WEIGHTINGS), ("strata", STRATA)):
            one_of(name, getattr(self, name), options)
        least_of = {"batch_size": 1, "layers": 1, "patch": 1, "subset_seed": 0, "subset_start": 0, "latent": 0, "unconditional": 0}
        for name, least in least_of.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if odd := {name: other for name, (families, other) in OF_FAMILIES.items() if self.family not in families and getattr(self, name) != other}:
            raise ValueError(f"{', '.join(odd)} must be {', '.join(map(str, odd.values()))} in a recipe of the family {self.family}, which has none")
        object.__setattr__(self, "subset_size", _size(self.subset_size))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0, 2**32 - 1))

    @classmethod
    def recorded(cls, values: dict) -> "Recipe":
        """The recipe of a record, which may be from before recipes had all their fields."""
        return cls(**{"strata": "equal", **values})

    @property
    def of_network(self) -> dict:
        """What `synaug.diffusion.denoisers.new_unet` takes of it, by name."""
        return {name: getattr(self, name) for name in ("channels", "layers", "patch", "attention", "dropout", "network", "seed")}

    def of(self, whole: ImageDataset) -> "Recipe":
        """The recipe with the name and the number of images that it means of ``whole``, the training split."""
        size = self.subset_size
        if not isinstance(size, int):
            size = max(1, round((1.0 if size == "all" else float(size)) * len(whole)))
        return replace(self, dataset=whole.name, subset_size=size)

    def subset(self, whole: ImageDataset) -> ImageDataset:
        """The images of ``whole``, the training split, that are trained on. ValueError where they are not there."""
        end = self.subset_start + int(self.of(whole).subset_size)
        if end > len(whole):
            raise ValueError(
                f"subset_size is {end - self.subset_start:,}{f' after {self.subset_start:,}' * (self.subset_start > 0)}, and {whole.name} has "
                f"{len(whole):,} images: give fewer (--subset-size), a share such as 0.8, or the recipe small"
            )
        found = stratified_subset(whole, end, self.subset_seed, self.strata == "proportional")
        return found.subset(slice(self.subset_start, end)) if self.subset_start else found


def _size(value) -> int | float | str:
    """A number of images as int, a share below 1 as float, either perhaps as text; "all", which is the share 1.0."""
    if str(value) in ("all", "1.0"):
        return "all"
    try:
        size = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        size = math.nan
    if not (0 < size < 1 or 1 <= size < math.inf and size % 1 == 0):
        raise ValueError(f'subset_size must be a number of images, a share below 1 or "all", got {value!r}')
    return size if size < 1 else int(size)


#: Recipes by name. "small" is for one's own images, hundreds to some thousands: a narrower network, smaller batches,
#: dropout. "cifar10" makes a checkpoint of 13 MB (6.5 million parameters); "cifar10_edm" is of the size that EDM trains
#: (see `new_unet`), with its batches, rate and dropout; "fast" is for minutes of a GPU (3.7 million parameters). All
#: but the first leave a fifth of the training images unseen: the fresh real ones that everything is measured against
#: and those that chapter 2 validates on, so that test images are for test accuracies alone. "vae" and "gan" are for
#: what "fashion_mnist" is for: the same images, less than a third of its weights, files of 1.6 and 1.2 MB.
CIFAR10 = Recipe(
    dataset="cifar10", subset_size=40_000, channels=(64, 128, 128), layers=2, patch=1, attention=(16,), batch_size=256, warmup=500, decay_from=10_000
)
RECIPES = {
    "fashion_mnist": Recipe(),
    "vae": Recipe(family="vae", latent=24, drop_label=0.0),
    "gan": Recipe(family="gan", latent=40, drop_label=0.0, flip=0.0, learning_rate=2e-4, warmup=1, decay_from=10**9, unconditional=1000),
    "small": Recipe(subset_size=0.8, channels=(32, 64), batch_size=32, warmup=500, decay_from=5000, dropout=0.1),
    "cifar10": CIFAR10,
    "fast": replace(CIFAR10, subset_size=0.8, channels=(64, 96, 128), layers=1, batch_size=512, decay_from=5000, strata="equal"),
    "cifar10_edm": replace(CIFAR10, channels=(256, 256, 256), layers=4, dropout=0.13, batch_size=512, warmup=1000, decay_from=20_000),
    "cifar100": replace(CIFAR10, dataset="cifar100"),
    "tiny_imagenet": replace(CIFAR10, dataset="tiny_imagenet", subset_size=80_000),
}


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of a step (counted from 0)."""
    return recipe.learning_rate * min(1, (step + 1) / recipe.warmup, math.sqrt(recipe.decay_from / (step + 1)))


def command(recipe: Recipe, folder: str | Path, steps: int, compile: bool = False) -> str:
    """The command line that trains by a recipe for a number of steps."""
    words = ["python", "-m", "synaug", "train-generator", "--folder", folder, "--images", steps * recipe.batch_size]
    for name, value in asdict(recipe).items():
        if value != getattr(Recipe, name):
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + name.replace("_", "-"), *values]
    return shlex.join([*map(str, words), *["--compile"] * compile])


def step_seed(seed: int, step: int) -> int:
    """The seed of one training step's random stream, ``step`` counted from 0. Different seeds share none below step 1,000,003."""
    return seed * 1_000_003 + step


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The random stream of one training step. On a device of another kind it is another stream."""
    return torch.Generator(device).manual_seed(step_seed(seed, step))


@lru_cache(maxsize=2)
def epoch_order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of n images that an epoch takes them in."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 7919 + 31 + epoch))


def batch_of(recipe: Recipe, images: torch.Tensor, labels: torch.Tensor, num_classes: int, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """Images ``[B, C, H, W]``, indices of class embeddings ``[B]`` and the stream for the noise of one step.

    All on the device of ``images`` and ``labels``; the order of images is the same on every device.
    Epochs are permutations of the subset, so every image is seen equally often. Mirrored images have the classes
    K .. 2K-1, images without a class 2K (see `synaug.diffusion.denoisers.EDMDenoiser`).
    """
    device = images.device
    generator = step_generator(recipe.seed, step, device)
    n, size = len(images), recipe.batch_size
    positions = torch.arange(step * size, (step + 1) * size)
    index = torch.empty(size, dtype=torch.int64)
    for epoch in (positions // n).unique():
        here = positions // n == epoch
        index[here] = epoch_order(n, recipe.seed, int(epoch))[positions[here] % n]
    index = index.to(device, non_blocking=True)
    x, y = images[index], labels[index]
    mirrored = torch.rand(size, generator=generator, device=device) < recipe.flip
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    y = torch.where(mirrored, y + num_classes, y)
    y = torch.where(torch.rand(size, generator=generator, device=device) < recipe.drop_label, 2 * num_classes, y)
    return x, y, generator
