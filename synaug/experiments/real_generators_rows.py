"""From the denoising losses of the ladder's generators to the rows of the frame of `synaug.experiments.real_generators`."""

import numpy as np
import pandas as pd


def rung_of(about):
    """What tells the rungs of the ladder apart."""
    return about["arm"], about.get("training_images")


def loss_ranks(losses):
    """{rung: the rank of its mean loss over levels and images, 1.0 for the lowest}."""
    order = sorted(losses, key=lambda entry: entry[1].mean())
    return {rung_of(about): float(rank) for rank, (about, _) in enumerate(order, start=1)}


def loss_tables(losses, sigmas):
    """(columns, frame) of each rung's denoising losses; 95 % limits over images, over which the excess is paired."""
    if not losses:
        return []
    stacked = np.stack([own for _, own in losses]).astype(np.float64)  # [rungs, sigmas, N]
    best = stacked.mean(axis=2).argmin(axis=0)
    tables = []
    for (about, _), own in zip(losses, stacked):
        excess = np.stack([row - stacked[b, i] for i, (row, b) in enumerate(zip(own, best))])
        rows = [{"metric": metric, "sigma": sigma, **limits(values)}
                for metric, table in (("denoising_loss", own), ("loss_excess", excess))
                for sigma, values in zip(sigmas, table)]
        rows += [{"metric": metric, **limits(table.mean(axis=0))}
                 for metric, table in (("mean_loss", own), ("mean_loss_excess", excess))]
        tables.append((about, pd.DataFrame(rows).assign(seed=0)))
    return tables


def limits(values):
    """Mean and 95 % limits, mean +- 1.96 standard errors, of per-image values, as the columns of a row."""
    mean, half = values.mean(), 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half}
