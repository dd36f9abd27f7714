"""Values of JSON descriptions that others may have written, each checked as it is read.

All but `version` raise KeyError, ValueError or TypeError that names the value: `described` makes an `EncoderError` of it that
names the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsr.encoders.model import TableSide
from lsr.errors import EncoderError

__all__ = [
    "POLICIES",
    "boolean",
    "choice",
    "count",
    "described",
    "limit",
    "policies",
    "policies_of",
    "ratio",
    "terms",
    "text",
    "unknown_keys",
    "version",
]

# Of a table of query weights; see `TableSide`.
POLICIES = {"special": ("table", "drop"), "unknown": ("table", "drop"), "repeated": ("once", "count")}


@contextmanager
def described(path: Path) -> Iterator[None]:
    """What is wrong with a value becomes an `EncoderError` that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise EncoderError(f"{path}: not the description of an encoder ({what[:300]})") from None


def version(path: Path, found: Any, newest: int) -> None:
    """Raises `EncoderError` for a file without a format_version, or with one that is not known yet."""
    given = found.get("format_version") if isinstance(found, dict) else None
    if type(given) is not int or given < 1:
        raise EncoderError(f"{path}: no format_version, so not the description of an encoder of lsr")
    if given > newest:
        raise EncoderError(f"{path}: written by a newer lsr (format {given}); upgrade lsr")


def text(entry: Mapping[str, Any], name: str) -> str:
    value = entry[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}: it must be a text")
    return value


def boolean(entry: Mapping[str, Any], name: str) -> bool:
    value = entry[name]
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: it must be true or false")
    return value


def choice(entry: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = entry[name]
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {value!r}: it must be one of {', '.join(known)}")
    return value


def count(entry: Mapping[str, Any], name: str) -> int | None:
    """A number from 1, or None."""
    value = entry[name]
    if value is not None and not (type(value) is int and 1 <= value < 1 << 31):
        raise ValueError(f"{name} is {value!r}: it must be a number above 0, or null")
    return value


def limit(entry: Mapping[str, Any], positions: int) -> int:
    """The max_length of a network."""
    value = entry["max_length"]
    if type(value) is not int or not 3 <= value <= positions:
        raise ValueError(f"max_length is {value!r}: the network takes 3 to {positions} tokens")
    return value


def ratio(entry: Mapping[str, Any]) -> float:
    value = entry["prune_ratio"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"prune_ratio is {value!r}: it must be at least 0 and below 1")
    return float(value)


def terms(entry: Mapping[str, Any], dim: int) -> tuple[int, ...]:
    """The dropped terms."""
    value = entry["dropped"]
    if not isinstance(value, list) or not all(type(i) is int and 0 <= i < dim for i in value):
        raise ValueError(f"dropped must be term ids below {dim}")
    return tuple(value)


def policies(entry: Mapping[str, Any]) -> dict[str, str]:
    """How a table treats special, unknown and repeated tokens."""
    return {name: choice(entry, name, known) for name, known in POLICIES.items()}


def policies_of(side: TableSide) -> dict[str, str]:
    """The same of a side, to be written."""
    return {name: getattr(side, name) for name in POLICIES}


def unknown_keys(entry: Mapping[str, Any], known: set[str]) -> None:
    """Refuses what nobody would heed, for vectors depend on it."""
    if further := sorted(map(str, set(entry) - known)):
        raise ValueError(f"{', '.join(further)[:80]} is not known here")
