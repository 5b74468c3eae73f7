"""What a machine has. Too little disk or memory is an error before work starts, not a crash after hours."""

import errno
import math
import os
import shutil
from pathlib import Path

import torch
from tqdm import tqdm


def check_disk(folder: str | Path, needed: int, what: str) -> None:
    """OSError (ENOSPC) unless ``needed`` bytes are free where ``folder`` is or will be.

    what: what needs them, the beginning of the error's text: "a pool of 3 images".
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs about {tqdm.format_sizeof(needed, 'B')} in {folder}, where "
            f"{tqdm.format_sizeof(free, 'B')} are free: free some, or choose a folder on another disk",
        )


def check_memory(needed: int, what: str, device: str | torch.device = "cpu") -> None:
    """MemoryError unless ``needed`` bytes are free in a device's memory, as far as that can be told."""
    free = free_memory(device)
    if free is not None and needed > free:
        raise MemoryError(f"{what} needs about {tqdm.format_sizeof(needed, 'B')} of memory on {device}, where {tqdm.format_sizeof(free, 'B')} are free")


def free_memory(device: str | torch.device = "cpu") -> float | None:
    """Bytes that new work may take, of a CUDA device or of the system; None where that cannot be told (macOS, MPS).

    On Linux what the kernel calls available, or what the limit of a container leaves where that is less.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    available = 1024 * int(next(words[1] for words in lines if words[0] == "MemAvailable:"))
    return min(available, left_in_container())


def left_in_container(group: str | Path = "/sys/fs/cgroup") -> float:
    """Bytes left under the memory limit of a control group (version 2); infinity where it has none."""
    group = Path(group)
    if not (group / "memory.max").exists() or (limit := (group / "memory.max").read_text().strip()) == "max":
        return math.inf
    use = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    taken = int((group / "memory.current").read_text()) - int(use["inactive_file"])  # a cache that makes room
    return max(0, int(limit) - taken)


def format_duration(seconds: float, at_least: bool = False) -> str:
    """A time to read: "about 12 s", "at least 5.5 h"; "an unknown time" where nothing of it is known."""
    if at_least and seconds < 0.5:
        return "an unknown time"
    number, unit = next((seconds / size, unit) for unit, size in (("h", 3600), ("min", 60), ("s", 1)) if seconds >= 2 * size or size == 1)
    digits = 1 if number < 10 and unit != "s" else 0
    return f"{'at least' if at_least else 'about'} {number:.{digits}f} {unit}"


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
