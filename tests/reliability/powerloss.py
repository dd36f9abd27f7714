"""The disk after the power failed: what a record of the steps of a change (`lsr.disk`) leaves of a folder, in the worst case.

What is there for sure is what was synced: the content of a file up to its last sync, the names in a folder up to its last
sync. Of what came later any part may be there: names in any choice, also the later without the earlier; a file with none of
its data, with some, or as long as it should be and zeros for what was not written.
"""

from __future__ import annotations

import random
import stat
from dataclasses import dataclass, field
from pathlib import Path

from lsr import disk

__all__ = ["Disk", "Record"]


@dataclass(eq=False)
class File:
    synced: bytes = b""
    later: bytes = b""  # written since

    def left(self, chance: random.Random) -> bytes:
        """What may be left of it."""
        if not self.later:
            return self.synced
        some = self.later[: chance.choice([0, chance.randrange(len(self.later)), len(self.later)])]
        zeros = bytes(len(self.later) - len(some)) if chance.random() < 0.3 else b""
        return self.synced + some + zeros


@dataclass(eq=False)
class Folder:
    """`names` are those that are there now; `synced` those at the last sync, `changes` what was done since."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, **names: File | Folder | None) -> None:
        """Gives names, or takes them away, in one step."""
        self.changes.append(names)
        _apply(self.names, names)

    def left(self, chance: random.Random) -> dict[str, File | Folder]:
        """The names that may be left."""
        names = dict(self.synced)
        share = chance.choice([0.0, 0.5, 1.0])
        upto = chance.choice([len(self.changes), chance.randint(0, len(self.changes))])
        for change in self.changes[:upto]:
            if chance.random() < share:
                _apply(names, change)
        return names


def _apply(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, what in change.items():
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


class Disk:
    """A folder with all that is in it, to begin with on the disk for good."""

    def __init__(self, root: Path) -> None:
        self._path, self._root = root, _read(root)

    def do(self, step: str, path: Path, detail: disk.Detail) -> None:
        """A step that was done."""
        folder, name = self._folder(path.parent), path.name
        if step in ("create", "folder"):
            folder.change(**{name: File() if step == "create" else Folder()})
        elif step == "write":
            file = folder.names[name]
            assert isinstance(file, File)
            assert isinstance(detail, bytes)
            file.later += detail
        elif step == "sync":
            what = self._root if path == self._path else folder.names[name]
            if isinstance(what, File):
                what.synced, what.later = what.synced + what.later, b""
            else:
                what.synced, what.changes = dict(what.names), []
        elif step in ("rename", "replace"):
            assert isinstance(detail, Path)
            old = self._folder(detail.parent)
            what = old.names[detail.name]
            if old is folder:
                folder.change(**{detail.name: None, name: what})
            else:
                folder.change(**{name: what})
                old.change(**{detail.name: None})
        elif step == "exchange":
            assert isinstance(detail, Path)
            other = self._folder(detail.parent)
            first, second = folder.names[name], other.names[detail.name]
            folder.change(**{name: second})
            other.change(**{detail.name: first})
        elif step == "remove":
            folder.change(**{name: None})
        else:
            raise AssertionError(step)

    def fail(self, target: Path, chance: random.Random) -> None:
        """Writes what may be left to a new folder."""
        _write(self._root, target, chance)

    def _folder(self, path: Path) -> Folder:
        found: File | Folder = self._root
        for name in path.relative_to(self._path).parts if path != self._path.parent else ():
            assert isinstance(found, Folder)
            found = found.names[name]
        assert isinstance(found, Folder)
        return found


def _read(path: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for one in path.iterdir():
        names[one.name] = _read(one) if stat.S_ISDIR(one.lstat().st_mode) else File(one.read_bytes())
    return Folder(names, dict(names))


def _write(folder: Folder, target: Path, chance: random.Random) -> None:
    target.mkdir()
    for name, what in folder.left(chance).items():
        if isinstance(what, File):
            (target / name).write_bytes(what.left(chance))
        else:
            _write(what, target / name, chance)


class Record:
    """Takes down the steps, as `lsr.disk.hook`."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Path, disk.Detail]] = []

    def __call__(self, step: str, path: Path, detail: disk.Detail) -> None:
        self.steps.append((step, path, bytes(detail) if isinstance(detail, memoryview) else detail))
