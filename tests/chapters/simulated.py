"""Frames of runs whose truth is known, and what claims say of a frame."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from synaug.statistics.claims import verdict_table
from synaug.statistics.frames import tidy


def simulated(experiment, rows, seeds, scale, own=0.3, **common):
    """A frame of the standard run from (columns, mean) pairs; what columns leave out is ``common``.

    Noise that a seed's values share has the standard deviation ``scale(metric)``, that of each alone ``own`` times as much. What is ``single``
    is one value, of the first seed, with its limits.
    """
    rng, table, settings = np.random.default_rng(0), [], experiment.settings("standard")
    offsets = rng.normal(0, 1, len(seeds))
    for columns, mean in rows:
        columns = {"dataset": "fashion_mnist", **common, **columns}
        if columns.pop("single", False):
            table.append({**columns, "seed": seeds[0], "value": mean, "low": mean - 0.01, "high": mean + 0.01})
        else:
            noise = scale(columns["metric"]) * (offsets + rng.normal(0, own, len(seeds)))
            table += [{**columns, "seed": seed, "value": mean + more} for seed, more in zip(seeds, noise)]
    frame = pd.DataFrame(table)
    origin = {"parameters": asdict(settings), "generator": None, "wall_seconds": 0.0, "device": "cpu"}
    frame = frame if experiment.finish is None else experiment.finish(frame, settings)
    return tidy(frame, origin, experiment=experiment.name, profile="standard", **experiment.constants)


def verdicts(*frames) -> dict[str, str]:
    """The verdicts of all claims about these frames' experiments, by id."""
    return {row.id: row.verdict for frame in frames for row in verdict_table(frame, beside=frames).itertuples()}
