"""A collection in a BEIR zip, read in place."""

from __future__ import annotations

import io
import re
import zipfile
from functools import partial
from pathlib import Path

from lsr.corpus import read_documents, read_queries
from lsr.corpus.archives import FAILURES
from lsr.corpus.streams import RATIO_FROM, Source, reason, shown, stream_source
from lsr.errors import EvaluationError
from lsr.eval.datasets.dataset import Dataset, assembled
from lsr.eval.datasets.folder import chosen_split
from lsr.eval.qrels import parsed_qrels
from lsr.limits import Limits

__all__ = ["zip_dataset"]

# qrels/test.tsv, at the root or one folder down, as the corpus is.
QRELS = re.compile(r"(?:(?P<top>[^/]+)/)?qrels/(?P<split>[^/.][^/]*)\.tsv")
LARGEST = 1 << 29  # bytes of judgments; those of MS MARCO's training queries are 10 million


def zip_dataset(
    path: Path,
    split: str | None = None,
    threshold: int | None = None,
    *,
    name: str | None = None,
    source: str | None = None,
) -> Dataset:
    """The collection of a BEIR zip: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv at its root or in one folder.

    split: as for a folder. Raises `EvaluationError` when it is no zip, or has no judgments; `CorpusError` as the readers do.
    """
    limits = Limits.default()
    judgments = _judgments(path)
    chosen = chosen_split(judgments, split, shown(path))
    assert chosen is not None  # members always have a name
    called = name or path.stem
    return assembled(
        called,
        chosen,
        source or f"{called} (a BEIR zip)",
        read_queries(path, limits=limits),
        parsed_qrels(_member(path, judgments[chosen], limits)),
        partial(read_documents, path, limits=limits),
        threshold,
    )


def _judgments(path: Path) -> dict[str, str]:
    """The members with judgments, by split."""
    found: dict[str, list[str]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if (match := QRELS.fullmatch(member)) and match["top"] != "__MACOSX":
                    found.setdefault(match["split"], []).append(member)
    except FAILURES as error:
        raise EvaluationError(
            f"{shown(path)}: not a zip file that can be read ({reason(error)}); give a folder or a BEIR zip"
        ) from None
    if not found:
        raise EvaluationError(f"{shown(path)}: no qrels/SPLIT.tsv at the root of the archive or one folder down")
    for split, members in found.items():
        if len(members) > 1:
            raise EvaluationError(
                f"{shown(path)}: several judgments for the split {split!r} ({', '.join(map(shown, members[:3]))}); "
                "unpack it and give the folder of one"
            )
    return {split: members[0] for split, members in found.items()}


def _member(path: Path, member: str, limits: Limits) -> Source:
    """The lines of a member, taken to memory: judgments are small. zipfile reads no more than the size that was checked."""
    name = f"{shown(path)}/{shown(member)}"
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(member)
            packed = min(info.compress_size, path.stat().st_size)
            if info.file_size > max(RATIO_FROM, limits.archive_ratio * packed) or info.file_size > LARGEST:
                raise EvaluationError(
                    f"{name}: would grow from {packed:,} to {info.file_size:,} bytes; if that is right, unpack it first"
                )
            data = archive.read(info)
    except FAILURES as error:
        raise EvaluationError(f"{name}: cannot be read ({reason(error)}); download the archive again") from None
    return stream_source(io.BytesIO(data), name, limits)
