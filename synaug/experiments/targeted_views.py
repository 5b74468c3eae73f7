"""What the page of chapter 2 shows beside its frame: images, and the training set of one's own loop."""

import torch

from synaug.augmentation import with_generated
from synaug.data import load_dataset, to_bytes
from synaug.diffusion.denoisers import load_denoiser
from synaug.experiments.targeted_cells import early, finished, generated, splits
from synaug.experiments.targeted_studies import Arm, arm_cells, sigma_of_strength
from synaug.diffusion.reconstruction import reconstruct
from synaug.augmentation.selection import select
from synaug.classifiers.warm_up import WarmUp


def class_names(settings):
    return load_dataset(settings["dataset"], "test").class_names


def selected(settings, regimes, seed=0):
    """The `Selection` of slow examples in the small regime, from the warm-up of a seed."""
    (cell, *_) = arm_cells(Arm(architecture=settings["architecture"]), seed, settings, regimes)
    shown = finished(early, cell.parameters)
    labels = splits(settings["dataset"], regimes["small"]["n_real"]).real.labels
    warm_up = WarmUp(torch.from_numpy(shown["logits"]), labels, torch.from_numpy(shown["correct"]))
    return select("slow_learnable", warm_up, seed=seed)


def pool_of(settings, regimes, k):
    """The pool of all real images of the small regime, at the usual strength."""
    arm = Arm(architecture=settings["architecture"], kind="generated", k=k, strengths=(settings["strength"],))
    parameters = arm_cells(arm, 0, settings, regimes)[-1].parameters
    return generated(**parameters["generation"], k=k)[0]


def shown_examples(settings, regimes, per_class=2):
    """Rows of images, uint8 ``[K, C, H, W]``, one class a column: typical fast examples, typical slow ones, and the
    images generated from those. Typical: of a loss nearest to the median of their cluster and class."""
    real, chosen = splits(settings["dataset"], regimes["small"]["n_real"]).real, selected(settings, regimes)
    evidence = chosen.evidence
    pool = pool_of(settings, regimes, min(settings["ks"]))
    rows = {}
    for name, cluster in (("fast", 0), ("slow", 1)):
        places = [typical(evidence[(evidence["label"] == c) & (evidence["cluster"] == cluster)], per_class)
                  for c in range(real.num_classes)]
        for i in range(per_class):
            column = [own[i] for own in places]
            rows[f"{name} {i + 1}"] = real.images[column]
            if name == "slow":
                rows[f"from slow {i + 1}"] = torch.stack([pool.data.images[pool.provenance.index[
                    (pool.provenance["source"] == place) & (pool.provenance["copy"] == 1)][0]] for place in column])
    return rows


def typical(evidence, n):
    """The places of the n examples whose loss is nearest to the median, repeated where there are fewer."""
    order = (evidence["loss"] - evidence["loss"].median()).abs().sort_values(kind="stable").index.tolist()
    return (order * n)[:n]


def strength_rows(settings, regimes, seed=0):
    """Rows of images, one class a column: a slow example, and what becomes of it at each strength, and from noise."""
    of = regimes["small"]
    real, evidence = splits(settings["dataset"], of["n_real"]).real, selected(settings, regimes).evidence
    places = [typical(evidence[(evidence["label"] == c) & (evidence["cluster"] == 1)], 1)[0]
              for c in range(real.num_classes)]
    sources = real.subset(places)
    denoiser, rows = load_denoiser(of["generator"], settings["device"]), {"real": sources.images}
    shared = {"source_index": sources.source_index, "seed": seed, "device": settings["device"]}
    for n in settings["strengths"]:
        made = reconstruct(denoiser, sources.floats(), sources.labels, sigma=sigma_of_strength(n),
                           steps=settings["sampling_steps"], **shared)
        rows[f"strength {n:g}"] = to_bytes(made.images)
    made = reconstruct(denoiser, sources.floats(), sources.labels, reverse_step=2 * settings["sampling_steps"],
                       steps=2 * settings["sampling_steps"], **shared)
    return {**rows, "from noise": to_bytes(made.images)}


def augmented(settings, regimes, k=2):
    """The `TrainingSet` of real images and of images generated from the slow ones, and the slow examples' places."""
    slow = selected(settings, regimes).indices
    real = splits(settings["dataset"], regimes["small"]["n_real"]).real
    return with_generated(real, pool_of(settings, regimes, k), sources=slow, k=k), slow
