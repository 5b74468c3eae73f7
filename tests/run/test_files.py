"""What is stored reads back equal, or is refused when it is stored; a damaged file is made again."""

import json
import random
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from synaug import files
from synaug.data import load_dataset
from synaug.metrics import compare


def equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert a.attrs == b.attrs
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        [equal(x, y) for x, y in zip(a, b)]
    elif isinstance(a, dict):
        assert list(a) == list(b)
        [equal(a[key], b[key]) for key in a]
    else:
        assert a == b or a != a and b != b


def frame():
    made = pd.DataFrame(
        {
            "x": [0.1, np.nan],
            "n": [1, 2],
            "ok": [True, False],
            "arm": ["a", None],
            "mixed": pd.Series(["a", 1.5], dtype=object),
            "k": pd.array([5, None], dtype="Int64"),
            "f": pd.array([5.5, None], dtype="Float64"),
            "s": np.float32([1, 2]),
        }
    )
    made.attrs = {"provenance": {"levels": (1, 2)}}
    return made


VALUES = {
    "frame": frame,
    "empty frame": lambda: pd.DataFrame({"x": []}),
    "comparison": lambda: compare(*np.random.default_rng(0).normal(size=(2, 60, 3)), k=5, n_bootstrap=10),
    "numbers": lambda: {0: 0.5, 1.5: None, True: float("inf"), "nan": float("nan")},
    "nested": lambda: [(), ("a", [1, {"x": (True,)}]), "text"],
    "arrays": lambda: [np.arange(3, dtype=">i4"), np.zeros((0, 4)), np.array(3.5), np.ones((3, 2))[::-1, ::-1], np.array(["ä"])],
    "tensors": lambda: [torch.randn(2, 3).bfloat16(), torch.tensor(True), torch.tensor(1.5).half(), torch.zeros(0, 2), torch.tensor([1j]).conj()],
}


@pytest.mark.parametrize("kind", VALUES)
def test_what_is_stored_reads_back_equal(kind, tmp_path):
    value = VALUES[kind]()
    files.save(tmp_path / "a" / "b.zip", value, {"seconds": 1.5})
    equal(files.load(tmp_path / "a" / "b.zip"), value)
    assert files.load_about(tmp_path / "a" / "b.zip") == {"seconds": 1.5}


def test_dataclasses_of_the_package_read_back(tmp_path):
    images = load_dataset("digits").subset(range(5))
    files.save(tmp_path / "a.zip", images)
    again = files.load(tmp_path / "a.zip")
    assert torch.equal(again.images, images.images) and torch.equal(again.source_index, images.source_index)
    assert (again.class_names, again.name) == (images.class_names, images.name)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1},
        {(1, 2): 3},
        np.array([object()]),
        pd.DataFrame({"a": [[1], [2]]}),
        lambda: 1,
        1j,
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({1: [2]}),
        pd.DataFrame({"a": [1]}, index=["row"]),
        pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}),
        pd.DataFrame({"a": pd.Categorical(["x"])}),
        pd.DataFrame({"class": ["a", "b"], "x": [1, 2]}).groupby("class").mean(),
        pd.Series([1]),
        torch.nn.Linear(1, 1),
        pd.DataFrame({"a": [1]}).rename_axis(columns="metric"),
        pd.DataFrame({"a": [1, 2]}, index=[0.0, 1.0]),
        pd.DataFrame({"a": [pd.NA, "x"]}, dtype=object),
        np.ma.array([1, 2], mask=[False, True]),
        np.matrix([[1]]),
    ],
)
def test_what_would_not_read_back_is_refused(value, tmp_path):
    with pytest.raises(TypeError):
        files.save(tmp_path / "a.zip", {"deep": [value]})
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_a_warning_and_made_again(tmp_path):
    """Cut, emptied, of another kind, or with any byte changed: the stored value, or a warning and a new one."""
    path, value = tmp_path / "a.zip", {"images": np.arange(64), "frame": frame(), "text": "x" * 50}
    files.save(path, value)
    whole, draw, warned = path.read_bytes(), random.Random(0), 0
    damaged = [whole[: len(whole) // 2], b"", b"no zip", whole[:-1]]
    for _ in range(150):
        place = draw.randrange(len(whole))
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = files.kept(path, lambda: "new")
        if found == "new":
            assert "cannot be read" in str(caught[0].message) and files.load(path) == "new"
            warned += 1
        else:
            equal(found, value)
    assert warned > 100


def test_no_code_in_a_file_is_run(tmp_path):
    path = tmp_path / "a.zip"
    for described in ({"object": "os.system", "fields": [["command", {"plain": "true"}]]}, {"object": "synaug.files.kept", "fields": []}):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.json", json.dumps({"about": {}, "value": described}))
        with pytest.raises(KeyError):
            files.load(path)


def test_a_folder_that_cannot_be_written_costs_the_cache_not_the_result(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="results cannot be kept in"):
        assert files.kept(tmp_path / "file" / "a.zip", lambda: 3) == 3


def test_canonical_json_and_content_keys():
    assert files.canonical_json({"b": np.float32(0.5), "a": (1, 2)}) == files.canonical_json({"a": [1, 2], "b": 0.5})
    with pytest.raises(TypeError, match="plain data, got function"):
        files.canonical_json({"a": files.canonical_json})
    with pytest.raises(ValueError):
        files.canonical_json({"a": float("nan")})
    images = torch.arange(8)
    keys = {
        files.content_key(images),
        files.content_key(images.int()),
        files.content_key(images.view(2, 4)),
        files.content_key(images, "a"),
        files.content_key(images, {"a": 1}),
        files.content_key("a", images),
    }
    assert len(keys) == 6 and files.content_key(images[::2]) == files.content_key(torch.tensor([0, 2, 4, 6]))
