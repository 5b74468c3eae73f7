"""Keys follow everything a result depends on, and nothing else; results are kept as they come."""

import sys
from functools import partial

import numpy as np
import pytest
import task_functions as functions
from task_functions import ran

from synaug import dependencies
from synaug.augmentation.synthetic_pool import generate_pool
from synaug.data import load_image_folder
from synaug.dependencies import code_of
from synaug.metrics.encoders import encode
from synaug.run import Store, Task
from synaug.run.tasks import MISSING, ordered


def mean(notes, seed=0, power=1):
    return Task(functions.mean, {"power": power, "notes": notes}, (Task(functions.pool, {"seed": seed, "notes": notes}),))


def test_each_task_runs_once_with_what_it_needs(notes, store):
    expected = float((np.random.default_rng(0).random(100) ** 2).mean())
    assert store.get(mean(notes, power=2)) == {"mean": expected} == Store().get(mean(notes, power=2))
    assert store.get(mean(notes, power=1)) != {"mean": expected} and ran(notes, "pool") == 1 and ran(notes, "mean") == 2
    assert mean(notes) in store and mean(notes, seed=1) not in store and store.find(mean(notes, seed=1)) is MISSING


def test_needs_are_not_read_where_a_result_is_there(notes, store):
    store.get(mean(notes))
    store.path(mean(notes).needs[0]).unlink()
    Store().get(mean(notes))
    assert ran(notes) == 2


def test_keys_are_of_function_parameters_and_needs(notes):
    made = [
        mean(notes),
        mean(notes, power=2),
        mean(notes, seed=1),
        mean(notes).needs[0],
        Task(functions.failing, {"x": 0, "notes": notes}),
        Task(functions.square, {"x": 0, "notes": notes}),
    ]
    assert len({task.key for task in made}) == 6 and mean(notes).key == mean(notes).key
    assert len(ordered([mean(notes), mean(notes, power=2), mean(notes)])) == 3
    assert Task(functions.square, {"x": 1, "notes": "n"}).key == Task(functions.square, {"notes": "n", "x": 1}).key


def test_a_damaged_result_is_made_again(notes, store):
    store.get(mean(notes))
    store.path(mean(notes)).write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"):
        store.get(mean(notes))
    assert ran(notes, "mean") == 2 and Store().get(mean(notes)) and ran(notes) == 3


