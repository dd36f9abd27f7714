"""Arrays in the cache: made once, and again when they are not what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsr.errors import InvalidInput, StorageError
from lsr.training.cache import Cache, texts_hash

KEY = {"what": "numbers", "of": ["a", 1, None]}


class Making:
    """Makes an array, and counts how often."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array, self.times = array, 0

    def __call__(self) -> npt.NDArray[Any]:
        self.times += 1
        return self.array


ARRAYS: list[npt.NDArray[Any]] = [
    np.arange(12, dtype=np.int32).reshape(3, 4),
    np.array([0.5, -1.5], np.float16),
    np.zeros((0, 3), np.float32),
    np.arange(12.0).reshape(3, 4).T,
    np.array(7),
]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_an_array_is_made_once(array: npt.NDArray[Any], tmp_path: Path) -> None:
    making = Making(array)
    for _ in range(3):
        found = Cache(tmp_path / "new" / "cache").array(KEY, making)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert found.shape == array.shape
    assert making.times == 1


def test_what_is_there_is_mapped_and_says_what_it_is(tmp_path: Path) -> None:
    found = Cache(tmp_path).array(KEY, Making(ARRAYS[0]))
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    (path,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(path), ARRAYS[0])
    assert json.loads(path.with_suffix(".json").read_bytes())["key"] == KEY
    assert len(list(tmp_path.iterdir())) == 2  # nothing temporary is left


def test_another_key_is_another_array(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.array(KEY, Making(ARRAYS[0]))
    second = cache.array({**KEY, "what": "others"}, Making(ARRAYS[1]))
    assert np.array_equal(first, ARRAYS[0])
    assert np.array_equal(second, ARRAYS[1])


def _cut(array: Path, about: Path) -> None:
    array.write_bytes(array.read_bytes()[:-1])


def _header(array: Path, about: Path) -> None:
    array.write_bytes(array.read_bytes().replace(b"(3, 4)", b"(4, 3)"))


def _type(array: Path, about: Path) -> None:
    about.write_text(about.read_text().replace("<i4", "|O"))


def _garbage(array: Path, about: Path) -> None:
    about.write_text("{")


def _other_key(array: Path, about: Path) -> None:
    about.write_text(about.read_text().replace("numbers", "letters"))


def _no_array(array: Path, about: Path) -> None:
    array.unlink()


@pytest.mark.parametrize("damage", [_cut, _header, _type, _garbage, _other_key, _no_array])
def test_what_is_damaged_is_made_again(damage: Callable[[Path, Path], None], tmp_path: Path) -> None:
    making = Making(ARRAYS[0])
    Cache(tmp_path).array(KEY, making)
    (path,) = tmp_path.glob("*.npy")
    damage(path, path.with_suffix(".json"))
    assert np.array_equal(Cache(tmp_path).array(KEY, making), ARRAYS[0])
    assert making.times == 2


def test_without_a_folder_nothing_is_kept() -> None:
    making = Making(ARRAYS[0])
    for _ in range(2):
        assert Cache(None).array(KEY, making) is making.array
    assert making.times == 2


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Cache(tmp_path).array(KEY, lambda: np.array([1 // 0]))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no JSON"):
        Cache(tmp_path).array({"a": Path()}, Making(ARRAYS[0]))
    with pytest.raises(InvalidInput, match="must hold numbers"):
        Cache(tmp_path).array(KEY, Making(np.array([None])))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cache folder"):
        Cache(tmp_path / "file").array(KEY, Making(ARRAYS[0]))


def test_texts_are_told_apart_by_where_they_end() -> None:
    assert texts_hash(["ab", "c"]) != texts_hash(["a", "bc"])
    assert texts_hash(["a", "b"]) != texts_hash(["b", "a"])
    assert texts_hash(["\ud800"]) != texts_hash(["\ud801"])  # half characters, which JSON can carry
    assert texts_hash(["ab", "c"]) == texts_hash(("ab", "c"))
