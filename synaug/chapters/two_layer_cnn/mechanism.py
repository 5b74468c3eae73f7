"""Chapter 3, last section: is the mechanism of the two-layer theory visible in the network of chapter 2?

The slow images are selected once, by a network of its own. The gradients that each training set would give (the
original one, slow images upsampled, slow images joined by generated ones) are compared at the same weights, those that
the original set has led to; how fast losses fall is compared over a training on each set, paired by seed.
"""

import copy
import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch.optim.swa_utils import update_bn

from synaug.augmentation import TrainingSet, original, upsampled, with_generated
from synaug.augmentation.selection import select
from synaug.augmentation.synthetic_pool import SyntheticPool, generate_pool
from synaug.chapters import tasks
from synaug.chapters.tasks import Trained, real, real_images_of
from synaug.classifiers import build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.gradients import mean_gradient
from synaug.classifiers.training import AUGMENTATIONS, RECIPES, augment_batch
from synaug.classifiers.warm_up import warm_up
from synaug.data import ImageDataset, stratified_subset, to_floats
from synaug.run import Experiment, Settings, Task, param
from synaug.theory.gradient_statistics import gradient_products, relative_set_variance
from synaug.theory.two_layer_cnn.gradient_variance import total_variance

#: Those that are given over the original set's, at the same stage of its own training.
RELATIVE = {
    "batch_variance": "variance of a mini-batch's gradient given the training set",
    "sampled_variance": "the same from real batches of training (batch statistics, augmentation)",
    "set_variance": "variance of the whole set's gradient over training sets",
    "noise_align": "mean |<gradient, residual>| of the slow subset's images",
    "noise_align_own": "the part of it that the image and its own copies cause",
    "speed_slow": "mean <gradient, gradient of the example> of slow real images",
    "speed_fast": "the same of fast ones",
}
#: When gradients are looked at, as shares of the training's steps.
STAGES = {"early": 0.1, "middle": 0.4, "late": 1.0}
#: When losses are recorded, likewise.
RECORDED = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
BATCH_SIZE = 128
ARMS = ("original", "upsampled", "generated")
#: Kinds of members of a training set: fast and slow real images, then copies.
FAST, SLOW, COPY = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Network(Settings):
    device: str = param("gradients of single examples are taken on the CPU", "cpu", options=("cpu",))
    generator: str = param("name or folder of a trained generator, whose training images are the original set")
    n_images: int = param("the first so many of them; None: all", at_least=BATCH_SIZE, optional=True)
    classifier: str = param("the network", "resnet8", options=tuple(ARCHITECTURES))
    classifier_steps: int = param(f"optimiser steps of a training, of batches of {BATCH_SIZE}", at_least=10)
    recipe: str = param("learning rates of the training, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))
    augment: str = param(
        "augmentation of the training, see synaug.classifiers.train_classifier",
        "flip",
        options=tuple(name for name in AUGMENTATIONS if not name.endswith("trivial")),
    )
    ks: tuple[int, ...] = param("times a slow image occurs; trainings take the largest", (2, 5), each=True, at_least=2)
    sigma: float = param("noise level of the trainings' generated images; 1 is the published 50 of 100 steps", 1.0)
    sigmas: tuple[float, ...] = param("levels whose generated images are looked at, sigma among them", each=True)
    sampler_steps: int = param("Heun steps from any of them", at_least=1)
    seeds: int = param("networks: 0, 1, ...", at_least=2, at_most=1000)
    selection_seed: int = param("of the network that selects the slow images", 100, at_least=0, at_most=2**31 - 1)
    n_evaluate: int = param("test images; None: all", at_least=1, optional=True)
    sampled_batches: int = param("mini-batches behind sampled_variance", at_least=2)
    stages: tuple[str, ...] = param("when gradients are measured", tuple(STAGES), each=True, options=tuple(STAGES))

    def check(self):
        if min(self.sigmas) <= 0 or self.sigma not in self.sigmas:
            raise ValueError(f"sigmas must be positive, sigma = {self.sigma:g} among them, got {self.sigmas}")
        parts = real_images_of(self.generator)
        self.within("one per class to all", n_images=(parts.test.num_classes, len(parts.trained)), n_evaluate=(parts.test.num_classes, len(parts.test)))
        data = stratified_subset(parts.trained, self.n_images or len(parts.trained), 0)
        if (fewest := int(data.labels.bincount(minlength=data.num_classes).min())) < 2:
            raise ValueError(
                f"n_images must leave at least 2 images of each of the {data.num_classes} classes, which "
                f"are clustered one by one; of {len(data)} one has {fewest}"
            )
        if self.classifier_steps * BATCH_SIZE < 3 * len(data):
            raise ValueError(
                f"classifier_steps must be at least {math.ceil(3 * len(data) / BATCH_SIZE)}, the three "
                f"passes over {len(data)} images of a warm-up, got {self.classifier_steps}"
            )
        build_classifier(self.classifier, data.image_shape, data.num_classes, seed=0)

    def steps_at(self, shares) -> list[int]:
        """Shares of the training's steps as steps, ascending, each once."""
        return sorted({max(1, round(share * self.classifier_steps)) for share in shares})

    def stage_steps(self, stages) -> dict[int, str]:
        return {self.steps_at([STAGES[name]])[0]: name for name in stages}


PROFILES = {
    "smoke": dict(
        generator="fashion_mnist_2000",
        n_images=130,
        classifier_steps=10,
        ks=(2,),
        sigmas=(1.0,),
        sampler_steps=1,
        seeds=2,
        n_evaluate=50,
        sampled_batches=2,
        stages=("early",),
    ),
    "quick": dict(
        generator="fashion_mnist_2000",
        n_images=130,
        classifier_steps=10,
        ks=(2,),
        sigmas=(1.0, 80.0),
        sampler_steps=2,
        seeds=2,
        n_evaluate=200,
        sampled_batches=2,
        stages=("early", "late"),
    ),
    "standard": dict(
        generator="fashion_mnist_2000", classifier_steps=800, sigmas=(1.0, 3.0, 80.0), sampler_steps=9, seeds=5, n_evaluate=2000, sampled_batches=25
    ),
    "paper": dict(generator="fashion_mnist", classifier_steps=4000, sigmas=(0.3, 1.0, 3.0, 80.0), sampler_steps=18, seeds=10, sampled_batches=100),
}


def training(s: Network) -> dict:
    return {"architecture": s.classifier, "steps": s.classifier_steps, "recipe": s.recipe, "augment": s.augment}


def selection(s: Network) -> Task:
    return Task(select_slow, {**training(s), "seed": s.selection_seed}, (real(s, "trained", s.n_images),))


def pool(s: Network, sigma: float) -> Task:
    """Copies of the slow images; where nothing is trained on them, those of the smallest k do."""
    k = max(s.ks) if sigma == s.sigma else min(s.ks)
    return Task(generated_from, {**tasks.network(s), "sigma": sigma, "steps": s.sampler_steps, "k": k}, (real(s, "trained", s.n_images), selection(s)))


def pools(s: Network, arm: str) -> tuple[Task, ...]:
    """What the training set of an arm is made of beside the original one and the selection."""
    return (pool(s, s.sigma),) if arm == "generated" else ()


def network(s: Network, arm: str, seed: int) -> Task:
    """A training on the training set of an arm, at the largest k."""
    return Task(
        train_network,
        {**training(s), "seed": seed, "arm": arm, "k": max(s.ks), "recorded": s.steps_at(RECORDED), "kept": list(s.stage_steps(s.stages))},
        (real(s, "trained", s.n_images), real(s, "test", s.n_evaluate), selection(s), *pools(s, arm)),
    )


def rows(s: Network):
    """The selection; losses over trainings on each set; gradients at each stage of them."""
    most, everywhere = max(s.ks), s.stage_steps(STAGES)
    levels = {sigma: most if sigma == s.sigma else min(s.ks) for sigma in s.sigmas}
    sets = [
        ["original", 1, 0.0],
        *(["upsampled", k, 0.0] for k in s.ks),
        *(["generated", k, sigma] for sigma, largest in levels.items() for k in s.ks if k <= largest),
    ]
    none = {"sigma": 0.0, "step": 0, "stage": "", "weights": "own"}
    yield ({**none, "part": "selection", "arm": "original", "swept": "k", "x": 1.0, "seed": s.selection_seed}, Task(selected, {}, (selection(s),)))
    for seed in range(s.seeds):
        for arm in ARMS:
            sigma, trained = s.sigma if arm == "generated" else 0.0, network(s, arm, seed)
            for step in s.steps_at(RECORDED):
                yield (
                    {
                        **none,
                        "part": "learning",
                        "arm": arm,
                        "swept": "progress",
                        "x": step / s.classifier_steps,
                        "step": step,
                        "stage": everywhere.get(step, ""),
                        "seed": seed,
                        "sigma": sigma,
                    },
                    Task(losses_at, {"step": step}, (trained,)),
                )
            own = [arm, 1 if arm == "original" else most, sigma]
            made = tuple(pool(s, level) for level in s.sigmas) if arm == "original" else pools(s, arm)
            for step, stage in s.stage_steps(s.stages).items():
                yield (
                    {"step": step, "stage": stage, "seed": seed},
                    Task(
                        measure_gradients,
                        {
                            "step": step,
                            "seed": seed,
                            "own": own,
                            "sets": sets if arm == "original" else [own],
                            "augment": s.augment,
                            "sampled_batches": s.sampled_batches,
                        },
                        (trained, real(s, "trained", s.n_images), selection(s), *made),
                    ),
                )


def relative(frame: pd.DataFrame, s: Network) -> pd.DataFrame:
    """The frame with the metrics of `RELATIVE` over the original set's of the same seed and stage."""
    keys = ["seed", "stage", "metric"]
    base = frame[frame["metric"].isin(RELATIVE) & (frame["arm"] == "original")]
    over = frame.merge(base[[*keys, "value"]].rename(columns={"value": "base"}), on=keys, how="left")["base"]
    value = frame["value"] / over.fillna(1.0).to_numpy()
    return frame.assign(value=value, dataset=real_images_of(s.generator).test.name)


#: Columns beside the usual ones: part ("selection", "learning", "premises", "consequences"), weights (whose the
#: gradients are: "original", those that the original set has led to, or "own"), sigma (of generated images, else 0),
#: step, stage (of `STAGES`, "" at other steps). swept: "k"; "sigma"; "progress", the share of the training's steps.
EXPERIMENT = Experiment("mechanism", Network, PROFILES, rows, finish=relative)


def select_slow(data: ImageDataset, architecture: str, seed: int, **options) -> dict:
    """sources: int64 places of the slow-learnable images; fraction: their share; passes: how long the warm-up was."""
    model = build_classifier(architecture, data.image_shape, data.num_classes, seed)
    seen = warm_up(model, data.images, data.labels, seed=seed, batch_size=BATCH_SIZE, **options)
    chosen = select("slow_learnable", seen, seed=seed)
    return {"sources": chosen.indices, "fraction": chosen.fraction, "passes": len(seen.correct)}


def selected(selection: dict) -> dict:
    return {"slow_fraction": selection["fraction"], "warm_up_passes": selection["passes"]}


def generated_from(
    data: ImageDataset, selection: dict, generator: str, weights: str, precision: str, device: str, sigma: float, steps: int, k: int
) -> SyntheticPool:
    """k - 1 images of each slow one, from itself at a noise level. precision: told for the key's sake."""
    denoiser = tasks.usual_denoiser(generator, weights, device)
    return generate_pool(denoiser, data, selection["sources"], k=k, sigmas=sigma, steps=steps, device=device)


def training_set(arm: str, k: int, data: ImageDataset, selection: dict, pool: SyntheticPool | None = None):
    """`TrainingSet` of an arm; pool: of the arm "generated" only."""
    if arm == "original":
        return original(data)
    return upsampled(data, selection["sources"], k) if arm == "upsampled" else with_generated(data, pool, k=k)


def train_network(
    data: ImageDataset,
    test: ImageDataset,
    selection: dict,
    *pool: SyntheticPool,
    architecture: str,
    seed: int,
    arm: str,
    k: int,
    recorded: list,
    kept: list,
    **options,
) -> dict:
    """A training on the training set of an arm: {"losses": {step: {metric: value}}, "networks": {step: `Trained`}}.

    recorded: steps after which losses are measured: on the slow and the fast real images, each once, and on the test
    images. kept: steps after which the network is kept.
    """
    model = build_classifier(architecture, data.image_shape, data.num_classes, seed)
    chosen, slow = training_set(arm, k, data, selection, *pool), selection["sources"]
    fast = torch.ones(len(data), dtype=torch.bool).index_fill_(0, slow, False)
    losses, networks = {}, {}

    def observe(step, index, logits):
        if step + 1 in recorded:
            now = settled(model, chosen)
            own, (of_test, wrong) = losses_of(now, data)[0], losses_of(now, test)
            found = {"train_loss_slow": own[slow], "train_loss_fast": own[fast], "test_loss": of_test, "test_error": wrong}
            losses[step + 1] = {metric: values.mean().item() for metric, values in found.items()}
        if step + 1 in kept:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            networks[step + 1] = Trained(architecture, data.image_shape, data.num_classes, weights)

    chosen.train(model, seed=seed, batch_size=BATCH_SIZE, observe=observe, **options)
    return {"losses": losses, "networks": networks}


def losses_at(network: dict, step: int) -> dict:
    return network["losses"][step]


def losses_of(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each image and whether it is misclassified, both float64 ``[N]``, in evaluation mode."""
    probabilities = predict(model, data.images).double()
    own = probabilities.gather(1, data.labels[:, None])[:, 0].clamp_min(torch.finfo(torch.float32).tiny)
    return -own.log(), (probabilities.argmax(1) != data.labels).double()


def settled(model, chosen: TrainingSet):
    """A copy of a model in evaluation mode, its batch normalisation with the mean statistics of a training set.

    Running averages over the last few batches lag behind while weights still change fast ("precise" batch norm, Wu &
    Johnson 2021).
    """
    model = copy.deepcopy(model)
    passes = chosen.batches(-(-len(chosen) // BATCH_SIZE), seed=0)
    update_bn([to_floats(chosen.data.images[index]) for index in passes], model)
    return model.eval()


def measure_gradients(
    network: dict, data: ImageDataset, selection: dict, *made: SyntheticPool, step: int, seed: int, own: list, sets: list, augment: str, sampled_batches: int
) -> pd.DataFrame:
    """Gradient statistics of training sets at the weights that one of them has led to after a step.

    made: pools of generated copies, one per noise level. own, sets: [arm, k, sigma] of the network's own training set
    and of those that are looked at, sigma 0 without copies. sampled_batches: mini-batches of the network's own training
    set, drawn and augmented as in training, for "sampled_variance".
    """
    arm, k, sigma = own
    chosen = training_set(arm, k, data, selection, *(made if arm == "generated" else ()))
    # Gradients of batches are nearer to float64's in this memory format than in `Trained`'s: 0.05 % off, not 0.9 %.
    model = network["networks"][step].model().to(memory_format=torch.contiguous_format)
    members = Members(data, selection["sources"], made)
    fixed = settled(model, chosen)
    products = gradient_products(fixed, members.images, members.labels, members.source, members.group)
    weights = "original" if arm == "original" else "own"
    variance = {
        "arm": arm,
        "sigma": sigma,
        "x": float(k),
        "metric": "sampled_variance",
        "weights": "own",
        "value": sampled_variance(model, chosen, augment, seed, sampled_batches),
    }
    found = [row | {"weights": weights} for row in consequences(products, members, sets)]
    found = [pd.DataFrame([*found, variance]).assign(part="consequences", swept="k")]
    if arm == "original":
        rows = pd.DataFrame(premises(products, members, fixed))
        found.append(rows.assign(part="premises", swept="sigma", x=rows["sigma"], weights=weights))
    return pd.concat(found, ignore_index=True)


def sampled_variance(model, chosen: TrainingSet, augment: str, seed: int, count: int) -> float:
    """Variance of a mini-batch's gradient as it is in training: batch statistics, augmentation, shuffled passes."""
    model, generator, gradients = copy.deepcopy(model).train(), torch.Generator().manual_seed(seed), []
    for index in chosen.batches(count, seed, BATCH_SIZE):
        batch = augment_batch(to_floats(chosen.data.images[index]), augment, generator)
        gradients.append(mean_gradient(model, batch, chosen.data.labels[index]))
    return total_variance(torch.stack(gradients))[0]


class Members:
    """Real images and all copies as members of sources and groups, see `gradient_statistics`.

    made: pools, one per noise level. group: the images of one class that are fast, slow, or one copy of slow ones.
    kind: `FAST`, `SLOW`, or COPY + c for the copies with the place c among those of all pools; the first copies made
    at a level have first_copy[level].
    """

    def __init__(self, data: ImageDataset, slow: torch.Tensor, made):
        kinds, sources = [torch.full((len(data),), FAST).index_fill_(0, slow, SLOW)], [torch.arange(len(data))]
        self.first_copy, following = {}, COPY
        for pool in made:
            self.first_copy[float(pool.provenance["sigma"].iloc[0])] = following
            kinds.append(following - 1 + torch.from_numpy(pool.provenance["copy"].to_numpy(copy=True)))
            sources.append(torch.from_numpy(pool.provenance["source"].to_numpy(copy=True)))
            following += pool.k - 1
        self.images = torch.cat([data.images, *(pool.data.images for pool in made)])
        self.labels = torch.cat([data.labels, *(pool.data.labels for pool in made)])
        self.kind, self.source = torch.cat(kinds), torch.cat(sources)
        self.group = (self.kind * data.num_classes + self.labels).unique(return_inverse=True)[1]

    def of(self, kind: int) -> torch.Tensor:
        """int64, the members of a kind, by source."""
        found = (self.kind == kind).nonzero().flatten()
        return found[self.source[found].argsort()]

    def weights(self, arm: str, k: int, sigma: float) -> tuple[torch.Tensor, int]:
        """Weights of a training set, float64 ``[T]``, and its number of examples."""
        by_kind = torch.zeros(int(self.kind.max()) + 1, dtype=torch.float64)
        by_kind[[FAST, SLOW]] = 1
        if arm == "upsampled":
            by_kind[SLOW] = k
        elif arm == "generated":
            by_kind[self.first_copy[sigma] : self.first_copy[sigma] + k - 1] = 1
        weights = by_kind[self.kind]
        return weights / weights.sum(), int(weights.sum())


def premises(products, members: Members, model) -> list[dict]:
    """Rows of what the theory takes for granted: what generated examples have of their sources, a row per noise level;
    and the mean loss of fast, slow and generated ones."""
    first, squares = members.of(SLOW), products.squares()
    losses = losses_of(model, members)[0]
    rows = [{"arm": name, "sigma": 0.0, "metric": "loss", "value": losses[members.of(kind)].mean().item()} for name, kind in (("fast", FAST), ("slow", SLOW))]
    for sigma, kind in members.first_copy.items():
        second = members.of(kind)
        found = {
            "same_source_correlation": products.same_source_correlation(first, second),
            "synthetic_strength": (squares[second].sum() / squares[first].sum()).item(),
            "feature_ratio": products.mean_ratio(first, second),
            "loss": losses[second].mean().item(),
        }
        rows += [{"arm": "generated", "sigma": sigma, "metric": name, "value": value} for name, value in found.items()]
    return rows


def consequences(products, members: Members, sets: list) -> list[dict]:
    """Rows of what the theory says of the training sets: variances, alignment with noise, and the speed of learning."""
    slow, fast, rows = members.of(SLOW), members.of(FAST), []
    alpha = len(fast) / (len(slow) + len(fast))
    for arm, k, sigma in sets:
        weights, size = members.weights(arm, k, sigma)
        batch, over_sets = products.batch_variance(weights, BATCH_SIZE, size), products.set_variance(weights)
        subset = (members.kind >= SLOW) * weights  # of copies, each counts
        speed, own, correlation = products.speed(weights), products.own_alignment(weights), 1.0
        if arm == "generated":
            correlation = products.same_source_correlation(slow, members.of(members.first_copy[sigma]))
        found = {
            "batch_variance": batch,
            "set_variance": over_sets,
            "set_share": over_sets / (batch + over_sets),
            "set_variance_formula": relative_set_variance(k, alpha, correlation),
            "noise_align": ((subset * products.alignment(weights).abs()).sum() / subset.sum()).item(),
            "noise_align_own": ((subset * own).sum() / subset.sum()).item(),
            "own_share": (own[slow].mean() / speed[slow].mean()).item(),
            "speed_slow": speed[slow].mean().item(),
            "speed_fast": speed[fast].mean().item(),
        }
        row = {"arm": arm, "sigma": sigma, "x": float(k)}
        rows += [row | {"metric": name, "value": value} for name, value in found.items()]
    return rows
