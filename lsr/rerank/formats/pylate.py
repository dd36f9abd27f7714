"""PyLate's folders: a PLAID store, of fast-plaid or of ColBERT, and the ids of its documents.

    fast_plaid_index/                 fast-plaid's store; ColBERT's lies in the folder itself
    plaid_ids_to_documents_ids.pkl    {0: "an id", ...} pickled; in older versions .sqlite, a table of pickled ids

Nothing is unpickled: the instructions of the pickle are read, and all but those that make dicts, strings and whole numbers
are refused.
"""

from __future__ import annotations

import pickletools
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lsr.corpus.streams import reason, shown
from lsr.errors import CorpusError
from lsr.rerank.formats.plaid import open_fast_plaid, open_plaid
from lsr.rerank.formats.token_file import TokenFile, check_regular

__all__ = ["MAPPINGS", "open_pylate", "plain_object"]

FAST = "fast_plaid_index"
MAPPINGS = ("plaid_ids_to_documents_ids.pkl", "plaid_ids_to_documents_ids.sqlite")

_VALUES = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"}
_PLAIN = {"PROTO", "FRAME"}


def open_pylate(folder: Path) -> TokenFile:
    """A store that PyLate made: one of the others, with ids. Needs torch where the store does."""
    opened = open_fast_plaid(folder / FAST) if (folder / FAST).is_dir() else open_plaid(folder)
    path = next(folder / name for name in MAPPINGS if (folder / name).exists())
    check_regular(path)
    mapping = _pickled(path) if path.suffix == ".pkl" else _in_sqlite(path, len(opened))
    wrong = next((key for key in mapping if type(key) is not int or not 0 <= key < len(opened)), None)
    if wrong is not None:
        raise CorpusError(
            f"{shown(path)}: has an id for document {wrong!r}, and the store has {len(opened):,} documents"
        )
    odd = next((key for key, value in mapping.items() if type(value) not in (str, int)), None)
    if odd is not None:
        raise CorpusError(f"{shown(path)}: the id of document {odd} is no string; give the ids in a file (--ids)")
    ids = [None if (found := mapping.get(row)) is None else str(found) for row in range(len(opened))]
    return replace(opened, name=shown(folder), layout=f"PyLate, {opened.layout}", ids=ids)


def _pickled(path: Path) -> Mapping[Any, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{shown(path)}: cannot be read ({reason(error)})") from None
    found = plain_object(data, shown(path))
    if not isinstance(found, dict):
        raise CorpusError(f"{shown(path)}: must hold a dict of ids")
    return found


def _in_sqlite(path: Path, most: int) -> Mapping[Any, Any]:
    """The table of a SqliteDict: keys are text, values are pickled. No more than `most` rows are read, and one."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(1 << 16, path.stat().st_size))
            # A view could have rows without end.
            kind = database.execute("SELECT type FROM sqlite_schema WHERE name = 'unnamed'").fetchone()
            if kind != ("table",):
                raise ValueError("it has no table unnamed")
            rows = database.execute("SELECT key, value FROM unnamed LIMIT ?", (most + 1,))
            return {int(key): plain_object(_blob(value), shown(path)) for key, value in rows}
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise CorpusError(f"{shown(path)}: cannot be read as a table of ids ({reason(error)})") from None


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes):  # bytes() of a number are as many zeros
        raise TypeError("a value is no blob")
    return value


def plain_object(data: bytes, where: str) -> object:
    """What a pickle of dicts, strings and whole numbers stands for. Raises `CorpusError` for any other."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, given, _ in pickletools.genops(data):
            name, argument = opcode.name, cast(Any, given)
            if name in _VALUES:
                stack.append(argument)
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            elif name == "SETITEMS":
                start = marks.pop()
                stack[start - 1].update(zip(stack[start::2], stack[start + 1 :: 2], strict=True))
                del stack[start:]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "STOP":
                (found,) = stack
                return found
            elif name not in _PLAIN:
                raise CorpusError(
                    f"{where}: pickled objects other than strings and whole numbers are not read ({name}); give the ids"
                    " in a file (--ids)"
                )
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CorpusError(f"{where}: a damaged pickle ({reason(error)})") from None
    raise CorpusError(f"{where}: a damaged pickle, without an end")
