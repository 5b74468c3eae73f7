"""What a run of a grid did."""

from dataclasses import dataclass, field

from synaug.sweeps.estimate import said
from synaug.sweeps.grid import Cell


@dataclass
class Failure:
    """A cell that failed, why, and where in its code (empty for a worker that died)."""

    cell: Cell
    error: str
    traceback: str = ""


@dataclass
class Report:
    """What a run did: cells finished, failed, and still missing, with an estimate of their time.

    reason: why cells are missing that did not fail. seconds: what one worker would need for these, as far as known;
    unknown: whether that leaves some out.
    """

    finished: list[Cell] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    missing: list[Cell] = field(default_factory=list)
    reason: str = ""
    seconds: float = 0.0
    unknown: bool = False

    @property
    def complete(self) -> bool:
        return not self.failed and not self.missing

    def __str__(self):
        lines = [f"{len(self.finished)} cells finished, {len(self.failed)} failed, {len(self.missing)} not run"]
        if self.missing:
            lines[0] += f" ({self.reason}; they take one worker {said(self.seconds, self.unknown)})"
        return "\n".join([*lines, *(f"failed: {failure.cell}: {failure.error}" for failure in self.failed)])
