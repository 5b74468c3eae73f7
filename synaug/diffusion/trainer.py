"""One run of generator training: its state, its steps, its files; and what of it is a diffusion model's own."""

import json
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from synaug.checks import as_tensor, number, whole
from synaug.data import ImageDataset, content_hash, load_dataset, stratified_subset, to_floats
from synaug.diffusion.denoisers import RECORD, denoising_loss, edm_weight, holds_generator, log_normal_sigmas, new_denoiser
from synaug.diffusion.recipe import Recipe, batch_of, command, learning_rate, step_generator, step_seed
from synaug.files import atomic_write, load_state
from synaug.precision import device_name, fast_precision, usable_device
from synaug.resources import check_disk, check_memory
from synaug.seeds import seeded

STATE = "training_state.pt"
#: Steps between two looks at the loss where looking takes time, and between points of the loss curve.
LOOK_EVERY, CURVE_EVERY = 20, 500
#: Unseen images of each class that the chapters' distances take at least, with their defaults.
MEASURABLE = 14


class Trainer:
    """One training run: its state, one step of it, and its files. ``folder`` holds all that is written.

    This one trains a diffusion model; those of other families override `new_model`, `draw`, `losses` and what else is
    their own (`synaug.generators`).
    recipe: `Recipe`. device: where the network runs, and where images lie and noise is drawn, so that runs of one seed
    differ between kinds of devices. compile: whether torch.compile makes the steps faster, for a minute at the start
    and rounding errors of another kind. Of several processes, every one makes one and takes every step.
    ValueError where the processes cannot share a batch equally or the device is not there; MemoryError or OSError where
    there is too little memory or disk for what is kept, or the folder cannot be one. Warns of classes of which too few
    images are left that the generator does not see.
    """

    def __init__(self, recipe: Recipe, folder: str | Path, device: str = "cpu", compile: bool = False):
        from diffusers.training_utils import EMAModel

        self.folder, self.compile = Path(folder).expanduser(), compile
        self.device = usable_device(device)
        self.rank, self.world = process_rank(self.device)
        if recipe.batch_size % self.world:
            raise ValueError(f"{self.world} processes cannot share batches of {recipe.batch_size} equally")
        if self.world > 1 and recipe.family != "diffusion":
            raise ValueError(f"a {recipe.family} is trained by one process, not by {self.world}")
        check_folder(self.folder)
        whole = load_dataset(recipe.dataset)
        if os.path.isabs(whole.name) and self.folder.resolve().is_relative_to(Path(whole.name).resolve()):
            raise ValueError(f"{self.folder} lies in the folder of images, {whole.name}, where it would be taken for a class: choose one outside")
        self.recipe = recipe = recipe.of(whole)
        subset = recipe.subset(whole)
        self.content = content_hash(subset)
        self.model = self.new_model(subset)
        self.check_room()
        #: Bytes, as stored: a quarter of the memory of floats.
        self.images, self.labels = subset.images.to(self.device), subset.labels.to(self.device)
        self.model.to(self.device).train()
        self.model.precision = fast_precision(self.device)
        if compile:
            for part in self.model.children():
                part.compile()
        self.parallel: Any = self.model
        if self.world > 1:
            self.parallel = DistributedDataParallel(self.model)  # averages gradients over the processes
            self.parallel.sigma_data = self.model.sigma_data  # which `denoising_loss` reads
        self.optimizer = self.new_optimizer()
        self.ema = EMAModel(
            self.model.parameters(), decay=0.99999, use_ema_warmup=True, power=recipe.ema_power, foreach=self.device.type != "cpu"
        )  # one call for all weights, rounded otherwise
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.loss: torch.Tensor | None = None
        #: Losses of the steps since the last point of the curve.
        self.recent = []
        # Held-out images for the loss curve: real images that the generator never sees, with fixed noise.
        unseen = whole.subset(torch.isin(whole.source_index, subset.source_index, invert=True).nonzero().flatten())
        self.held_out = stratified_subset(unseen, min(1000, len(unseen)), 1)
        left = zip(whole.class_names, unseen.labels.bincount(minlength=whole.num_classes).tolist())
        if (few := [f"{n} of {name}" for name, n in left if n < MEASURABLE]) and not self.rank:
            warnings.warn(
                f"of some classes few images are left that the generator does not see ({', '.join(few[:5])}"
                f"{', ...' if few[5:] else ''}): chapters measure it against {MEASURABLE} of each at least; a "
                f"smaller subset_size (such as 0.8) leaves more",
                stacklevel=3,
            )

    def new_model(self, subset: ImageDataset) -> Any:
        """The untrained model for the images and classes that it is trained on."""
        return new_denoiser(subset, **self.recipe.of_network)

    def new_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the model's weights."""
        return torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True if self.device.type == "cuda" else None
        )

    def parts(self) -> dict[str, Any]:
        """All that a run goes on from beside numbers, by its name in the file of the state."""
        return {"denoiser": self.model, "optimizer": self.optimizer, "ema": self.ema}

    def draw(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """What the loss of a batch takes beside it, on the generator's device."""
        sigma = log_normal_sigmas(len(images), self.model.sigma_data, generator)
        return sigma, torch.randn(images.shape, generator=generator, device=generator.device)

    def losses(self, model: Any, images: Tensor, labels: Tensor, *drawn: Tensor) -> Tensor:
        """The loss of each image, ``[N]``: float ones, and what `draw` says of them."""
        losses = denoising_loss(model, images, labels, *drawn)
        if self.recipe.weighting == "error":
            losses = losses / edm_weight(drawn[0], model.sigma_data)
        return losses

    def finished(self) -> Any:
        """The model as it is saved, within `averaged`."""
        return self.model

    def check_room(self) -> None:
        """Refuse a run that cannot keep its weights, gradients, two moments of AdamW and average, of 4 bytes each,
        or a batch of images.

        Activations are not counted. On disk, all but the gradients and a generator in half precision, twice: a new
        state is written beside the last one.
        """
        parameters = sum(p.numel() for p in self.model.parameters())
        what = f"training a generator of {parameters:,} parameters"
        check_memory(20 * parameters, what, self.device)
        size = self.recipe.batch_size // self.world
        check_memory(16 * size * math.prod(self.model.image_shape), f"a batch of {size:,} images", self.device)
        if not self.rank:
            check_disk(self.folder, (1 if (self.folder / STATE).exists() else 2) * 18 * parameters, what)

    def train_step(self) -> torch.Tensor:
        """One optimiser step; the mean loss of its batch, a tensor on the device."""
        x, y, generator = batch_of(self.recipe, self.images, self.labels, self.model.num_classes, self.step)
        drawn = self.draw(x, generator)
        mine = slice(self.rank, None, self.world)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        # Dropout draws from the process's own streams: each process and step has its own seed for it.
        with seeded(step_seed(self.recipe.seed, self.step) + (1 + self.rank) * 2**54, self.device):
            self.loss = self.losses(self.parallel, to_floats(x[mine]), y[mine], *(part[mine] for part in drawn)).mean()
            if self.device.type == "cpu" or self.step % LOOK_EVERY == 0:
                self.refuse_divergence()
            self.optimizer.zero_grad(set_to_none=True)
            self.loss.backward()
        self.loss = self.loss.detach()
        self.recent.append(self.loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.model.parameters())
        self.step += 1
        return self.loss

    def refuse_divergence(self) -> None:
        """FloatingPointError where the last loss is not finite; waits for the device. A loss that is NaN stays so."""
        if self.loss is not None and not self.loss.isfinite():
            raise FloatingPointError(f"the training loss is {self.loss.item()} at step {self.step}: lower the learning rate ({self.recipe.learning_rate})")

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the model has the averaged weights."""
        self.ema.store(self.model.parameters())
        self.ema.copy_to(self.model.parameters())
        self.model.eval()
        try:
            with torch.compiler.set_stance("force_eager"):  # too few passes to compile them too
                yield
        finally:
            self.model.train()
            self.ema.restore(self.model.parameters())

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """The averaged weights' loss on held-out images, with noise drawn 4 times per image, always the same.

        Of no more images than were seen in training, lest a look costs more than a short training. None where the
        generator is trained on every image that there is.
        """
        if not len(self.held_out):
            return None
        n = len(self.held_out)
        held_out = self.held_out.subset(range(min(n, self.step * self.recipe.batch_size or n)))
        generator = step_generator(self.recipe.seed, 2**31 - 1)
        total = []
        with self.averaged():
            for _ in range(4):
                for x, y in zip(held_out.floats().split(250), held_out.labels.split(250)):
                    values = (v.to(self.device) for v in (x, y, *self.draw(x, generator)))
                    total.append(self.losses(self.model, *values).mean().item())
        return round(sum(total) / len(total), 5)

    def add_point(self) -> None:
        """Add a point to the loss curve. One between multiples of CURVE_EVERY stands until the next only, so that a run
        in pieces has the curve of a run at a stretch."""
        if self.curve and self.curve[-1]["step"] % CURVE_EVERY:
            self.curve.pop()
        self.curve.append(
            {
                "step": self.step,
                "images": self.step * self.recipe.batch_size,
                "training_loss": round(torch.stack(self.recent).cpu().double().mean().item(), 5),
                "held_out_loss": self.held_out_loss(),
                "minutes": round(self.seconds / 60, 2),
            }
        )
        if self.step % CURVE_EVERY == 0:
            self.recent = []

    def over(self, late: bool) -> bool:
        """Whether any process is out of time: all must stop at the same step."""
        if self.world == 1:
            return late
        late = torch.tensor(float(late), device=self.device)
        torch.distributed.all_reduce(late)
        return bool(late)

    def save(self) -> None:
        """Write the state to go on from, the averaged generator and its training record, each whole or not at all."""
        self.refuse_divergence()
        if self.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "recipe": asdict(self.recipe),
            "images_sha256": self.content,
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            **{name: part.state_dict() for name, part in self.parts().items()},
            "recent": torch.stack(self.recent).cpu() if self.recent else torch.empty(0),
        }
        with atomic_write(self.folder / STATE) as path:
            torch.save(state, path)
        self.save_generator(self.folder)

    def save_generator(self, folder: Path) -> None:
        """Write the averaged generator and its training record."""
        if self.rank:
            return
        folder.mkdir(parents=True, exist_ok=True)
        # Loading compares weights with the record beside them, so there is none while they change.
        (folder / RECORD).unlink(missing_ok=True)
        with self.averaged():
            weights = self.finished().save(folder)
        with atomic_write(folder / RECORD) as path:
            path.write_text(json.dumps(self.record(weights), indent=1) + "\n")

    def resume(self) -> "Trainer":
        """Go on from the folder's state if it has one.

        ValueError if that was another recipe or had other images, if it is damaged, or if a generator without its state
        would be overwritten.
        """
        if not (self.folder / STATE).is_file():
            if holds_generator(self.folder):
                raise ValueError(f"{self.folder} holds a generator but no {STATE} to go on from: choose another folder")
            return self
        path, compared = self.folder / STATE, set(asdict(self.recipe))
        with damaged(path):
            state = load_state(path, self.device)
            begun = Recipe.recorded(state["recipe"])
        if "images_sha256" in state:  # which decides whether the images are the same, wherever they lie
            compared -= {"dataset", "strata"}
        if different := sorted(name for name in compared if getattr(begun, name) != getattr(self.recipe, name)):
            raise ValueError(f"{self.folder} holds a run with another {', '.join(different)}: choose another folder, or the recipe {asdict(begun)}")
        if state.get("images_sha256", self.content) != self.content:
            raise ValueError(
                f"{self.folder} holds a run with other images, of {begun.dataset} (a folder's name counts, too): choose another folder, or bring those again"
            )
        with damaged(path):
            for average, own in zip(state["ema"]["shadow_params"], self.model.parameters(), strict=True):
                average.expand_as(own)
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
            self.step, self.seconds = whole("step", state["step"], 0), number("seconds", state["seconds"], 0)
            self.curve = [dict(point) for point in state["curve"]]
            self.recent = list(as_tensor("recent", state.get("recent", ())))
        return self

    def record(self, weights: str) -> dict:
        """What was done, as it is kept beside a checkpoint. weights: the hash of what was saved."""
        return {
            "command": command(self.recipe, self.folder.name, self.step, self.compile),
            "recipe": asdict(self.recipe),
            "images_sha256": self.content,
            **({"sigma_data": self.model.sigma_data} if hasattr(self.model, "sigma_data") else {}),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "steps": self.step,
            "images_seen": self.step * self.recipe.batch_size,
            "minutes": round(self.seconds / 60, 1),
            "processes": self.world,
            "compiled": self.compile,
            "device": device_name(self.device),
            "torch": torch.__version__,
            "weights": weights,
            "curve": self.curve,
        }


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Within it, what goes wrong is a ValueError that names the file: a damaged one shows in many ways."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        first, *_ = str(error).splitlines() or [repr(error)]
        raise ValueError(f"{path} is damaged ({first}): nothing can go on from it; choose another folder") from error


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"{folder} cannot be a folder: {place} is a file")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to")


def process_rank(device: torch.device) -> tuple[int, int]:
    """(rank, number of processes); joins the group that torchrun or accelerate started, if one did, each process on
    its own GPU."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
