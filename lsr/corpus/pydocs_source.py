"""Docstrings and re-exports of Python modules, read from their sources: nothing is imported, so nothing is run."""

from __future__ import annotations

import ast
import gc
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Entry", "ModuleTable", "Sources", "public"]

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(slots=True)
class Entry:
    """A documented function, class or method. `name` is the last part of its dotted name; `members` are methods."""

    name: str
    kind: str
    doc: str
    signature: str = ""
    members: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class ModuleTable:
    """What a module defines and hands on.

    `links` are names bound by import or assignment: name -> (module, name there); the latter may be dotted
    ("TarFile.open"), and for an object it is its class. `modules` are imported modules: name -> module. `exported` is
    `__all__` where it is written out, else None.
    """

    name: str
    is_package: bool
    doc: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    exported: list[str] | None = None
    computed: bool = False  # __all__ is made by code: not known

    @property
    def package(self) -> str:
        """The name that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


class Sources:
    """The modules under a folder, parsed when first asked for. A module without a readable source is None."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tables: dict[str, ModuleTable | None] = {}

    def table(self, name: str) -> ModuleTable | None:
        """The table of a module by its dotted name."""
        if name not in self._tables:
            self._tables[name] = self._read(name)
        return self._tables[name]

    def below(self, name: str) -> list[str]:
        """The last names of the modules in a package, sorted."""
        try:
            entries = list(self._root.joinpath(*name.split(".")).iterdir())
        except OSError:
            return []
        files = {entry.stem for entry in entries if entry.suffix == ".py"}
        return sorted(files | {entry.name for entry in entries if (entry / "__init__.py").is_file()})

    def _read(self, name: str) -> ModuleTable | None:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        path = self._root.joinpath(*parts)
        for file, is_package in ((path / "__init__.py", True), (path.with_suffix(".py"), False)):
            tree = _parsed(file)
            if tree is not None:
                return _tabled(tree, ModuleTable(name, is_package))
        return None


def public(name: str) -> bool:
    """Whether no part of a dotted name is private."""
    return not any(part.startswith("_") for part in name.split("."))


@contextmanager
def _no_collector() -> Iterator[None]:
    """Pauses the cyclic collector: it walks every node of a growing tree again and again, for 3/4 of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parsed(path: Path) -> ast.Module | None:
    try:
        source = path.read_bytes()
        with _no_collector(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            return ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _tabled(tree: ast.Module, table: ModuleTable) -> ModuleTable:
    table.doc = ast.get_docstring(tree) or ""
    for node in _statements(tree.body):
        if isinstance(node, Definition):
            # The first of several wins: the others are fall-backs.
            table.entries.setdefault(node.name, _entry(node, "class" if isinstance(node, ast.ClassDef) else "function"))
        elif isinstance(node, ast.ImportFrom):
            _take_import(node, table)
        elif isinstance(node, ast.Import):
            table.modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            _take_assignment(node, table)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value.func  # __all__.extend(...)
            table.computed |= isinstance(call, ast.Attribute) and ast.unparse(call.value) == "__all__"
    if table.computed:
        table.exported = None
    return table


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those under if, try and with."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements([*node.body, *node.orelse, *handlers, *node.finalbody])
        elif isinstance(node, ast.With):
            yield from _statements(node.body)
        else:
            yield node


def _entry(node: Definition, kind: str) -> Entry:
    entry = Entry(node.name, kind, ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        entry.members = [
            _entry(member, "method")
            for member in node.body
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and public(member.name) and _has_doc(member)
        ]
    elif entry.doc and public(node.name):
        entry.signature = f"({ast.unparse(node.args)})"
    return entry


def _has_doc(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _take_import(node: ast.ImportFrom, table: ModuleTable) -> None:
    home = node.module or ""
    if node.level:
        above = table.package.split(".")
        above = above[: len(above) - node.level + 1]
        home = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        if alias.name == "*":
            table.stars.append(home)
        else:
            table.links.setdefault(alias.asname or alias.name, (home, alias.name))


def _take_assignment(node: ast.Assign | ast.AugAssign | ast.AnnAssign, table: ModuleTable) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if not isinstance(target, ast.Name) or node.value is None:
            continue
        if target.id == "__all__":
            names = _names(node.value)
            table.computed |= names is None
            before = table.exported if isinstance(node, ast.AugAssign) else None
            table.exported = [*(before or ()), *(names or ())]
        elif (link := _linked(node.value, table)) and link != (table.name, target.id):
            table.links.setdefault(target.id, link)


def _linked(value: ast.expr, table: ModuleTable) -> tuple[str, str] | None:
    """What the right side of an assignment names: a = b, a = module.b, a = Class.method, a = Class(...)."""
    if isinstance(value, ast.Name):
        return table.name, value.id
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
        base = value.value.id
        if base in table.modules:
            return table.modules[base], value.attr
        home, owner = table.links.get(base, (table.name, base))
        return home, f"{owner}.{value.attr}"
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        entry = table.entries.get(value.func.id)
        return (table.name, entry.name) if entry is not None and entry.kind == "class" else None
    return None


def _names(node: ast.expr) -> list[str] | None:
    """The strings of a list or tuple that is written out, else None."""
    if not isinstance(node, ast.List | ast.Tuple):
        return None
    names = [item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return names if len(names) == len(node.elts) else None
