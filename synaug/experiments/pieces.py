"""Long pieces of experiments, as functions of cells of a `synaug.sweeps.Grid`.

Each prepares its experiment where it runs, by name, and asks it for one thing, which the experiment keeps in the cell
cache; what it returns says no more than that the thing is there.
"""

import importlib

from synaug.experiments.reconstruction_sweep import CODE as CODE


def prepared(experiment: str, settings: dict, generator: str):
    """What the experiment's ``prepare`` makes of the settings. RuntimeError where its generator has another hash."""
    found = importlib.import_module(f"synaug.experiments.{experiment}").prepare(**settings)[0]
    if found.generator != generator:
        raise RuntimeError(f"the generator {settings['generator']} is another one here than where the sweep started: "
                           f"{found.generator}, not {generator}")
    return found


def make_pool(experiment, settings, generator, reverse_step, split):
    return len(prepared(experiment, settings, generator).pool(reverse_step, split))


def train_classifier(experiment, settings, generator, reverse_step, seed):
    sweep = prepared(experiment, settings, generator)
    return sweep.trained_classifier(reverse_step, seed, settings["n_maps"])["accuracy"]


def train_judge(experiment, settings, generator):
    return type(prepared(experiment, settings, generator).judge).__name__


def draw_samples(experiment, settings, generator):
    return len(prepared(experiment, settings, generator).samples)
