"""From the cells of `synaug.experiments.targeted_augmentation` to the rows of its frame."""

import torch

from synaug.experiments import targeted_cells
from synaug.experiments.targeted_cells import finished, splits
from synaug.experiments.targeted_studies import SLOW, Arm, sigma_of_strength
from synaug.augmentation.selection import slow_clusters

NAN = float("nan")


def row(arm: Arm, name: str, regime: str, parameters: dict, **more) -> dict:
    """The columns that all rows have; parameters: of the cell."""
    return {"arm": name, "seed": parameters["seed"], "x": float(arm.k), "regime": regime,
            "n_real": parameters["n_real"], "steps": parameters["steps"], "budget": arm.budget,
            "optimizer": arm.optimizer, "architecture": parameters["architecture"], "augment": arm.augment,
            "selection": SLOW, "kind": arm.kind, "strength": NAN, "sigma": NAN, **more}


def arm_rows(arm, seed, cell, settings, regimes):
    """What was measured of a trained arm, a row a metric."""
    columns = row(arm, arm.named((settings["strength"],)), arm.regime, cell.parameters,
                  selection="" if arm.kind == "original" else arm.selection)
    if arm.kind == "generated" and arm.strengths and len(arm.strengths) == 1:
        columns |= {"strength": float(arm.strengths[0]), "sigma": sigma_of_strength(arm.strengths[0])}
    result = finished(cell.function, cell.parameters)
    return [{**columns, "metric": metric, "value": float(value)} for metric, value in result.items()]


def pilot_rows(regime, cells):
    """Errors on validation images of arms "pilot, original" and "pilot, fresh"."""
    return [row(Arm(kind="pilot"), "pilot, fresh" if cell.parameters["added"] else "pilot, original", regime,
                cell.parameters, selection="", augment=cell.parameters["augment"], metric="validation_error",
                value=finished(cell.function, cell.parameters)["validation_error"]) for cell in cells]


def warm_up_rows(grid, regimes):
    """What warm-ups took and found, arm "warm-up". regimes: their names by the number of real images.

    slow_overlap: the share of a seed's slow examples that the next seed finds slow too, over the share of all examples
    that it finds slow: 1 where the seeds have nothing in common.
    """
    slow, rows = {}, []
    cells = [cell for cell in grid.cells if cell.function is targeted_cells.early]
    for cell in cells:
        p = cell.parameters
        logits = torch.from_numpy(finished(cell.function, p)["logits"])
        found = slow_clusters(logits, splits(p["dataset"], p["n_real"]).real.labels, seed=p["seed"])
        slow.setdefault((p["n_real"], p["architecture"]), []).append(found.double())
    for cell in cells:
        p, result = cell.parameters, finished(cell.function, cell.parameters)
        seeds = slow[p["n_real"], p["architecture"]]
        own, following = seeds[p["seed"]], seeds[(p["seed"] + 1) % len(seeds)]
        measured = {name: result[name] for name in ("passes", "error", "seconds", "selection_seconds")}
        measured |= {"slow_share": 100 * own.mean().item(),
                     "slow_overlap": ((own * following).sum() / own.sum() / following.mean()).item()}
        rows += [row(Arm(kind="warm-up"), "warm-up", regimes[p["n_real"]], p, metric=metric, value=float(value))
                 for metric, value in measured.items()]
    return rows
