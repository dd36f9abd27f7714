"""What importing lsr costs, what it hands on, and which room stands on which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lsr

PACKAGE = Path(lsr.__file__).parent
HEAVY = ["numpy", "numba", "torch", "onnxruntime", "scipy"]

# The floors of the house, lowest first. A room imports from floors below its own, and from itself.
FLOORS = [
    {"bm25", "disk", "errors", "limits", "npz", "processors", "schema", "sparse", "sparse_rules", "torch_tensors"},
    {"hits"},
    {"corpus", "run_file"},
    {"encoders"},
    {"index"},  # on a floor of its own: it may use encoders, and encoders never the index
    {"rerank"},  # what an index found, scored again
    {"eval"},  # stands on all that it measures
    {"rag", "training"},  # measure what they search for, and what they train
    {"cli"},
    {"__main__"},
]
# `lsr` itself only hands names on, each when it is asked for, so it may name rooms of every floor.
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """(line, full name) of all that a file imports from lsr, inside functions and for type checkers too.

    A bare `import lsr` is left out: it loads no room, and is how rooms read the version.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("lsr."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            if node.module == "lsr":
                yield from ((node.lineno, f"lsr.{alias.name}") for alias in node.names)
            elif node.module is not None and node.module.startswith("lsr."):
                yield node.lineno, node.module


def test_importing_lsr_loads_nothing_heavy() -> None:
    code = f"import sys, lsr; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_export_list_is_sorted_and_every_name_resolves() -> None:
    assert lsr.__all__ == sorted(lsr.__all__)
    for name in lsr.__all__:
        assert getattr(lsr, name).__name__ == name


def test_dir_shows_what_is_exported() -> None:
    assert set(dir(lsr)) == {*lsr.__all__, "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_by_this_name"):
        lsr.nothing_by_this_name  # noqa: B018


def test_every_room_is_on_a_floor() -> None:
    assert {room_of(file) for file in modules()} - {"__init__"} <= set(FLOOR_OF)


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_module_imports_upward(file: Path) -> None:
    room = room_of(file)
    if room == "__init__":
        return
    for line, name in imported_modules(file):
        parts = name.split(".")
        # What lsr itself hands on counts as the room that it comes from.
        other = parts[1] if parts[1] in FLOOR_OF else lsr._HOME.get(parts[1], "lsr.?").split(".")[1]
        if parts[1] == "__version__" or other == room:
            continue
        assert other in FLOOR_OF, f"{file}:{line} imports {name}, which is in no room"
        below = FLOOR_OF[other] < FLOOR_OF[room]
        same_ground = FLOOR_OF[other] == FLOOR_OF[room] == 0  # errors, files and sparse are one floor
        assert below or same_ground, f"{file}:{line}: {room} imports {name}, which stands above it"


@pytest.mark.parametrize("room", ["index", "rerank", "rag/graph"])
def test_no_kernel_imports_a_room_but_its_own(room: str) -> None:
    """Kernels take plain arrays: they know no objects and no files."""
    files = sorted((PACKAGE / room / "kernels").glob("*.py"))
    assert files
    for file in files:
        for line, name in imported_modules(file):
            assert name.startswith(f"lsr.{room.replace('/', '.')}.kernels"), f"{file}:{line} imports {name}"


@pytest.mark.parametrize(
    "room",
    [
        "corpus",
        "disk",
        "encoders",
        "errors",
        "eval",
        "hits",
        "index",
        "limits",
        "npz",
        "rerank",
        "run_file",
        "sparse",
        "sparse_rules",
        "training",
    ],
)
def test_the_export_list_of_each_room_is_sorted_and_resolves(room: str) -> None:
    module = importlib.import_module(f"lsr.{room}")
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)
