"""Sweeps on real workers: processes of this machine, and two Dask workers over loopback, of which one is killed."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sweep_cells as cells

from synaug import resources
from synaug.cells import CellCache, cells_dir
from synaug.sweeps import Cell, Grid, executors, run_grid, running
from synaug.sweeps.estimate import Estimate, said


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def runs(notes, name=""):
    """How often cells whose names begin so have run."""
    return len(list(notes.glob(f"{name}*")))


def stored():
    """Every file of a cell, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in cells_dir().glob("*/*.zip")}


def squares(notes, n=6, **parameters):
    return [Cell(cells.square, {"x": x, "notes": notes, **parameters}) for x in range(n)]


def means(notes, seeds=2, powers=3, **parameters):
    """Pools, and after them the cells that need them."""
    pools = [Cell(cells.pool, {"seed": seed, "notes": notes}) for seed in range(seeds)]
    return [*pools, *(Cell(cells.mean, {"seed": seed, "power": power, "notes": notes, **parameters}, (pools[seed],))
                      for seed in range(seeds) for power in range(1, powers + 1))]


@pytest.fixture
def threads():
    """A quick executor: this process."""
    with ThreadPoolExecutor(4) as executor:
        yield partial(run_grid, executor=executor, progress=False)


def test_processes_survive_failures_and_deaths(notes):
    """Real processes: every cell is run, but for one that fails and one that kills whoever runs it."""
    bad = [Cell(cells.failing, {"x": 2, "notes": notes}), Cell(cells.killed, {"times": 9, "notes": notes})]
    # At once, for one pool, which they do not say that they need.
    asking = [Cell(cells.mean, {"seed": 7, "power": power, "notes": notes}) for power in (1, 2)]
    grid = Grid("toy", [*bad, *asking, *squares(notes), Cell(cells.threads, {})])
    report = run_grid(grid, workers=2, attempts=2, progress=False)
    assert [failure.cell for failure in report.failed] == bad and not report.missing
    assert len(report.finished) == 9 and grid.missing() == bad
    assert "ZeroDivisionError: no 2 here" in str(report) and "failing(x=2" in str(report)
    assert "sweep_cells.py" in report.failed[0].traceback
    assert "its worker died, 2 times" in report.failed[1].error and runs(notes, "killed") == 2
    assert runs(notes, "pool7") == 1 and runs(notes, "mean7") == 2
    assert runs(notes, "square") == 6 and len({path.name.split("-")[1] for path in notes.iterdir()}) >= 3
    assert grid.frame(cells.threads).iloc[0].to_dict() == {"torch": 1, "most": 1}


def test_a_worker_that_died_once_is_made_up_for(notes):
    grid = Grid("toy", [Cell(cells.killed, {"times": 1, "notes": notes}), *squares(notes)])
    assert run_grid(grid, workers=1, progress=False).complete and runs(notes, "killed") == 2
    before = stored()
    assert run_grid(grid, workers=1, progress=False).finished == []
    assert stored() == before and len(before) == 7 and runs(notes) == 8


def test_two_dask_workers_without_a_shared_folder_one_killed(notes, tmp_path):
    distributed = pytest.importorskip("distributed")
    grid = Grid("toy", [*means(notes, seeds=4, seconds=0.2), *squares(notes, seconds=0.2)])
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50) as cluster:
        workers = [start_dask_worker(cluster.scheduler_address, tmp_path / f"other{i}") for i in range(2)]
        try:
            with ThreadPoolExecutor(1) as helper:
                killing = helper.submit(kill_when, workers[0], lambda: runs(notes, f"*-{workers[0].pid}-") >= 4)
                report = run_grid(grid, cluster.scheduler_address, progress=False)
                assert killing.result()
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert report.complete and len(report.finished) == 22, report
    by_worker = [runs(notes, f"*-{worker.pid}-") for worker in workers]
    # What the killed worker was at, or had not sent yet, was run again.
    assert 4 <= by_worker[0] <= 6 and by_worker[1] >= 16 and 22 <= sum(by_worker) <= 24
    # Pools came along with the cells that needed them, and came back with those that made them.
    assert runs(notes, "pool") <= 4 + (sum(by_worker) - 22)
    assert all(CellCache("pools", cells.CODE).about({"seed": seed}) for seed in range(4))
    # Equal to the frame of a run that nothing disturbed.
    survived = grid.frame(cells.mean), grid.frame(cells.square)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as executor:
        patch.setenv("SYNAUG_CACHE", str(tmp_path / "uncut"))
        assert run_grid(grid, executor, workers=1, progress=False).complete
        for one, other in zip(survived, (grid.frame(cells.mean), grid.frame(cells.square))):
            pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_cluster_without_workers_is_given_up(notes, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(running, "PATIENCE", 2)
    grid = Grid("toy", squares(notes))
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50) as cluster:
        report = run_grid(grid, cluster.scheduler_address, progress=False)
    assert report.reason == "no worker has answered for 2 seconds" and report.missing == grid.cells


