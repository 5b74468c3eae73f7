"""A small run of a chapter's experiment: at profile smoke, with what its test module changes (``SMALL``), if anything."""

import pytest

from synaug.run import Store


@pytest.fixture(scope="module")
def small(request):
    return {"profile": "smoke", **getattr(request.module, "SMALL", {})}


@pytest.fixture(scope="module")
def chosen(request, small):
    return request.module.EXPERIMENT.settings(**small)


@pytest.fixture(scope="module")
def frame(request, small):
    return request.module.EXPERIMENT.run(**small)


@pytest.fixture(scope="module")
def get(frame):
    """What gives the results of tasks, which that run has left."""
    return Store().get
