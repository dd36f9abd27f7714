"""Manifests of any kind of folder: JSON files with a checksum, one a generation, of which the newest counts.

An index is such a folder, and so is a store of token vectors. A `Form` says which of them a manifest is of.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import xxhash

from lsr.disk import exists
from lsr.errors import CorruptIndex, IndexNotFound, LsrError, UnsupportedVersion
from lsr.index.storage.regular import REMEDY, open_regular, unopened

__all__ = [
    "MANIFEST_LIMIT",
    "Form",
    "Generation",
    "generation_of",
    "holds",
    "is_as_written",
    "manifest_bytes",
    "manifest_name",
    "manifests",
    "newest",
    "seal",
    "unseal",
]

MANIFEST_LIMIT = 64 << 20  # bytes; a larger one is not ours
MAX_GENERATION = 10**12 - 2  # the next one still has a name of that form
_NAME = re.compile(r"manifest-(\d{6,12})\.json")
_SHOWN = 200  # characters of something strange in a message


@dataclass(frozen=True, slots=True)
class Form:
    """What is kept in a folder.

    noun: "index", as messages call it; magic: what its manifests begin with; version: (major, minor) that is written: who
    reads it must know the major, and may ignore additions of the minor; oldest: the oldest that is read; made: how one is
    made, as messages say it, of FOLDER; remedy: what to do about a damaged one.
    """

    noun: str
    magic: str
    version: tuple[int, int]
    oldest: tuple[int, int]
    made: str
    remedy: str = REMEDY

    @property
    def one(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"


class Generation(Protocol):
    """A manifest: what a reader has to know of one generation of a folder."""

    form: ClassVar[Form]

    @property
    def generation(self) -> int: ...

    def names(self) -> list[str]:
        """The files that it needs, by their paths in the folder."""

    def to_json(self) -> bytes: ...

    @classmethod
    def parse(cls, path: Path) -> Self:
        """The manifest in a file. Raises `UnsupportedVersion` or `CorruptIndex`."""


Parsed = TypeVar("Parsed")


# -- one manifest ------------------------------------------------------------------------------------------------------


def seal(form: Form, fields: dict[str, Any]) -> bytes:
    """A manifest as it is written."""
    version = fields.get("format_version", form.version)
    body = {"magic": form.magic, "format_version": version, "oldest_reader": [version[0], 0], **fields}
    body["checksum"] = _checksum(body)
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


def unseal(form: Form, path: Path, data: bytes, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """What `parse` makes of the bytes of a manifest, whose errors (KeyError, TypeError, ValueError and such) mean damage.

    Raises `UnsupportedVersion` or `CorruptIndex`.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptIndex(f"{path}: cannot be read ({error}); {form.remedy}") from None
    if not isinstance(body, dict) or body.get("magic") != form.magic:
        raise CorruptIndex(f"{path}: not a manifest of {form.one}; {form.remedy}")
    _check_version(form, path, body)
    told = body.pop("checksum", None)
    try:
        matches = told == _checksum(body)
    except (UnicodeEncodeError, RecursionError):  # lsr writes neither half surrogate pairs nor anything that deep
        matches = False
    if not matches:
        raise CorruptIndex(f"{path}: its checksum does not match; {form.remedy}")
    try:
        generation = body["generation"]
        if generation != generation_of(path) or generation > MAX_GENERATION:
            raise ValueError(f"generation {generation}")
        return parse(body)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = repr(error)[:_SHOWN]
        raise CorruptIndex(f"{path}: {what} is wrong or missing in it; build the {form.noun} again") from None


def manifest_bytes(path: Path) -> bytes:
    """What is in the file of a manifest. Raises `CorruptIndex` for one that is too large, or `StorageError`."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise unopened(path, error) from None
    if len(data) > MANIFEST_LIMIT:
        raise CorruptIndex(f"{path}: larger than a manifest can be; restore it from a copy")
    return data


def is_as_written(path: Path) -> bool:
    """Whether a manifest has the very bytes that lsr wrote: its checksum does not count white space, nor how numbers look."""
    data = manifest_bytes(path)
    return data == json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode() + b"\n"


# -- those of a folder -------------------------------------------------------------------------------------------------


def manifest_name(generation: int) -> str:
    return f"manifest-{generation:06}.json"


def generation_of(path: Path) -> int:
    """The number in the name of a manifest, 0 for another name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def manifests(folder: Path) -> dict[int, Path]:
    """The manifests of a folder by generation."""
    try:
        return {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    except OSError as error:
        raise unopened(folder, error) from None


def newest(folder: Path, form: Form) -> Path:
    """The newest manifest of a folder. Raises `IndexNotFound` when there is none."""
    if not exists(folder):
        raise IndexNotFound(f"{folder}: no such {form.noun}; {form.made.replace('FOLDER', str(folder))}")
    made = form.made.replace("FOLDER", form.noun.upper())
    if not folder.is_dir():
        raise IndexNotFound(f"{folder}: a file, not {form.one} folder; {made}")
    found = manifests(folder)
    if not found:
        raise IndexNotFound(f"{folder}: holds no manifest, so it is no {form.noun}; {made}")
    return found[max(found)]


def holds(folder: Path, form: Form) -> bool:
    """Whether a folder holds a manifest of that form: what may be overwritten."""
    try:
        body = json.loads(manifest_bytes(newest(folder, form)))
    except (LsrError, OSError, ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("magic") == form.magic


def _checksum(body: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(
        json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


def _check_version(form: Form, path: Path, body: dict[str, Any]) -> None:
    version, oldest = body.get("format_version"), body.get("oldest_reader")
    for value in (version, oldest):
        if not (isinstance(value, list) and len(value) == 2 and all(type(part) is int for part in value)):
            raise CorruptIndex(f"{path}: no format version in it; {form.remedy}")
    assert version is not None
    assert oldest is not None
    written = f"{path.parent}: written in {form.noun} format {version[0]}.{version[1]} by lsr {_shown(body)}; this lsr"
    if tuple(oldest) > form.version:
        raise UnsupportedVersion(
            f"{written} reads up to {form.version[0]}.{form.version[1]}: pip install --upgrade lsr-engine"
        )
    if tuple(version) < form.oldest:
        raise UnsupportedVersion(f"{written} reads from {form.oldest[0]}.{form.oldest[1]} on: build it again")


def _shown(body: dict[str, Any]) -> str:
    """The version that a manifest says wrote it, fit for a message, whatever it says."""
    return "".join(c if c.isprintable() else "?" for c in str(body.get("lsr_version"))[:_SHOWN])
