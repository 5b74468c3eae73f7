"""A chapter in few lines: shares of synthetic images at a fixed total, as rows of tasks."""

import pytest

from synaug.chapters.how_much_and_how_mixed import EXPERIMENT, PROFILES, mixed_images
from synaug.run import Store
from synaug.statistics.contrasts import paired


def test_shares_of_synthetic_and_of_fresh_real_images_are_compared():
    frame = EXPERIMENT.run("smoke")
    assert len(frame) == 2 * 3 * 2 and frame["value"].between(0, 1).all()
    at_zero = frame[frame["x"] == 0].pivot(index="seed", columns="arm", values="value")
    assert (at_zero["generated"] == at_zero["fresh real"]).all()  # the same images
    table = paired(frame[frame["arm"] == "generated"], {"x": 0.0}, by="x")
    assert list(table["x"]) == [0.5, 1.0] and (table["n"] == 2).all()


def test_mixtures_hold_the_share_that_was_asked_for():
    s = EXPERIMENT.settings("smoke")
    mixtures = {task.params["share"]: task for task in EXPERIMENT.tasks(s) if task.function is mixed_images}
    own = Store().get(mixtures[0.5].needs[0])
    for share, task in mixtures.items():
        images = Store().get(task)
        kept = set(images.source_index.tolist()) & set(own.source_index.tolist())
        assert len(images) == PROFILES["smoke"]["n_images"] and len(kept) >= round((1 - share) * len(images))


@pytest.mark.parametrize("wrong, message", [({"shares": [0, 1.5]}, "shares .*at most 1, got 1.5"), ({"n_images": 10**6}, "and 10000"),
                                            ({"n_evaluate": 9}, "n_evaluate must lie"), ({"shares": []}, "shares must hold"),
                                            ({"recipe": "adam"}, "recipe")])
def test_what_cannot_be_mixed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings(**{"profile": "smoke", **wrong})
