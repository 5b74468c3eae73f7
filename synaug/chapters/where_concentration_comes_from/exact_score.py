"""Where everything is known: reverse processes of random Gaussian mixtures.

An exact reverse process keeps the distribution. Over the same mixtures this separates what can be to blame: the reverse
process itself (exact score, fine grid), its discretisation (coarse grids), an error of the score (known ones around
the exact score) and the metric (sources as the reference instead of fresh draws).
"""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import pandas as pd
import torch
from torch import Tensor

from synaug.diffusion.perturbed import ClassBlind, Guided, ScaledScore, ScoreNoise, SmoothedOverSigma
from synaug.diffusion.reconstruction import per_image_noise
from synaug.diffusion.samplers import check_sampler, sample
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step, sigmas_from
from synaug.metrics import FRESH_REAL, centroid_distance_ratio, covariance_logdet_ratio
from synaug.metrics.neighbours import neighbourhoods
from synaug.run import Experiment, Settings, Task, param
from synaug.run.experiment import named
from synaug.theory.mixtures import SIGMA_DATA, GaussianMixture, random_mixture

STEPS = 100  # T, of the whole reverse grid
EXACT = "exact score"
#: Known errors of the score: what x is (``swept``), the parameter that lists its values, and the denoiser it makes.
PERTURBATIONS = {
    "scaled score": ("factor", "factors", lambda exact, x, seed: ScaledScore(exact, x)),
    "score noise": ("level", "noises", lambda exact, x, seed: ScoreNoise(exact, x, SIGMA_DATA, seed)),
    "smoothed score": ("width", "widths", lambda exact, x, seed: SmoothedOverSigma(exact, x)),
    "guidance": ("scale", "guidances", lambda exact, x, seed: Guided(exact, x)),
    "class-blind": ("scale", None, lambda exact, x, seed: ClassBlind(exact)),  # guidance of scale 0
}
#: Coarse grids: the solver, and whether there is churn.
SOLVERS = {"Heun": ("heun", False), "Euler": ("euler", False), "Heun, churn": ("heun", True), "Euler, churn": ("euler", True)}
SWEPT = {FRESH_REAL: "t_re", EXACT: "t_re"} | dict.fromkeys(SOLVERS, "steps") | {arm: swept for arm, (swept, _, _) in PERTURBATIONS.items()}

#: Principal axes of the covariance ratio: every mixture has as many.
COMPONENTS = 2
#: Fresh draws that the baseline is the mean of, and draws that the expected share of each mode is counted in.
BASELINE_DRAWS, OCCUPANCY_DRAWS = 4, 20_000


@dataclass(frozen=True, kw_only=True)
class Mixtures(Settings):
    mixtures: int = param("random mixtures, of seeds 0, 1, ...", at_least=1, at_most=1000)
    n_points: int = param("sources of each mixture, and as many fresh draws", at_least=1, at_most=20_000)
    reverse_steps: tuple[int, ...] = param(
        "levels t_re of the exact score, from 0 (the sources) to 100 (noise alone)", tuple(range(STEPS + 1)), each=True, at_least=0, at_most=STEPS
    )
    stride: int = param("take every stride-th level of the grid of 100, with Heun, by the exact and the wrong scores", 1, at_least=1)
    levels: tuple[int, ...] = param("reverse steps that coarse grids and wrong scores start from", each=True, at_least=1, at_most=STEPS)
    grids: tuple[int, ...] = param("steps of coarse grids", (5, 10, 18, 35, 100), each=True, at_least=1)
    churn: float = param("EDM's S_churn, in the arms that have it", 10.0, at_least=0)
    factors: tuple[float, ...] = param("wrong scores: the exact one times a factor", (0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1), each=True, at_most=10)
    noises: tuple[float, ...] = param("wrong scores: with noise of a level", (0.05, 0.1, 0.2, 0.4), each=True, at_least=0)
    widths: tuple[float, ...] = param("wrong scores: smoothed over ln sigma, by a width", each=True, at_least=0, at_most=10)
    guidances: tuple[float, ...] = param("wrong scores: guided, by a scale", (1.5, 2.0, 4.0), each=True, at_least=0, at_most=100)
    k: int = param("neighbours in precision and recall", 5, at_least=1)

    def check(self):
        if not {0, STEPS} <= set(self.reverse_steps):
            raise ValueError(f"reverse_steps must hold 0, the sources, and {STEPS}, noise alone, got {self.reverse_steps}")
        for level in (*self.reverse_steps, *self.levels):
            reverse_sigmas(level, STEPS, stride=self.stride)
        check_sampler("heun", self.churn)
        for seed in range(self.mixtures):
            exact = draws_of(seed, self.n_points, self.k).mixture
        for _, values, make in PERTURBATIONS.values():
            for x in getattr(self, values) if values else ():
                named(values, make, exact, x, 0)


