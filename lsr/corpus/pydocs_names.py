"""Under which name users know each documented thing: numpy.linalg.norm, not numpy.linalg._linalg.norm."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lsr.corpus.pydocs_compiled import compiled_module, imported, object_entry
from lsr.corpus.pydocs_source import Entry, ModuleTable, Sources, public

__all__ = ["Found", "found_in"]

# Modules about themselves, for machines, or for developers of Python; and those that others hand on whole.
SKIPPED = {
    *(
        "antigravity",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "test",
        "tests",
        "this",
        "turtledemo",
    ),
    *("conftest", "core", "f2py", "genericpath", "matlib", "nt", "posix", "sre_compile", "sre_parse"),
    "posixpath" if os.name == "nt" else "ntpath",
}
# Packages whose inner modules are tables or for their developers, with those that are for users.
ONLY = {"encodings": (), "numba": ("experimental", "extending", "typed"), "ctypes": ("util",)}
# Names of modules that users know by others.
KNOWN_AS = {"posixpath": "os.path", "ntpath": "os.path", "builtins": ""}
# What these hand on is written in C, outside the standard library.
RUNTIME = {"numpy", "numpy.random", "numpy.strings", "scipy.special"}
MAX_HOPS = 12


@dataclass(frozen=True, slots=True)
class Found:
    """A documented thing, its dotted name and the module that users import it from."""

    name: str
    module: str
    entry: Entry


def found_in(tops: list[str], sources: Sources) -> Iterator[Found]:
    """The modules below `tops`, what they hand on, and its methods. Each once, under its shortest name."""
    search = _Search(sources)
    best: dict[int, Found] = {}
    for top in tops:
        for found in search.walk(top):
            before = best.get(id(found.entry))
            if before is None or length(found.name) < length(before.name):
                best[id(found.entry)] = found
    for found in best.values():
        yield found
        for member in found.entry.members:
            yield Found(f"{found.name}.{member.name}", found.module, member)


def length(name: str) -> tuple[int, str]:
    """What makes a name the better one: fewer parts, then the alphabet."""
    return name.count("."), name


class _Search:
    """Follows imports from module to module."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._objects: dict[tuple[str, str], Entry | None] = {}
        self._exports: dict[str, list[str]] = {}

    def walk(self, module: str) -> Iterator[Found]:
        """The module, what it hands on, and the same for the modules below it."""
        table = self._sources.table(module)
        if table is None and compiled_module(module) is None:
            return
        known = KNOWN_AS.get(module, module)
        doc = self._module_doc(module, table)
        yield Found(known or module, known or module, Entry(module, "module", doc))
        for name in self._exported(module):
            entry = self._resolved(module, name)
            if entry is not None:
                yield Found(f"{known}.{name}" if known else name, known or module, entry)
        if table is not None and table.is_package:
            for below in self._sources.below(module):
                if public(below) and below not in SKIPPED and below in ONLY.get(module, (below,)):
                    yield from self.walk(f"{module}.{below}")

    def _module_doc(self, module: str, table: ModuleTable | None) -> str:
        if table is not None:
            return table.doc
        return getattr(compiled_module(module), "__doc__", None) or ""

    def _exported(self, module: str) -> list[str]:
        """The public names of a module: its `__all__`, else what it defines and hands on from its own private parts."""
        if module not in self._exports:
            self._exports[module] = []  # modules that import each other's stars find nothing more here
            self._exports[module] = sorted(name for name in set(self._names(module)) if public(name))
        return self._exports[module]

    def _names(self, module: str) -> Iterator[str]:
        table = self._sources.table(module)
        if table is None:
            yield from vars(compiled_module(module)) if compiled_module(module) else ()
            return
        if module in RUNTIME:
            yield from getattr(imported(module), "__all__", ())
        if table.exported is not None:
            yield from table.exported
            return
        yield from table.entries
        yield from (name for name, (home, _) in table.links.items() if _hands_on(table, home))
        for star in table.stars:
            if _hands_on(table, star):
                yield from self._exported(star)

    def _resolved(self, module: str, name: str) -> Entry | None:
        """What a name stands for in a module."""
        entry = self._lookup(module, name, MAX_HOPS)
        if entry is None and module in RUNTIME:
            entry = self._inspected(module, name)
        if entry is None:  # a lazy package: find the one below that defines it
            tables = (self._sources.table(f"{module}.{below}") for below in self._sources.below(module))
            entry = next((table.entries[name] for table in tables if table is not None and name in table.entries), None)
        return entry

    def _lookup(self, module: str, name: str, hops: int) -> Entry | None:
        """Follows a name; what is documented goes before what is not (Python that wraps C often has no docstring)."""
        if hops == 0:
            return None
        name, _, member = name.partition(".")
        table = self._sources.table(module)
        if table is None:
            return self._inspected(module, name) if compiled_module(module) else None
        entry = table.entries.get(name)
        if (entry is None or not entry.doc) and name in table.links:
            home, original = table.links[name]
            entry = self._lookup(home, original, hops - 1) or entry
        for star in table.stars:
            if (entry is None or not entry.doc) and name in self._exported(star):
                entry = self._lookup(star, name, hops - 1) or entry
        return self._member(module, entry, member) if entry is not None and member else entry

    def _member(self, module: str, owner: Entry, name: str) -> Entry | None:
        """A method that a module hands on as a function of its own, such as random.choice."""
        key = (module, f"{owner.name}.{name}")
        if key not in self._objects:
            found = next((member for member in owner.members if member.name == name), None)
            self._objects[key] = found and replace(found, kind="function")
        return self._objects[key]

    def _inspected(self, module: str, name: str) -> Entry | None:
        if (module, name) not in self._objects:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # names that are going away
                thing = getattr(imported(module), name, None)
            self._objects[module, name] = object_entry(name, thing)
        return self._objects[module, name]


def _hands_on(table: ModuleTable, home: str) -> bool:
    """Whether what a module without `__all__` imports from `home` is for its users: parts of its own package, and C."""
    if home == table.name:  # another name for what is defined here
        return True
    if table.name.split(".")[0] == home.split(".")[0]:
        return table.is_package or not public(home)
    return home.strip("_").replace("_", ".") == table.name or (home != "" and compiled_module(home) is not None)
