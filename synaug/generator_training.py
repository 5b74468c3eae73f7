"""Training a class-conditional generator from scratch: ``python -m synaug.generator_training --help``.

Denoising score matching under EDM preconditioning, AdamW with a warm-up and an inverse square root decay of the
rate (no planned end, so a run can always be continued), an exponential moving average of the weights, mirrored
images under class labels of their own. A step's images and noise depend only on (seed, step): a run that was cut
goes on as if it had not been.

Several processes share each batch when started by torchrun, one a GPU or one a CPU core:
``torchrun --nproc-per-node 2 -m synaug.generator_training``. On two CPU cores that is 1.4 times as fast as one
process with two threads.
"""

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from synaug import paths
from synaug.data import load_dataset, stratified_subset
from synaug.denoisers import checkpoint_folder, denoising_loss, generator_hash, log_normal_sigmas, new_denoiser

STATE, RECORD = "training_state.pt", "training_record.json"


@dataclass(frozen=True)
class Recipe:
    """What a generator is trained on and how.

    dataset, subset_size, subset_seed: a stratified subset of the training split (`stratified_subset`).
    channels, layers: of `new_denoiser`. batch_size: images a step. learning_rate: the highest, reached after
    ``warmup`` steps and held until ``decay_from``, then falling as 1/sqrt(step) (Karras et al. 2024, eq. 67).
    ema_power: the average at step t keeps a share 1 - (1 + t)^-power of itself. flip: share of mirrored images.
    drop_label: share trained without a class, which guidance needs. seed: of the weights, the order, the noise.
    """

    dataset: str = "fashion_mnist"
    subset_size: int = 10_000
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


def learning_rate(recipe, step):
    """The rate of a step (counted from 0)."""
    return recipe.learning_rate * min(1, (step + 1) / recipe.warmup, math.sqrt(recipe.decay_from / (step + 1)))


