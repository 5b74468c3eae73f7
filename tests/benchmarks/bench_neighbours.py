"""Precision, recall, density, coverage against the prdc package: time, peak memory, values.

    python tests/benchmarks/bench_neighbours.py            # 10,000 x 10,000 x 1,280: a few minutes
    python tests/benchmarks/bench_neighbours.py --large    # also 50,000 x 50,000 x 1,280: long

Every figure is measured in this run, each in a process of its own; exit status 1 when a bound is
missed. The limit is the time of the matrix products that the metrics need: real-real for the real
radii, fake-fake for the fake radii, real-fake for the memberships. The first two are symmetric, so
half of each suffices: two whole products of N x N x D. The time of three is printed as well.
"""

import argparse
import contextlib
import io
import sys
import time

import torch
from measuring import in_own_process, peak_mib, verdict

K = 5


def features(n: int, dim: int, spread: float, seed: int) -> torch.Tensor:
    """Like pooled features: non-negative, smooth images of a few latent directions, with noise."""
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    mixing = torch.randn(24, dim, generator=shared) / 24**0.5
    out = spread * torch.randn(n, 24, generator=own) @ mixing
    for rows in out.split(1024):  # in place and by blocks, so that making the data sets no memory peak
        rows.add_(torch.randn(rows.shape, generator=own), alpha=0.3).relu_()
    return out


def measure(job: str, n: int, dim: int):
    """(seconds, MiB beyond the features, MiB in all, values, processor seconds) of one job; libraries are loaded and
    warmed before."""
    real, fake = features(n, dim, 1.0, 1), features(n, dim, 0.9, 2)
    if job == "products":
        product = torch.empty(1024, n)  # one strip at a time: the products, not the memory, are timed
        run = lambda: [torch.mm(rows, fake.T, out=product[: len(rows)]) for rows in real.split(1024)] and None
    elif job == "synaug":
        from synaug.metrics import prdc

        prdc(real[:200], fake[:200], K)
        run = lambda: prdc(real, fake, K)
    else:
        from prdc import compute_prdc

        real, fake = real.numpy(), fake.numpy()
        if job == "prdc float64":
            real, fake = real.astype("float64"), fake.astype("float64")
        run = lambda: compute_prdc(real, fake, K)
        with contextlib.redirect_stdout(io.StringIO()):
            compute_prdc(real[:200], fake[:200], K)
    before, start, processor = peak_mib(), time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        values = run()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return seconds, peak_mib() - before, peak_mib(), values, processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also 50,000 x 50,000")
    large = parser.parse_args().large
    n, dim = 10_000, 1_280
    first = in_own_process(measure, "products", n, dim)
    ours = in_own_process(measure, "synaug", n, dim)
    again = in_own_process(measure, "products", n, dim)  # before and after, in case the machine's speed drifts
    product, processor = (first[0] + again[0]) / 2, (first[4] + again[4]) / 2
    theirs = in_own_process(measure, "prdc float32", n, dim)
    theirs64 = in_own_process(measure, "prdc float64", n, dim)
    names = ("precision", "recall", "density", "coverage")
    gap = max(abs(ours[3][name] - theirs[3][name]) for name in names)
    gap64 = max(abs(ours[3][name] - theirs64[3][name]) for name in names)

    print(f"{n:,} x {n:,} x {dim:,}, k = {K}, {torch.get_num_threads()} threads")
    print(f"one product {product:.2f} s   synaug {ours[0]:.2f} s   prdc {theirs[0]:.2f} s")
    by_processor = ours[4] / (2 * processor), theirs[4] / ours[4]
    print(f"time / two products    {ours[0] / (2 * product):6.2f}   (bound 1.5; processor time {by_processor[0]:.2f})")
    print(f"time / three products  {ours[0] / (3 * product):6.2f}")
    print(f"prdc time / time       {theirs[0] / ours[0]:6.2f}   (faster by this; processor time {by_processor[1]:.2f})")
    print(f"memory / prdc memory   {ours[1] / theirs[1]:6.3f}   (bound 0.1; {ours[1]:.0f} and {theirs[1]:.0f} MiB)")
    print(f"largest difference     {gap:.1e} from prdc in float32 (bound 1e-4), {gap64:.1e} in float64 (bound 1e-12)")
    print("values", {name: round(ours[3][name], 4) for name in names})
    held = [ours[0] <= 3 * product, theirs[0] > ours[0], ours[1] <= 0.1 * theirs[1], gap <= 1e-4, gap64 <= 1e-12]
    if large:
        seconds, _, whole, *_ = in_own_process(measure, "synaug", 50_000, dim)
        print(f"50,000 x 50,000 x {dim:,}: {seconds:.0f} s, {whole:.0f} MiB in all, features included (bound 2000)")
        held.append(whole < 2000)
    return verdict(held)


if __name__ == "__main__":
    sys.exit(main())
