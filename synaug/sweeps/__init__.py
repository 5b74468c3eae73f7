"""Sweeps: grids of cells that run in many processes, on this machine or a cluster, and survive being stopped.

With a function ``train(k, seed)`` in a module that says ``CODE = fingerprint(__file__)``::

    grid = Grid("upsampling", [Cell(train, {"k": k, "seed": seed}) for k in (1, 2, 5) for seed in range(5)])
    print(run_grid(grid, minutes=30))  # once more to go on, or run_grid(grid, "tcp://host:8786") on a Dask cluster
    grid.frame()
"""

from synaug.sweeps.grid import Cell, Grid
from synaug.sweeps.report import Failure, Report
from synaug.sweeps.running import run_grid

__all__ = ["Cell", "Failure", "Grid", "Report", "run_grid"]
