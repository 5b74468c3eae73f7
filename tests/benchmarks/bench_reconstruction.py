"""What reconstruction and pools cost beyond their network evaluations, with a saved generator.

    python tests/benchmarks/bench_reconstruction.py                            # a few minutes on two cores
    python tests/benchmarks/bench_reconstruction.py --generator cifar10 --device cuda --batch 1024

Reconstruction (forward noise, Heun's method in float64, preconditioning, checks, provenance), and a pool of two copies
(besides that the generator's hash, bytes, the store on disk), against as many calls of the bare network on the same
batch, in turns in one process; exit status 1 where a ratio is beyond the bound. The ratio is that of the fastest of
each: what else the machine does only slows them down. On a machine that is never idle, take OMP_NUM_THREADS=1 and
--clock processor.
"""

import itertools
import sys
import tempfile

import torch
from measuring import in_turns, median_ratio, turns_parser, verdict

from synaug.augmentation.synthetic_pool import generate_pool
from synaug.data import stratified_subset
from synaug.diffusion.denoisers import load_denoiser
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.samplers import network_evaluations
from synaug.diffusion.schedules import reverse_sigmas, sigmas_from
from synaug.generators.training import trained_on
from synaug.precision import fast_precision, memory_format

BOUND = 1.05
REVERSE_STEP, STRIDE = 60, 10
SIGMAS, STEPS = (0.5, 1.0), 18


def jobs(denoiser, real, device, folder):
    """``{name: (job, calls of the network that it needs)}``."""
    common = {"batch_size": len(real), "device": device}
    seeds = itertools.count()

    def reconstruction(churn):
        reconstruct(denoiser, real.floats(), real.labels, reverse_step=REVERSE_STEP, stride=STRIDE, churn=churn, **common)

    def pool():  # of another seed each time: one that is in the store would cost nothing
        generate_pool(denoiser, real, range(len(real)), k=1 + len(SIGMAS), sigmas=SIGMAS, steps=STEPS, folder=folder, seed=next(seeds), **common)

    calls = network_evaluations(reverse_sigmas(REVERSE_STEP, stride=STRIDE))
    return {
        "reconstruction": (lambda: reconstruction(0.0), calls),
        "reconstruction, churn 10": (lambda: reconstruction(10.0), calls),
        "pool": (pool, sum(network_evaluations(sigmas_from(sigma, STEPS)) for sigma in SIGMAS)),
    }


def bare_network(denoiser, labels, device, precision):
    """A function of the number of calls: that many of the network alone on one batch."""
    batch, (_, h, w) = len(labels), denoiser.image_shape
    channels = denoiser.unet.config.in_channels
    inner = torch.randn(batch, channels, h // denoiser.patch, w // denoiser.patch, device=device)
    inner = inner.contiguous(memory_format=memory_format(device))
    times, labels = torch.zeros(batch, device=device), labels.to(device)

    @torch.inference_mode()
    def run(calls):
        with torch.autocast(times.device.type, precision, enabled=precision != torch.float32):
            for _ in range(calls):
                denoiser.unet(inner, times, class_labels=labels)

    return run


def main() -> int:
    parser = turns_parser(__doc__)
    parser.add_argument("--generator", default="fashion_mnist")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    try:
        denoiser = load_denoiser(options.generator, options.device)
        real = stratified_subset(trained_on(options.generator)[0], options.batch, seed=0)
    except (OSError, ValueError) as error:  # no such generator, or not its data, or a batch that is too small or large
        parser.error(str(error))
    precision, held = fast_precision(options.device), []
    print(f"{options.generator}, batches of {options.batch}, {options.device}, {precision}, {torch.get_num_threads()} threads, {options.clock} time")
    denoiser.precision = precision
    bare = bare_network(denoiser, real.labels, options.device, precision)
    with tempfile.TemporaryDirectory() as folder:
        for name, (job, calls) in jobs(denoiser, real, options.device, folder).items():
            job(), bare(1)  # libraries are loaded and warm
            found = in_turns({"ours": job, "bare": lambda: bare(calls)}, options.pairs, options.clock, options.device)
            ours, network = (min(seconds) for seconds in found.values())
            print(
                f"{name}: {calls} evaluations, {1e3 * ours:.0f} ms for {1e3 * network:.0f} ms of network:  "
                f"ratio {ours / network:.3f} (bound {BOUND}; median over pairs {median_ratio(*found.values()):.3f}), "
                f"{options.batch * calls / ours:,.0f} evaluations of an image a second"
            )
            held.append(ours / network <= BOUND)
    return verdict(held)


if __name__ == "__main__":
    sys.exit(main())
