"""Test error against k of original, upsampled and generated training sets over regimes of the two-layer network, and a
search of them for where upsampling degrades beyond k = 2."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synaug.statistics import holm, paired_interval
from synaug.theory.two_layer_cnn import Arm, PatchDistribution, initial_filters, train, training_sets

#: When a training is looked at: at an early step, the same for all; at the end; and at each arm's own best recorded
#: step, chosen by the test error itself: the most that early stopping could give, optimistic for every arm alike.
STAGES = ("early", "final", "best")
MEASURED = ("test_error", "test_loss")
REFERENCE_K = 2  # where the paper has upsampling's best


@dataclass(frozen=True)
class Regime:
    """A world, its number of training examples, and how they are trained on (``batch_size`` None: full batch)."""

    world: PatchDistribution
    n: int
    lr: float = 0.1
    momentum: float = 0.9
    batch_size: int | None = None

    @property
    def name(self):
        return f"β_d = {self.world.beta_d:g}, noise {self.world.noise_std:g}, N = {self.n}"


def regimes(base: Regime, beta_ds, noises, ns, label_noise, batch_size) -> dict[str, Regime]:
    """The base; the map around it, by ``Regime.name``; and the base with one thing changed at a time."""
    def in_world(**changes):
        return dataclasses.replace(base, world=dataclasses.replace(base.world, **changes))

    grid = [dataclasses.replace(in_world(beta_d=beta_d, noise_std=noise), n=n)
            for n in ns for noise in noises for beta_d in beta_ds]
    found = {"base": base} | {regime.name: regime for regime in grid if regime != base}
    found |= {
        f"label noise {label_noise:g}": in_world(label_noise=label_noise),
        f"mini-batches of {batch_size}": dataclasses.replace(base, batch_size=batch_size),
        "without momentum": dataclasses.replace(base, momentum=0.0, lr=base.lr / (1 - base.momentum)),
        "a fifth of the learning rate": dataclasses.replace(base, lr=base.lr / 5),
        "a quarter of the examples": dataclasses.replace(base, n=max(1, base.n // 4)),
        f"reading {'B' if base.world.reading == 'A' else 'A'}": in_world(
            reading="B" if base.world.reading == "A" else "A"),
    }
    return found


def measure_regime(regime, ks, seeds, num_filters, init_std, steps, early, record_every, n_test):
    """All arms trained from the same filters for the same steps: arm, seed, swept, x (k), stage, metric, value.

    The test labels are clean. The original is x = 1.
    """
    arms = [Arm("original"), *(Arm(kind, k) for kind in ("upsampled", "generated") for k in ks)]
    world = regime.world
    test = dataclasses.replace(world, label_noise=0.0).sample(n_test, seeds, stream=1)
    start = initial_filters(seeds, num_filters, world.dim, init_std)
    frame = train(training_sets(world.sample(regime.n, seeds), arms), start, steps=steps, lr=regime.lr,
                  momentum=regime.momentum, batch_size=regime.batch_size, test=test, record_every=record_every).frame
    frame = frame[frame["metric"].isin(MEASURED)].rename(columns={"x": "step"})
    errors = frame[frame["metric"] == "test_error"].set_index("step")
    best = errors.groupby(["arm", "k", "seed"])["value"].idxmin().rename("best").reset_index()
    frame = frame.merge(best, on=["arm", "k", "seed"])
    stages = {"early": frame["step"] == early, "final": frame["step"] == steps, "best": frame["step"] == frame["best"]}
    frame = pd.concat([frame[rows].assign(stage=stage) for stage, rows in stages.items()], ignore_index=True)
    return frame.assign(x=frame["k"], swept="k")[["arm", "seed", "swept", "x", "stage", "step", "metric", "value"]]


def against_reference(frame, arm="upsampled", metric="test_error"):
    """An arm at each k > 2 minus k = 2, paired over seeds, for every regime and stage.

    Columns regime, stage, k, value, low, high (95 %, one by one), n, p_value, adjusted (Holm over all rows) and
    found: "worse", "better" or "not resolved", by the adjusted p-value at 0.05.
    """
    rows = frame[(frame["part"] == "regimes") & (frame["metric"] == metric) & (frame["arm"] == arm)]
    found = []
    for (regime, stage), own in rows.groupby(["regime", "stage"], sort=False):
        table = own.pivot(index="seed", columns="x", values="value")
        for k in table.columns[table.columns > REFERENCE_K]:
            interval = paired_interval(table[k] - table[REFERENCE_K])
            found.append({"regime": regime, "stage": stage, "k": k, "value": interval.estimate, "low": interval.low,
                          "high": interval.high, "n": interval.n, "p_value": interval.p_value})
    found = pd.DataFrame(found)
    found["adjusted"] = holm(found["p_value"])
    sign = np.where(found["value"] > 0, "worse", "better")
    return found.assign(found=np.where(found["adjusted"] < 0.05, sign, "not resolved"))
