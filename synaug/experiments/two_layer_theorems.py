"""The theorems of targeted augmentation, measured at initialisation or by short trainings of the two-layer network.

Each measurement is one cell of `synaug.experiments.two_layer_cnn` and returns a frame of arm, seed, swept, x, metric,
value. What is quoted, second hand or derived stands in `synaug.theory.two_layer_cnn.theory` and `gradient_variance`.
"""

import dataclasses

import pandas as pd
import torch

from synaug.theory.two_layer_cnn import Arm, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.clusters import speed_ratio
from synaug.theory.two_layer_cnn.distribution import NOISE
from synaug.theory.two_layer_cnn.gradient_variance import (
    generated_variance,
    minibatch_gradients,
    total_variance,
    upsampled_variance,
)
from synaug.theory.two_layer_cnn.network import gradient
from synaug.theory.two_layer_cnn.theory import (
    inner_products,
    measured_sam_ratio,
    noise_align,
    noise_strength,
    noise_tolerance,
    perturbation_scale,
    positively_aligned,
)

DOUBLE = torch.float64
ORIGINAL = Arm("original")

#: Where Theorem 4.1 is measured: with both premises of the proofs, with one, and in the toy as published.
CONTROLLED, TRUE_LOGITS, TOY = SAM_WORLDS = ("orthogonal noise, controlled logits", "orthogonal noise", "toy")

#: Of trajectories, what is kept and at which steps.
SHOWN, SHOWN_EVERY = ("feature_fast", "feature_slow", "noise_slow"), 20

VARIANCE_DIM = 12  # of the Monte Carlo check of Theorem 4.3; the formula does not depend on it


def rows_frame(rows, **constants):
    return pd.DataFrame(rows).assign(**constants)


def sam_name(rho):
    return f"SAM, ρ = {rho:g}" if rho else "GD"


def feature_learning(world, n, seeds, num_filters, init_std, rho, progress_levels, **training):
    """Trajectories of GD (rho = 0) or SAM on the original data, x the step; and "slow_at_fast", x a level: how much of
    the slow feature is learned when max_j <w_j, v_e> first reaches it (linear between recorded steps)."""
    data, test = world.sample(n, seeds), world.sample(n, seeds, stream=1)
    start = initial_filters(seeds, num_filters, world.dim, init_std)
    frame = train(training_sets(data, [ORIGINAL]), start, rho=rho, test=test, **training).frame
    gaps = frame[frame["metric"] == "feature_fast"].reset_index(drop=True)
    slow = gaps[["seed", "x"]].merge(frame[frame["metric"] == "feature_slow"], on=["seed", "x"])["value"]
    gaps = gaps.assign(metric="feature_gap", value=gaps["value"] - slow)
    matched = []
    for seed, own in frame.groupby("seed"):
        table = own.pivot(index="x", columns="metric", values="value")
        for level in progress_levels:
            found = first_crossing(table["feature_fast"].to_numpy(), table["feature_slow"].to_numpy(), level)
            if found is not None:
                matched.append({"seed": seed, "swept": "fast_alignment", "x": level, "metric": "slow_at_fast",
                                "value": found})
    # What is shown and judged; all steps of all metrics would be tens of megabytes.
    shown = pd.concat([frame[frame["metric"].isin(SHOWN)], gaps], ignore_index=True)
    frame = pd.concat([shown[shown["x"] % SHOWN_EVERY == 0], pd.DataFrame(matched)], ignore_index=True)
    return frame.assign(arm=sam_name(rho))[["arm", "seed", "swept", "x", "metric", "value"]]


def first_crossing(progress, values, level):
    """values, linear between its points, where progress first reaches level; None where it does not."""
    above = (progress >= level).nonzero()[0]
    if len(above) == 0:
        return None
    i = int(above[0])
    if i == 0:
        return float(values[0])
    share = (level - progress[i - 1]) / (progress[i] - progress[i - 1])
    return float(values[i - 1] + share * (values[i] - values[i - 1]))


