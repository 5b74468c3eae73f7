"""Experiments as lists of tasks: what is missing runs here or on a cluster, and what is done is kept."""

from synaug.run.experiment import PROFILES, Experiment, Settings, param
from synaug.run.tasks import Store, Task

__all__ = ["PROFILES", "Experiment", "Settings", "Store", "Task", "param"]
