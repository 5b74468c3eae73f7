"""The two-layer theory of targeted augmentation: its theorems, measured at initialisation or by short trainings, and
test error against k over regimes. What is quoted, second hand or derived stands in `synaug.theory.two_layer_cnn`."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from synaug.run import Experiment, Settings, Task, param
from synaug.statistics.contrasts import paired, select
from synaug.theory.two_layer_cnn import Arm, PatchDistribution, gradient_variance, initial_filters, theory, train, training_sets
from synaug.theory.two_layer_cnn.clusters import recovery, speed_ratio
from synaug.theory.two_layer_cnn.distribution import NOISE, READINGS
from synaug.theory.two_layer_cnn.network import gradient, inner_products

#: Where Theorem 4.1 is measured: with both premises of the proofs, with one, and in the toy as published.
CONTROLLED, TRUE_LOGITS, TOY = SAM_CASES = ("orthogonal noise, controlled logits", "orthogonal noise", "toy")
#: When a training is looked at: at an early step, the same for all; at the end; and at each arm's own best recorded
#: step, chosen by the test error itself: the most that early stopping could give, optimistic for every arm alike.
STAGES = ("early", "final", "best")
REFERENCE_K = 2  # where the paper has upsampling's best
RECORD_EVERY = 20  # steps between those of a training that are kept
ORDER_N = 300  # training examples, at most, where it is asked which feature comes first
PROGRESS_LEVELS = (0.1, 0.5, 1.0)  # alignments with the fast feature at which the slow one is compared
DOUBLE, ORIGINAL = torch.float64, Arm("original")


@dataclass(frozen=True, kw_only=True)
class Theory(Settings):
    device: str = param("the two-layer network runs on the CPU", "cpu", options=("cpu",))
    num_patches: int = param("P, patches of an example", 3, at_least=3)
    dim: int = param("d, coordinates of a patch", 50, at_least=2)
    alpha: float = param("share of examples with the fast feature, in the toy", 0.9, at_least=0, at_most=1)
    beta_e: float = param("strength of the fast feature", 1.0, at_least=0)
    beta_d: float = param("strength of the slow feature, in the toy", 0.2, at_least=0)
    noise_std: float = param("standard deviation of each coordinate of a noise patch", 0.125, at_least=1e-6)
    reading: str = param(
        "B: an example has the fast or the slow patch, as in the paper; A: every example has the slow "
        "one, as in its predecessor, whose own statements are always tested so",
        "B",
        options=READINGS,
    )
    n: int = param("training examples of the toy", at_least=1)
    num_filters: int = param("J, filters of the network", 40, at_least=1)
    init_std: float = param("sigma_0, standard deviation of the first filters", 0.01, at_least=1e-6)
    lr: float = param("learning rate, of all trainings", 0.1)
    momentum: float = param("momentum, of all trainings", 0.9, at_least=0)
    rhos: tuple[float, ...] = param("radii of SAM", (0.002, 0.02), each=True)
    steps: int = param("steps of the toy's training", 600, at_least=1)
    seeds: int = param("seeds of everything: 0, 1, ...", at_least=2, at_most=1000)
    ks: tuple[int, ...] = param("times a slow example occurs, 2 among them", each=True, at_least=2)
    sam_ns: tuple[int, ...] = param("training examples in Theorem 4.1", (10, 30, 100, 300, 1000, 3000, 10_000), each=True, at_least=2)
    align_n: int = param("training examples in Theorem 4.2", at_least=1)
    variance_n: int = param("N in Theorem 4.3", 50, at_least=1)
    variance_batch: int = param("B in Theorem 4.3", 20, at_least=1)
    variance_filters: int = param("filters in Theorem 4.3", 40, at_least=1)
    draws: int = param("data sets of a seed in Theorem 4.3", at_least=2)
    alphas: tuple[float, ...] = param("alpha where features race and outputs cluster", (0.1, 0.3, 0.5, 0.7, 0.9, 0.98), each=True, at_least=0, at_most=1)
    beta_ratios: tuple[float, ...] = param("beta_d / beta_e, likewise", (0.2, 0.4, 0.6, 0.8, 0.9, 1.0), each=True, at_least=0, at_most=1)
    noises: tuple[float, ...] = param("noise at which the clusters are looked at", (0.0625, 0.125, 0.25, 0.5), each=True, at_least=0)
    recovery_steps: int = param("steps before outputs are clustered", 200, at_least=1)
    regime_alpha: float = param("alpha of the regimes, and of Theorems 4.2 and 4.3", 0.7, at_least=0, at_most=1)
    regime_beta_d: float = param("beta_d of the base regime", 0.4, at_least=0)
    regime_n: int = param("training examples of the base regime", at_least=1)
    regime_filters: int = param("filters in the regimes", 20, at_least=1)
    regime_steps: int = param("steps of a regime's training", at_least=1)
    early: int = param(f"the early step, a multiple of {RECORD_EVERY}", 300, at_least=1)
    map_beta_ds: tuple[float, ...] = param("strengths of the slow feature in the map of regimes", each=True, at_least=0)
    map_noises: tuple[float, ...] = param("noise in the map of regimes", each=True, at_least=0)
    map_ns: tuple[int, ...] = param("training examples in the map of regimes", each=True, at_least=1)
    label_noise: float = param("share of wrong labels, in the regime that has them", 0.1, at_least=0, at_most=0.5)
    batch_size: int = param("of the regime that has mini-batches", 20, at_least=1)
    n_test: int = param("test examples of a regime", at_least=1)

    def check(self):
        positive, strengths = ("lr", "rhos"), ("beta_d", "regime_beta_d", "map_beta_ds")
        for name, value in vars(self).items():
            values = value if isinstance(value, tuple) else (value,)
            if name in positive and min(values) <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
            if name in strengths and max(values) > self.beta_e:
                raise ValueError(f"{name} must not exceed beta_e = {self.beta_e:g}, got {value}")
        if self.momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {self.momentum}")
        if self.variance_batch > self.variance_n:
            raise ValueError(f"variance_batch must be <= variance_n = {self.variance_n}, got {self.variance_batch}")
        if REFERENCE_K not in self.ks or max(self.ks) == REFERENCE_K:
            raise ValueError(f"ks must hold {REFERENCE_K}, what larger k are compared with, and a larger one, got {self.ks}")
        if self.early not in (*range(RECORD_EVERY, self.regime_steps, RECORD_EVERY), self.regime_steps):
            raise ValueError(f"early must be a multiple of {RECORD_EVERY} below regime_steps = {self.regime_steps}, or that itself, got {self.early}")
        asked = (("n", "alpha", self.alpha), *(("n", "alphas", alpha) for alpha in self.alphas), ("align_n", "regime_alpha", self.regime_alpha))
        for name, share, alpha in asked:
            # Labels and kinds are drawn before the patches, so those of two coordinates are the same.
            data = PatchDistribution(dim=2, alpha=alpha).sample(getattr(self, name), range(self.seeds))
            for seed, labels, has_fast in zip(data.seeds, data.labels.tolist(), data.has_fast.tolist()):
                if all(has_fast) or name == "n" and len(set(zip(labels, has_fast))) < 4:
                    lack = "a class lacks fast or slow examples" if name == "n" else "there are no slow examples"
                    raise ValueError(
                        f"with {name} = {len(labels)} and {share} = {alpha:g}, {lack} at seed {seed} of "
                        f"seeds = {self.seeds}: raise {name}, or choose {share} nearer 1/2"
                    )

    def problem(self, **changes) -> dict:
        """Parameters of `PatchDistribution`: the toy's, with changes."""
        names = ("num_patches", "dim", "alpha", "beta_e", "beta_d", "noise_std", "reading")
        return {name: getattr(self, name) for name in names} | changes