def feature_order(world, n, seeds, num_filters, init_std, steps, **training):
    """"fast_first": 1 where the fast feature is the first to be learned (max_j <w_j, v> of 1/2), 0 where the slow one
    is, no row where neither is within the steps; x = `clusters.speed_ratio`."""
    start = initial_filters(seeds, num_filters, world.dim, init_std)
    frame = train(training_sets(world.sample(n, seeds), [ORIGINAL]), start, steps=steps, record_every=5,
                  **training).frame
    rows = []
    for seed, own in frame.groupby("seed"):
        table = own.pivot(index="x", columns="metric", values="value")[["feature_fast", "feature_slow"]]
        learned = table[table.max(axis=1) >= 0.5]
        if len(learned):
            fast, slow = learned.iloc[0]
            rows.append({"seed": seed, "metric": "fast_first", "value": float(fast > slow)})
    frame = pd.DataFrame(rows, columns=["seed", "metric", "value"])
    return frame.assign(arm="GD", swept="speed_ratio", x=speed_ratio(world))


def sam_suppression(world, where, n, seeds, num_filters, init_std, rho):
    """Theorem 4.1, one SAM and one GD gradient from the same initial filters: of the positively aligned noise patches,
    the share whose alignment with SAM's gradient is the smaller ("suppressed_share"), and the median ratio of the two
    ("sam_ratio"). where: one of `SAM_WORLDS`; x = n."""
    if where != TOY:
        world = dataclasses.replace(world, orthogonal_noise=True, dim=n * (world.num_patches - 1) + 2)
    rows = []
    for seed in seeds:
        data = world.sample(n, [seed], dtype=DOUBLE)
        patches, labels = data.patches[0], data.labels[0]
        filters = initial_filters([seed], num_filters, world.dim, init_std, DOUBLE)[0]
        if where == CONTROLLED:  # then the inner product with the gradient is that of the filter squared
            gd = gradient(filters, patches, labels)
            moved = filters + perturbation_scale(gd, rho) * gd
            ratios = (inner_products(moved, patches) / inner_products(filters, patches)).square()
        else:
            ratios = measured_sam_ratio(filters, patches, labels, rho)
        ratios = ratios[positively_aligned(filters, patches, labels) & (data.roles[0] == NOISE)]
        found = {"suppressed_share": (ratios < 1).double().mean().item(), "sam_ratio": ratios.median().item()}
        rows += [{"seed": seed, "x": n, "metric": metric, "value": value} for metric, value in found.items()]
    return rows_frame(rows, arm=where, swept="n")


def noise_alignment(world, orthogonal, n, ks, seeds, num_filters, init_std):
    """Theorem 4.2 at initialisation, with faithful synthetic noise (as strong as the real one); x = k.

    "noise_align": the mean over the positively aligned noise patches of the augmented slow subset of |<gradient,
    patch>|, over the original set's; "noise_align_sum": the sum over distinct patches, likewise. Under the arm
    "generated" also "tolerance": A_gamma / A where both arms' means are equal, found by bisection over the strength of
    the synthetic noise, and "tolerance_formula", k + 1.
    orthogonal: as in the proofs (reading B, P = 2), else the world as it is.
    """
    if orthogonal:
        world = dataclasses.replace(world, reading="B", num_patches=2, orthogonal_noise=True, dim=n * max(ks) + 2)
    arms = [ORIGINAL, *(Arm(kind, k) for k in ks for kind in ("upsampled", "generated"))]
    rows = []
    for seed in seeds:
        sets = training_sets(world.sample(n, [seed], dtype=DOUBLE), arms)
        filters = initial_filters([seed], num_filters, world.dim, init_std, DOUBLE)[0]
        mean, total = aligned(sets, 0, filters)
        for number, arm in enumerate(arms):
            own_mean, own_total = aligned(sets, number, filters)
            found = {"noise_align": own_mean / mean, "noise_align_sum": own_total / total}
            if arm.kind == "generated":
                found |= {"tolerance": tolerance(sets, number, filters), "tolerance_formula": noise_tolerance(arm.k)}
            rows += [{"seed": seed, "arm": arm.kind, "x": arm.k, "metric": m, "value": v} for m, v in found.items()]
    return rows_frame(rows, swept="k")


def slow_noise(sets, number, filters, patches):
    """Mask ``[J, N', P]``: positively aligned noise patches of an arm's slow examples."""
    pool = sets.pool
    slow = (sets.weights[0, number] > 0) & ~pool.has_fast[0]
    return positively_aligned(filters, patches, pool.labels[0]) & (slow[:, None] & (pool.roles[0] == NOISE))


