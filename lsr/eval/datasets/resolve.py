"""Finding a collection by what a person calls it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lsr.corpus.streams import reason, shown
from lsr.errors import DatasetNotFound, EvaluationError, InvalidInput
from lsr.eval.datasets.archive import zip_dataset
from lsr.eval.datasets.catalogue import catalogue_dataset
from lsr.eval.datasets.dataset import Dataset
from lsr.eval.datasets.folder import folder_dataset, holds_corpus

__all__ = ["open_dataset"]


def open_dataset(
    spec: str, *, split: str | None = None, download: bool = False, relevance_threshold: int | None = None
) -> Dataset:
    """The collection to evaluate on.

    spec, in this order:

    1. a folder with corpus, queries and qrels (`lsr.eval.datasets.folder` says in which forms);
    2. a BEIR zip;
    3. beir/NAME or beir/NAME/SPLIT: a folder or zip of that name in $LSR_DATA/beir or $LSR_DATA, or the zip that ir_datasets
       keeps, beir/NAME/source.zip in $IR_DATASETS_HOME (~/.ir_datasets);
    4. any id of ir_datasets, whose files must be on this machine unless `download`.

    split: "test" when None, or the only one. relevance_threshold: the grade from which a document counts as relevant in
    binary measures; None: what the collection's makers use, where its name says it, else 1.

    Raises `DatasetNotFound` when there is nothing by that name, with the nearest names, or its files are not on this
    machine, with the place for each; `EvaluationError` and `CorpusError` for files that cannot be read as they are;
    `MissingExtra` when ir_datasets is needed and not installed; `InvalidInput` for a threshold below 1.
    """
    if not spec.strip() or "\0" in spec:
        raise InvalidInput(f"{spec!r}: not the name of a collection; give a folder, a BEIR zip or an id of ir_datasets")
    path = _path(spec)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise EvaluationError(f"{shown(spec)}: cannot be opened ({reason(error)}); check the path") from None
    if is_folder:
        return folder_dataset(path, split, relevance_threshold)
    if is_file:
        return zip_dataset(path, split, relevance_threshold)
    if _is_path(spec):
        near = ", ".join(_collections(path.parent)[:5])
        there = f"collections beside it: {near}" if near else "check the path"
        raise DatasetNotFound(f"{shown(spec)}: no such folder or zip; {there}")
    places: tuple[str, ...] = ()
    if spec.startswith("beir/"):
        found = _beir(spec.removeprefix("beir/").strip("/"), split, relevance_threshold)
        if found is not None:
            return found
        places = tuple(place for place, _ in _own_shelves()) or ("a folder that LSR_DATA names",)
    return catalogue_dataset(
        spec, split, relevance_threshold, download=download, places=places, local_names=_local_names
    )


def _path(spec: str) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # ~someone who does not exist
        return Path(spec)


def _is_path(spec: str) -> bool:
    """Whether a name can only be meant as a path: no id of a catalogue looks so."""
    return spec.startswith((".", "/", "~")) or spec.endswith(("/", ".zip")) or "\\" in spec


def _own_shelves() -> Iterator[tuple[str, Path]]:
    """The user's own folders of collections, and how they are called."""
    given = os.environ.get("LSR_DATA")
    if given:
        yield "$LSR_DATA/beir", _path(given) / "beir"
        yield "$LSR_DATA", _path(given)


def _beir(rest: str, split: str | None, threshold: int | None) -> Dataset | None:
    """The collection of BEIR called `rest`, NAME or NAME/SPLIT; None when it is on no shelf."""
    meant = [(rest, split)]
    parent, _, last = rest.rpartition("/")
    if parent and split in (None, last):
        meant.append((parent, last))
    meant = [(name, wanted) for name, wanted in meant if name and ".." not in name.split("/")]
    for place, shelf in _own_shelves():
        for name, wanted in meant:
            called = f"beir/{name}"
            if (path := shelf / name).is_dir():
                return folder_dataset(path, wanted, threshold, name=called, source=f"{called} (a folder in {place})")
            if (path := shelf / f"{name}.zip").is_file():
                return zip_dataset(path, wanted, threshold, name=called, source=f"{called} (a zip in {place})")
    home = _path(os.environ.get("IR_DATASETS_HOME") or "~/.ir_datasets")
    for name, wanted in meant:
        if (path := home / "beir" / name / "source.zip").is_file():
            source = f"beir/{name} (the zip of ir_datasets)"
            return zip_dataset(path, wanted, threshold, name=f"beir/{name}", source=source)
    return None


def _local_names() -> list[str]:
    """What is at hand, for the nearest names in a message."""
    own = [name.removesuffix(".zip") for _, shelf in _own_shelves() for name in _collections(shelf)]
    return [*_collections(Path()), *(f"beir/{name}" for name in own)]


def _collections(folder: Path) -> list[str]:
    """Names of the collections in a folder."""
    try:
        return sorted(
            shown(entry.name)
            for entry in folder.iterdir()
            if entry.suffix == ".zip" or (entry.is_dir() and holds_corpus(entry))
        )
    except (OSError, EvaluationError):
        return []
