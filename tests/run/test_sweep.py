"""Sweeps on real workers: this process, processes of this machine, and two Dask workers of which one is killed."""

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest
import task_functions as functions
from distributed import LocalCluster
from task_functions import ran

from synaug.resources import format_duration
from synaug.run import Store, Task, sweep
from synaug.run.sweep import Estimate, run_missing


def here(tasks, store, **options):
    return run_missing(tasks, store, workers=0, progress=False, **options)


def squares(notes, n=6, **parameters):
    return [Task(functions.square, {"x": x, "notes": notes, **parameters}) for x in range(n)]


def means(notes, seeds=2, powers=3, **parameters):
    pools = [Task(functions.pool, {"seed": seed, "notes": notes}) for seed in range(seeds)]
    return [Task(functions.mean, {"power": power, "notes": notes, **parameters}, (pool,)) for pool in pools for power in range(1, powers + 1)]


def test_processes_survive_failures_exits_and_deaths(notes, store):
    """Every task is run, but for one that fails, two that try to leave, and one that kills whoever runs it."""
    bad = [
        Task(functions.failing, {"x": 2, "notes": notes}),
        Task(functions.leaving, {"notes": notes, "how": "exit"}),
        Task(functions.leaving, {"notes": notes, "how": "interrupt"}),
        Task(functions.unstorable, {"notes": notes}),
    ]
    deadly = Task(functions.killed, {"times": 99, "notes": notes})
    given = Task(functions.pool, {"seed": 0, "notes": notes})
    once = Task(functions.killed, {"times": 1, "notes": notes}, (given,))  # what it needs dies with the only worker
    after = Task(functions.mean, {"power": 1, "notes": notes}, (bad[0],))
    threads, faults = Task(functions.threads), Task(functions.page_faults)
    report = run_missing([*bad, deadly, after, *squares(notes), threads, faults], store, workers=2, progress=False)
    assert set(report.errors) == {*bad, deadly} and report.missing == [after] and len(report.finished) == 8
    said = str(report)
    for words in (
        "ZeroDivisionError: no 2 here",
        "failing(x=2",
        "SystemExit inside",
        "KeyboardInterrupt inside",
        "KilledWorker",
        "can be stored; got set",
        "1 not run (what they need failed",
    ):
        assert words in said
    # With each of the four workers that die, the result of one other task may be lost on its way, and is computed again.
    squared = ran(notes, "square")
    assert 6 <= squared <= 6 + 4 and store.get(threads) == {"torch": 1, "most": 1}
    # 2,048 where memory is given back at once; some tensors find their place taken, by what else the worker does.
    assert median(store.get(faults)) < 20
    for note in notes.glob("killed*"):
        note.unlink()
    assert run_missing([once, *squares(notes)], store, workers=1, progress=False).finished == [given, once]
    assert ran(notes, "killed") == 2 and ran(notes, "square") == squared


def test_two_dask_workers_without_a_shared_folder_one_killed(notes, store, tmp_path):
    tasks = [*means(notes, seeds=4, seconds=0.2), *squares(notes, seconds=0.2)]
    with LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50) as cluster:
        workers = [start_dask_worker(cluster.scheduler_address, tmp_path / f"other{i}") for i in range(2)]
        try:
            with ThreadPoolExecutor(1) as helper:
                killing = helper.submit(kill_when, workers[0], lambda: ran(notes, f"*-{workers[0].pid}-") >= 4)
                report = run_missing(tasks, store, cluster=cluster.scheduler_address, progress=False)
                assert killing.result()
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert not report.errors and not report.missing and len(report.finished) == 22, report
    by_worker = [ran(notes, f"*-{worker.pid}-") for worker in workers]
    # What the killed worker was at, or had not sent yet, was run again.
    assert 4 <= by_worker[0] <= 6 and by_worker[1] >= 16 and 22 <= sum(by_worker) <= 24
    undisturbed = Store(tmp_path / "uncut")
    assert [store.get(task) for task in tasks] == [undisturbed.get(task) for task in tasks]


