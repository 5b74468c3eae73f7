"""What a chapter is run with: its parameters cell, checked, and its profile, resolved.

papermill only prints a line about a parameter that a notebook does not have, then runs with the
default. A chapter that calls :func:`read_parameters` right after its parameters cell refuses it.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping

#: The same code at four sizes; see the book's page on running it again.
PROFILES = ("smoke", "quick", "standard", "paper")

#: All that a parameters cell or papermill can define. Modules and functions are no parameters.
VALUE_TYPES = (bool, int, float, str, list, tuple, dict, set, type(None))

#: Values that IPython itself puts beside a notebook's own.
IPYTHON_NAMES = frozenset({"In", "Out"})


def read_parameters(namespace: dict, allowed: Callable | Iterable[str]) -> dict:
    """The values of a chapter's parameters, by name.

    Call it as ``read_parameters(globals(), run)`` in the cell after the parameters cell, before any
    other variable exists. `allowed` is the function that the parameters are meant for (its
    argument names are the allowed names) or the names themselves.

    Raises ValueError for a public variable that is not among the allowed names: a misspelt
    parameter. Raises TypeError for a function that takes ``**`` arguments: it would allow any name.

    A second call in the same kernel skips the check, because later cells have defined variables of
    their own by then; papermill, which is where unknown names come from, runs each cell once.
    """
    names = argument_names(allowed) if callable(allowed) else list(allowed)
    if not namespace.get("_parameters_checked"):
        refuse_unknown(namespace, names)
        namespace["_parameters_checked"] = True
    return {name: namespace[name] for name in names if name in namespace}


def argument_names(function: Callable) -> list[str]:
    """The names of a function's arguments; TypeError if it takes any name (``**``)."""
    arguments = inspect.signature(function).parameters.values()
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        raise TypeError(f"{function.__qualname__} takes **arguments, so no name could be told to be wrong")
    return [argument.name for argument in arguments]


def with_defaults(function: Callable, given: Mapping) -> dict:
    """All arguments of a call by name, those that are not given by their defaults; TypeError for an unknown name."""
    bound = inspect.signature(function).bind(**given)
    bound.apply_defaults()
    return dict(bound.arguments)


def refuse_unknown(namespace: Mapping, names: list[str]) -> None:
    """Raise ValueError if the namespace holds a public value under a name that is not allowed."""
    unknown = [
        name
        for name, value in namespace.items()
        if isinstance(value, VALUE_TYPES)
        and not name.startswith("_")
        and name not in IPYTHON_NAMES
        and name not in names
    ]
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown parameter: {', '.join(unknown)}.{hint} The parameters are: {', '.join(names)}")


def resolve_profile(profile: str | None = None) -> str:
    """The profile's name: the one given, else ``$SYNAUG_PROFILE``, else ``"quick"``.

    Raises ValueError, naming where the value came from, if it is not one of :data:`PROFILES`.
    """
    if profile is None:
        chosen, origin = os.environ.get("SYNAUG_PROFILE") or "quick", "the environment variable SYNAUG_PROFILE"
    else:
        chosen, origin = profile, "profile"
    if chosen not in PROFILES:
        raise ValueError(f"{origin} is {chosen!r}; it must be one of {', '.join(PROFILES)}")
    return chosen
