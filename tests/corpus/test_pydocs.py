"""The documentation installed with Python: what is found, under which names, and that nothing is run to find it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsr.corpus import Document, python_documentation
from lsr.corpus.pydocs_names import found_in
from lsr.corpus.pydocs_source import Sources


@pytest.fixture(scope="module")
def found() -> dict[str, Document]:
    return {document.id: document for document in python_documentation()}


def test_there_are_thousands_of_distinct_texts(found: dict[str, Document]) -> None:
    assert 5000 < len(found) <= 12_000
    assert len({d.text for d in found.values()}) == len(found)
    assert all(len(d.text) >= 25 and "\0" not in d.text for d in found.values() if d.metadata["kind"] != "topic")


def test_a_limit_keeps_the_most_useful_in_the_same_order(found: dict[str, Document]) -> None:
    few = list(python_documentation((), limit=3000))
    assert few == list(found.values())[:3000]
    order = [
        kind
        for kind, _ in itertools.groupby(d.metadata["kind"] in ("topic", "method") and d.metadata["kind"] for d in few)
    ]
    assert order in (["topic", False], ["topic", False, "method"])
    assert list(python_documentation((), limit=0)) == []


@pytest.mark.parametrize(
    "name",
    [
        # compress a file
        *(
            "gzip",
            "gzip.open",
            "gzip.compress",
            "zipfile.ZipFile",
            "bz2.open",
            "lzma.open",
            "tarfile.open",
            "zlib.compress",
        ),
        "shutil.make_archive",
        # run a function at exit
        "atexit.register",
        # written in C, found through the module that hands it on
        *("os.stat", "io.BytesIO", "struct.pack", "collections.deque", "functools.reduce", "math.sqrt", "csv.reader"),
        *("itertools.chain", "socket.socket", "decimal.Decimal", "signal.signal", "datetime.datetime", "time.sleep"),
        # built in: the names that are typed
        *("open", "print", "str.join", "dict.get", "ValueError"),
        # in private modules, handed on by public ones
        *("asyncio.run", "asyncio.gather", "os.path.join", "collections.abc.Mapping", "unittest.mock.patch"),
        # methods made functions
        *("random.choice", "logging.handlers.RotatingFileHandler", "pathlib.Path", "subprocess.run", "re.sub"),
    ],
)
def test_things_are_found_under_the_names_that_users_know(found: dict[str, Document], name: str) -> None:
    assert found[name].title == name
    assert name.startswith(found[name].metadata["module"]) or found[name].metadata["module"] == "builtins"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("numpy.linalg.norm", "norm"),
        ("numpy.sin", "sine"),
        ("numpy.ndarray.sort", "in-place"),
        ("numpy.random.Generator.normal", "Gaussian"),
        ("scipy.special.erf", "error function"),
        ("scipy.stats.norm", "normal"),
        ("scipy.optimize.minimize", "inimiz"),
        ("scipy.spatial.KDTree", "kd-tree"),
        ("numba.njit", "jit"),
    ],
)
def test_packages_are_found_under_their_public_names(found: dict[str, Document], name: str, said: str) -> None:
    assert said in found[name].text
    assert not found[name].text.startswith(name.rpartition(".")[2] + "(")  # the signature is not said again


def test_metadata_say_module_kind_and_signature(found: dict[str, Document]) -> None:
    assert found["shutil.copyfile"].metadata["kind"] == "function"
    assert found["shutil.copyfile"].metadata["signature"].startswith("(src, dst, ")
    assert found["math.sqrt"].metadata == {"module": "math", "kind": "function", "signature": "(x, /)"}
    assert found["str.join"].metadata == {"module": "builtins", "kind": "method", "signature": "(iterable, /)"}
    assert found["zipfile"].metadata == {"module": "zipfile", "kind": "module"}
    assert found["logging.handlers.RotatingFileHandler"].metadata["kind"] == "class"


def test_topics_of_the_language_are_passages(found: dict[str, Document]) -> None:
    document = found["topic:for#0"]
    assert document.title == 'The "for" statement'
    assert document.metadata["kind"] == "topic"
    assert document.text.startswith('The "for" statement is used to iterate')
    topics = [d for d in found.values() if d.metadata["kind"] == "topic"]
    assert len(topics) > 200
    assert max(len(d.text.split()) for d in topics) <= 440
    # the page on compound statements repeats the page on "for"
    assert sum('The "for" statement is used to iterate' in d.text for d in topics) == 1


def test_the_private_and_the_useless_are_left_out(found: dict[str, Document]) -> None:
    parts = {part for name in found for part in name.split("#")[0].split(":")[-1].split(".")}
    assert not [part for part in parts if part.startswith("_")]
    assert not parts & {"antigravity", "idlelib", "lib2to3", "ntpath" if os.name != "nt" else "posixpath", "turtledemo"}
    assert not [name for name in found if name.startswith(("test.", "encodings.cp", "numpy.tests", "numpy.core"))]


def run_python(*arguments: str, code: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


COUNT = "from lsr.corpus import python_documentation as p; print(sum(1 for _ in p((), limit=None)))"


def test_nothing_is_run_and_no_warning_is_shown() -> None:
    code = COUNT + "; import sys; print(*sorted(sys.modules))"
    count, modules = run_python("-W", "error", code=code).splitlines()
    assert int(count) > 4000
    assert not set(modules.split()) & {
        "antigravity",
        "this",
        "tkinter",
        "turtle",
        "readline",
        "numpy",
        "idlelib",
        "test",
    }


def test_without_docstrings_in_memory_the_sources_still_have_them() -> None:
    assert int(run_python("-OO", code=COUNT)) > 4000


def test_missing_sources_and_packages_give_fewer_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gzip.py").write_text("def broken(:\n")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    documents = {d.id for d in python_documentation(["no_such_package", "no_such.package", "gzip"])}
    assert "math.sqrt" in documents
    assert "gzip.open" not in documents
    assert 500 < len(documents) < 4000


# -- names, on a package made for it -------------------------------------------------------------------------------


def names_in(folder: Path, files: dict[str, str], top: str = "pkg") -> dict[str, str]:
    """Dotted names and docstrings of what is found in a package of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return {item.name: item.entry.doc for item in found_in([top], Sources(folder)) if item.entry.kind != "module"}


