"""From one generation to the next: the only way in which an index that exists is changed, or another folder of generations.

    with Commit(folder, Manifest) as commit:    # the lock is taken, leftovers of a writer that was killed are removed
        place = commit.workplace()              # tmp-N/target and tmp-N/scratch
        ...                                     # new segments are written below place.target, every file synced
        commit.take("segment-0002")             # renamed into the index, where no manifest names it yet
        deletions = commit.add_file(name, data)
        commit.publish(manifest)                # renaming the manifest is the commit

Names carry the number of the generation that they are new in, and a number is never used for two commits, so no file is ever
written twice. What a writer that failed or died left has a number that no manifest names.

Kept are the newest two generations, for a reader that is just opening, and those that readers hold; the files of others are
removed after a commit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from lsr import disk
from lsr.errors import CorruptIndex, LsrError, StorageError
from lsr.index.storage.folder import Workplace
from lsr.index.storage.generations import Generation, manifest_name, manifests, newest
from lsr.index.storage.locks import LOCK, open_newest, remove_unless_pinned, writing
from lsr.index.storage.manifest import FileEntry

__all__ = ["Commit", "Commits", "publish"]

Stored = TypeVar("Stored", bound=Generation)

logger = logging.getLogger(__name__)

_KEPT = 2  # generations
_TEMPORARY = "tmp-"
_UNFINISHED = "unfinished-"
# What a commit may have made; anything else in the folder is left alone.
_OURS = re.compile(r"(segment|encoder|arrays|facts)-\d{4,}(-\d+)?|deleted(-\d+){2,}|(tmp|unfinished)-.+")


class Commits(Generic[Stored]):
    """Changes to a folder, one after the other. After a disk that did not take what was written there are no more."""

    def __init__(self, folder: Path, kind: type[Stored]) -> None:
        self._folder, self._kind = folder, kind
        self._poisoned: disk.SyncFailed | None = None

    @contextmanager
    def next(self) -> Iterator[Commit[Stored]]:
        """The commit in which one change is made; an error in it leaves the folder as it was."""
        if self._poisoned is not None:
            raise StorageError(f"{self._folder}: not changed, for an earlier change failed: {self._poisoned}")
        try:
            with Commit(self._folder, self._kind) as commit:
                yield commit
        except disk.SyncFailed as error:
            self._poisoned = error
            raise


class Commit(Generic[Stored]):
    """A change to a folder, from taking the lock to giving it back. `manifest` is the newest generation then."""

    manifest: Stored

    def __init__(self, folder: Path, kind: type[Stored]) -> None:
        self.folder, self._kind = folder, kind
        self._stack = ExitStack()
        self._failed = False

    def __enter__(self) -> Commit[Stored]:
        self.manifest, _ = open_newest(self.folder, self._kind)  # before a file is made in a folder that is none
        with self._stack:
            self._stack.enter_context(writing(self.folder))
            self.manifest = self._kind.parse(newest(self.folder, self._kind.form))
            self._stack.callback(self._collect)
            self._collect()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An OSError becomes a `StorageError` that names the folder; what was written for nothing is removed."""
        self._failed = kind is not None and issubclass(kind, Exception)
        self._stack.close()
        if isinstance(error, OSError) and not isinstance(error, LsrError):
            where = f"{error.filename}: " if error.filename else ""
            raise StorageError(
                f"{self.folder}: cannot be changed ({where}{error.strerror or error}); it is as it was before"
            ) from error

    @property
    def generation(self) -> int:
        """The number of the generation in the making."""
        return self.manifest.generation + 1

    def name(self, kind: str, of: str = "") -> str:
        """A name for something new: segment-0002, deleted-0001-0002 (of segment-0001, in generation 2)."""
        return f"{kind}-{of}{'-' if of else ''}{self.generation:04}"

    def workplace(self) -> Workplace:
        """A new folder to work in, of which nothing stays that is not taken."""
        work = self.folder / f"{_TEMPORARY}{self.generation:04}"
        number = 1
        while work.exists():
            number += 1
            work = self.folder / f"{_TEMPORARY}{self.generation:04}-{number}"
        disk.make_folder(work)
        place = Workplace(work / "target", work / "scratch")
        disk.make_folder(place.target)
        disk.make_folder(place.scratch)
        return place

    def unfinished(self) -> Workplace:
        """A folder to work in that stays when this process ends before the commit, until the index changes: the next one
        that asks for it goes on there (`checkpoint.Stages`)."""
        work = self.folder / f"{_UNFINISHED}{self.generation:04}"
        place = Workplace(work / "target", work / "scratch")
        for folder in (work, *place):
            disk.make_folder(folder, exist_ok=True)
        return place

    def take(self, place: Workplace, name: str) -> None:
        """Moves a folder, whose files are synced, from the workplace into the index."""
        disk.sync_folder(place.target / name)
        disk.rename(place.target / name, self.folder / name)

    def add_file(self, name: str, data: npt.NDArray[np.uint8]) -> FileEntry:
        """Adds a small file to the index."""
        digest = disk.write_new(self.folder / name, data.tobytes())
        return FileEntry(name, data.nbytes, "|u1", data.shape, digest)

    def publish(self, manifest: Stored) -> None:
        """Makes a manifest the newest, which is the commit: before it a reader finds the old generation, after it the new."""
        publish(self.folder, manifest)
        self.manifest = manifest

    def _collect(self) -> None:
        """Removes what no generation needs that is kept. A failure is no failure of the commit: the next one tries again."""
        try:
            self._remove(self._kept())
        except (OSError, LsrError) as error:
            logger.warning("%s: files that are no longer needed could not be removed (%s)", self.folder, error)

    def _kept(self) -> set[str]:
        """The names that are needed in the folder. Removes the manifests that are not."""
        kept = {LOCK}
        if not self._failed:  # only interrupted: a full disk needs the space
            kept.add(f"{_UNFINISHED}{self.generation:04}")
        found = manifests(self.folder)
        for generation in sorted(found):
            path = found[generation]
            if generation <= self.manifest.generation - _KEPT and remove_unless_pinned(path):
                continue
            kept.add(path.name)
            # One that is damaged keeps nothing: nobody can open it.
            with suppress(CorruptIndex):
                kept.update(name.partition("/")[0] for name in self._kind.parse(path).names())
        return kept

    def _remove(self, kept: set[str]) -> None:
        for path in sorted(self.folder.iterdir()):
            if path.name not in kept and _OURS.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    if path.is_dir() and not path.is_symlink():
                        disk.remove_tree(path)
                    else:
                        disk.remove(path)


def publish(folder: Path, manifest: Generation) -> None:
    """Makes a manifest the newest of a folder that is locked, once what it names is there for good."""
    disk.sync_folder(folder)
    disk.write_new(folder / manifest_name(manifest.generation), manifest.to_json())
    disk.sync_folder(folder)