PROFILES = {
    "smoke": dict(
        mixtures=2,
        n_points=150,
        reverse_steps=(0, 50, 100),
        stride=4,
        levels=(100,),
        grids=(5, 10),
        factors=(0.9, 1.1),
        noises=(0.3,),
        widths=(1.0,),
        guidances=(2.0,),
    ),
    "quick": dict(
        mixtures=4,
        n_points=300,
        reverse_steps=tuple(range(0, 101, 10)),
        levels=(100,),
        grids=(5, 10, 18, 35),
        factors=(0.95, 1.05),
        noises=(0.2,),
        widths=(1.0,),
        guidances=(2.0,),
    ),
    "standard": dict(mixtures=10, n_points=1000, levels=(50, 100), widths=(0.5, 1.0)),
    "paper": dict(mixtures=20, n_points=5000, levels=(30, 50, 70, 100), widths=(0.25, 0.5, 1.0)),
}


def rows(s: Mixtures):
    """Columns beside the usual ones: seed (the mixture's), t_re and sigma (where the reverse process starts); reference
    ("source" or "fresh" draws, or the "mixture", the mixture itself), from the tasks."""
    for seed in range(s.mixtures):
        size = {"seed": seed, "n_points": s.n_points, "k": s.k}
        cases = [(FRESH_REAL, 0, 0, None), *((EXACT, t, t, s.stride) for t in s.reverse_steps)]
        for t in s.levels:
            cases += [(arm, steps, t, 1) for arm in SOLVERS for steps in s.grids]
            cases += [(arm, x, t, s.stride) for arm, (_, values, _) in PERTURBATIONS.items() for x in (getattr(s, values) if values else (0,))]
        for arm, x, t, stride in cases:
            churn = s.churn if SOLVERS.get(arm, (None, False))[1] else 0.0
            task = (
                Task(measured_baseline, size)
                if arm == FRESH_REAL
                else Task(measured_arm, {**size, "arm": arm, "x": float(x), "t_re": t, "stride": stride, "churn": churn})
            )
            yield {"arm": arm, "x": float(x), "t_re": t, "swept": SWEPT[arm], "seed": seed, "sigma": sigma_of_reverse_step(t, STEPS)}, task


EXPERIMENT = Experiment("exact_score", Mixtures, PROFILES, rows, constants={"dataset": "random mixtures"})


def measured_baseline(seed: int, n_points: int, k: int) -> pd.DataFrame:
    """`measure` of fresh draws in place of reconstructions, the mean over several sets."""
    draws = draws_of(seed, n_points, k)
    tables = [measure(draws, points, labels) for points, labels in draws.others]
    return tables[0].assign(value=sum(table["value"] for table in tables) / len(tables))


def measured_arm(seed: int, n_points: int, k: int, **case) -> pd.DataFrame:
    """`measure` of `reconstructions`, of which case are options, of a mixture's sources."""
    draws = draws_of(seed, n_points, k)
    return measure(draws, reconstructions(draws, **case), draws.labels)


@dataclass(frozen=True)
class Draws:
    """A mixture and draws of it: sources and their labels, fresh draws as the reference, more of them for the baseline.

    Points are float64 ``[N, D]``, labels int64 ``[N]``. expected: see `mode_shares`.
    """

    seed: int
    k: int
    mixture: GaussianMixture
    sources: Tensor
    labels: Tensor
    fresh: Tensor
    fresh_labels: Tensor
    others: list
    expected: Tensor

    @cached_property
    def noise(self):
        """``noise(stream)``, float64 like the sources: keyed by seed, source and stream as in `reconstruct`."""
        return cache(lambda stream: per_image_noise(self.sources.shape, self.seed, torch.arange(len(self.sources)), stream).double())

    @cached_property
    def class_variances(self) -> Tensor:
        """Total variance of each class of the mixture ``[C]``."""
        mixture, classes = self.mixture, torch.nn.functional.one_hot(self.mixture.classes).double()
        shares = mixture.weights[:, None] * classes / (mixture.weights @ classes)
        centres = shares.T @ mixture.means
        apart = (mixture.means - centres[mixture.classes]).square().sum(1)
        return shares.T @ (mixture.covariances.diagonal(dim1=1, dim2=2).sum(1) + apart)