def start_dask_worker(address, cache):
    """A worker process with a cache of its own."""
    environment = {**os.environ, "SYNAUG_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
               "--no-dashboard", "--local-directory", str(cache)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def kill_when(process, condition, seconds=120):
    """Kill a process as soon as the condition holds; whether it did."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    return met


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_stopped_sweeps_keep_what_has_finished_and_leave_no_process(notes, tmp_path, by):
    script = tmp_path / "sweep.py"
    script.write_text(f"""
import signal
import sweep_cells as cells
from synaug.sweeps import Cell, Grid, run_grid
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    quick = [Cell(cells.square, {{"x": x, "notes": {str(notes)!r}}}) for x in range(3)]
    slow = [Cell(cells.square, {{"x": x, "notes": {str(notes)!r}, "seconds": 600}}) for x in (7, 8)]
    run_grid(Grid("toy", [*quick, *slow]), workers=1)
""")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)
    kill_when(subprocess.Popen(["true"]), lambda: runs(notes, "square7"))
    worker = int(next(notes.glob("square7-*")).name.split("-")[1])
    process.send_signal(by)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and (by == signal.SIGKILL or "KeyboardInterrupt" in errors and "leaked" not in errors)
    end = time.monotonic() + 30
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(worker) and len(stored()) == 3 and runs(notes) == 4


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_frame_is_the_same_in_any_order_of_completion(notes, threads, tmp_path, monkeypatch):
    frames = []
    for name, order, workers in (("forwards", 1, 1), ("backwards", -1, 1), ("at once", 1, 4)):
        monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / name))
        grid = Grid("toy", means(notes))
        if order < 0:  # the last pool and what needs it first
            later = [cell for cell in grid.cells if cell.parameters["seed"] == 1]
            assert threads(Grid("toy", later), workers=workers).complete
        assert threads(grid, workers=workers).complete
        frames.append(grid.frame(cells.mean))
    assert list(frames[0].columns) == ["seed", "power", "notes", "mean"]
    assert frames[0]["seed"].tolist() == [0] * 3 + [1] * 3 and frames[0]["power"].tolist() == [1, 2, 3] * 2
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], frame, check_exact=True)


def test_failing_cell_holds_up_only_what_needs_it(notes, threads):
    first = [Cell(cells.failing, {"x": x, "notes": notes}) for x in range(4)]
    after = [Cell(cells.square, {"x": x, "notes": notes}, needs=(first[x],)) for x in range(4)]
    grid = Grid("toy", [*first, *after])
    for attempt in range(2):
        report = threads(grid, workers=2)
        assert [failure.cell for failure in report.failed] == [first[2]] and report.missing == [after[2]]
        assert len(report.finished) == (6 if attempt == 0 else 0) and report.reason == "cells that they need failed"
        assert runs(notes, "failing2") == attempt + 1 and runs(notes) == 7 + attempt
    with pytest.raises(LookupError, match=r"failing\(x=2.* of toy has not been run"):
        grid.frame()


def test_budget_starts_only_what_will_end_in_time(notes, threads):
    grid = Grid("toy", squares(notes, n=12, seconds=0.4))
    assert len(threads(Grid("toy", grid.cells[:1]), workers=1).finished) == 1
    start = time.monotonic()
    report = threads(grid, workers=2, minutes=1.2 / 60)
    assert time.monotonic() - start < 1.2 + 1  # a busy machine may be slower than it was with the first cell
    assert 1 <= len(report.finished) <= 4 and len(report.missing) == 11 - len(report.finished) and not report.failed
    took = [grid.seconds(cell) for cell in grid.cells if cell not in report.missing]
    assert report.reason == "no time was left"
    assert report.seconds == pytest.approx(sum(took) / len(took) * len(report.missing))
    assert f"{len(report.missing)} not run (no time was left; they take one worker about" in str(report)
    assert threads(grid, workers=2, minutes=0.3 / 60).finished == []  # less than one cell
    assert threads(grid, workers=12).complete and runs(notes) == 12


def test_unknown_times_are_tried_but_not_after_the_end(notes, threads):
    report = threads(Grid("toy", squares(notes, n=4, seconds=0.3)), workers=1, minutes=0.1 / 60)
    assert len(report.finished) == 1 and len(report.missing) == 3  # then it is known that no other fits


def test_estimate_is_of_the_likest_cells(notes, threads):
    known = [(0, 0.1), (1, 0.3)]
    threads(Grid("toy", [Cell(cells.square, {"x": x, "seconds": s, "notes": notes}) for x, s in known]), workers=2)
    other = Cell(cells.square, {"x": 9, "seconds": 0.3, "notes": notes})
    unlike = Cell(cells.square, {"x": 9, "seconds": 5.0, "notes": notes})
    unknown = Cell(cells.failing, {"x": 9, "notes": notes})
    grid = Grid("toy", [Cell(cells.square, {"x": x, "seconds": s, "notes": notes}) for x, s in known]
                + [other, unlike, unknown])
    estimate, took = Estimate(grid), [grid.seconds(cell) for cell in grid.cells[:2]]
    assert took[0] >= 0.1 and took[1] >= 0.3
    assert estimate(other) == took[1] and estimate(unlike) == pytest.approx(sum(took) / 2)
    assert estimate(unknown) is None
    assert estimate.total(grid.missing()) == (pytest.approx(took[1] + sum(took) / 2), True)


def test_seconds_count_cells_found_but_not_those_needed(notes, threads):
    """A cell whose inner cell was in the cache already takes the time of that one as well; a need's time is its own."""
    cells.pool(0, notes)  # as an earlier run would
    grid = Grid("toy", means(notes, seeds=1, powers=2, seconds=0.1))
    threads(grid, workers=1)
    pool, *rest = grid.cells
    assert runs(notes, "pool") == 1
    assert grid.seconds(pool) >= 0.3 and all(0.1 <= grid.seconds(cell) < 0.3 for cell in rest)
    assert grid.total_seconds() == pytest.approx(sum(map(grid.seconds, grid.cells)))


def test_a_disk_that_the_missing_cells_would_fill_is_refused(notes, threads, monkeypatch):
    grid = Grid("toy", squares(notes, n=8))
    assert threads(Grid("toy", grid.cells[:2]), workers=2).complete
    each = sum(path.stat().st_size for path in stored()) // 2
    room = namedtuple("Usage", "free")
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda place: room(5 * each))
    with pytest.raises(OSError, match=f"toy, by its finished cells, needs about {resources.said(6 * each)} in"):
        threads(grid, workers=2)
    assert runs(notes) == 2
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda place: room(7 * each))
    assert threads(grid, workers=2).complete


