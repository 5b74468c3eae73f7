"""What experiments share: which real images play which part, and classifiers that are trained only once."""

import hashlib
from dataclasses import dataclass

import torch

from synaug.classifiers.training import check_recipe
from synaug.classifiers import build_classifier, train_classifier
from synaug.data import ImageDataset, load_dataset, stratified_subset
from synaug.diffusion.training import trained_on
from synaug.precision import channels_last


@dataclass(frozen=True)
class RealImages:
    """The images of a generator's data set by what they can be used for.

    trained: the generator was trained on them. unseen: the rest of the training split. test: the test split.
    """

    trained: ImageDataset
    unseen: ImageDataset
    test: ImageDataset


def real_images(generator, dataset=None):
    """`RealImages` of a saved generator, by its training record.

    dataset: the name of the data set that they must come from, None for the generator's own; ValueError where it
    was trained on another.
    """
    whole, trained = trained_on(generator)
    if dataset not in (None, whole.name):
        raise ValueError(f"the generator {generator} was trained on {whole.name}, not on {dataset}: "
                         f"name one that was, or leave dataset out")
    # Not by position: where a data set has no original split, source indices count through all of it.
    unseen = ~torch.isin(whole.source_index, trained.source_index)
    return RealImages(trained, whole.subset(unseen.nonzero().flatten()), load_dataset(whole.name, "test"))


def some(dataset, n, seed=0):
    """The first n of the data set's stratified order, all of it in that order for None."""
    return stratified_subset(dataset, len(dataset) if n is None else n, seed)


def digest(dataset):
    """Hex digest of a data set's images and labels: the part of a cell's key that stands for its data."""
    content = hashlib.sha256(dataset.images.contiguous().numpy().tobytes())
    content.update(dataset.labels.numpy().tobytes())
    return content.hexdigest()[:16]


def check_training(dataset, *, architecture, steps, recipe, augment="flip"):
    """The untrained network; ValueError where `trained_once` could not train it by the recipe on the data set."""
    model = build_classifier(architecture, dataset.image_shape, dataset.num_classes, seed=0)
    check_recipe(recipe, augment)
    if steps < 1:
        raise ValueError(f"a classifier needs at least one training step, got {steps}")
    return model


def trained_once(cache, dataset, *, architecture, steps, recipe, seed, device="cpu", progress=False, **options):
    """A classifier trained on a data set, in evaluation mode; its weights are a cell of ``cache``.

    options: further ones of `synaug.classifiers.train_classifier`, such as augment. A training that was cut goes on.
    """
    params = {"what": "weights", "pool": digest(dataset), "seed": seed, "architecture": architecture, "steps": steps,
              "recipe": recipe, **options}
    model = build_classifier(architecture, dataset.image_shape, dataset.num_classes, seed)
    state = cache.path(params).with_suffix(".training")

    def run():
        train_classifier(model, dataset.images, dataset.labels, steps=steps, seed=seed, recipe=recipe, device=device,
                         progress=progress, checkpoint=state, **options)
        return {name: value.cpu().numpy() for name, value in model.state_dict().items()}

    weights = cache.get_or_run(params, run)
    state.unlink(missing_ok=True)
    model.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    # Trained now or earlier: in one memory format, so that its answers agree in every digit.
    return channels_last(model.to(device)).eval()
