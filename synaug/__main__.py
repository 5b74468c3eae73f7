"""Experiments of the book, generators for them, and an audit of one's own images.

Everything that is finished is kept, so that a long recording can be made in pieces, by the same command again.
"""

import signal

# Until `main` runs, Ctrl-C ends the process without a word of what was being imported.
before = signal.getsignal(signal.SIGINT)
if __name__ == "__main__" and before is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import dataclasses
import importlib
import json
import math
import pkgutil
import sys
import time
from textwrap import shorten

import torch

from synaug.auditing import command as auditing
from synaug.files import canonical_json
from synaug.generators import training
from synaug.resources import cores, format_duration
from synaug.run.experiment import PROFILES, Experiment
from synaug.run.results import load_recorded, record, variants
from synaug.run.tasks import Store

ROW = "{:<22} {:<9} {:<17} {:>11} {:>8}  {}"
HEADINGS = ("experiment", "profile", "recorded", "tasks there", "missing", "time of one worker")

#: Exit statuses beside 0: something failed; nothing failed, but not all is recorded yet.
FAILED, UNFINISHED = 1, 3


def experiments() -> dict[str, Experiment]:
    """Every ``EXPERIMENT`` of the modules of `synaug.chapters`, by name."""
    import synaug.chapters  # with all that they import: a training of a generator needs none of it

    found = {}
    for module in pkgutil.walk_packages(synaug.chapters.__path__, "synaug.chapters."):
        if not module.name.endswith("_figures"):
            experiment = getattr(importlib.import_module(module.name), "EXPERIMENT", None)
            found |= {experiment.name: experiment} if isinstance(experiment, Experiment) else {}
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status: 0 where all that was asked for is done."""
    summary, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m synaug", description=summary, epilog=more)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="what is recorded, and what is missing for it")
    recorder = commands.add_parser("record", help="run what is missing of an experiment, and record it when complete")
    for name, of, about, description in (
        ("train-generator", training, "train a diffusion model, a VAE or a GAN on images", training.__doc__),
        ("audit", auditing, "whether synthetic images are worth adding to real ones", auditing.DESCRIPTION),
    ):
        command = commands.add_parser(name, help=about, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        of.add_arguments(command)
        command.set_defaults(run=of.run)
    status.add_argument("experiment", nargs="?", help="only this one")
    status.add_argument("--profile", choices=PROFILES, help="only this one")
    recorder.add_argument(
        "experiment",
        nargs="?",
        help="its name, as `status` lists it; none, with --profile paper: chapters 2 and 1 at the papers' scale with a generator for them, by a fast recipe",
    )
    recorder.add_argument("--profile", choices=PROFILES, default="standard", help="its size (default: standard)")
    recorder.add_argument("--minutes", type=_positive, default=math.inf, help="start no task that would not end within so many minutes (default: no limit)")
    plan = recorder.add_argument_group("without the name of an experiment")
    plan.add_argument("--dataset", choices=("cifar10", "cifar100", "tiny_imagenet"), help="(default: cifar10)")
    plan.add_argument("--share", type=_share, help="of the minutes, for the generator at most (default: 0.5)")
    plan.add_argument("--dry-run", action="store_true", help="tell its steps, and run each for two tiny iterations")
    recorder.add_argument("--workers", type=int, help="processes of this machine (default: one per core or GPU; 0: none, all runs in this one)")
    recorder.add_argument("--threads", type=int, help="threads of each (default: 1; on a GPU, the cores shared out)")
    recorder.add_argument("--dask", metavar="ADDRESS", help="run on the workers of a Dask cluster, by its scheduler's address")
    for command in (status, recorder):
        command.add_argument("--device", default="cpu", help="of networks: cpu (default), cuda or mps")
        command.add_argument(
            "-p",
            "--parameter",
            nargs=2,
            action="append",
            default=[],
            metavar=("NAME", "VALUE"),
            help="another value of a parameter than the profile's: a text, or JSON",
        )
        command.add_argument("--variant", metavar="NAME", help="with -p: the name under which that is recorded")
    options = parser.parse_args(arguments)
    if hasattr(options, "run"):
        return options.run(options)
    if options.command == "record":
        if options.experiment is None:
            if options.profile != "paper" or options.parameter or options.variant or options.dask:
                parser.error("name an experiment, or --profile paper without -p, --variant and --dask")
            return _record_plan(options)
        if options.dataset or options.share or options.dry_run:
            parser.error("--dataset, --share and --dry-run are for --profile paper without an experiment")
    found = experiments()
    if options.experiment not in (None, *found):
        parser.error(f"there is no experiment {options.experiment!r}; there are {', '.join(found)}")
    named = [name for name, _ in options.parameter]
    if twice := {name for name in named if named.count(name) > 1 or name in ("profile", "device")}:
        parser.error(f"{', '.join(sorted(twice))} must be given once (-p is for what has no option of its own)")
    given = {name: _value_of(text) for name, text in options.parameter} | {"device": options.device}
    if options.variant is not None and not options.variant.isidentifier():
        parser.error(f"--variant must be a plain name (letters, digits, _), got {options.variant!r}")
    if options.command == "record":
        if bool(options.parameter) != bool(options.variant):
            parser.error("a run with other parameters than the profile's is recorded under a name of its own: give -p and --variant together")
        return _record(found[options.experiment], options, given)
    print(ROW.format(*HEADINGS))
    told = 0
    for name in [options.experiment] if options.experiment else found:
        for profile in [options.profile] if options.profile else found[name].profiles:
            row = _status(found[name], profile, options.variant, given)
            told += row[2] != "?"
            print(ROW.format(*row).rstrip(), flush=True)
            for variant in filter(None, variants(name, profile)) if not options.parameter else ():
                print(f"{'':<22} {profile}.{variant}: recorded, with other parameters")
    return 0 if told else FAILED


def _record_plan(options) -> int:
    from synaug.chapters import papers_scale  # starts slowly

    def tell(text):
        print(text, flush=True)

    dataset = options.dataset or "cifar10"
    try:
        if options.dry_run:
            well, done = papers_scale.rehearse(dataset, options.device, tell)
        else:
            well, done = papers_scale.run(
                dataset, options.minutes, options.share or 0.5, options.device, tell, workers=options.workers or 0, threads=options.threads
            )
    except (ValueError, OSError, ImportError) as error:
        tell(error)
        return FAILED
    tell("all is recorded" if done else "to go on, give the same command again" if well else "something failed")
    return 0 if done else UNFINISHED if well else FAILED


def _record(experiment: Experiment, options, given: dict) -> int:
    from synaug.run.sweep import connected, run_missing  # starts slowly

    def tell(text):
        print(f"{experiment.name}, profile {options.profile}: {text}", flush=True)

    deadline, store, workers, threads = time.monotonic() + 60 * options.minutes, Store(), options.workers, options.threads
    if options.device != "cpu" and options.dask is None and workers != 0:
        workers = workers or torch.cuda.device_count() or 1
        threads = threads or max(1, cores() // workers)
    try:
        settings = experiment.settings(options.profile, **given)
        if options.dask is not None:
            connected(options.dask).close()
        if _recorded(experiment, settings, options.variant) == "yes":
            tell("recorded")
            return 0
        report = run_missing(experiment.tasks(settings), store, cluster=options.dask, workers=workers, threads=threads, minutes=options.minutes)
    except (ValueError, OSError, ImportError) as error:
        tell(error)
        return FAILED
    tell(report)
    if report.errors:
        return FAILED
    if report.missing or time.monotonic() >= deadline:
        tell("not recorded yet: give the same command again")
        return UNFINISHED
    frame = experiment.run(options.profile, store=store, **given)
    tell(f"recorded in {record(frame, experiment.name, options.profile, options.variant)}")
    return 0


def _status(experiment: Experiment, profile: str, variant: str | None, given: dict) -> tuple[str, ...]:
    """A row of the table: experiment, profile, recorded, tasks there, tasks missing and the time that these take."""
    from synaug.run.sweep import Estimate

    start = experiment.name, profile if variant is None else f"{profile}.{variant}"
    try:
        settings, store = experiment.settings(profile, **given), Store()
        tasks = experiment.tasks(settings)
    except Exception as error:  # data that is not there, a device that is not: no reason to say nothing of others
        return *start, "?", "?", "?", f"{type(error).__name__}: {shorten(str(error), 90)}"
    missing = [task for task in tasks if task not in store]
    time_left = format_duration(*Estimate(tasks, store).total(missing)) if missing else ""
    return (*start, _recorded(experiment, settings, variant), str(len(tasks) - len(missing)), str(len(missing)), time_left)


def _recorded(experiment: Experiment, settings, variant: str | None) -> str:
    """Either "yes", "no", "damaged", or what the recorded run was made with instead of these settings."""
    from synaug.run.experiment import generator_hash, load_generator

    try:
        origin = load_recorded(experiment.name, settings.profile, variant).attrs["provenance"]
    except FileNotFoundError:
        return "no"
    except (ValueError, OSError):
        return "damaged"
    if not {"parameters", "generator"} <= set(origin):
        return "damaged"
    now = {name: value for name, value in dataclasses.asdict(settings).items() if name in origin["parameters"]}
    if any(_plain(origin["parameters"][name]) != _plain(now[name]) for name in now if name != "device"):
        return "other parameters"
    if origin["generator"] is not None and origin["generator"] != generator_hash(load_generator(now["generator"])):
        return "another generator"
    return "yes"


def _plain(value) -> str:
    """A parameter as it is compared: of several values, the order decides nothing."""
    return canonical_json(sorted(value, key=canonical_json) if isinstance(value, (list, tuple)) else value)


def _value_of(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _positive(text: str, most: float = math.inf, what: str = "positive") -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        raise argparse.ArgumentTypeError(f"must be {what}, got {text}")
    return number


def _share(text: str) -> float:
    return _positive(text, 1, "a share of the minutes, above 0 and at most 1")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, before)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; tasks that had finished are kept", file=sys.stderr)
        sys.exit(auditing.STOPPED)