@pytest.mark.parametrize("seconds, at_least, words", [
    (0.2, False, "about 0 s"), (119, False, "about 119 s"), (120, False, "about 2.0 min"),
    (3000, True, "at least 50 min"), (9000, False, "about 2.5 h"), (0, True, "an unknown time"),
])
def test_times_are_readable(seconds, at_least, words):
    assert said(seconds, at_least) == words


def test_other_code_is_another_cell_and_a_worker_that_has_it_is_refused(notes, threads, monkeypatch):
    grid = Grid("toy", squares(notes, n=1))
    assert threads(grid, workers=1).complete
    monkeypatch.setattr(cells, "CODE", "2")
    assert len(grid.missing()) == 1
    report = run_grid(grid, workers=1, progress=False)  # a new process imports the module as it is on disk
    assert "another version of sweep_cells" in report.failed[0].error and len(stored()) == 1


def local():
    def inner(x):
        return x
    return inner


@pytest.mark.parametrize("function", [lambda x: x, local(), partial(pickle.dumps), "square", cells.np.sqrt])
def test_functions_that_workers_cannot_have_are_refused(function):
    with pytest.raises(ValueError, match="other processes can import|must say in a text CODE"):
        Cell(function, {"x": 1})


def test_grids_refuse_what_cannot_run(notes):
    pools = means(notes, seeds=1)
    for wrong, message in ((pools[1:], "which is not in the grid before it"), ([*pools, pools[0]], "once, got pool")):
        with pytest.raises(ValueError, match=message):
            Grid("toy", wrong)
    with pytest.raises(ValueError, match="plain name, got '../toy'"):
        Grid("../toy", pools)
    with pytest.raises(TypeError, match="plain data, got object"):
        Cell(cells.square, {"x": object()})
    with ThreadPoolExecutor(1) as executor:
        grid = Grid("toy", pools[:1])
        run_grid(grid, executor, workers=1, progress=False)
    with pytest.raises(TypeError, match="pool.* has no place in a frame"):
        grid.frame()


