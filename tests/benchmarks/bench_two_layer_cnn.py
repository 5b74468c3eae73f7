"""The two-layer CNN trained for many seeds at once: time, memory, and how the time grows.

    python tests/benchmarks/bench_two_layer_cnn.py            # minutes on two cores
    python tests/benchmarks/bench_two_layer_cnn.py --small    # 3 seeds, 30 steps: what the ratios are, roughly

Full-batch gradient descent in float32 on the toy (d = 50, P = 3, 40 filters) against the matrix products with the
noise patches alone, in the same loop over seeds: at most 1.25 of their time. Both are measured in turns, each the
fastest of its turns. The bound is for wall time on two threads of an idle machine: training shares seeds out among
threads, while a product is too small for several. On one thread it takes about 1.8 of the products' time.
"""

import argparse
import math
import sys

import torch
from measuring import CLOCKS, in_own_process, in_turns, peak_mib, verdict

from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE

LR = 0.1
BOUND = 1.25
TOY = {"n": 10_000, "dim": 50, "num_filters": 40, "num_seeds": 20}


def toy(n, dim, num_filters, num_seeds):
    """Examples, and filters to start from."""
    seeds = range(num_seeds)
    data = PatchDistribution(dim=dim).sample(n, seeds)
    return data, initial_filters(seeds, num_filters, dim)


def ours(data, filters, steps):
    return train(training_sets(data, [Arm("original")]), filters, steps=steps, lr=LR, record_every=steps).filters[:, 0]


def products(data, filters, steps):
    """<w_j, xi> for all noise patches and a weighted sum of them for every filter: nothing else."""
    noise = [patches[roles == NOISE] for patches, roles in zip(data.patches, data.roles)]
    room = torch.zeros(filters.shape[1], max(map(len, noise)))
    sums = torch.empty_like(filters[0])
    for _ in range(steps):
        for w, x in zip(filters, noise):
            torch.mm(w, x.T, out=room[:, : len(x)])
            torch.mm(room[:, : len(x)], x, out=sums)


def fastest(jobs, turns, clock):
    """Seconds of each job, the least of its turns."""
    return {job: min(seconds) for job, seconds in in_turns(jobs, turns, clock).items()}


def compare(size, steps, turns, clock):
    """Prints the times of one size; returns the training's over the products'."""
    data, filters = toy(**size)
    seconds = fastest({job.__name__: lambda job=job: job(data, filters, steps) for job in (ours, products)}, turns, clock)
    ratio = seconds["ours"] / seconds["products"]
    print(
        f"N = {size['n']:,}, {size['num_seeds']} seeds, {steps} steps: {seconds['ours']:.2f} s, {ratio:.2f} of the "
        f"products' {seconds['products']:.2f} s (bound {BOUND})"
    )
    return ratio


def growth(steps, turns, clock):
    """For each size that is doubled, the exponent of the time: 1 is linear."""
    base = {"n": 4_000, "dim": 50, "num_filters": 40, "num_seeds": 4}
    sizes = {"": base} | {name: base | {name: 2 * value} for name, value in base.items()}
    runs = {name: (toy(**size), size) for name, size in sizes.items()}
    seconds = fastest({name: lambda run=run: ours(*run[0], steps) for name, run in runs.items()}, turns, clock)
    return {name: math.log2(seconds[name] / seconds[""]) for name in base}


def memory_of(size):
    """Peak memory in MiB of a process that makes the examples and trains."""
    ours(*toy(**size), steps=3)
    return peak_mib()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="3 seeds, 30 steps")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    clock = options.clock
    steps, large = (30, TOY | {"num_seeds": 3}) if options.small else (600, TOY)
    print(f"{torch.get_num_threads()} threads, {options.clock} time")
    held = [compare(size, steps, options.turns, clock) <= BOUND for size in (large, TOY | {"n": 500})]
    exponents = growth(max(10, steps // 10), 2 * options.turns, clock)
    print("\ntime grows with " + ", ".join(f"{name}^{value:.2f}" for name, value in exponents.items()) + " (bound 1.1)")
    memory = in_own_process(memory_of, TOY)
    print(f"peak memory with {TOY['num_seeds']} seeds, N = {TOY['n']:,}: {memory:.0f} MiB in all (bound 2000)")
    held += [max(exponents.values()) <= 1.1, memory <= 2000]
    return verdict(held)


if __name__ == "__main__":
    sys.exit(main())
