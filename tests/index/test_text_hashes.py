"""An index keeps a hash of each text, by which what was made of it elsewhere is told from what it has become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash

from lsr import Index
from lsr.errors import CorruptIndex
from lsr.index.storage.check import check_index
from tests.conftest import REPOSITORY, random_vectors
from tests.index.archives import small_segments
from tests.reliability.forging import Forged, files_of

DOCUMENTS = [
    {"id": "a", "title": "Gzip", "text": "compress a file"},
    {"id": "b", "text": "rotate a log"},
    {"id": "c", "title": "naïve 漢字", "text": ""},
]


def expected(*contents: str) -> list[int]:
    return [xxhash.xxh3_64_intdigest(content.encode()) for content in contents]


def test_the_hash_is_that_of_title_and_text_whatever_becomes_of_the_rows(tmp_path: Path) -> None:
    index = Index.build(DOCUMENTS, tmp_path / "my.idx")
    assert index.text_hashes([2, 0, 1]).tolist() == expected("naïve 漢字", "Gzip compress a file", "rotate a log")
    with small_segments():
        index.upsert([{"id": "a", "text": "shuffle"}])
    assert len(index.manifest.segments) == 2
    wanted = expected("rotate a log", "naïve 漢字", "shuffle")
    assert index.text_hashes(range(3)).tolist() == wanted
    ids, texts = index.snapshot.hashes()
    assert ids.tolist() == expected("b", "c", "a")
    assert texts.tolist() == wanted
    index.compact()
    assert index.text_hashes(range(3)).tolist() == wanted
    assert index.text_hashes([]).tolist() == []
    list(check_index(index.path, full=True))


def test_an_index_without_texts_has_none(tmp_path: Path) -> None:
    index = Index.build(random_vectors(4, 20, 3), tmp_path / "my.idx")
    assert index.text_hashes([0, 3]).tolist() == [0, 0]


def test_an_index_of_format_4_0_reads_its_texts_for_them(tmp_path: Path) -> None:
    index = Index.from_snapshot(REPOSITORY / "tests" / "golden" / "4.0-documents.tar.zst", tmp_path / "my.idx")
    records = [index.record_of(row) for row in range(len(index))]
    wanted = expected(*(record.content for record in records if record is not None))
    assert index.text_hashes(np.arange(len(index))).tolist() == wanted
    assert index.snapshot.hashes()[1].tolist() == wanted


def test_a_hash_that_is_not_that_of_its_text_is_damage(tmp_path: Path) -> None:
    """Forged with checksums that match."""
    forged = Forged(Index.build(DOCUMENTS, tmp_path / "my.idx").path)
    [entry] = [file for file in files_of(forged.body) if file["name"].endswith("/text_hashes")]
    forged.put_array(entry, forged.array(entry) ^ np.uint64(1))
    forged.save()
    with pytest.raises(CorruptIndex, match="the text of document 0 is not what its hash says"):
        list(check_index(tmp_path / "my.idx", full=True))
