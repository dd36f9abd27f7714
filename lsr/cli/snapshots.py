"""`lsr export INDEX -o FILE.tar.zst`, `lsr import FILE.tar.zst`: an index as one file, and back."""

from __future__ import annotations

from pathlib import Path

from lsr.cli.run import note

__all__ = ["SNAPSHOT", "export_snapshot", "import_snapshot", "is_snapshot"]

SNAPSHOT = "snapshot"  # its name as a format


def is_snapshot(file: Path, form: str | None) -> bool:
    """Whether a format is that of snapshots, or none is named and the ending of the file is theirs."""
    return form == SNAPSHOT or (form is None and file.name.lower().endswith(".tar.zst"))


def export_snapshot(source: str, output: Path, *, overwrite: bool) -> None:
    """Writes the newest generation of an index as one file."""
    from lsr.cli.progress import showing_progress
    from lsr.cli.show import size
    from lsr.index import Index

    index = Index.open(source)
    with showing_progress() as progress:
        index.save_snapshot(output, overwrite=overwrite, progress=progress)
    note(f"{len(index):,} documents, generation {index.generation}, {size(output.stat().st_size)}: {output}")
    note(f"Next: lsr import {output} -o INDEX  (on this or another machine)")


def import_snapshot(file: Path, output: Path, *, overwrite: bool) -> None:
    """Makes an index of a snapshot."""
    from lsr.cli.progress import showing_progress
    from lsr.cli.show import size
    from lsr.index import Index

    with showing_progress() as progress:
        index = Index.from_snapshot(file, output, overwrite=overwrite, progress=progress)
    total = index.info()["bytes"]["total"]
    note(f"{len(index):,} documents, generation {index.generation}, {size(total)}: {output}")
    if index.manifest.encoder is not None:
        note(f'Next: lsr search {output} "your question"')
