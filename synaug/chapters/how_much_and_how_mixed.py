"""How many of a training set's images may be synthetic? Shares of them at a fixed total, beside as many fresh real ones."""

from dataclasses import dataclass

from synaug.augmentation import mixture
from synaug.chapters.tasks import generated, network, real, real_images_of, scored, trained
from synaug.classifiers import build_classifier
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.training import check_recipe
from synaug.data import ImageDataset
from synaug.run import Experiment, Settings, Task, param


@dataclass(frozen=True, kw_only=True)
class Mixing(Settings):
    generator: str = param("name or folder of a trained generator, whose training images are the real ones", "fashion_mnist")
    n_images: int = param("training images of every mixture", at_least=20)
    shares: tuple[float, ...] = param("shares of them that are synthetic", each=True, at_least=0, at_most=1)
    sampling_steps: int = param("steps of the sampler", 18, at_least=1)
    n_evaluate: int = param("real test images on which classifiers are scored; None: all", at_least=1, optional=True)
    classifier: str = param("the network", "resnet8", options=tuple(ARCHITECTURES))
    steps: int = param("optimiser steps, the same for every mixture", at_least=1)
    recipe: str = param("learning rates of the training, see synaug.classifiers.train_classifier", "one_cycle")
    seeds: int = param("paired trainings of each mixture", at_least=1, at_most=1000)

    def check(self):
        images = real_images_of(self.generator)
        classes, both = images.test.num_classes, min(len(images.trained), len(images.unseen))
        for name, most in (("n_images", both), ("n_evaluate", len(images.test))):
            if not classes <= (getattr(self, name) or most) <= most:
                raise ValueError(f"{name} must lie between {classes}, one per class, and {most} (n_images: as many real and "
                                 f"as many fresh images), got {getattr(self, name)}")
        if not self.shares:
            raise ValueError("shares must hold at least one")
        check_recipe(self.recipe, "flip")
        build_classifier(self.classifier, images.test.image_shape, classes, seed=0)


PROFILES = {
    "smoke": dict(n_images=60, shares=(0.0, 0.5, 1.0), sampling_steps=2, n_evaluate=100, steps=5, seeds=2),
    "quick": dict(n_images=1000, shares=(0.0, 0.5, 1.0), sampling_steps=9, n_evaluate=2000, steps=100, seeds=2),
    "standard": dict(n_images=2000, shares=(0.0, 0.25, 0.5, 0.75, 0.9, 1.0), n_evaluate=None, steps=800, seeds=10),
}


def rows(s: Mixing):
    """Test accuracy by share and seed; at share 0 both arms are the real images."""
    own, fresh, test = real(s, "trained", s.n_images), real(s, "unseen", s.n_images), real(s, "test", s.n_evaluate)
    synthetic = Task(generated, {**network(s), "seed": 0, "steps": s.sampling_steps}, (own,))
    training = {"architecture": s.classifier, "steps": s.steps, "recipe": s.recipe, "device": s.device}
    for arm, others in (("generated", synthetic), ("fresh real", fresh)):
        for share in s.shares:
            for seed in range(s.seeds):
                mixed = Task(mixed_images, {"share": share, "seed": seed}, (own, others))
                model = Task(trained, {**training, "seed": seed}, (mixed,))
                yield {"arm": arm, "x": share, "seed": seed}, Task(scored, {"device": s.device}, (model, test))


EXPERIMENT = Experiment("mixing_ratio", Mixing, PROFILES, rows, constants={"swept": "synthetic_share"},
                        finish=lambda frame, s: frame.assign(dataset=real_images_of(s.generator).test.name))


def mixed_images(real: ImageDataset, others: ImageDataset, share: float, seed: int) -> ImageDataset:
    return mixture(real, others, synthetic_share=share, seed=seed).data
