"""What a recorded run asks of its data sets exists, so that it cannot fail for it after hours."""

import pytest

from synaug.__main__ import experiments
from synaug.data import ImageDataset
from synaug.run.tasks import ordered

#: Its generators are trained for the run alone, and not kept.
KEPT = sorted(set(experiments()) - {"targeted_draws"})


@pytest.mark.parametrize("name", KEPT)
def test_images_of_the_standard_plan_can_be_had(name):
    experiment = experiments()[name]
    plan = ordered(task for _, task in experiment.rows(experiment.settings("standard")))
    of_images = [task for task in plan if not task.needs and task.function.__annotations__.get("return") is ImageDataset]
    assert of_images or name in ("two_layer_cnn", "exact_score")
    for task in of_images:
        assert len(task.function(**task.params))
