"""The two-layer CNN trained for many seeds at once: time, memory, and how the time grows.

    python tests/benchmarks/bench_two_layer_cnn.py            # minutes on two cores
    python tests/benchmarks/bench_two_layer_cnn.py --small    # 3 seeds, 30 steps: what the ratios are, roughly

Full-batch gradient descent in float32 on the toy (d = 50, P = 3, 40 filters) against the matrix products with the
noise patches alone, and against a loop over seeds of PyTorch trainings with autograd and torch.optim.SGD. That loop is
written in two ways: with Conv1d along the joined patches, as the public toy notebooks have it, and with one matrix
product, which is leaner. The bounds on the speed-up are for the first; both are printed. The loop's time is that of
one seed times the number of seeds. All are measured in turns, each the fastest of its turns: what else the machine
does only slows them down. On a machine that is never idle, take OMP_NUM_THREADS=1 and --clock processor.
"""

import argparse
import math
import sys

import torch
from measuring import CLOCKS, in_own_process, in_turns, peak_mib, verdict
from torch.nn import functional as F

from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE

LR = 0.1
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


def convolution(data, filters, steps):
    """One seed with autograd, as in the public notebooks: Conv1d with stride d."""
    inputs, labels = data.patches[0].flatten(1)[:, None], data.labels[0]
    weight = filters[0][:, None].clone().requires_grad_()
    return descend(weight, lambda: F.conv1d(inputs, weight, stride=filters.shape[2]).pow(3).sum((1, 2)), labels, steps)


def matmul(data, filters, steps):
    """One seed with autograd, from one matrix product."""
    patches, labels, weight = data.patches[0], data.labels[0], filters[0].clone().requires_grad_()
    return descend(weight, lambda: (patches @ weight.T).pow(3).sum((1, 2)), labels, steps)


def descend(weight, logits, labels, steps):
    optimizer = torch.optim.SGD([weight], LR)
    for _ in range(steps):
        optimizer.zero_grad()
        F.softplus(-labels * logits()).mean().backward()
        optimizer.step()
    return weight.detach().squeeze(1)


def fastest(jobs, turns, clock):
    """Seconds of each job, the least of its turns."""
    return {job: min(seconds) for job, seconds in in_turns(jobs, turns, clock).items()}


def compare(size, steps, turns, clock):
    """Prints the times of one size; returns (time / products, and how much faster than both loops)."""
    data, filters = toy(**size)
    jobs = {job.__name__: lambda job=job: job(data, filters, steps) for job in (ours, products, convolution, matmul)}
    expected = matmul(data, filters, steps)
    torch.testing.assert_close(ours(data, filters, steps)[0], expected, rtol=1e-3, atol=1e-5)  # the same training
    torch.testing.assert_close(convolution(data, filters, steps), expected, rtol=1e-3, atol=1e-5)
    seconds = fastest(jobs, turns, clock)
    for loop in ("convolution", "matmul"):
        seconds[loop] *= size["num_seeds"]
    print(f"\nN = {size['n']:,}, {size['num_seeds']} seeds, {steps} steps: " + ", ".join(
        f"{name} {value:.2f} s" for name, value in seconds.items()))
    return tuple(a / b for a, b in ((seconds["ours"], seconds["products"]), (seconds["convolution"], seconds["ours"]),
                                    (seconds["matmul"], seconds["ours"])))


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
    clock, held = options.clock, []
    steps, large = (30, TOY | {"num_seeds": 3}) if options.small else (600, TOY)
    print(f"{torch.get_num_threads()} threads, {options.clock} time")
    for size, bound in ((large, 8), (TOY | {"n": 500}, 20)):
        ratio, by_convolution, by_matmul = compare(size, steps, options.turns, clock)
        print(f"faster than the loop by {by_convolution:.1f} (bound {bound}; {by_matmul:.1f} where it is a product)")
        print(f"the products alone would be by {by_convolution * ratio:.1f} and {by_matmul * ratio:.1f}")
        print(f"time / products {ratio:.2f}" + (" (bound 1.5)" if size is large else ""))
        held += [by_convolution >= bound, ratio <= 1.5 or size is not large]
    exponents = growth(max(10, steps // 10), 2 * options.turns, clock)
    print("\ntime grows with " + ", ".join(f"{name}^{value:.2f}" for name, value in exponents.items()) + " (bound 1.1)")
    memory = in_own_process(memory_of, TOY)
    print(f"peak memory with {TOY['num_seeds']} seeds, N = {TOY['n']:,}: {memory:.0f} MiB in all (bound 2000)")
    held += [max(exponents.values()) <= 1.1, memory <= 2000]
    return verdict(held)


if __name__ == "__main__":
    sys.exit(main())
