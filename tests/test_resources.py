import errno
import math
import os
import shutil

import pytest

from synaug.resources import check_disk, check_memory, free_memory, left_in_container


def test_disk_that_is_too_small(tmp_path):
    wanted = 10**18
    with pytest.raises(OSError, match=r"a toy needs about 1.00EB in .*new, where .*B are free") as refused:
        check_disk(tmp_path / "not" / "there" / "new", wanted, "a toy")
    assert refused.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())
    check_disk(tmp_path, shutil.disk_usage(tmp_path).free // 2, "a toy")


def test_memory_that_is_too_small():
    if free_memory() is None:
        pytest.skip("this system does not say how much memory is free")
    with pytest.raises(MemoryError, match="a toy needs about 1.00EB of memory on cpu, where .*B are free"):
        check_memory(10**18, "a toy")
    check_memory(10**6, "a toy")


def test_free_memory_is_below_what_the_machine_has():
    if (free := free_memory()) is None:
        pytest.skip("this system does not say how much memory is free")
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("limit, left", [("max", math.inf), ("1000", 450), ("500", 0)])
def test_limits_of_containers(limit, left, tmp_path):
    """Of a group that takes 600 bytes, 50 of them a cache that makes room. Without files there is no limit."""
    assert left_in_container(tmp_path) == math.inf
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 550\nfile 50\ninactive_file 50\n")
    assert left_in_container(tmp_path) == left


def test_unknown_devices_are_not_refused():
    assert free_memory("mps") is None
    check_memory(10**18, "a toy", "mps")
