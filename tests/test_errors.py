"""The error tree is what its docstring draws, and one `except LsrError` catches all of it."""

from __future__ import annotations

import builtins
import pickle
import re
from pathlib import Path

import pytest

import lsr
from lsr import errors

_LINE = re.compile(r"^(?P<indent>[ │]*)(?:[├└]── )?(?P<name>[A-Z]\w+)  +(?P<meaning>.+)$")


def drawn_tree() -> dict[str, tuple[str | None, str]]:
    """Name of each error in the docstring: (name of its parent, what is said about it)."""
    path: list[tuple[int, str]] = []
    tree: dict[str, tuple[str | None, str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = _LINE.match(line)
        if match is None or not line.startswith("    "):
            continue
        column = match.start("name")
        while path and path[-1][0] >= column:
            path.pop()
        tree[match["name"]] = (path[-1][1] if path else None, match["meaning"])
        path.append((column, match["name"]))
    return tree


def error_classes() -> dict[str, type[Exception]]:
    return {
        name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }


def test_the_drawing_shows_every_error_under_its_parent() -> None:
    real = {}
    for name, kind in error_classes().items():
        parents = [base.__name__ for base in kind.__bases__ if issubclass(base, errors.LsrError)]
        assert len(parents) == (0 if kind is errors.LsrError else 1)
        real[name] = parents[0] if parents else None
    assert {name: parent for name, (parent, _) in drawn_tree().items()} == real


def test_the_drawing_names_the_builtin_errors_that_are_meant_too() -> None:
    for name, (_, meaning) in drawn_tree().items():
        also = {base for base in error_classes()[name].__bases__ if not issubclass(base, errors.LsrError)} - {Exception}
        said = re.findall(r"\(also an? (\w+)\)", meaning)
        assert also == {getattr(builtins, builtin) for builtin in said}, name


def test_the_export_list_is_complete_and_sorted() -> None:
    assert errors.__all__ == [*sorted(error_classes()), "one_line"]


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_every_error_has_a_docstring_of_its_own(name: str) -> None:
    assert error_classes()[name].__dict__.get("__doc__")


def test_a_missing_extra_names_the_command_and_is_an_import_error() -> None:
    error = errors.MissingExtra("pyarrow", "parquet", "reading parquet")
    assert str(error) == "reading parquet needs the package 'pyarrow': pip install 'lsr-engine[parquet]'"
    assert error.extra == "parquet"
    assert isinstance(error, ImportError)


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_errors_travel_between_processes(name: str) -> None:
    kind = error_classes()[name]
    error = errors.MissingExtra("a", "b", "c") if kind is errors.MissingExtra else kind("what, where, remedy")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind
    assert str(copy) == str(error)


def test_the_base_is_handed_on() -> None:
    assert lsr.LsrError is errors.LsrError


def test_the_library_raises_no_error_that_slips_past_lsr_error() -> None:
    for file in Path(errors.__file__).parent.rglob("*.py"):
        if "cli" not in file.parts:  # which turns errors into exit statuses
            bare = re.search(r"raise (Exception|RuntimeError|SystemExit)\b", file.read_text(encoding="utf-8"))
            assert bare is None, file