def start_dask_worker(address, cache):
    """A worker process with a cache of its own."""
    environment = {**os.environ, "SYNAUG_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(cache)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def kill_when(process, condition, seconds=120):
    """Kill a process as soon as the condition holds; whether it did."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    return met


def test_a_cluster_without_workers_is_given_up(notes, store, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 2)
    with LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50) as cluster:
        report = run_missing(squares(notes), store, cluster=cluster.scheduler_address, progress=False)
    assert "no worker has answered for 2 seconds" in str(report) and len(report.missing) == 6


def test_a_worker_with_other_code_is_refused(notes, store, monkeypatch):
    monkeypatch.setattr(sweep, "code_of", lambda function: "other")
    report = run_missing(squares(notes, n=1), store, workers=1, progress=False)
    assert "another version of what square is made of" in str(report) and ran(notes) == 0


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_stopped_sweeps_keep_what_has_finished_and_leave_no_process(notes, store, tmp_path, by):
    script = tmp_path / "script.py"
    script.write_text(f"""
import signal
import task_functions as functions
from synaug.run import Store, Task
from synaug.run.sweep import run_missing
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    quick = [Task(functions.square, {{"x": x, "notes": {str(notes)!r}}}) for x in range(3)]
    slow = [Task(functions.square, {{"x": x, "notes": {str(notes)!r}, "seconds": 600}}) for x in (7, 8)]
    run_missing([*quick, *slow], Store(), workers=1)
""")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)
    kill_when(subprocess.Popen(["true"]), lambda: ran(notes, "square7"))
    worker = int(next(notes.glob("square7-*")).name.split("-")[1])
    process.send_signal(by)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and (by == signal.SIGKILL or "KeyboardInterrupt" in errors)
    end = time.monotonic() + 30
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(worker) and len(list(store.folder.rglob("*.zip"))) == 3 and ran(notes) == 4


def test_a_script_without_a_main_guard_is_told_in_one_sentence(notes, store, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import task_functions as functions
from synaug.run import Store, Task
from synaug.run.sweep import run_missing
run_missing([Task(functions.square, {{"x": 1, "notes": {str(notes)!r}}})], Store(), workers=1, progress=False)
""")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "__main__" in done.stderr and "Traceback" not in done.stderr and ran(notes) == 0


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_failing_task_holds_up_only_what_needs_it(notes, store):
    first = [Task(functions.failing, {"x": x, "notes": notes}) for x in range(4)]
    after = [Task(functions.mean, {"power": 1, "notes": notes}, (need,)) for need in first[2:3]]
    for attempt in range(2):
        report = here([*first, *after], store)
        assert list(report.errors) == [first[2]] and report.missing == after
        assert len(report.finished) == (3 if attempt == 0 else 0) and ran(notes, "failing2") == attempt + 1


def test_minutes_start_only_what_will_end_in_time(notes, store):
    tasks = squares(notes, n=12, seconds=0.4)
    here(tasks[:1], store)
    start = time.monotonic()
    report = here(tasks, store, minutes=1.2 / 60)
    assert time.monotonic() - start < 1.2 + 1  # a busy machine may be slower than it was with the first task
    assert 1 <= len(report.finished) <= 3 and len(report.missing) == 11 - len(report.finished) and not report.errors
    assert f"{len(report.missing)} not run (no time was left; they take one worker about" in str(report)
    assert here(tasks, store, minutes=0.3 / 60).finished == []  # less than one task
    unknown = here(squares(notes, n=4, seconds=0.3), Store(store.folder / "other"), minutes=0.1 / 60)
    assert len(unknown.finished) == 1 and len(unknown.missing) == 3  # then it is known that no other fits


def test_estimates_are_of_the_likest_tasks(notes, store):
    known = [Task(functions.square, {"x": x, "seconds": s, "notes": notes}) for x, s in ((0, 0.1), (1, 0.3))]
    here(known, store)
    other, unlike = (Task(functions.square, {"x": 9, "seconds": s, "notes": notes}) for s in (0.3, 5.0))
    unknown = Task(functions.failing, {"x": 9, "notes": notes})
    estimate, took = Estimate(known, store), [store.seconds(task) for task in known]
    assert took[0] >= 0.1 and took[1] >= 0.3
    assert estimate(other) == took[1] and estimate(unlike) == pytest.approx(sum(took) / 2) and estimate(unknown) is None
    assert estimate.total([other, unlike, unknown]) == (pytest.approx(took[1] + sum(took) / 2), True)


def test_a_disk_that_the_missing_tasks_would_fill_is_refused(notes, store, room):
    tasks = squares(notes, n=8)
    here(tasks[:2], store)
    each = sum(path.stat().st_size for path in store.folder.rglob("*.zip")) // 2
    room(5 * each)
    with pytest.raises(OSError, match="what is missing of 8 tasks needs about"):
        here(tasks, store)
    assert ran(notes) == 2


@pytest.mark.parametrize(
    "seconds, at_least, words",
    [
        (0.2, False, "about 0 s"),
        (119, False, "about 119 s"),
        (120, False, "about 2.0 min"),
        (3000, True, "at least 50 min"),
        (9000, False, "about 2.5 h"),
        (0, True, "an unknown time"),
    ],
)
def test_times_are_readable(seconds, at_least, words):
    assert format_duration(seconds, at_least) == words


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"minutes": -1}, "minutes must be positive, got -1"),
        ({"minutes": float("nan")}, "minutes must be positive"),
        ({"workers": -1}, "workers must be a whole number of at least 0, got -1"),
        ({"workers": 1.5}, "workers"),
        ({"workers": 10**6}, "workers must be at most 1024"),
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
    ],
)
def test_bad_arguments_are_refused(notes, store, wrong, message):
    with pytest.raises(ValueError, match=message):
        run_missing(squares(notes), store, **wrong)
    assert ran(notes) == 0


def test_a_scheduler_that_does_not_answer_is_named_within_seconds(notes, store):
    start = time.monotonic()
    for address in ("tcp://127.0.0.1:1", "no such address"):
        with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at '{address}'"):
            run_missing(squares(notes), store, cluster=address)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("visible, gpus, seen", [(None, 1, None), (None, 2, "1"), ("3,5", 2, "5"), ("GPU-a,GPU-b", 2, "GPU-b")])
def test_each_worker_takes_one_gpu(visible, gpus, seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    monkeypatch.setattr(sweep, "threadpool_limits", lambda threads: None)
    monkeypatch.setenv("TQDM_DISABLE", "")
    sweep._Settings(1, gpus).setup(namedtuple("Worker", "name")(3))
    assert (os.environ["CUDA_VISIBLE_DEVICES"] or None) == seen
