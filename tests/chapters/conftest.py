"""Small runs of a chapter's experiment, or of each of its ``MODULES``: at profile smoke, with what its test module changes
(``SMALL``), if anything, and on an untrained generator of digits where it is ``UNTRAINED``."""

import pytest

from synaug.data import load_dataset, stratified_subset
from synaug.run import Store


@pytest.fixture(scope="module")
def small(request):
    generator = {"generator": request.getfixturevalue("untrained_generator")} if getattr(request.module, "UNTRAINED", False) else {}
    return {"profile": "smoke", **generator, **getattr(request.module, "SMALL", {})}


@pytest.fixture(scope="module")
def chosen(request, small):
    return request.module.EXPERIMENT.settings(**small)


@pytest.fixture(scope="module")
def frame(request, small):
    return request.module.EXPERIMENT.run(**small)


@pytest.fixture(scope="module")
def frames(request):
    return [module.EXPERIMENT.run("smoke") for module in request.module.MODULES]


@pytest.fixture(scope="module")
def real():
    return stratified_subset(load_dataset("fashion_mnist", "test"), 60, 0)


@pytest.fixture(scope="module")
def get(frame):
    """What gives the results of tasks, which that run has left."""
    return Store().get
