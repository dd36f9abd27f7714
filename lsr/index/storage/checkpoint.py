"""Checkpoints: what an interrupted run had done, so that the next one goes on from there (`Stages`).

On disk: the digest (xxh3_128) of a JSON object, a line end, that object. One file: an interruption finds either this state or
the one before, never parts of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xxhash

from lsr.disk import atomic_write
from lsr.errors import StorageError
from lsr.index.storage.arrays import checksum
from lsr.index.storage.folder import Workplace
from lsr.index.storage.manifest import FileEntry, file_entries

__all__ = ["Stages", "read_checkpoint", "write_checkpoint"]

Facts = dict[str, Any]


def write_checkpoint(path: Path, facts: Facts) -> None:
    """Raises `StorageError` when the disk does not take it."""
    body = json.dumps(facts).encode()
    with atomic_write(path) as file:
        file.write(xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body)


def read_checkpoint(path: Path) -> Facts | None:
    """None when there is nothing to go on from: no checkpoint, or a damaged one."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
        facts = json.loads(body) if xxhash.xxh3_128_hexdigest(body).encode() == digest else None
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


class Stages:
    """The stages of a long piece of work, of which none is done twice, however often it is interrupted.

    place: where the stages write, and where they are noted; None for work that is done at one go. plan: what is being done,
    and to what: stages of another plan are not gone on from.
    """

    def __init__(self, place: Workplace | None = None, plan: str = "") -> None:
        self._place, self._plan = place, plan
        self._note = None if place is None else place.target.parent / "stages"
        noted = None if self._note is None else read_checkpoint(self._note)
        stages = noted.get("stages") if noted is not None and noted.get("plan") == plan else None
        self._done: dict[str, Facts] = stages if isinstance(stages, dict) else {}

    def run(
        self,
        name: str,
        work: Callable[[], tuple[Sequence[FileEntry], Facts]],
        usable: Callable[[Facts], bool] = lambda facts: True,
    ) -> tuple[list[FileEntry], Facts]:
        """Does a stage, or finds it done. Returns the files that it wrote below `place.target`, and facts that JSON can say.

        work: does it, and syncs what it writes. usable: whether what it left elsewhere is there, by its facts.
        """
        done = self._done.get(name)
        try:  # a digest is no proof of who wrote it
            if done is not None:
                files = list(file_entries(done["files"]))
                if self._are_there(files) and usable(done["facts"]):
                    return files, done["facts"]
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        made, facts = work()
        if self._note is not None:
            self._done[name] = {"files": [asdict(file) for file in made], "facts": facts}
            write_checkpoint(self._note, {"plan": self._plan, "stages": self._done})
        return list(made), facts

    def _are_there(self, files: Sequence[FileEntry]) -> bool:
        assert self._place is not None
        try:
            return all(checksum(self._place.target, file) == file.xxh3_128 for file in files)
        except StorageError:
            return False
