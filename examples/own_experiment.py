"""An experiment of one's own: do wider networks gain? Results of tasks are kept: a second run has only what is new.

``python examples/own_experiment.py`` runs it here; `synaug.run.sweep` runs ``EXPERIMENT``'s tasks elsewhere.
"""

from dataclasses import dataclass

from synaug import build_classifier, load_dataset, train_classifier
from synaug.classifiers import accuracy, predict
from synaug.run import Experiment, Settings, Task, param
from synaug.statistics.contrasts import paired


@dataclass(frozen=True, kw_only=True)
class Widths(Settings):
    widths: tuple[int, ...] = param("channels of the first stage", each=True, at_least=1)
    seeds: int = param("networks per width", at_least=2)
    steps: int = param("optimiser steps of each", at_least=1)


def digits_read(width: int, seed: int, steps: int) -> dict[str, float]:
    train, test = load_dataset("digits"), load_dataset("digits", "test")
    model = build_classifier("resnet8", train.image_shape, train.num_classes, seed, width)
    train_classifier(model, train.images, train.labels, steps=steps, seed=seed, augment="none")
    return {"test_accuracy": accuracy(predict(model, test.images), test.labels)}


def rows(s: Widths):
    """Pairs of columns and the task that measures."""
    for width in s.widths:
        for seed in range(s.seeds):
            yield {"x": width, "seed": seed}, Task(digits_read, {"width": width, "seed": seed, "steps": s.steps})


PROFILES = {"smoke": {"widths": (2, 4), "seeds": 2, "steps": 10}, "quick": {"widths": (2, 4, 8), "seeds": 5, "steps": 60}}
EXPERIMENT = Experiment("widths", Widths, PROFILES, rows, constants={"dataset": "digits", "arm": "resnet8", "swept": "width"})

if __name__ == "__main__":
    from own_experiment import EXPERIMENT  # by the name under which other processes find its tasks

    print(paired(EXPERIMENT.run(), {"x": 2}, by=("x",), metric="test_accuracy").round(3).to_string(index=False))