PROFILES = {
    "smoke": dict(
        seeds=2,
        n=60,
        steps=150,
        sam_ns=(10, 100),
        align_n=20,
        ks=(2, 5),
        draws=50,
        alphas=(0.9,),
        beta_ratios=(0.2,),
        noises=(0.125,),
        recovery_steps=50,
        map_beta_ds=(0.4,),
        map_noises=(0.125,),
        map_ns=(40,),
        regime_n=80,
        regime_steps=100,
        early=40,
        n_test=100,
    ),
    "quick": dict(
        seeds=3,
        n=200,
        steps=300,
        sam_ns=(10, 100, 1000),
        align_n=60,
        ks=(2, 5, 8),
        draws=200,
        alphas=(0.3, 0.9),
        beta_ratios=(0.2, 0.9),
        noises=(0.125, 0.5),
        map_beta_ds=(0.4, 0.6),
        map_noises=(0.125,),
        map_ns=(100,),
        regime_n=100,
        regime_steps=400,
        n_test=500,
    ),
    "standard": dict(
        seeds=24,
        n=1000,
        align_n=60,
        ks=(2, 3, 5, 8),
        draws=1000,
        map_beta_ds=(0.3, 0.4, 0.6),
        map_noises=(0.125, 0.25),
        map_ns=(50, 200),
        regime_n=100,
        regime_steps=1000,
        n_test=1000,
    ),
    "paper": dict(
        seeds=100,
        n=10_000,
        align_n=200,
        ks=(2, 3, 4, 5, 6, 7, 8),
        draws=4000,
        map_beta_ds=(0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
        map_noises=(0.0625, 0.125, 0.25),
        map_ns=(50, 200, 1000),
        regime_n=200,
        regime_steps=2000,
        n_test=5000,
    ),
}


def regimes(s: Theory) -> dict[str, dict]:
    """What `measure_regime` takes, by name: the base; the map around it; the base with one thing changed at a time."""
    base = {"problem": s.problem(alpha=s.regime_alpha, beta_d=s.regime_beta_d), "n": s.regime_n, "lr": s.lr, "momentum": s.momentum, "batch_size": None}

    def changed(others: dict, **problem):
        return base | others | {"problem": base["problem"] | problem}

    grid = {
        f"β_d = {beta_d:g}, noise {noise:g}, N = {n}": changed({"n": n}, beta_d=beta_d, noise_std=noise)
        for n in s.map_ns
        for noise in s.map_noises
        for beta_d in s.map_beta_ds
    }
    other = "B" if s.reading == "A" else "A"
    return {
        "base": base,
        **{name: regime for name, regime in grid.items() if regime != base},
        f"label noise {s.label_noise:g}": changed({}, label_noise=s.label_noise),
        f"mini-batches of {s.batch_size}": changed({"batch_size": s.batch_size}),
        "without momentum": changed({"momentum": 0.0, "lr": s.lr / (1 - s.momentum)}),
        "a fifth of the learning rate": changed({"lr": s.lr / 5}),
        "a quarter of the examples": changed({"n": max(1, s.regime_n // 4)}),
        f"reading {other}": changed({}, reading=other),
    }


def rows(s: Theory):
    filters, training = {"num_filters": s.num_filters, "init_std": s.init_std}, {"lr": s.lr, "momentum": s.momentum}
    toy, predecessors = s.problem(), s.problem(reading="A")

    def task(function, **params):
        return Task(function, params | {"seeds": list(range(s.seeds))})

    for rho in (0.0, *s.rhos):
        yield (
            {"part": "features", "arm": f"SAM, ρ = {rho:g}" if rho else "GD"},
            task(feature_learning, problem=predecessors, n=s.n, rho=rho, steps=s.steps, **filters, **training),
        )
    shapes = [{"alpha": alpha, "beta_d": ratio * s.beta_e} for alpha in s.alphas for ratio in s.beta_ratios]
    for reading in READINGS:
        for problem in (s.problem(**shape, reading=reading) for shape in shapes):
            ratio = speed_ratio(PatchDistribution(**problem))
            yield (
                {"part": "order", "arm": "GD", "swept": "speed_ratio", "x": ratio},
                task(feature_order, problem=problem, n=min(s.n, ORDER_N), steps=s.steps, **filters, **training),
            )
    for where in SAM_CASES:
        for n in s.sam_ns:
            if n <= 100 or where == TOY:  # orthogonal noise needs a dimension that grows with n
                yield (
                    {"part": "sam", "arm": where, "swept": "n", "x": float(n)},
                    task(sam_suppression, problem=toy, where=where, n=n, rho=min(s.rhos), **filters),
                )
    for name in ("orthogonal", "toy"):
        yield (
            {"part": "align", "distribution": name, "swept": "k"},
            task(noise_alignment, problem=s.problem(alpha=s.regime_alpha), orthogonal=name == "orthogonal", n=s.align_n, ks=list(s.ks), **filters),
        )
    batches = sorted({max(1, s.variance_n * share // 10) for share in (1, 2, 5, 10)})
    for kind in ("upsampled", "generated"):
        for swept, x, k, batch in [("k", k, k, s.variance_batch) for k in (1, *s.ks)] + [("batch_size", batch, max(s.ks), batch) for batch in batches]:
            yield (
                {"part": "variance", "arm": kind, "swept": swept, "x": float(x)},
                task(
                    batch_variance,
                    kind=kind,
                    n=s.variance_n,
                    alpha=s.regime_alpha,
                    k=k,
                    batch_size=batch,
                    draws=s.draws,
                    num_filters=s.variance_filters,
                    noise_std=s.noise_std,
                ),
            )
    for k in s.ks:
        yield ({"part": "practical", "arm": "formula", "swept": "k", "x": float(k), "seed": 0}, Task(practical, {"k": k, "alpha": s.regime_alpha}))
    for swept, x, problem in (
        *(("alpha", alpha, {"alpha": alpha}) for alpha in s.alphas),
        *(("beta_ratio", ratio, {"beta_d": ratio * s.beta_e}) for ratio in s.beta_ratios),
        *(("noise_std", noise, {"noise_std": noise}) for noise in s.noises),
    ):
        yield (
            {"part": "recovery", "arm": "original", "swept": swept, "x": x},
            task(recovered, problem=predecessors | problem, n=s.n, steps=s.recovery_steps, **filters, **training),
        )
    for name, regime in regimes(s).items():
        yield (
            {"part": "regimes", "regime": name, "swept": "k"},
            task(
                measure_regime, **regime, ks=list(s.ks), num_filters=s.regime_filters, init_std=s.init_std, steps=s.regime_steps, early=s.early, n_test=s.n_test
            ),
        )


EXPERIMENT = Experiment("two_layer_cnn", Theory, PROFILES, rows, constants={"dataset": "patches"})


def trajectories(problem: dict, n: int, seeds: list, num_filters: int, init_std: float, **training) -> pd.DataFrame:
    """Of trainings on the original data: a row per seed and recorded step x, a column per metric."""
    distribution = PatchDistribution(**problem)
    start = initial_filters(seeds, num_filters, distribution.dim, init_std)
    frame = train(training_sets(distribution.sample(n, seeds), [ORIGINAL]), start, **training).frame
    return frame.pivot(index=["seed", "x"], columns="metric", values="value")


def feature_learning(problem: dict, **training) -> pd.DataFrame:
    """Trajectories of GD (rho = 0) or SAM on the original data, x the step; and "slow_at_fast", x a level: how much of
    the slow feature is learned when max_j <w_j, v_e> first reaches it (linear between recorded steps)."""
    table = trajectories(problem, record_every=2, **training)
    table["feature_gap"] = table["feature_fast"] - table["feature_slow"]
    matched = []
    for seed, own in table.groupby("seed"):
        for level in PROGRESS_LEVELS:
            if (found := first_crossing(*own[["feature_fast", "feature_slow"]].to_numpy().T, level)) is not None:
                matched.append({"seed": seed, "x": level, "metric": "slow_at_fast", "value": found})
    shown = table[["feature_fast", "feature_slow", "feature_gap", "noise_slow"]].melt(ignore_index=False).reset_index()
    shown = shown[shown["x"] % RECORD_EVERY == 0].assign(swept="step")
    return pd.concat([shown, pd.DataFrame(matched).assign(swept="fast_alignment")], ignore_index=True)


def first_crossing(progress: np.ndarray, values: np.ndarray, level: float) -> float | None:
    """values, linear between its points, where progress first reaches level; None where it does not."""
    i = int((progress >= level).argmax())
    around = slice(max(i - 1, 0), i + 1)
    return float(np.interp(level, progress[around], values[around])) if progress[i] >= level else None


def feature_order(problem: dict, **training) -> pd.DataFrame:
    """As "fast_first", 1 where the fast feature is the first to be learned (max_j <w_j, v> of 1/2), 0 where the slow one
    is, no row where neither is within the steps."""
    table = trajectories(problem, record_every=5, **training)[["feature_fast", "feature_slow"]]
    first = table[table.max(axis=1) >= 0.5].groupby("seed").first()
    return pd.DataFrame({"seed": first.index, "metric": "fast_first", "value": (first["feature_fast"] > first["feature_slow"]).to_numpy(float)})


def sam_suppression(problem: dict, where: str, n: int, seeds: list, num_filters: int, init_std: float, rho: float) -> pd.DataFrame:
    """Theorem 4.1, one SAM and one GD gradient from the same initial filters: of the positively aligned noise patches,
    the share whose alignment with SAM's gradient is the smaller ("suppressed_share"), and the median ratio of the two
    ("sam_ratio"). where: one of `SAM_CASES`."""
    distribution = PatchDistribution(**problem)
    if where != TOY:
        distribution = replace(distribution, orthogonal_noise=True, dim=n * (distribution.num_patches - 1) + 2)
    found = []
    for seed in seeds:
        data = distribution.sample(n, [seed], dtype=DOUBLE)
        patches, labels = data.patches[0], data.labels[0]
        filters = initial_filters([seed], num_filters, distribution.dim, init_std, DOUBLE)[0]
        if where == CONTROLLED:  # then the inner product with the gradient is that of the filter squared
            gd = gradient(filters, patches, labels)
            moved = filters + theory.perturbation_scale(gd, rho) * gd
            ratios = (inner_products(moved, patches) / inner_products(filters, patches)).square()
        else:
            ratios = theory.measured_sam_ratio(filters, patches, labels, rho)
        ratios = ratios[theory.positively_aligned(filters, patches, labels) & (data.roles[0] == NOISE)]
        found.append({"seed": seed, "suppressed_share": (ratios < 1).double().mean().item(), "sam_ratio": ratios.median().item()})
    return pd.DataFrame(found).melt("seed", var_name="metric")


def noise_alignment(problem: dict, orthogonal: bool, n: int, ks: list, seeds: list, num_filters: int, init_std: float) -> pd.DataFrame:
    """Theorem 4.2 at initialisation, with synthetic noise as strong as the real one; x = k: `arm_noise_align` over the
    original set's ("noise_align", "noise_align_sum"), and the tolerance of generation with its formula.
    orthogonal: as in the proofs (reading B, P = 2), else the distribution as it is."""
    distribution = PatchDistribution(**problem)
    if orthogonal:
        distribution = replace(distribution, reading="B", num_patches=2, orthogonal_noise=True, dim=n * max(ks) + 2)
    arms = [ORIGINAL, *(Arm(kind, k) for k in ks for kind in ("upsampled", "generated"))]
    found = []
    for seed in seeds:
        sets = training_sets(distribution.sample(n, [seed], dtype=DOUBLE), arms)
        filters = initial_filters([seed], num_filters, distribution.dim, init_std, DOUBLE)[0]
        base = theory.arm_noise_align(sets, 0, filters)
        for number, arm in enumerate(arms):
            mean, total = (a / b for a, b in zip(theory.arm_noise_align(sets, number, filters), base))
            own = {"noise_align": mean, "noise_align_sum": total}
            if arm.kind == "generated":
                own |= {"tolerance": theory.measured_tolerance(sets, number - 1, number, filters), "tolerance_formula": theory.noise_tolerance(arm.k)}
            found += [{"seed": seed, "arm": arm.kind, "x": arm.k, "metric": m, "value": v} for m, v in own.items()]
    return pd.DataFrame(found)


def batch_variance(kind: str, n: int, alpha: float, k: int, batch_size: int, seeds: list, **options) -> pd.DataFrame:
    """Theorem 4.3, see `gradient_variance.relative_variance` ("variance"), and the formula ("variance_formula"), to
    which generated examples add nothing. "variance_extra": what is beyond 1, over B, so in units of one example's
    variance."""
    extra = gradient_variance.duplicate_term(k, alpha, batch_size, n) if kind == "upsampled" else 0.0
    values = np.array([gradient_variance.relative_variance(kind, n, alpha, k, batch_size, seed=seed, **options)[0] for seed in seeds])
    found = {"variance": values, "variance_formula": 1 + extra, "variance_extra": (values - 1) / batch_size, "variance_extra_formula": extra / batch_size}
    return pd.DataFrame({"seed": seeds, **found}).melt("seed", var_name="metric")


def practical(k: int, alpha: float) -> dict:
    """What Theorem 4.3 and Corollary 4.4 amount to on CIFAR-10 in batches of 128, by their formulas: no measurement."""
    formulas = (gradient_variance.duplicate_term, gradient_variance.excess_tolerance)
    return {formula.__name__: formula(k, alpha, batch_size=128, n=50_000) for formula in formulas}


def recovered(problem: dict, **options) -> pd.DataFrame:
    return recovery(PatchDistribution(**problem), **options)


def measure_regime(
    problem: dict, n: int, ks: list, seeds: list, num_filters: int, init_std: float, steps: int, early: int, n_test: int, **training
) -> pd.DataFrame:
    """All arms trained from the same filters for the same steps: test error and loss at the `STAGES`; x = k, 1 for the
    original. The test labels are clean."""
    distribution = PatchDistribution(**problem)
    arms = [ORIGINAL, *(Arm(kind, k) for kind in ("upsampled", "generated") for k in ks)]
    start = initial_filters(seeds, num_filters, distribution.dim, init_std)
    frame = train(
        training_sets(distribution.sample(n, seeds), arms),
        start,
        steps=steps,
        test=replace(distribution, label_noise=0.0).sample(n_test, seeds, stream=1),
        record_every=RECORD_EVERY,
        **training,
    ).frame
    frame = select(frame, metric=["test_error", "test_loss"]).rename(columns={"x": "step", "k": "x"})
    errors = select(frame, metric="test_error").set_index("step").groupby(["arm", "x", "seed"])["value"]
    frame = frame.merge(errors.idxmin().rename("best").reset_index(), on=["arm", "x", "seed"])
    stages = {"early": frame["step"] == early, "final": frame["step"] == steps, "best": frame["step"] == frame["best"]}
    frame = pd.concat([frame[rows].assign(stage=stage) for stage, rows in stages.items()], ignore_index=True)
    return frame[["arm", "seed", "x", "stage", "step", "metric", "value"]]


def against_reference(frame: pd.DataFrame) -> pd.DataFrame:
    """Test error of upsampling at each k > 2 minus that at k = 2, paired over seeds, for every regime and stage: the
    columns of `paired`, Holm over all rows, and found: "worse", "better" or "not resolved", at 0.05."""
    upsampling = select(frame, part="regimes", arm="upsampled")
    table = paired(upsampling, {"x": REFERENCE_K}, ("regime", "stage", "x"), "test_error", ("regime", "stage", "seed"))
    sign = np.where(table["estimate"] > 0, "worse", "better")
    return table.assign(found=np.where(table["adjusted"] < 0.05, sign, "not resolved"))
