"""Which experiments there are, what of them is recorded, and what of their cells is there and missing."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

import synaug.experiments
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.run.results import canonical_json, load_recorded
from synaug.sweeps import Cell, Grid
from synaug.sweeps.estimate import Estimate, said


def experiments() -> dict[str, ModuleType]:
    """The modules of this package with a text ``EXPERIMENT``, by that name: each has ``PROFILES``,
    ``prepare`` and ``run``, and ``cells(profile=...)``, a `Grid`, where it can be run in pieces."""
    names = [module.name for module in pkgutil.iter_modules(synaug.experiments.__path__) if module.name != "__main__"]
    modules = (importlib.import_module(f"synaug.experiments.{name}") for name in names)
    # What only shows an experiment's results may have its name too.
    return {module.EXPERIMENT: module for module in modules
            if hasattr(module, "EXPERIMENT") and hasattr(module, "PROFILES")}


def accepted(function, **options) -> dict:
    """Those of the options that a function has arguments for."""
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


@dataclass
class State:
    """What of an experiment is there at one profile.

    parameters: those that are others than the profile's. variant: the name of what is recorded then.
    recorded: "yes", "no", or what the recorded run was made with instead. grid: its cells, None where it runs in one
    piece. missing: those that are not there. seconds: how long these take one worker, as far as known; unknown:
    whether that leaves some out. problem: why the cells cannot be told.
    """

    experiment: ModuleType
    profile: str
    parameters: dict = field(default_factory=dict)
    variant: str | None = None
    recorded: str = "no"
    grid: Grid | None = None
    missing: list[Cell] = field(default_factory=list)
    seconds: float = 0.0
    unknown: bool = False
    problem: str = ""

    @classmethod
    def now(cls, experiment: ModuleType, profile: str, device: str = "cpu", parameters: dict | None = None,
            variant: str | None = None) -> "State":
        """As it is on this machine."""
        parameters = parameters or {}
        state = cls(experiment, profile, parameters, variant, recorded(experiment, profile, parameters, variant))
        if not hasattr(experiment, "cells"):
            return state
        try:
            state.grid = experiment.cells(profile=profile, **parameters, **accepted(experiment.prepare, device=device))
        except Exception as error:  # data that is not there, a device that is not: no reason to say nothing of others
            state.problem = f"{type(error).__name__}: {error}"
            return state
        state.missing = state.grid.missing()
        state.seconds, state.unknown = Estimate(state.grid).total(state.missing)
        return state

    def row(self) -> tuple[str, ...]:
        """Experiment, profile, recorded, cells there, cells missing and the time that they take, to print."""
        profile = self.profile if self.variant is None else f"{self.profile}.{self.variant}"
        start = self.experiment.EXPERIMENT, profile, self.recorded
        if self.problem:
            return *start, "?", "?", self.problem
        if self.grid is None:
            return *start, "-", "-", "runs in one piece"
        there = len(self.grid.cells) - len(self.missing)
        return *start, str(there), str(len(self.missing)), said(self.seconds, self.unknown) if self.missing else ""


def recorded(experiment: ModuleType, profile: str, parameters: dict | None = None, variant: str | None = None) -> str:
    """"yes", "no", or "other parameters" or "another generator" than the profile and the generator are now."""
    try:
        origin = load_recorded(experiment.EXPERIMENT, profile, variant).attrs["provenance"]
    except FileNotFoundError:
        return "no"
    then = origin["parameters"]
    if any(canonical_json(then.get(name)) != canonical_json(value)
           for name, value in {**experiment.PROFILES[profile], **(parameters or {})}.items()):
        return "other parameters"
    if origin["generator"] is not None and origin["generator"] != current_generator(then["generator"]):
        return "another generator"
    return "yes"


@cache
def current_generator(name: str) -> str | None:
    """The hash of a saved generator, None where there is none of the name."""
    try:
        return generator_hash(load_denoiser(name))
    except FileNotFoundError:
        return None
