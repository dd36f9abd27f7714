"""Going back to an earlier generation of an index, when the newest one is damaged or unwanted.

An index keeps two generations and those that readers hold. Nothing is ever taken in place of the newest silently: that is
what `repair` is for, which publishes an earlier one anew, with the next number. The generations in between stay as they are
until the next change, so that a repair can be undone by another.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import lsr
from lsr.errors import CorruptIndex, InvalidInput, LsrError
from lsr.index.storage.check import check_generation
from lsr.index.storage.commit import publish
from lsr.index.storage.generations import manifests, newest
from lsr.index.storage.locks import writing
from lsr.index.storage.manifest import INDEX, Manifest

__all__ = ["Generation", "generations", "repair"]


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that an index folder holds. `documents` is None where its manifest cannot be read; `fault` says what is
    wrong with it, None for nothing: all its bytes were checked."""

    number: int
    documents: int | None
    fault: str | None


def generations(folder: Path) -> list[Generation]:
    """What an index folder holds, newest first, each checked fully. Raises `IndexNotFound`."""
    newest(folder, INDEX)
    return [_checked(folder, number, path) for number, path in sorted(manifests(folder).items(), reverse=True)]


def _checked(folder: Path, number: int, path: Path) -> Generation:
    manifest = None
    try:
        manifest = Manifest.parse(path)
        for _ in check_generation(folder, manifest, full=True):
            pass
    except LsrError as error:
        return Generation(number, None if manifest is None else manifest.documents, str(error))
    return Generation(number, manifest.documents, None)


def repair(folder: Path, generation: int) -> Manifest:
    """Publishes a generation that the folder holds anew, as the newest, after it was checked fully. Returns its manifest.

    Raises `InvalidInput` when there is no such generation, or it is the newest and sound, `CorruptIndex` when it is damaged
    itself, `UnsupportedVersion` when a newer lsr wrote the index, `IndexLocked` and `StorageError`; then nothing has changed.
    """
    newest(folder, INDEX)  # before a lock is made in a folder that is no index
    with writing(folder):
        found = manifests(folder)
        if generation not in found:
            held = ", ".join(map(str, sorted(found)))
            raise InvalidInput(
                f"{folder}: holds no generation {generation}, only {held}; `lsr repair {folder}` checks them"
            )
        last = max(found)
        with suppress(CorruptIndex):  # that is what a repair is for
            Manifest.parse(found[last])
        manifest = Manifest.parse(found[generation])
        for _ in check_generation(folder, manifest, full=True):
            pass
        if generation == last:
            raise InvalidInput(
                f"{folder}: generation {generation} is the newest, and sound; there is nothing to repair"
            )
        manifest = replace(manifest, generation=last + 1, lsr_version=lsr.__version__)
        publish(folder, manifest)
    return manifest