def step_generator(seed, step):
    """The random stream of one training step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def batch_of(recipe, images, labels, num_classes, step):
    """Images ``[B, C, H, W]``, class embeddings' indices and the stream for the noise of one step.

    Epochs are permutations of the subset, so every image is seen equally often.
    """
    generator = step_generator(recipe.seed, step)
    n, size = len(images), recipe.batch_size
    positions = torch.arange(step * size, (step + 1) * size)
    index = torch.empty(size, dtype=torch.int64)
    for epoch in (positions // n).unique():
        order = torch.randperm(n, generator=torch.Generator().manual_seed(recipe.seed * 7919 + 31 + int(epoch)))
        here = positions // n == epoch
        index[here] = order[positions[here] % n]
    x, y = images[index], labels[index]
    mirrored = torch.rand(size, generator=generator) < recipe.flip
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    y = torch.where(mirrored, y + num_classes, y)
    y = torch.where(torch.rand(size, generator=generator) < recipe.drop_label, 2 * num_classes, y)
    return x, y, generator


class Trainer:
    """One training run: its state, one step of it, and its files. ``folder`` holds all that is written."""

    def __init__(self, recipe, folder, device="cpu"):
        from diffusers.training_utils import EMAModel

        self.recipe, self.folder, self.device = recipe, Path(folder), torch.device(device)
        self.rank, self.world = process_rank()
        whole = load_dataset(recipe.dataset)
        subset = stratified_subset(whole, recipe.subset_size, recipe.subset_seed)
        self.images, self.labels = subset.floats(), subset.labels
        self.denoiser = new_denoiser(subset, channels=recipe.channels, layers=recipe.layers, seed=recipe.seed)
        self.denoiser.to(self.device).train()
        self.parallel = ShareSigmaData(self.denoiser) if self.world > 1 else self.denoiser
        self.optimizer = torch.optim.AdamW(self.denoiser.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99),
                                           weight_decay=1e-4)
        self.ema = EMAModel(self.denoiser.parameters(), decay=0.99999, use_ema_warmup=True, power=recipe.ema_power)
        self.step, self.seconds, self.curve = 0, 0.0, []
        # Held-out images for the loss curve: real images that the generator never sees, with fixed noise.
        unseen = torch.ones(len(whole), dtype=torch.bool)
        unseen[subset.source_index] = False
        held_out = stratified_subset(whole.subset(unseen.nonzero().flatten()), min(1000, int(unseen.sum())), 1)
        self.held_out = (held_out.floats(), held_out.labels) if len(held_out) else (self.images, self.labels)

    def train_step(self):
        """One optimiser step; the mean loss of its batch."""
        x, y, generator = batch_of(self.recipe, self.images, self.labels, self.denoiser.num_classes, self.step)
        sigma = log_normal_sigmas(len(x), self.denoiser.sigma_data, generator)
        noise = torch.randn(x.shape, generator=generator)
        mine = slice(self.rank, None, self.world)
        x, y, sigma, noise = (v[mine].to(self.device, non_blocking=True) for v in (x, y, sigma, noise))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16_pays(self.device)):
            loss = denoising_loss(self.parallel, x, y, sigma, noise).mean()
        if not loss.isfinite():
            raise FloatingPointError(f"the training loss is {loss.item()} at step {self.step}: "
                                     f"lower the learning rate ({self.recipe.learning_rate})")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.denoiser.parameters())
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def held_out_loss(self):
        """The averaged weights' denoising loss on held-out images, 4 noise levels an image, fixed noise."""
        generator = step_generator(self.recipe.seed, -1 % 2**31)
        self.ema.store(self.denoiser.parameters())
        self.ema.copy_to(self.denoiser.parameters())
        self.denoiser.eval()
        total = []
        images, labels = self.held_out
        for _ in range(4):
            for x, y in zip(images.split(250), labels.split(250)):
                sigma = log_normal_sigmas(len(x), self.denoiser.sigma_data, generator)
                noise = torch.randn(x.shape, generator=generator)
                values = (v.to(self.device) for v in (x, y, sigma, noise))
                total.append(denoising_loss(self.denoiser, *values).mean().item())
        self.denoiser.train()
        self.ema.restore(self.denoiser.parameters())
        return sum(total) / len(total)

    def over(self, late):
        """Whether any process is out of time: all must stop at the same step."""
        if self.world == 1:
            return late
        late = torch.tensor(float(late), device=self.device)
        torch.distributed.all_reduce(late)
        return bool(late)

    def save(self):
        """Write the averaged generator, its training record and the state to go on from, each at once."""
        if self.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"recipe": asdict(self.recipe), "step": self.step, "seconds": self.seconds, "curve": self.curve,
                 "denoiser": self.denoiser.state_dict(), "optimizer": self.optimizer.state_dict(),
                 "ema": self.ema.state_dict()}
        temporary = self.folder / (STATE + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.folder / STATE)
        self.ema.store(self.denoiser.parameters())
        self.ema.copy_to(self.denoiser.parameters())
        self.denoiser.save(self.folder)
        record = self.record()
        self.ema.restore(self.denoiser.parameters())
        (self.folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")

    def resume(self):
        """Go on from the folder's state if it has one. ValueError if that was another recipe."""
        if not (self.folder / STATE).is_file():
            return self
        state = torch.load(self.folder / STATE, map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            different = [k for k, v in asdict(self.recipe).items() if state["recipe"].get(k) != v]
            raise ValueError(f"{self.folder} holds a run with another {', '.join(different)}: "
                             f"choose another folder, or the recipe {state['recipe']}")
        self.denoiser.load_state_dict(state["denoiser"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        return self

    def record(self):
        """What was done, as it is committed beside the checkpoint."""
        return {"command": "python -m synaug.generator_training", "recipe": asdict(self.recipe),
                "sigma_data": self.denoiser.sigma_data,
                "parameters": sum(p.numel() for p in self.denoiser.parameters()),
                "steps": self.step, "images_seen": self.step * self.recipe.batch_size,
                "minutes": round(self.seconds / 60, 1),
                "device": device_name(self.device), "torch": torch.__version__, "weights": generator_hash(self.denoiser),
                "curve": self.curve}


class ShareSigmaData(DistributedDataParallel):
    """Averages gradients over the processes; shows what `denoising_loss` reads of the denoiser."""

    @property
    def sigma_data(self):
        return self.module.sigma_data


def process_rank():
    """(rank, number of processes); joins the group that torchrun started, if it did."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def bfloat16_pays(device):
    """Whether training under bfloat16 autocast is faster: on CUDA, and on CPUs with AVX512-BF16 or AMX."""
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False))


def device_name(device):
    """A GPU's name, or the CPU's kind and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def train(recipe, folder, *, images, minutes=math.inf, device="cpu", save_every=120, progress=True):
    """Train until ``images`` images were seen or ``minutes`` are over, resuming what ``folder`` holds.

    save_every: seconds between checkpoints (a cut run loses at most those). Returns the `Trainer`.
    """
    trainer = Trainer(recipe, folder, device).resume()
    total = math.ceil(images / recipe.batch_size)
    start = last = time.monotonic()
    bar = tqdm(total=total, initial=trainer.step, unit="step", disable=trainer.rank or not progress, mininterval=5)
    recent = []
    while trainer.step < total and not trainer.over(last - start > 60 * minutes):
        recent.append(trainer.train_step())
        bar.update()
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        if trainer.step % 500 == 0 or trainer.step == total:
            trainer.curve.append({"step": trainer.step, "images": trainer.step * recipe.batch_size,
                                  "training_loss": round(sum(recent) / len(recent), 5),
                                  "held_out_loss": round(trainer.held_out_loss(), 5),
                                  "minutes": round(trainer.seconds / 60, 2)})
            bar.set_postfix(loss=trainer.curve[-1]["held_out_loss"])
            recent = []
        if now - start > save_every * (1 + getattr(trainer, "saves", 0)):
            trainer.saves = int((now - start) // save_every)
            trainer.save()
    bar.close()
    trainer.save()
    return trainer


def trained_on(generator):
    """(the whole training split, the subset that a saved generator was trained on), from its training record."""
    path = checkpoint_folder(generator) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: without it nobody knows which images the generator has seen")
    recipe = json.loads(path.read_text())["recipe"]
    whole = load_dataset(recipe["dataset"])
    return whole, stratified_subset(whole, recipe["subset_size"], recipe["subset_seed"])


def main():
    import argparse

    parser = argparse.ArgumentParser(description="Train a class-conditional generator, or go on training it.")
    parser.add_argument("--folder", type=Path, default=paths.checkpoints_dir() / "fashion_mnist")
    parser.add_argument("--images", type=float, default=2e6, help="stop when this many images were seen")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    defaults = Recipe()
    for name in ("dataset", "subset_size", "subset_seed", "batch_size", "learning_rate", "layers", "seed"):
        value = getattr(defaults, name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    parser.add_argument("--channels", type=int, nargs="+", default=defaults.channels)
    options = vars(parser.parse_args())
    run = {k: options.pop(k) for k in ("folder", "images", "minutes", "device")}
    recipe = Recipe(**{**options, "channels": tuple(options["channels"])})
    train(recipe, run["folder"], images=run["images"], minutes=run["minutes"], device=run["device"])


if __name__ == "__main__":
    main()
