"""A classifier's training on disk: what lets a run that was cut go on as if it had not been."""

import io
import os
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from synaug.files import load_state, write_atomically

#: Seconds between two saves: what a training that is cut loses at most.
EVERY = 60


def steps_kept(path: str | Path) -> int:
    """How many steps the training in a file has behind it; 0 where there is no file that can be read."""
    try:
        return load_state(path)["step"]
    except Exception:  # a damaged file shows in many ways; `TrainingCheckpoint.resume` warns of it
        return 0


class TrainingCheckpoint:
    """The state of one training in a file: the step, the weights, the optimiser's state and the random stream.

    run: what the training is, a text; a file of another is refused (ValueError).
    """

    def __init__(self, path: str | Path, run: str, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator):
        self.path, self.run = Path(path), run
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.saved = time.monotonic()

    def resume(self) -> int:
        """Bring all to the state in the file, if there is one; returns how many steps it has behind it."""
        try:
            state = load_state(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except IsADirectoryError:
            raise
        except Exception as error:  # a damaged file, or one of something else, shows in many ways
            aside = self.path.with_name(f"{self.path.name}.unreadable")
            os.replace(self.path, aside)
            first, *_ = str(error).splitlines() or [repr(error)]
            warnings.warn(f"{self.path} cannot be read ({first}); it is now {aside.name}, and training is from the start", stacklevel=3)
            return 0
        if not isinstance(state, dict) or state.get("run") != self.run:
            raise ValueError(f"{self.path} holds another training: choose another file, or delete it")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        return state["step"]

    def keep(self, step: int) -> None:
        """Save after a step, where the last save is long enough ago; a disk without room is a warning."""
        if time.monotonic() - self.saved < EVERY:
            return
        content = io.BytesIO()
        torch.save(
            {
                "run": self.run,
                "step": step,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
            },
            content,
        )
        try:
            write_atomically(self.path, content.getvalue())
        except OSError as error:  # the training itself is worth more
            warnings.warn(f"the training could not be kept ({error})", stacklevel=3)
        self.saved = time.monotonic()