@pytest.mark.parametrize("wrong, message", [
    ({"minutes": -1}, "minutes must be positive, got -1"), ({"minutes": float("nan")}, "minutes must be positive"),
    ({"workers": 0}, "workers must be a whole number of at least 1, got 0"), ({"workers": 1.5}, "workers"),
    ({"threads": 0}, "threads"), ({"attempts": True}, "attempts"),
    ({"executor": 8786}, "address, a concurrent.futures executor or None"),
])
def test_bad_arguments_are_refused(notes, wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run_grid(Grid("toy", squares(notes)), **wrong)
    assert runs(notes) == 0


def test_executors_that_do_not_answer_are_named_at_once(notes, monkeypatch):
    grid = Grid("toy", squares(notes))
    with monkeypatch.context() as patch, pytest.raises(ImportError, match="pip install distributed"):
        patch.setitem(sys.modules, "distributed", None)  # as where it is not installed
        run_grid(grid, "tcp://127.0.0.1:1")
    start = time.monotonic()
    for address in ("tcp://127.0.0.1:1", "no such address"):
        with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at '{address}'"):
            run_grid(grid, address)
    assert time.monotonic() - start < 20
    executor = ThreadPoolExecutor(1)
    with pytest.raises(ValueError, match="how many cells your executor runs at once"):
        run_grid(grid, executor)
    executor.shutdown()
    report = run_grid(grid, executor, workers=1, progress=False)
    assert "takes no more: cannot schedule new futures" in report.reason and report.missing == grid.cells


@pytest.mark.parametrize("visible, gpus, seen", [
    (None, 0, [None] * 3), (None, 1, [None] * 3), (None, 2, ["0", "1", "0"]), ("3,5", 2, ["3", "5", "3"]),
    ("GPU-a,GPU-b", 2, ["GPU-a", "GPU-b", "GPU-a"]),
])
def test_workers_take_turns_with_gpus(visible, gpus, seen, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [executors.gpu_of(worker, gpus) for worker in range(3)] == seen


def test_a_worker_sees_one_gpu(monkeypatch):
    monkeypatch.setattr(executors, "count_gpus", lambda: 2)
    with executors.LocalProcesses(2) as processes:
        assert [processes.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() for _ in range(2)] == ["0", "0"]
        both = [processes.submit(time.sleep, 0.5), processes.submit(os.getenv, "CUDA_VISIBLE_DEVICES")]
        assert both[1].result() == "1"