def test_the_shortest_public_name_wins(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "from .sub import f\nfrom ._private import g, _h\nfrom . import other",
        "pkg/sub.py": "def f():\n  'F'",
        "pkg/_private.py": "def g():\n  'G'\ndef _h():\n  'H'\ndef unseen():\n  'U'",
        "pkg/other.py": "from os import walk\nfrom .sub import f\nclass C:\n  'C'\n  def m(self): 'M'\n  def _n(self): 'N'",
        "pkg/tests/__init__.py": "def t():\n  'T'",
    }
    assert names_in(tmp_path, files) == {"pkg.f": "F", "pkg.g": "G", "pkg.other.C": "C", "pkg.other.C.m": "M"}


def test_stars_all_and_aliases_are_followed(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "from ._a import *\n__all__ = _a.__all__",
        "pkg/_a.py": (
            "from pkg._b import *\nfrom pkg._b import gone as back\n__all__ = ['f', 'back', 'alias', 'method', 'thing']\n"
            "if True:\n  def f():\n    'F'\n"
            "class _C:\n  'a thing'\n  def method(self):\n    'M'\n"
            "def _original():\n  'O'\nalias = _original\nthing = _C()\nmethod = thing.method\n"
        ),
        "pkg/_b.py": "__all__ = []\n__all__ += ['seen']\ndef seen():\n  'S'\ndef gone():\n  'G'",
    }
    assert names_in(tmp_path, files) == {
        "pkg.f": "F",
        "pkg.back": "G",
        "pkg.alias": "O",
        "pkg.thing": "a thing",
        "pkg.thing.method": "M",
        "pkg.method": "M",
    }


def test_invalid_escapes_of_others_are_not_reported(tmp_path: Path) -> None:
    assert names_in(tmp_path, {"pkg.py": "X = '\\d'\ndef f():\n  'F'"}) == {"pkg.f": "F"}


def test_modules_that_import_each_other_end(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "from .a import *",
        "pkg/a.py": "from .b import *\nfrom .b import x\nx = x\ny = z\nz = y",
        "pkg/b.py": "from .a import *\nfrom .a import x\ndef f():\n  'F'",
    }
    assert names_in(tmp_path, files)["pkg.b.f"] == "F"
