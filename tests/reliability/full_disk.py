"""An index on a disk that gets full: `python -m tests.reliability.full_disk FOLDER`, the root of a disk of a megabyte."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lsr import Index
from lsr.errors import StorageError
from tests.reliability.changes import NAME, state, works
from tests.reliability.collections import Doc, source


def main(place: Path) -> None:
    path = place / NAME
    docs = [Doc(f"d{number}", {number % 20: 1 + number % 9}, {"name": f"{number:0200}"}) for number in range(2000)]
    index = Index.build(source(docs[:10]), path)
    added = 10
    filler = (place / "filler").open("wb", buffering=0)

    def fill() -> None:
        nonlocal added
        while True:
            index.add(source(docs[added : added + 150]))
            added += 150

    with pytest.raises(StorageError, match=f"{path}.*No space left"):
        fill()
    whole = [(one.id, one.text) for one in docs[:added]]
    assert added > 10
    assert state(path) == whole
    # Not even the smallest change fits.
    with suppress(OSError), filler:
        while True:
            filler.write(bytes(512))
    for change in (
        lambda: index.delete("d0"),
        lambda: index.compact(refresh=True),
        lambda: index.add(source(docs[-1:])),
    ):
        with pytest.raises(StorageError, match=f"{path}.*No space left"):
            change()
        assert state(path) == whole
    with pytest.raises(StorageError, match=r"No space left.*nothing was left behind"):
        Index.build(source(docs), place / "other.idx")
    assert sorted(one.name for one in place.iterdir()) == ["filler", NAME]
    (place / "filler").unlink()
    index.delete("d0")
    assert state(path) == whole[1:]
    works(path, "exact")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
