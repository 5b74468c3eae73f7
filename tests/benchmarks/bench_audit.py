"""An audit of two folders, from the files to the page: wall seconds and peak memory, with nothing in the cache folder.

    python tests/benchmarks/bench_audit.py    # minutes

The images are those of Fashion-MNIST, brought to 32 x 32; exit status 1 when a bound is missed.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from measuring import in_own_process, peak_mib, verdict
from torch.nn.functional import pad

import synaug
from synaug.data import ImageDataset, load_dataset, save_image_folder

#: Real images, and as many synthetic ones; seconds and MiB at most.
BOUNDS = {2_000: (90, 2048), 20_000: (600, 2048)}


def audited(real: Path, synthetic: Path) -> tuple[float, float]:
    start = time.perf_counter()
    page = synaug.audit(real, synthetic, cache=False).html()
    assert page.startswith("<!DOCTYPE html>")
    return time.perf_counter() - start, peak_mib()


def main() -> int:
    data, held = load_dataset("fashion_mnist"), []
    for n, (seconds, memory) in BOUNDS.items():
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SYNAUG_CACHE"] = folder
            folders = [
                save_image_folder(ImageDataset(pad(part.images, (2, 2, 2, 2)), part.labels, part.class_names), Path(folder) / name)
                for name, part in (("real", data.subset(slice(n))), ("synthetic", data.subset(slice(n, 2 * n))))
            ]
            took, used = in_own_process(audited, *folders)
        print(f"{n:,} + {n:,} images: {took:6.1f} s (bound {seconds}), peak {used:,.0f} MiB (bound {memory:,})")
        held += [took <= seconds, used <= memory]
    return verdict(held)


if __name__ == "__main__":
    sys.exit(main())
