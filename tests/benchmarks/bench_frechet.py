"""Frechet distance from 2,048-dimensional features against pytorch-fid's matrix square root.

    python tests/benchmarks/bench_frechet.py    # minutes, nearly all of them pytorch-fid's

Times and values are measured in this run; exit status 1 when a bound is missed. Features are like
those of Inception-v3: non-negative, with a covariance spectrum that falls over four decades.
"""

import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore", message="The `disp` argument", category=DeprecationWarning)
from measuring import verdict  # noqa: E402
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402

from synaug.metrics.frechet import _distance, _root, frechet_distance  # noqa: E402

N, DIM = 10_000, 2_048


def features(scale: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spectrum = np.logspace(0, -2, DIM)
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]
    return np.abs((scale * rng.normal(size=(N, DIM)) * spectrum) @ mixing + 0.05).astype(np.float32)


def timed(function) -> tuple[float, float, object]:
    """(wall seconds, processor seconds, result)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def main() -> int:
    real, fake = features(1.0, 1), features(0.95, 2)
    frechet_distance(real[:3000, :64], fake[:3000, :64])  # warm up the libraries
    ours = timed(lambda: frechet_distance(real, fake))
    moments = timed(lambda: [part for x in (real, fake) for part in (x.mean(0, dtype=np.float64), np.cov(x, rowvar=False))])
    mean_r, covariance_r, mean_f, covariance_f = moments[2]
    own_step = timed(lambda: _distance(mean_r, _root(covariance_r), mean_f, _root(covariance_f)))
    theirs = timed(lambda: calculate_frechet_distance(*moments[2]))
    difference = abs(ours[2] - theirs[2]) / abs(theirs[2])

    print(f"{N:,} features of {DIM:,} dimensions in either set   (wall s, processor s)")
    for name, job in (
        ("synaug, from features", ours),
        ("synaug, from moments", own_step),
        ("NumPy, the moments", moments),
        ("pytorch-fid, from moments", theirs),
    ):
        print(f"{name:28s}{job[0]:8.2f}{job[1]:8.2f}")
    by_wall, by_processor = (theirs[i] / own_step[i] for i in (0, 1))
    print(f"from moments: faster by        {by_wall:6.1f} ({by_processor:.1f} by processor time; bound 8)")
    whole, whole_processor = ((theirs[i] + moments[i]) / ours[i] for i in (0, 1))
    print(f"from features: faster by       {whole:6.1f} ({whole_processor:.1f}; the covariances cost both the same)")
    print(f"relative difference {difference:.1e}   (bound 1e-6; values {ours[2]:.6f} and {theirs[2]:.6f})")
    return verdict([by_wall >= 8, difference < 1e-6])


if __name__ == "__main__":
    sys.exit(main())