@lru_cache(maxsize=2)
def draws_of(seed: int, n_points: int, k: int) -> Draws:
    """The `Draws` of a seed. ValueError where points are too few for k neighbours or for the covariance of a class."""
    mixture = random_mixture(seed)
    # Not the mixture's own seed: its parameters were made of that stream.
    generator = torch.Generator().manual_seed(2**32 + seed)

    def draw(n):
        points, component = mixture.sample(n, generator)
        return points, mixture.classes[component]

    sets = [draw(n_points) for _ in range(2 + BASELINE_DRAWS)]
    fewest = min(int(labels.bincount(minlength=mixture.num_classes).min()) for _, labels in sets)
    if fewest < COMPONENTS + 1 or n_points <= k:
        raise ValueError(
            f"n_points = {n_points} are too few: more than k = {k} are needed, and {COMPONENTS + 1} of each class; mixture {seed} has a class with {fewest}"
        )
    (sources, labels), (fresh, fresh_labels), *others = sets
    expected = mode_shares(mixture.component_log_density(draw(OCCUPANCY_DRAWS)[0]))
    return Draws(seed, k, mixture, sources, labels, fresh, fresh_labels, others, expected)


@torch.inference_mode()
def reconstructions(draws: Draws, arm: str, x: float, t_re: int, stride: int = 1, churn: float = 0.0) -> Tensor:
    """What an arm makes of a mixture's sources, float64 ``[N, D]``: `synaug.diffusion.reconstruction.reconstruct` for
    points, which have no range to be clamped to. Noise is keyed as there, so that all arms and levels share it."""
    solver, denoiser, sigmas = "heun", draws.mixture, reverse_sigmas(t_re, STEPS, stride=stride)
    if arm in SOLVERS:
        solver, sigmas = SOLVERS[arm][0], sigmas_from(float(sigmas[0]), int(x))
    elif arm in PERTURBATIONS:
        denoiser = PERTURBATIONS[arm][2](draws.mixture, x, draws.seed)
    start = float(sigmas[0]) * draws.noise(0) + (0 if t_re == STEPS else draws.sources)
    return sample(denoiser, start, sigmas, draws.labels, solver=solver, churn=churn, noise=lambda i: draws.noise(len(sigmas) - 1 - i))


def mode_shares(log_densities: Tensor) -> Tensor:
    """The share of points ``[N, K]`` that each component most probably made, ``[K]``."""
    return log_densities.argmax(1).bincount(minlength=log_densities.shape[1]).double() / len(log_densities)


def measure(draws: Draws, points: Tensor, labels: Tensor) -> pd.DataFrame:
    """What a set of points with labels keeps of a mixture: a frame of metric, reference and value.

    Against the sources and against fresh draws: precision, recall and outer-edge recall (`synaug.metrics`). Against
    the fresh draws, class by class: centroid_distance_ratio and covariance_logdet_ratio. Against the mixture itself
    ("mixture"): mean_log_density (nats); variance_ratio, the variance within classes over the mixture's; occupancy_error,
    the total variation distance between the shares of the modes and the expected ones; rare_mode_ratio, the share of
    points in the less likely half of the modes over the expected; class_agreement, the share of points whose most
    probable class is their label.
    """
    mixture, found = draws.mixture, []
    for reference, real in (("source", draws.sources), ("fresh", draws.fresh)):
        indicators = neighbourhoods(real, points, draws.k).indicators()
        found += [(metric, reference, indicators[metric].mean().item()) for metric in ("precision", "recall", "outer_edge_recall")]
    pair = draws.fresh, points, draws.fresh_labels, labels
    found += [
        ("centroid_distance_ratio", "fresh", centroid_distance_ratio(*pair)),
        ("covariance_logdet_ratio", "fresh", covariance_logdet_ratio(*pair, COMPONENTS)),
    ]
    log_densities = mixture.component_log_density(points)
    occupied = mode_shares(log_densities)
    rare = draws.expected.argsort()[: len(draws.expected) // 2]
    of_class = torch.zeros(len(points), mixture.num_classes, dtype=torch.float64)
    of_class.index_add_(1, mixture.classes, log_densities.softmax(1))
    values = {
        "mean_log_density": log_densities.logsumexp(1).mean(),
        "variance_ratio": within_class_variance(points, labels) / draws.class_variances[labels].mean(),
        "occupancy_error": (occupied - draws.expected).abs().sum() / 2,
        "rare_mode_ratio": occupied[rare].sum() / draws.expected[rare].sum(),
        "class_agreement": (of_class.argmax(1) == labels).double().mean(),
    }
    found += [(metric, "mixture", value.item()) for metric, value in values.items()]
    return pd.DataFrame(found, columns=["metric", "reference", "value"])


def within_class_variance(points: Tensor, labels: Tensor) -> Tensor:
    """Total variance within classes, unbiased in each, averaged over points."""
    total = sum(len(own) * own.var(0).sum() for own in (points[labels == c] for c in labels.unique()))
    return total / len(points)
