"""A collection in a folder: corpus, queries and qrels, in the forms that the readers know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from lsr.corpus import read_documents, read_queries
from lsr.corpus.streams import COMPRESSED, reason, shown
from lsr.errors import EvaluationError
from lsr.eval.datasets.dataset import Dataset, assembled
from lsr.eval.qrels import read_qrels

__all__ = ["chosen_split", "folder_dataset", "holds_corpus"]

RECORDS = (".jsonl", ".ndjson", ".json", ".tsv", ".csv", ".parquet")
JUDGMENTS = (".tsv", ".txt", ".trec", ".jsonl")
DEFAULT_SPLIT = "test"


def folder_dataset(
    folder: Path,
    split: str | None = None,
    threshold: int | None = None,
    *,
    name: str | None = None,
    source: str | None = None,
) -> Dataset:
    """The collection of a folder: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (BEIR), or other endings.

    corpus and queries: .jsonl, .ndjson, .json, .tsv, .csv or .parquet; judgments: qrels.tsv, .txt, .trec or .jsonl, or files
    of these kinds in the folder qrels, one a split. All but parquet may be compressed.

    split: "test" when None, or the only one. Raises `EvaluationError` when a part is missing or there are several of it.
    """
    corpus, queries = _part(folder, "corpus", RECORDS), _part(folder, "queries", RECORDS)
    judgments = _judgments(folder)
    missing = [
        f"no {part} (looked for {looked_for})"
        for part, found, looked_for in (
            ("corpus", corpus, f"corpus{_endings(RECORDS)}"),
            ("queries", queries, f"queries{_endings(RECORDS)}"),
            ("judgments", judgments, f"qrels/SPLIT{_endings(JUDGMENTS)}, or a file qrels with one of these endings"),
        )
        if not found
    ]
    if corpus is None or queries is None or not judgments:
        raise EvaluationError(f"{shown(folder)}: {'; '.join(missing)}; all may be .gz.{_meant(folder)}")
    chosen = chosen_split(judgments, split, shown(folder))
    is_beir = _stem(corpus) == "corpus.jsonl" and chosen is not None
    called = name or folder.resolve().name or "collection"
    return assembled(
        called,
        chosen,
        source or f"{called} (a {'BEIR ' if is_beir else ''}folder)",
        read_queries(queries),
        read_qrels(judgments[chosen]),
        partial(read_documents, corpus),
        threshold,
    )


def holds_corpus(folder: Path) -> bool:
    """Whether a folder has documents of a collection in it."""
    return bool(_found(folder, "corpus", RECORDS))


def chosen_split(splits: Iterable[str | None], asked: str | None, where: str) -> str | None:
    """The split that is evaluated: the one asked for, else "test", else the only one. None: judgments without a name.

    Raises `EvaluationError` that lists the splits when there is no such choice.
    """
    found = list(splits)
    listed = ", ".join(sorted(split for split in found if split is not None))
    if asked is not None:
        if asked in found:
            return asked
        there = f"the splits are: {listed}" if listed else "its judgments have no splits: leave it out"
        raise EvaluationError(f"{where}: no split {asked!r}; {there}")
    if DEFAULT_SPLIT in found:
        return DEFAULT_SPLIT
    if len(found) == 1:
        return found[0]
    raise EvaluationError(f"{where}: several splits, none of them {DEFAULT_SPLIT!r}; choose one (--split): {listed}")


def _judgments(folder: Path) -> dict[str | None, Path]:
    """The files of judgments by split; the key None is one file for the whole collection."""
    alone = _part(folder, "qrels", JUDGMENTS)
    splits: dict[str | None, Path] = {}
    try:
        inside = sorted((folder / "qrels").iterdir()) if (folder / "qrels").is_dir() else []
    except OSError as error:
        raise EvaluationError(f"{shown(folder / 'qrels')}: the folder cannot be read ({reason(error)})") from None
    for path in inside:
        stem = Path(_stem(path))
        if path.name.startswith(".") or stem.suffix not in JUDGMENTS or not path.is_file():
            continue
        if stem.stem in splits:
            raise _ambiguous(folder, [splits[stem.stem], path])
        splits[stem.stem] = path
    if alone is not None:
        if splits:
            raise _ambiguous(folder, [alone, *splits.values()])
        splits[None] = alone
    return splits


def _part(folder: Path, part: str, kinds: Sequence[str]) -> Path | None:
    found = _found(folder, part, kinds)
    # The form of BEIR goes before others, and corpus.jsonl before corpus.jsonl.gz.
    if len(found) > 1 and _stem(found[0]) != f"{part}.jsonl":
        raise _ambiguous(folder, found)
    return found[0] if found else None


def _found(folder: Path, part: str, kinds: Sequence[str]) -> list[Path]:
    candidates = [folder / f"{part}{kind}{packed}" for kind in kinds for packed in ("", *COMPRESSED)]
    try:
        return [path for path in candidates if path.is_file()]
    except OSError as error:
        raise EvaluationError(f"{shown(folder)}: the folder cannot be read ({reason(error)})") from None


def _ambiguous(folder: Path, paths: Sequence[Path]) -> EvaluationError:
    names = " and ".join(shown(path.relative_to(folder)) for path in paths[:3])
    return EvaluationError(f"{shown(folder)}: {names}: only one of them can be meant; move the others away")


def _stem(path: Path) -> str:
    """The name without the ending of a compression."""
    return path.stem if path.suffix in COMPRESSED else path.name


def _endings(kinds: Sequence[str]) -> str:
    return "|".join(kinds)


def _meant(folder: Path) -> str:
    """Collections below a folder that is none itself, for a message."""
    try:
        names = [shown(entry.name) for entry in sorted(folder.iterdir()) if entry.is_dir() and holds_corpus(entry)]
    except (OSError, EvaluationError):
        return ""
    more = ", ..." if len(names) > 5 else ""
    return f" Collections below it: {', '.join(names[:5])}{more}" if names else ""
