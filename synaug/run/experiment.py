"""An experiment: its parameters, each stated once, and the rows that its tasks give.

``Settings`` subclasses say with `param` what each parameter means and may be; ``rows(settings)`` yields pairs of
columns and a task whose result is a frame, or a dict of metric and value. All else is here, once.
"""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Callable, Container, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import pandas as pd

from synaug.diffusion.denoisers import generator_hash
from synaug.generators import load_generator
from synaug.precision import usable_device
from synaug.provenance import provenance
from synaug.run.tasks import Store, Task, ordered
from synaug.statistics.frames import tidy

#: The same code at four sizes; see the book's page on running it again.
PROFILES = ("smoke", "quick", "standard", "paper")

#: All that a parameters cell or papermill can define. Modules and functions are no parameters.
VALUE_TYPES = (bool, int, float, str, list, tuple, dict, set, type(None))

#: The largest number that a parameter without a limit of its own may be: above all that is run, below what only memory
#: or an overflow would end.
MOST = 1_000_000


def param(
    doc: str,
    default: Any = None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    options: Container | None = None,
    each: bool = False,
    optional: bool = False,
) -> Any:
    """A parameter: what it means, its default (None: the profile's), and its limits.

    options: what it must be one of. each: a tuple of different values, each within the limits; empty only if the default is.
    optional: None is a value of its own; the text "none" gives it where the profile has another.
    """
    limits = {"doc": doc, "at_least": at_least, "at_most": at_most, "options": options, "each": each, "optional": optional}
    return dataclasses.field(default=default, metadata=limits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Parameters that all experiments have. Subclasses add theirs, and may have ``check(self)``, which raises
    ValueError where they do not fit together, before anything long starts."""

    profile: str = param("smoke, quick, standard or paper; None: $SYNAUG_PROFILE, or quick", options=PROFILES)
    device: str = param("where networks run: cpu, cuda or mps", "cpu")

    def check(self) -> None:
        """ValueError where parameters do not fit together; here nothing is checked."""

    def within(self, why: str = "", /, **limits: tuple[int, int]) -> None:
        """ValueError, which says why, unless each of these parameters is None or within its limits, (least, most)."""
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}{why and f' ({why})'}, got {value}")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """name: of its recorded frames. profiles: values of parameters by profile. rows: see the module.

    finish: what is done to the whole frame of rows at the end, if anything. constants: columns that all rows share.
    """

    name: str
    Settings: type[Settings]
    profiles: dict[str, dict]
    rows: Callable[[typing.Any], Iterable[tuple[dict, Task]]]
    finish: Callable[[pd.DataFrame, typing.Any], pd.DataFrame] | None = None
    constants: dict = dataclasses.field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, dataclasses.Field]:
        """The fields of ``Settings`` by name; what `param` was told of each is its ``metadata``."""
        return {field.name: field for field in dataclasses.fields(self.Settings)}

    def settings(self, profile: str | None = None, **given) -> Any:
        """All parameters, those that are None by the profile; ValueError says what was wrong and what is allowed."""
        refuse_unknown(given, list(self.parameters))
        profile = resolve_profile(profile)
        if profile not in self.profiles:
            raise ValueError(f"{self.name} has the profiles {', '.join(self.profiles)}, got {profile!r}")
        values = {**self.profiles[profile], **{k: v for k, v in given.items() if v is not None}, "profile": profile}
        checked = {name: _checked(name, values.get(name, field.default), field) for name, field in self.parameters.items()}
        settings = self.Settings(**checked)
        usable_device(settings.device)
        settings.check()
        return settings

    def tasks(self, settings: Any) -> list[Task]:
        """What a run needs, each once, in order."""
        return ordered(task for _, task in self.rows(settings))

    def run(self, profile: str | None = None, *, store: Store | None = None, **given) -> pd.DataFrame:
        """Every measurement as a tidy frame, in this process; tasks that are stored are not run again."""
        settings, store = self.settings(profile, **given), store or Store()
        frames, tasks = [], []
        for columns, task in self.rows(settings):
            result = store.get(task)
            if not isinstance(result, pd.DataFrame):
                result = pd.DataFrame({"metric": list(result), "value": [float(value) for value in result.values()]})
            frames.append(result.assign(**columns))
            tasks.append(task)
        frame = pd.concat(frames, ignore_index=True)
        frame.attrs = {}
        if self.finish is not None:
            frame = self.finish(frame, settings)
        generator, seconds = getattr(settings, "generator", None), sum(store.seconds(task) for task in ordered(tasks))
        origin = provenance(dataclasses.asdict(settings), seconds, settings.device, generator and generator_hash(load_generator(generator)))
        return tidy(frame, origin, experiment=self.name, profile=settings.profile, **self.constants)

    def read(self, namespace: dict, *others: "Experiment") -> dict:
        """The parameters of a chapter, from its parameters cell and papermill: ``EXPERIMENT.read(globals())``.

        What the cell does not hold can be given in the mapping ``settings``. others: further experiments of the
        chapter, whose parameters may stand there, too; each has those that it knows. ValueError for a name that none of
        them has (papermill itself only prints a line and runs with the default) and for a value that is not allowed,
        before anything is computed. In a kernel where this was done once other variables exist, and names are not
        looked at again.
        """
        known = list(dict.fromkeys(name for experiment in (self, *others) for name in experiment.parameters))
        names = [*known, "settings"]
        if not namespace.get("_parameters_checked"):
            refuse_unknown(namespace, names)
            namespace["_parameters_checked"] = True
        given = {name: namespace[name] for name in self.parameters if name in namespace}
        more = namespace.get("settings") or {}
        if not isinstance(more, Mapping):
            raise ValueError(f"settings must be a mapping of further parameters and their values, got {more!r}")
        refuse_unknown(more, known)
        if twice := [name for name in more if namespace.get(name) is not None]:
            raise ValueError(f"{', '.join(twice)} must be given once, not in settings, too")
        given |= {name: value for name, value in more.items() if name in self.parameters}
        self.settings(**given)
        return given


def named(name: str, check: Callable, *arguments: Any, **options: Any) -> Any:
    """What a check returns; its error says which parameter it is about."""
    try:
        return check(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _checked(name: str, value, field: dataclasses.Field):
    """The value as it is used; ValueError, with the parameter's name, where it is not one of those allowed."""
    limits = field.metadata
    if limits["optional"] and value in (None, "none"):
        return None
    if value is None:
        raise ValueError(f"{name} must be given: {limits['doc']}")
    if not limits["each"]:
        return _one(name, value, field.type, limits)
    values = tuple(value) if isinstance(value, (list, tuple, range)) else (value,)
    values = (tuple(v) if isinstance(v, list) else v for v in values)
    values = tuple(_one(name, v, typing.get_args(field.type)[0], limits) for v in values)
    if len(set(values)) < len(values) or not values and field.default != ():
        raise ValueError(f"{name} must {'be different values' if values else 'hold at least one value'}, got {values}")
    return values


def _one(name: str, value, kind, limits: Mapping):
    """One value; an int for a float, and a NumPy number for Python's, will do."""
    kinds = [k for k in (typing.get_args(kind) or (kind,)) if k is not types.NoneType]
    low, high, options = limits["at_least"], limits["at_most"], limits["options"]
    if high is None and {int, float} & set(kinds):
        high = MOST
    is_bool = type(value) is bool
    if int in kinds and isinstance(value, Integral) and not is_bool:
        value = int(value)
    elif float in kinds and isinstance(value, Real) and not is_bool:
        value = float(value)
    right = bool in kinds if is_bool else isinstance(value, tuple(k for k in kinds if isinstance(k, type)))
    right = right and (not isinstance(value, float) or math.isfinite(value))
    if right and (value in options if options is not None else (low is None or value >= low) and (high is None or value <= high)):
        return value
    words = {int: "a whole number", float: "a finite number", str: "a text", bool: "True or False"}
    wanted = f"one of {', '.join(map(str, options))}" if options is not None else " or ".join(words.get(k, getattr(k, "__name__", str(k))) for k in kinds)
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    several = "different values, each " if limits["each"] else ""
    raise ValueError(f"{name} must be {several}{wanted}{' of ' * bool(bounds)}{' and '.join(bounds)}, got {value!r}")


def refuse_unknown(namespace: Mapping, names: list[str]) -> None:
    """Raise ValueError if the namespace holds a public value under a name that is not allowed."""
    public = [name for name, value in namespace.items() if isinstance(value, VALUE_TYPES) and not str(name).startswith("_")]
    if unknown := [name for name in public if name not in (*names, "In", "Out")]:
        close = difflib.get_close_matches(str(unknown[0]), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown parameter: {', '.join(map(str, unknown))}.{hint} The parameters are: {', '.join(names)}")


def resolve_profile(profile: str | None = None) -> str:
    """The profile's name: the one given, else ``$SYNAUG_PROFILE``, else "quick"; ValueError if there is none such."""
    origin = "profile" if profile is not None else "the environment variable SYNAUG_PROFILE"
    chosen = profile if profile is not None else os.environ.get("SYNAUG_PROFILE") or "quick"
    if chosen not in PROFILES:
        raise ValueError(f"{origin} is {chosen!r}; it must be one of {', '.join(PROFILES)}")
    return chosen
