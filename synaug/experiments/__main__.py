"""The state of all experiments; with --minutes, run what is missing of a profile and record what is complete.

Everything that is finished is kept, so that a long recording can be made in pieces, by the same command again.
"""

import argparse
import json
import sys
import time

from synaug.experiments.state import State, accepted, experiments
from synaug.run.parameters import PROFILES, argument_names, refuse_unknown
from synaug.run.results import record
from synaug.sweeps import run_grid
from synaug.sweeps.executors import cores, count_gpus

ROW = "{:<22} {:<9} {:<17} {:>11} {:>8}  {}"
HEADINGS = ("experiment", "profile", "recorded", "cells there", "missing", "time of one worker")

#: Exit statuses beside 0: something failed; nothing failed, but not all is recorded yet.
FAILED, UNFINISHED = 1, 3


def main(arguments=None) -> int:
    """The command. Returns its exit status: 0 where all that was asked for is done."""
    options = parse(arguments)
    chosen = [module for name, module in experiments().items() if options.experiment in (None, name)]
    if options.plan:
        print(chosen[0].plan(profile=options.profile, **options.parameters))
        return 0
    if options.minutes is None:
        print(ROW.format(*HEADINGS))
        for module in chosen:
            for profile in PROFILES if options.profile is None else [options.profile]:
                state = State.now(module, profile, options.device, options.parameters, options.variant)
                print(ROW.format(*state.row()).rstrip(), flush=True)
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    statuses = [carry_on(module, options, deadline) for module in chosen]
    return FAILED if FAILED in statuses else max(statuses)


def parse(arguments):
    names = list(experiments())
    summary, _, more = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m synaug.experiments", description=summary, epilog=more)
    parser.add_argument("--experiment", choices=names, help="only this one")
    parser.add_argument("--profile", choices=PROFILES, help="only this one; must be given with --minutes")
    parser.add_argument("--minutes", type=positive, help="run missing cells, and start none that would not end within "
                        "so many minutes; inf for all of them")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="another value of a parameter of the experiment than the profile's: a text, or JSON")
    parser.add_argument("--variant", metavar="NAME", help="with -p: the name under which that is recorded")
    parser.add_argument("--plan", action="store_true", help="how long the pieces of a profile should take on a GPU")
    parser.add_argument("--workers", type=int, help="cells that run at once (default: one a core or one a GPU)")
    parser.add_argument("--threads", type=int, help="of each cell (default: 1; on a GPU, the cores shared out)")
    parser.add_argument("--dask", metavar="ADDRESS", help="run on the workers of a Dask cluster, by its scheduler's "
                        "address")
    parser.add_argument("--device", default="cpu", help="of the cells: cpu (default), cuda or mps")
    options = parser.parse_args(arguments)
    options.parameters = {name: value_of(text) for name, text in options.parameter}
    if options.parameters or options.plan:
        if options.experiment is None or options.profile is None:
            parser.error("-p and --plan are for one experiment at one profile: say which with --experiment, --profile")
        module = experiments()[options.experiment]
        if options.plan and not hasattr(module, "plan"):
            parser.error(f"{options.experiment} has no plan")
        try:
            allowed = set(argument_names(module.prepare)) - {"profile", "device", "progress"}
            refuse_unknown(options.parameters, sorted(allowed))
        except ValueError as error:
            parser.error(str(error))
    if options.minutes is not None and bool(options.parameters) != bool(options.variant):
        parser.error("a run with other parameters than the profile's is recorded under a name of its own: "
                     "give -p and --variant together")
    if options.minutes is not None and options.profile is None:
        parser.error("--minutes runs one profile: say which with --profile")
    if options.minutes is None and (options.workers is not None or options.dask is not None):
        parser.error("--workers and --dask are for running: say for how long with --minutes")
    for name in ("workers", "threads"):
        if (number := getattr(options, name)) is not None and number < 1:
            parser.error(f"--{name} must be at least 1, got {number}")
    return options


def value_of(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def positive(text):
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return number


def carry_on(module, options, deadline) -> int:
    """Run missing cells of one experiment until the deadline, and record it once none is missing."""
    def tell(text):
        print(f"{module.EXPERIMENT}, profile {options.profile}: {text}", flush=True)

    state = State.now(module, options.profile, options.device, options.parameters, options.variant)
    if state.recorded == "yes":
        tell("recorded")
        return 0
    if state.problem:
        tell(state.problem)
        return FAILED
    if state.missing and (minutes := (deadline - time.monotonic()) / 60) > 0:
        try:
            report = run_grid(state.grid, options.dask, minutes=minutes, **at_once(options))
        except (ConnectionError, ImportError) as error:
            tell(error)
            return FAILED
        tell(report)
        if report.failed:
            return FAILED
    if state.grid is not None and state.grid.missing() or time.monotonic() >= deadline:
        tell("not recorded yet")
        return UNFINISHED
    frame = module.run(profile=options.profile, **options.parameters,
                       **accepted(module.prepare, device=options.device, progress=True))
    tell(f"recorded in {record(frame, module.EXPERIMENT, options.profile, options.variant)}")
    return 0


def at_once(options) -> dict[str, int | None]:
    """How many cells run at once, and with how many threads: what was asked for, or what suits the device."""
    workers, threads = options.workers, options.threads
    if options.device != "cpu" and options.dask is None:
        workers = workers or count_gpus() or 1
        threads = threads or max(1, cores() // workers)
    return {"workers": workers, "threads": threads or 1}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; cells that had finished are kept")
