"""What reconstruction costs beyond its network evaluations, with the committed generator.

    python tests/benchmarks/bench_reconstruction.py                            # a minute on two cores
    python tests/benchmarks/bench_reconstruction.py --device cuda --batch 1024

Reconstruction (forward noise, Heun's method in float64, preconditioning, checks, provenance) against as many calls of
the bare network on the same batch, in turns in one process, each pair in the other order than the last; exit status
1 where the ratio is beyond the bound. The ratio is that of the fastest of each: what else the machine does only
slows them down. On a machine that is never idle, take OMP_NUM_THREADS=1 and --clock processor: the processor time of
this process instead of the wall's.
"""

import argparse
import statistics
import sys
import time

import torch

from synaug.data import load_dataset, stratified_subset
from synaug.denoisers import load_denoiser
from synaug.precision import fast_precision
from synaug.reconstruction import reconstruct
from synaug.samplers import network_evaluations
from synaug.schedules import reverse_sigmas

BOUND = 1.05
REVERSE_STEP, STRIDE = 60, 10


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(job, device, clock):
    """Time of a job, the device's queue included."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronise()
    start = clock()
    job()
    synchronise()
    return clock() - start


def measure(batch, device, precision, churn, pairs, clock):
    """[(reconstruction, bare network)] in seconds, measured in turns."""
    denoiser = load_denoiser("fashion_mnist", device)
    denoiser.precision = precision
    real = stratified_subset(load_dataset("fashion_mnist", "test"), batch, seed=0)
    images, calls = real.floats(), network_evaluations(reverse_sigmas(REVERSE_STEP, stride=STRIDE))
    _, h, w = denoiser.image_shape
    channels = denoiser.unet.config.in_channels
    inner = torch.randn(batch, channels, h // denoiser.patch, w // denoiser.patch, device=device)
    inner = inner.contiguous(memory_format=torch.channels_last)
    times, labels = torch.zeros(batch, device=device), real.labels.to(device)

    def ours():
        reconstruct(denoiser, images, real.labels, reverse_step=REVERSE_STEP, stride=STRIDE, churn=churn,
                    batch_size=batch, device=device)

    @torch.inference_mode()
    def bare():
        with torch.autocast(times.device.type, precision, enabled=precision != torch.float32):
            for _ in range(calls):
                denoiser.unet(inner, times, class_labels=labels)

    for warm in (ours, bare):
        warm()
    found = []
    for pair in range(pairs):
        both = {job: seconds(job, device, clock) for job in ((ours, bare) if pair % 2 else (bare, ours))}
        found.append((both[ours], both[bare]))
    return calls, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    precision, held = fast_precision(options.device), True
    print(f"batch {options.batch}, {options.device}, {precision}, {torch.get_num_threads()} threads, "
          f"{options.clock} time")
    for churn in (0.0, 10.0):
        calls, found = measure(options.batch, options.device, precision, churn, options.pairs,
                              CLOCKS[options.clock])
        ours, bare = (min(column) for column in zip(*found))
        median = statistics.median(a / b for a, b in found)
        print(f"churn {churn:4}: {calls} evaluations, {1e3 * ours:.0f} ms for {1e3 * bare:.0f} ms of network:  "
              f"ratio {ours / bare:.3f} (bound {BOUND}; median over pairs {median:.3f})")
        held = held and ours / bare <= BOUND
    print("all bounds held" if held else "A BOUND WAS MISSED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
