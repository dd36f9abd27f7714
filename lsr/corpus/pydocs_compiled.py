"""Documentation of what is written in C: it exists only in the objects, so these few modules are imported."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from importlib.machinery import BuiltinImporter, ExtensionFileLoader, PathFinder
from types import ModuleType
from typing import Any

from lsr.corpus.pydocs_source import Entry, public

__all__ = ["compiled_module", "object_entry"]

# Importing these does something: sets up the terminal, opens a window system, or warns that the module is going away.
LEFT_ALONE = {"_tkinter", "readline", "audioop", "_crypt", "nis", "ossaudiodev", "spwd", "_curses", "_curses_panel"}


def compiled_module(name: str) -> ModuleType | None:
    """A module of the standard library that is written in C, imported; None for all others."""
    if name not in sys.stdlib_module_names or name in LEFT_ALONE or name.startswith(("_test", "_xx", "xx")):
        return None
    if BuiltinImporter.find_spec(name) is None:
        spec = PathFinder.find_spec(name)
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            return None
    return imported(name)


def imported(name: str) -> ModuleType | None:
    """The module, or None when it cannot be imported here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except Exception:  # whatever a broken installation raises: its documentation is then missing, no more
        return None


def object_entry(name: str, thing: Any) -> Entry | None:
    """A function or class with its methods, by inspection; None for other objects."""
    if inspect.isclass(thing):
        entry = Entry(name, "class", _doc(name, thing))
        for key, member in vars(thing).items():
            if public(key) and callable(getattr(thing, key, None)):
                entry.members.append(Entry(key, "method", _doc(key, member), _signature(member)))
        return entry
    if not callable(thing):
        return None
    return Entry(name, "function", _doc(name, thing), _signature(thing))


def _doc(name: str, thing: Any) -> str:
    """The docstring without a first line that only repeats the signature."""
    raw = getattr(thing, "__doc__", None)
    doc = inspect.cleandoc(raw) if isinstance(raw, str) else ""
    first, _, rest = doc.partition("\n\n")
    repeats = all(line.lstrip().startswith((f"{name}(", f"{name.rpartition('.')[2]}(")) for line in first.splitlines())
    return rest.strip() if repeats and rest else doc


def _signature(thing: Any) -> str:
    try:
        return getattr(thing, "__text_signature__", None) or ""
    except ValueError:
        return ""