def test_where_nothing_can_be_stored_results_stay_in_memory(notes, tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    with pytest.warns(UserWarning, match="cannot be kept"):
        for _ in range(2):
            store.get(mean(notes))
            store.get(mean(notes, power=2))
    assert ran(notes) == 3 and store.seconds(mean(notes)) > 0


def test_long_work_goes_on_where_it_was_cut(notes, store):
    task = Task(functions.counted, {"n": 5, "notes": notes})
    with pytest.raises(RuntimeError, match="cut"):
        store.get(task)
    assert store.get(task) == 5 and ran(notes, "counted-from-0") == ran(notes, "counted-from-3") == 1
    assert not any((store.folder.parent / "unfinished").iterdir())


@pytest.mark.parametrize("function", [lambda x: x, partial(print, 1), Store.get, Store().get])
def test_functions_that_other_processes_cannot_have_are_refused(function):
    with pytest.raises(ValueError, match="other processes can import"):
        Task(function, {"x": 1})


def test_calls_that_cannot_be_are_refused_before_anything_runs(notes):
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        Task(functions.square, {"x": 1, "notes": notes, "y": 2})
    with pytest.raises(TypeError, match="missing a required argument: 'notes'"):
        Task(functions.square, {"x": 1})
    with pytest.raises(TypeError, match="plain data"):
        Task(functions.square, {"x": object(), "notes": notes})


FILES = {
    "__init__.py": "from toyp.deep import helper\n",
    "top.py": '"""Top."""\nfrom toyp import helper\nimport toyp.other\nUNUSED = 1\nSCALE = 2\ndef used(x):\n    return SCALE * helper(x)\n'
    "def apart(x):\n    from toyp import lazy\n    return lazy.f(x)\ndef task(x):\n    return used(x)\n",
    "deep.py": "from toyp.deeper import BASE\ndef helper(x):\n    return x + BASE\n",
    "deeper.py": "BASE = 1\nTABLE = {}\nTABLE['a'] = BASE\n",
    "other.py": "X = 1\n",
    "lazy.py": "def f(x):\n    return x\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk; a function that edits a file, and says whether the code of top's functions has changed."""
    folder = tmp_path / "toyp"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def codes():
        for cached in (dependencies.code_of, dependencies._file, dependencies._parsed, dependencies._definitions, dependencies._reached, dependencies._dumped):
            cached.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "toyp"]:
            del sys.modules[name]
        import toyp.top

        return code_of(toyp.top.task), code_of(toyp.top.apart)

    first = codes()

    def changed(file, old, new):
        path = folder / file
        path.write_text(path.read_text().replace(old, new))
        assert path.read_text() != FILES[file]
        after = codes()
        path.write_text(FILES[file])
        return tuple(a != b for a, b in zip(first, after))

    yield changed
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyp"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "edit, expected",
    [
        (("top.py", "SCALE = 2", "SCALE = 3"), (True, False)),
        (("top.py", "return used(x)", "return used(x) + 1"), (True, False)),
        (("deep.py", "x + BASE", "x - BASE"), (True, False)),  # through the package's __init__
        (("deeper.py", "BASE = 1", "BASE = 2"), (True, False)),  # two imports away
        (("deeper.py", "TABLE['a']", "TABLE['b']"), (True, False)),
        (("lazy.py", "return x", "return -x"), (False, True)),  # imported inside the function
        (("top.py", "UNUSED = 1", "UNUSED = 2"), (False, False)),
        (("other.py", "X = 1", "X = 2"), (False, False)),  # imported, but not named by either
        (("top.py", '"""Top."""', '"""Other words."""'), (False, False)),
        (("deep.py", "def helper(x):\n", 'def helper(x):\n    """Says more."""  # and more\n'), (False, False)),
    ],
)
def test_keys_follow_the_code_that_a_function_reaches(package, edit, expected):
    assert package(*edit) == expected


def test_the_code_of_chapters_reaches_what_they_are_made_of():
    """What hand-kept lists once left out."""
    from synaug.chapters import mode_concentration

    synaug = frozenset({"synaug"})
    names = dependencies._closure(
        [
            name
            for node in dependencies._definitions("synaug.chapters.mode_concentration")["compare"]
            for name in dependencies._imported(node, "synaug.chapters.mode_concentration", synaug)
        ],
        synaug,
    )
    assert {"synaug.metrics.comparison", "synaug.metrics.distances", "synaug.metrics.frechet"} <= names
    assert code_of(mode_concentration.compared) != code_of(mode_concentration.scored)


def test_a_users_own_function_depends_on_the_parts_of_synaug_that_it_calls(tmp_path, monkeypatch):
    """Tasks of one's own module, which `synaug` knows nothing of."""
    (tmp_path / "mine.py").write_text("from synaug.metrics import prdc\ndef task(x):\n    return prdc(x, x, k=1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine

    packages, own = frozenset({"mine", "synaug"}), dependencies._definitions("mine")["prdc"][0]
    assert "synaug.metrics.neighbours" in dependencies._closure(dependencies._imported(own, "mine", packages), packages)
    before, dumped = code_of(mine.task), dependencies._dumped
    monkeypatch.setattr(dependencies, "_dumped", lambda name: dumped("ast" if name == "synaug.metrics.distances" else name))
    dependencies.code_of.cache_clear()
    assert code_of(mine.task) != before
    dependencies.code_of.cache_clear()


@pytest.mark.parametrize(
    "function, module",
    [
        (generate_pool, "synaug.diffusion.samplers"),
        (generate_pool, "synaug.diffusion.schedules"),
        (encode, "synaug.checks"),
        (load_image_folder, "synaug.data.images"),
    ],
)
def test_so_do_the_functions_that_keep_what_they_find_themselves(function, module, monkeypatch):
    before, dumped = code_of(function), dependencies._dumped
    monkeypatch.setattr(dependencies, "_dumped", lambda name: dumped("ast" if name == module else name))
    dependencies.code_of.cache_clear()
    assert code_of(function) != before
    dependencies.code_of.cache_clear()
