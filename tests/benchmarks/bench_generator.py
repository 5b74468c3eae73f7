"""What a step of generator training costs beyond the network's two passes, and how many images a second that is.

    python tests/benchmarks/bench_generator.py                                     # a minute on two cores
    python tests/benchmarks/bench_generator.py --recipe cifar10 --device cuda --compile --pairs 30

A step (its images and noise, preconditioning, the loss, clipping, AdamW, the average of the weights) against a forward
and a backward pass of the bare network on one batch, in turns in one process; exit status 1 where the ratio is beyond
the bound. On a machine that is never idle, take OMP_NUM_THREADS=1 and --clock processor.
"""

import sys
import tempfile

import torch
from measuring import in_turns, median_ratio, peak_mib, turns_parser, verdict

from synaug.diffusion.recipe import RECIPES
from synaug.diffusion.trainer import Trainer
from synaug.precision import memory_format

BOUND = 1.15
#: Before anything is measured: libraries are loaded, kernels chosen, the network compiled.
WARM_UP = 3


def bare_network(trainer):
    """A forward and a backward pass of the network alone, of one batch."""
    denoiser, recipe, device = trainer.model, trainer.recipe, trainer.device
    _, h, w = denoiser.image_shape
    inner = torch.randn(recipe.batch_size, denoiser.unet.config.in_channels, h // denoiser.patch, w // denoiser.patch, device=device).contiguous(
        memory_format=memory_format(device)
    )
    times, labels = torch.zeros(len(inner), device=device), torch.zeros(len(inner), dtype=torch.int64, device=device)

    def run():
        with torch.autocast(device.type, denoiser.precision, enabled=denoiser.precision != torch.float32):
            out = denoiser.unet(inner, times, class_labels=labels).sample
        denoiser.zero_grad(set_to_none=True)
        out.float().square().mean().backward()

    return run


def main() -> int:
    parser = turns_parser(__doc__)
    parser.add_argument("--recipe", choices=RECIPES, default="fashion_mnist")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(RECIPES[options.recipe], folder, options.device, options.compile)
        bare = bare_network(trainer)
        for _ in range(WARM_UP):
            trainer.train_step(), bare()
        found = in_turns({"step": trainer.train_step, "bare": bare}, options.pairs, options.clock, options.device)
    step, network = (min(seconds) for seconds in found.values())
    memory = torch.cuda.max_memory_allocated() / 2**20 if trainer.device.type == "cuda" else peak_mib()
    batch = trainer.recipe.batch_size
    print(f"{options.recipe}, batches of {batch}, {options.device}, {trainer.model.precision}, {torch.get_num_threads()} threads, {options.clock} time")
    print(f"{batch / step:,.0f} images a second, {batch / network:,.0f} by the bare network; peak memory {memory:,.0f} MiB")
    print(f"a step is {step / network:.3f} times the bare network's two passes (bound {BOUND}; median over pairs {median_ratio(*found.values()):.3f})")
    return verdict([step / network <= BOUND])


if __name__ == "__main__":
    sys.exit(main())
