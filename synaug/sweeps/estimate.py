"""How long cells will take, from what cells like them took."""

from statistics import fmean

from synaug.sweeps.grid import Cell, Grid

#: So many of the cells that finished last are compared with: enough for a mean, and quick in a large grid.
RECENT = 200


class Estimate:
    """Seconds of cells to come: the mean of the finished cells of the same function that share most parameters.

    Cells that differ in the seed only are likest, then those that differ in one more parameter, and so on.
    """

    def __init__(self, grid: Grid):
        self.grid, self._took = grid, {}
        for cell in grid.cells:
            if grid.about(cell) is not None:
                self.add(cell)

    def add(self, cell: Cell):
        """Take note of a finished cell."""
        self._took.setdefault(cell.function, []).append((cell.parameters, self.grid.seconds(cell)))

    def __call__(self, cell: Cell) -> float | None:
        """Seconds, None where no cell of its function has finished."""
        by_likeness = {}
        for parameters, seconds in self._took.get(cell.function, [])[-RECENT:]:
            alike = sum(parameters.get(name, cell) == value for name, value in cell.parameters.items())
            by_likeness.setdefault(alike, []).append(seconds)
        return fmean(by_likeness[max(by_likeness)]) if by_likeness else None

    def total(self, cells: list[Cell]) -> tuple[float, bool]:
        """Seconds of cells that run one after the other, and whether some could not be estimated and count nothing."""
        seconds = [self(cell) for cell in cells]
        return sum(s for s in seconds if s is not None), None in seconds


def said(seconds: float, at_least: bool = False) -> str:
    """A time to read: "about 12 s", "at least 5.5 h"; "an unknown time" where nothing of it is known."""
    if at_least and seconds < 0.5:
        return "an unknown time"
    number, unit = next((seconds / size, unit) for unit, size in (("h", 3600), ("min", 60), ("s", 1))
                        if seconds >= 2 * size or size == 1)
    digits = 1 if number < 10 and unit != "s" else 0
    return f"{'at least' if at_least else 'about'} {number:.{digits}f} {unit}"