def aligned(sets, number, filters, scale=1.0):
    """NoiseAlign of one arm, the mean over filters: of the mean over patches, and of the sum over distinct ones.

    scale: of the synthetic noise.
    """
    pool, patches = sets.pool, scaled(sets, scale)
    where = slow_noise(sets, number, filters, patches)
    gradients = gradient(filters, patches, pool.labels[0], sets.weights[0, number])
    means = noise_align(gradients, patches, where)
    return means.nanmean().item(), (means.nan_to_num() * where.sum((-2, -1))).mean().item()


def scaled(sets, scale):
    """The pool's patches with the synthetic noise scaled, ``[N', P, d]``."""
    synthetic = (sets.part > 0)[:, None] & (sets.pool.roles[0] == NOISE)
    return torch.where(synthetic[..., None], scale * sets.pool.patches[0], sets.pool.patches[0])


def tolerance(sets, generated, filters):
    """A_gamma / A at which generation's NoiseAlign is that of upsampling (the arm before it), by bisection."""
    limit, (low, high) = aligned(sets, generated - 1, filters)[0], (0.1, 5.0)
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if aligned(sets, generated, filters, middle)[0] < limit else (low, middle)
    patches = scaled(sets, low)
    where = slow_noise(sets, generated, filters, patches)
    strength, synthetic = noise_strength(filters, patches, sets.pool.labels[0]), (sets.part > 0)[:, None]
    real = strength[where & ~synthetic].mean()
    return (strength[where & synthetic].mean() / real).item()


def batch_variance(kind, n, alpha, k, batch_size, draws, seeds, num_filters, noise_std):
    """Theorem 4.3: variance of a mini-batch gradient over draws of the data and of the batch, outside the features'
    plane, relative to one example's over B ("variance"), and the formula ("variance_formula"). "variance_extra": what
    is beyond 1, over B, so in units of one example's variance. kind: of `Arm`; x = k or, swept by it, batch_size.

    Derived here: with filters so small that every logit term is 1/2, one example's variance is
    (9/4) sum_j E[<w_j, xi>^4 ||xi||^2], alike for fast and slow examples.
    """
    formula = {"upsampled": upsampled_variance, "generated": generated_variance}[kind](k, alpha, batch_size, n)
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        filters = initial_filters([seed], num_filters, VARIANCE_DIM, 1e-3, DOUBLE)[0]
        patches, labels = augmented_draws(kind, n, alpha, k, draws, noise_std, generator)
        gradients = minibatch_gradients(filters, patches, labels, batch_size, generator)[..., 2:]
        free = VARIANCE_DIM - 2
        one = 2.25 * noise_std**6 * (3 * free + 12) * filters[:, 2:].square().sum(1).square().sum().item()
        relative = total_variance(gradients)[0] * batch_size / one
        found = {"variance": relative, "variance_formula": formula * batch_size,
                 "variance_extra": (relative - 1) / batch_size, "variance_extra_formula": formula - 1 / batch_size}
        rows += [{"seed": seed, "metric": metric, "value": value} for metric, value in found.items()]
    return rows_frame(rows, arm=kind)


def augmented_draws(kind, n, alpha, k, draws, noise_std, generator):
    """Augmented sets in reading B, P = 2: patches ``[R, N', 2, d]``, labels ``[R, N']``; each set has its own noise.

    Exactly round(alpha n) examples are fast; the noise is orthogonal to the features, the first two axes, of strengths
    1 and 0.2, which do not enter the variance outside their plane.
    """
    fast = round(alpha * n)
    source = torch.cat([torch.arange(n), torch.arange(fast, n).repeat(k - 1)])
    labels = (2 * torch.randint(0, 2, (draws, n), generator=generator) - 1).to(DOUBLE)[:, source]
    distinct = n if kind == "upsampled" else len(source)
    noise = noise_std * torch.randn(draws, distinct, VARIANCE_DIM, dtype=DOUBLE, generator=generator)
    noise[..., :2] = 0
    noise = noise[:, source] if kind == "upsampled" else noise
    features = torch.zeros(len(source), VARIANCE_DIM, dtype=DOUBLE)
    features[source < fast, 0], features[source >= fast, 1] = 1.0, 0.2
    return torch.stack([labels[..., None] * features, noise], 2), labels
