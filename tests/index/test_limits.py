"""The ends of what an index holds: vocabularies around 16 bits, the longest document, the smallest collections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr import Index, Limits, SparseVectors
from lsr.errors import InvalidInput
from lsr.index.formats import open_vectors, write_vectors
from lsr.index.reading import Reading
from lsr.index.segment_writer import Spool
from lsr.index.vectors_file import encode_to_file
from lsr.limits import MAX_DIM
from tests.index.formats.collections import COLLECTIONS, brute_force


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_kind_of_collection_is_stored_as_it_is_and_searched_as_brute_force_does(
    tmp_path: Path, name: str
) -> None:
    documents = COLLECTIONS[name]
    index = Index.build(documents, tmp_path / "my.idx")
    assert SparseVectors.concat(list(index.batches(7))) == documents
    queries = documents[:25]
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        found = list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))
        assert found == brute_force(documents, query, 10)


def long_document(terms: int) -> SparseVectors:
    """Two short documents with one of so many terms between them."""
    return SparseVectors(
        indptr=[0, 1, 1 + terms, 2 + terms],
        indices=np.concatenate([[0], np.arange(terms), [0]]),
        values=np.ones(terms + 2),
        dim=70_000,
        ids=["short", "lång", "other"],
    )


def test_a_document_of_65535_terms_is_indexed_whole(tmp_path: Path) -> None:
    index = Index.build(long_document(65_535), tmp_path / "my.idx")
    assert len(index.vectors([1]).indices) == Limits().document_terms == 65_535
    query = SparseVectors(indptr=[0, 1], indices=[65_534], values=[2.0], dim=70_000)
    assert [(hit.id, hit.score) for hit in index.search(query)[0]] == [("lång", 2.0)]


SAYS = "document 'lång' has 65,536 terms: an index holds up to 65,535 a document; keep the heaviest"


def test_a_longer_one_is_refused_by_its_id(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=SAYS):
        Index.build(long_document(65_536), tmp_path / "my.idx")
    write_vectors(long_document(65_536), tmp_path / "v.npz")
    with pytest.raises(InvalidInput, match=SAYS):
        Index.build(open_vectors(tmp_path / "v.npz"), tmp_path / "my.idx")
    assert [path.name for path in tmp_path.iterdir()] == ["v.npz"]


def test_or_by_its_row_where_it_has_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 70_000)
    spool.open()
    try:
        spool.append(long_document(3))
        with pytest.raises(InvalidInput, match="document 4 has 65,536 terms"):
            spool.append(long_document(65_536))
    finally:
        spool.close()


def test_a_text_that_an_encoder_turns_into_more_is_refused_by_its_id(tmp_path: Path) -> None:
    """No encoder does it to this text: the limit is lowered below what the bundled one gives."""
    documents = [{"id": "none", "text": ""}, {"id": "lång", "text": "rotate a log file when it has grown"}]
    few = Limits(document_terms=3)
    says = r"document 'lång' has \d+ terms: the limit is 3; keep the heaviest, or raise Limits\(document_terms=...\)"
    with pytest.raises(InvalidInput, match=says):
        Index.build(documents, tmp_path / "my.idx", limits=few)
    with pytest.raises(InvalidInput, match=says):
        encode_to_file(documents, tmp_path / "docs.npz", reading=Reading(limits=few))
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_of_more_than_24_bits_is_refused(tmp_path: Path) -> None:
    for dim in (MAX_DIM, MAX_DIM + 1):
        vectors = SparseVectors(indptr=[0, 1], indices=[dim - 1], values=[1.0], dim=dim)
        if dim == MAX_DIM:
            assert Index.build(vectors, tmp_path / "my.idx").search(vectors)[0].ids == ["0"]
        else:
            with pytest.raises(InvalidInput, match="16,777,217 dimensions: an index holds up to 16,777,216"):
                Index.build(vectors, tmp_path / "other.idx")
