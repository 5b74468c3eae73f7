"""Other settings of the diffusion model, one at a time: network, training, sampler, and terms that are to explore.

Networks and trainings see equally many images. Samplers and terms are tried on the base at the last of its levels:
samplers take equally many evaluations of the network, and of a term the strength is chosen on seeds and real images
that do not judge it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from synaug.chapters.sampling import AUTOGUIDANCE, INFLATED_CHURN, NOISE_INFLATION, PLAIN, TERMS, compared, denoising_losses, drawn, fresh, limits
from synaug.chapters.tasks import Trainings, learning, made_of, network, number_format, real, real_images_of, recipe_of, scored, trained, trained_generators
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset
from synaug.diffusion.denoisers import new_unet
from synaug.diffusion.perturbed import Guided
from synaug.diffusion.recipe import Recipe
from synaug.metrics import FRESH_REAL
from synaug.metrics.comparison import least_per_class
from synaug.metrics.encoders import BUILDERS
from synaug.run import Experiment, Task, param
from synaug.run.experiment import named

STUDIES = ("networks", "levels", "samplers", "exploration")
BASE = "as it is"
#: What is changed of the base recipe. The average over steps keeps nothing of itself where its power is next to 0.
CHANGES = {
    BASE: {},
    "half the width": {"channels": (16, 32)},
    "twice the width": {"channels": (64, 128)},
    "two blocks per level": {"layers": 2},
    "attention at 14 x 14": {"attention": (14,)},
    "a transformer": {"network": "dit", "channels": (96,), "layers": 3},
    "no averaged weights": {"ema_power": 1e-6},
    "errors weighted alike": {"weighting": "error"},
    "no class dropout": {"drop_label": 0.0},
    "no mirrored images": {"flip": 0.0},
}
#: The base, sampled with classifier-free guidance at all noise levels.
GUIDED, GUIDANCE = "guidance 1.5", 1.5
#: Steps of a solver whose sampler evaluates the network so often: Heun's last step has one evaluation, all others two.
SOLVERS = {"heun": lambda evaluations: (evaluations + 1) // 2, "euler": int, "ancestral": int}
TRIED = {
    "CADS": (0.25, 0.5, 1.0),
    "guidance interval": (1.5, 2.0, 3.0),
    AUTOGUIDANCE: (1.5, 2.0, 3.0),
    "particle guidance": (0.003, 0.01, 0.03),
    "minority guidance": (0.03, 0.1, 0.3),
    NOISE_INFLATION: (1.01, 1.02, 1.05),
}
CHOSEN_BY = "outer_edge_recall"


@dataclass(frozen=True, kw_only=True)
class Ablations(Trainings):
    studies: tuple[str, ...] = param("what is measured", STUDIES, each=True, options=STUDIES)
    generator: str = param("name or folder of a trained diffusion model, on whose images all are trained, by its recipe", "fashion_mnist")
    changes: tuple[str, ...] = param("of networks and trainings", tuple(CHANGES), each=True, options=tuple(CHANGES))
    generator_width: int = param("channels of the base network's first stage; the second has twice as many", 32, at_least=16)
    trained_images: int = param("images that each generator has seen in its training", at_least=1)
    levels: tuple[int, ...] = param(
        "images seen at which the base is looked at; the last is what samplers and terms are tried on", each=True, at_least=1, at_most=10**9
    )
    evaluations: tuple[int, ...] = param("of the network, by the sampler, for each image", each=True, at_least=1)
    terms: dict = param("exploration terms, {term: strengths to choose from}")
    weak_images: int = param("images that the base has seen as the weak generator of autoguidance", at_least=1)
    n_images: int = param("samples of each set, and real images that they are compared with", at_least=20)
    n_losses: int = param("unseen images in denoising losses", at_least=10)
    loss_sigmas: tuple[float, ...] = param("noise levels of denoising losses", (0.1, 0.3, 1.0, 3.0, 10.0), each=True, at_least=0.001)
    encoder: str = param("features that samples are compared in", "efficientnet_lite0", options=("pixels", *BUILDERS))
    k: int = param("neighbours in precision and recall", 5, at_least=1)
    n_bootstrap: int = param("resamples behind intervals", 1000, at_least=1)
    architecture: str = param("the network that is trained on samples", "vgg5", options=tuple(ARCHITECTURES))
    choice_seeds: int = param("further seeds, on which the strength of a term is chosen", at_least=1, at_most=1000)

    def check(self):
        found = real_images_of(self.generator)
        least = max(self.k + 1, found.test.num_classes * least_per_class())
        self.within(n_images=(least, min(len(found.trained), len(found.unseen) // 2)))
        if list(self.levels) != sorted(self.levels):
            raise ValueError(f"levels must increase, got {self.levels}")
        if "networks" in self.studies and BASE not in self.changes:
            raise ValueError(f"changes must hold {BASE!r}, which the others are compared with, got {self.changes}")
        for name in self.changes:
            named(f"changes, {name}", new_unet, found.test.image_shape, found.test.num_classes, **Recipe(**recipe_for(self, name)).of_network)
        if odd := [term for term in self.terms if term not in TERMS or not self.terms[term]]:
            raise ValueError(f"terms must be lists by exploration term, of {', '.join(TERMS)}; got {', '.join(odd)}")


PROFILES = {
    "smoke": dict(
        studies=("networks", "samplers", "exploration"),
        changes=(BASE, "a transformer"),
        generator_width=16,
        trained_images=128,
        levels=(128,),
        evaluations=(3,),
        terms={"CADS": (0.5, 1.0)},
        weak_images=128,
        n_images=150,
        n_losses=20,
        sampling_steps=1,
        encoder="pixels",
        n_bootstrap=10,
        steps=2,
        n_evaluate=50,
        seeds=2,
        choice_seeds=1,
    ),
    "quick": dict(
        studies=("networks",),
        changes=(BASE, "no averaged weights"),
        generator_width=16,
        trained_images=128,
        levels=(128,),
        evaluations=(9,),
        terms={"CADS": (0.5, 1.0)},
        weak_images=128,
        n_images=150,
        n_losses=50,
        sampling_steps=2,
        encoder="pixels",
        n_bootstrap=50,
        steps=4,
        n_evaluate=200,
        seeds=2,
        choice_seeds=1,
    ),
    "standard": dict(
        trained_images=200_000,
        levels=(200_000, 400_000, 800_000, 1_600_000),
        evaluations=(9, 19, 39, 79),
        terms=TRIED,
        weak_images=128_000,
        n_images=1000,
        n_losses=1000,
        steps=400,
        first_seed=1000,
        seeds=10,
        choice_seeds=3,
    ),
}


def recipe_for(s: Ablations, change: str = BASE) -> dict:
    changed = dict(CHANGES[change])
    if "channels" in changed and change != "a transformer":  # widths for a base of 32
        first = max(16, changed["channels"][0] * s.generator_width // 32)
        changed["channels"] = first, 2 * first
    return {**recipe_of(s.generator), "channels": (s.generator_width, 2 * s.generator_width), **changed}


def generators(s: Ablations, recipe: dict) -> Task:
    """Of one training by a recipe, all that the studies need."""
    needed = {s.trained_images for change in s.changes if "networks" in s.studies and recipe_for(s, change) == recipe}
    if recipe == recipe_for(s):
        for study, images in (
            ("levels", s.levels),
            ("samplers", s.levels[-1:]),
            ("exploration", s.levels[-1:]),
            ("exploration", [s.weak_images] * (AUTOGUIDANCE in s.terms)),
        ):
            needed.update(images if study in s.studies else ())
    return Task(trained_generators, {"recipe": recipe, "snapshots": sorted(needed), "device": s.device})


def pool(s: Ablations, steps: int, of: Task, images: int, solver: str = "heun", seed: int = 0) -> Task:
    """Samples of the classes of training images, by one of ``of``."""
    how = {**network(s), "steps": steps, "solver": solver, "seed": seed, "images": images}
    return Task(drawn, how, (real(s, "trained", s.n_images), of))


def explored(s: Ablations, base: Task, term: str, seed: int, strength: Task) -> Task:
    """Samples of the base with a term, at the strength that a task says."""
    weak = s.weak_images if term == AUTOGUIDANCE else None
    how = {"images": s.levels[-1], "weak": weak, "term": term, "steps": s.sampling_steps, "seed": seed, **number_format(s)}
    return Task(with_term, how, (real(s, "trained", s.n_images), strength, base))


def rows(s: Ablations) -> Iterator[tuple[dict, Task]]:
    """By study: what is measured of samples against fresh real images, losses, and accuracies of classifiers trained on
    samples, by seed. x: images seen, evaluations of the network, or the strength; role "choice": of seeds that choose."""
    every, judging = {"dataset": real_images_of(s.generator).test.name}, s.each_seed
    test = real(s, "test", s.n_evaluate)
    reference, other = fresh(s, 0), fresh(s, 1)

    def measured(at, samples, seed):
        options = {"encoder": s.encoder, "k": s.k, "n_bootstrap": s.n_bootstrap, "device": s.device}
        return {**every, **at, "seed": seed}, Task(compared, options, (other if at["role"] == "judged" else reference, samples))

    def taught(at, samples, seed):
        return {**every, **at, "seed": seed}, Task(scored, {"device": s.device}, (Task(trained, {**learning(s), "seed": seed}, (samples,)), test))

    def both(at, samples):
        yield measured(at, samples, judging[0])
        for seed in judging:
            yield taught(at, samples, seed)

    def each(at, samples):
        for seed in judging:
            yield from (measured(at, samples(seed), seed), taught(at, samples(seed), seed))

    yield from both({"study": "baseline", "arm": FRESH_REAL, "x": 0.0, "role": "judged"}, reference)
    base, found = generators(s, recipe_for(s)), {}
    if "networks" in s.studies:
        found |= {("networks", change, s.trained_images): generators(s, recipe_for(s, change)) for change in s.changes}
    if "levels" in s.studies:
        found |= {("levels", BASE, images): base for images in s.levels}
    for (study, arm, images), of in found.items():
        at = {"study": study, "arm": arm, "x": float(images), "role": "judged"}
        if study == "levels":
            yield from each(at, lambda seed, of=of, images=images: pool(s, s.sampling_steps, of, images, seed=seed))
        else:
            yield from both(at, pool(s, s.sampling_steps, of, images))
        if study == "networks" and arm == BASE:
            how = {"images": images, "scale": GUIDANCE, "steps": s.sampling_steps, "seed": 0, **number_format(s)}
            yield from both({**at, "arm": GUIDED}, Task(guided, how, (real(s, "trained", s.n_images), of)))
    for study, against in (("networks", BASE), ("levels", s.levels[-1])):
        own = [(arm, images, of) for (name, arm, images), of in found.items() if name == study]
        losses = tuple(
            Task(denoising_losses, {**network(s), "sigmas": s.loss_sigmas, "images": images}, (real(s, "unseen", s.n_losses), of)) for _, images, of in own
        )
        if own:
            names = [{"arm": arm, "x": float(images)} for arm, images, _ in own]
            place = next(i for i, (arm, images, _) in enumerate(own) if against in (arm, images))
            yield {**every, "study": study, "role": "judged", "seed": judging[0]}, Task(mean_losses, {"names": names, "against": place}, losses)
    if "samplers" in s.studies:
        for evaluations in s.evaluations:
            for solver, steps in SOLVERS.items():
                at = {"study": "samplers", "arm": solver, "x": float(evaluations), "role": "judged"}
                yield from both(at, pool(s, steps(evaluations), base, s.levels[-1], solver))
    if "exploration" in s.studies:
        yield from exploration(s, base, judging, measured, each)


def exploration(s: Ablations, base: Task, judging: range, measured, each) -> Iterator[tuple[dict, Task]]:
    """Each strength of a term on the seeds that choose, then the best on those that judge, beside samples without any."""
    choosing = range(judging.stop, judging.stop + s.choice_seeds)
    for term, strengths in s.terms.items():
        tried = []
        for strength, seed in product(strengths, choosing):
            at = {"study": "exploration", "arm": term, "x": float(strength), "role": "choice"}
            tried.append(measured(at, explored(s, base, term, seed, Task(given, {"strength": float(strength)})), seed))
        yield from tried
        best = Task(best_strength, {"strengths": [float(x) for x in strengths], "metric": CHOSEN_BY}, tuple(task for _, task in tried))
        yield {**tried[0][0], "x": 0.0, "role": "judged", "seed": judging[0]}, best
        yield from each({"study": "exploration", "arm": term, "x": 0.0, "role": "judged"}, lambda seed: explored(s, base, term, seed, best))
    yield from each({"study": "exploration", "arm": PLAIN, "x": 0.0, "role": "judged"}, lambda seed: pool(s, s.sampling_steps, base, s.levels[-1], seed=seed))


EXPERIMENT = Experiment("ablations", Ablations, PROFILES, rows, constants={"swept": "amount"})


def mean_losses(*losses: np.ndarray, names: list, against: int) -> pd.DataFrame:
    """Of each generator, whose columns are ``names``: the mean denoising loss over noise levels, and by how much it is
    above that of one of them (its place), with limits over images, in which all are paired."""
    means = [own.astype(np.float64).mean(axis=0) for own in losses]  # [N] each
    return pd.DataFrame(
        [
            {**name, "metric": metric, **limits(values)}
            for name, own in zip(names, means)
            for metric, values in (("mean_loss", own), ("mean_loss_excess", own - means[against]))
        ]
    )


def guided(sources: ImageDataset, trained: dict, images: int, scale: float, steps: int, seed: int, precision: str, device: str) -> ImageDataset:
    """Samples of one of `trained_generators` with guidance at all noise levels."""
    return made_of(Guided(trained[images].load(device).denoiser, scale), sources, steps=steps, seed=seed, device=device)


def given(strength: float) -> dict:
    return {"strength": strength}


def best_strength(*frames: pd.DataFrame, strengths: list, metric: str) -> dict:
    """The strength with the highest mean of a metric; frames: of all seeds at the first strength, then the second, ..."""
    values = np.array([frame.loc[frame["metric"] == metric, "value"].item() for frame in frames])
    return {"strength": strengths[values.reshape(len(strengths), -1).mean(1).argmax()]}


def with_term(
    sources: ImageDataset, chosen: dict, trained: dict, images: int, weak: int | None, term: str, precision: str, device: str, **sampling
) -> ImageDataset:
    """Samples of one of `trained_generators` with an exploration term at the chosen strength. weak: which other of them guides."""
    own, other = (None if n is None else trained[n].load(device).denoiser for n in (images, weak))
    denoiser = TERMS[term](own, chosen["strength"], sampling["seed"], other)
    if term == NOISE_INFLATION:
        sampling |= {"churn": INFLATED_CHURN * sampling["steps"], "s_noise": chosen["strength"]}
    return made_of(denoiser, sources, device=device, **sampling)
