"""``python -m synaug audit``: options, what is written, and the exit status."""

import argparse
import io
import os
import sys
import warnings
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from tempfile import NamedTemporaryFile

from synaug.auditing.measures import MENDED
from synaug.auditing.planted import check
from synaug.auditing.report import THRESHOLDS, audit
from synaug.files import write_atomically
from synaug.metrics.encoders import BUILDERS
from synaug.paths import given_folder

DESCRIPTION = """Will these synthetic images help a classifier that is trained on these real ones?

Says first what to do, then which numbers say so, each beside that of real images. Nothing is written but what an option
names, and features and slowly read images, in the cache folder. Exit status: 0 where no threshold is crossed (with
--check: all defects are found), 1 where one is, 2 for an error, 130 where it was stopped."""
ERROR, STOPPED = 2, 130
#: The thresholds by what they limit.
LIMITED = {
    "a share of the images of": MENDED,
    "accuracy lost by": ["probe_loss"],
    "below real images by": [name for name in THRESHOLDS if name not in (*MENDED, "probe_loss")],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, which `run` takes."""
    parser.add_argument("real", type=given_folder, help="folder of real images, a subfolder per class")
    parser.add_argument("synthetic", type=given_folder, nargs="?", help="folder of synthetic images, likewise (not with --check)")
    parser.add_argument(
        "--held-out", type=given_folder, metavar="FOLDER", help="real images to measure on, which no generator has seen (default: a third of the real ones)"
    )
    parser.add_argument("--check", action="store_true", help="plant known defects into the real images, and show that the audit finds them")
    for name, what in (("html", "a page with all of it"), ("json", "all numbers"), ("drop-list", "the files to drop, one per line")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write {what}")
    parser.add_argument("--encoder", choices=("pixels", *BUILDERS), default="efficientnet_lite0", help="what distances and probes see (default: %(default)s)")
    parser.add_argument("--neighbours", dest="k", type=int, default=5, metavar="K", help="nearest neighbours (default: %(default)s)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side that images are resized to (default: the real ones' commonest, at most 64)")
    parser.add_argument("--mode", choices=("L", "RGB"), help="grey or colour (default: colour unless all are grey)")
    parser.add_argument("--unreadable", choices=("refuse", "skip"), default="refuse", help="images that cannot be read (default: %(default)s)")
    parser.add_argument(
        "--threshold",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="another limit, as it is, "
        "than at most "
        + "; ".join(f"{what} {', '.join(f'{THRESHOLDS[name]:g} ({name})' for name in names)}" for what, names in LIMITED.items())
        + "; those of shares are raised to what real images have",
    )
    parser.add_argument("--device", default="cpu", help="of the encoder: cpu (default), cuda or mps")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")
    parser.add_argument("--no-cache", dest="cache", action="store_false", help="keep nothing in the cache folder")
    parser.add_argument("--quiet", dest="progress", action="store_false", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Audit as the options of `add_arguments` say. Returns the exit status; what went wrong is one sentence."""
    given = {name: getattr(options, name) for name in ("image_size", "mode", "unreadable", "seed", "encoder", "k", "device", "cache", "progress")}
    outputs = {kind: path.expanduser() for kind in ("html", "json", "drop_list") if (path := getattr(options, kind)) is not None}
    terminal, warned = sys.stderr, set[str]()

    def warn(message, *_, **__):
        if str(message) not in warned:  # a folder is listed more than once
            warned.add(str(message))
            print(f"audit: {message}", file=terminal)

    with warnings.catch_warnings(), nullcontext() if options.progress else redirect_stderr(io.StringIO()):
        warnings.filterwarnings("always", category=UserWarning)
        warnings.showwarning = warn
        try:
            return _run(options, outputs, given)
        except (ValueError, OSError, MemoryError, RuntimeError, ImportError) as error:
            print(f"audit: {error}", file=terminal)
            return ERROR
        except KeyboardInterrupt:
            print("audit: stopped", file=terminal)
            return STOPPED


def _run(options: argparse.Namespace, outputs: dict[str, Path], given: dict) -> int:
    if options.check:
        if options.synthetic or outputs or options.threshold:
            raise ValueError("--check takes real images alone, and neither thresholds nor files to write")
        table = check(options.real, options.held_out, **given)
        _say(table.round(3).to_string(index=False))
        if not table["ok"].all():
            _say(
                "Not as demanded: " + ", ".join(table.loc[~table["ok"], "defect"]) + ". With few images of a class, or an encoder that "
                "passes over a defect, an audit of such images would not tell it, either."
            )
        return 0 if table["ok"].all() else 1
    if options.synthetic is None:
        raise ValueError("name a folder of synthetic images (or give --check)")
    thresholds = {name: _number(name, value) for name, value in options.threshold}
    _check_writable(outputs, {"real": options.real, "synthetic": options.synthetic, "held-out": options.held_out})
    found = audit(options.real, options.synthetic, options.held_out, thresholds=thresholds, **given)
    for kind, path in outputs.items():  # before anything is said, which may find no listener
        write_atomically(path.resolve(), getattr(found, kind)().encode(errors="surrogateescape"))
    _say(found.summary())
    return 0 if found.passed else 1


def _say(text: str) -> None:
    """Print, whatever letters a terminal or a pipe has, and whether or not anybody listens."""
    if sys.stdout is None:
        return
    letters = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(letters, "backslashreplace").decode(letters), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again as it ends


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the threshold {name} must be a number, got {text!r}") from None


def _check_writable(outputs: dict[str, Path], folders: dict[str, Path | None]) -> None:
    """OSError or ValueError, before long work, unless each can be written, and is not another, nor among the images."""
    taken: dict[Path, str] = {}
    for kind, path in outputs.items():
        option, place = "--" + kind.replace("_", "-"), path.resolve()
        if place.is_dir():
            raise IsADirectoryError(f"{option}: {path} is a folder: name a file to write")
        if not place.parent.is_dir():
            raise FileNotFoundError(f"{option}: {place.parent} is not a folder: make it, or name another place to write")
        try:
            with NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}", suffix=".tmp"):  # as it will be written
                pass
        except OSError as error:
            raise OSError(f"{option}: {place} cannot be written ({error.strerror}): name another place") from error
        if place.exists() and not place.is_file():
            raise ValueError(f"{option}: {path} is not a plain file: name one")
        if place.exists() and not place.stat().st_mode & 0o200:
            raise PermissionError(f"{option}: {path} is read-only: name another file")
        for role, folder in folders.items():
            if folder and place.is_relative_to(folder.resolve()):
                raise ValueError(f"{option}: {path} lies in the folder of {role} images: name another place")
        if place in taken:
            raise ValueError(f"{taken[place]} and {option} name one file, {path}")
        taken[place] = option
