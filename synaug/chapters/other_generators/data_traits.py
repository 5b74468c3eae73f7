"""Which data suffer? One trait of the images changes at a time; a generator is trained on each, for a short while."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from synaug.chapters.how_much_and_how_mixed import train_arm
from synaug.chapters.tasks import Trainings, at_strength, data_of, learning, part_of, trained_within
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset
from synaug.diffusion.recipe import Recipe
from synaug.run import Experiment, Task, param

#: What is compared: the data set, and its training images: 200 per class unless that is what changes.
BASE = "as it is"
SETS = {
    BASE: ("fashion_mnist", 2000),
    "100 per class": ("fashion_mnist", 1000),
    "1,000 per class": ("fashion_mnist", 10_000),
    "4,000 per class": ("fashion_mnist", 40_000),
    "2 classes": ("fashion_mnist_2_classes", 400),
    "5 classes": ("fashion_mnist_5_classes", 1000),
    "5 merged classes": ("fashion_mnist_merged", 1000),
    "low contrast": ("fashion_mnist_low_contrast", 2000),
    "textured": ("fashion_mnist_textured", 2000),
    "mislabelled": ("fashion_mnist_mislabelled", 2000),
    "MNIST": ("mnist", 2000),
    "CIFAR-10": ("cifar10", 2000),
}
#: Not CIFAR-10, which may have to be downloaded.
USUAL = tuple(name for name in SETS if name != "CIFAR-10")
#: At most so many images are added.
MOST_ADDED = 10_000


@dataclass(frozen=True, kw_only=True)
class Traits(Trainings):
    sets: tuple[str, ...] = param("what is compared", USUAL, each=True, options=tuple(SETS))
    share: float = param("of the training images that a set has", 1.0, at_least=0.01, at_most=1)
    trained_images: int = param("images that each generator has seen in its training", at_least=1)
    generator_width: int = param("channels of its first stage; the second has twice as many", 32, at_least=16)
    architecture: str = param("the network", "vgg5", options=tuple(ARCHITECTURES))

    def check(self):
        for name in self.sets:
            if (n := size(self, name)) < 2 * (classes := data_of(SETS[name][0]).num_classes):
                raise ValueError(f"share must leave two images per class: of {name} there are {n} for {classes} classes")


PROFILES = {
    "smoke": dict(
        sets=(BASE, "2 classes", "5 classes", "5 merged classes"),
        share=0.02,
        trained_images=256,
        generator_width=16,
        sampling_steps=1,
        steps=2,
        n_evaluate=50,
        seeds=2,
    ),
    "quick": dict(sets=(BASE,), share=0.1, trained_images=256, generator_width=16, sampling_steps=2, steps=4, n_evaluate=200, seeds=2),
    "standard": dict(trained_images=200_000, steps=800, first_seed=950, seeds=10),
}


def size(s: Traits, name: str) -> int:
    return round(s.share * SETS[name][1])


def added_sizes(s: Traits, name: str) -> tuple[int, int]:
    """How many images are added: a quarter of the real ones, and as many, as far as that is."""
    most = min(size(s, name), MOST_ADDED)
    return most // 4, most


def recipe_for(s: Traits, name: str) -> dict:
    return asdict(Recipe(dataset=SETS[name][0], subset_size=size(s, name), channels=(s.generator_width, 2 * s.generator_width)))


def samples(s: Traits, name: str) -> Task:
    """An image from noise for each training image, of its class, by a generator that was trained on these."""
    own, generator = trained_within(s, recipe_for(s, name))
    return Task(at_strength, {**own, "steps": s.sampling_steps, "strength": 1.0, "seed": 0}, (part(s, name, "real"), generator))


def part(s: Traits, name: str, which: str) -> Task:
    return Task(images_of, {"dataset": SETS[name][0], "n": size(s, name), "which": which, "n_evaluate": s.n_evaluate})


def rows(s: Traits) -> Iterator[tuple[dict, Task]]:
    """Test errors by set and seed: of real images, of synthetic ones alone, and of both together; x is the number added."""
    for seed in s.each_seed:
        for name in s.sets:
            few, many = added_sizes(s, name)
            real, test, fresh, made = part(s, name, "real"), part(s, name, "test"), part(s, name, "fresh"), samples(s, name)
            arms = [
                ("original", 0, (real, test)),
                ("synthetic", 0, (made, test)),
                ("added", many, (real, test, made)),
                ("fresh", few, (real, test, fresh)),
                ("fresh", many, (real, test, fresh)),
            ]
            for arm, n, needs in arms:
                options = {"n_real": size(s, name), "added": n, **learning(s), "seed": seed}
                yield (
                    {"dataset": SETS[name][0], "set": name, "arm": arm, "seed": seed, "x": float(n), "n_real": size(s, name)},
                    Task(train_arm, options, needs),
                )


EXPERIMENT = Experiment("data_traits", Traits, PROFILES, rows, constants={"swept": "images added"})


def images_of(dataset: str, n: int, which: str, n_evaluate: int | None) -> ImageDataset:
    """The images that a generator is trained on ("real"), as many as may be added of those that follow ("fresh"), or test images."""
    if which == "test":
        return part_of(dataset, "test", n_evaluate and min(n_evaluate, len(data_of(dataset, "test"))))
    whole = data_of(dataset)
    if which == "real":
        return Recipe(dataset=dataset, subset_size=n).subset(whole)
    return Recipe(dataset=dataset, subset_size=min(n, MOST_ADDED), subset_start=n).subset(whole)
