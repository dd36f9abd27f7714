"""Indexes of every version of the format that is read: they open, are sound, answer as they did, and can be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr import Index, SparseVectors, open_vectors
from lsr.index.storage.check import check_index
from lsr.index.storage.manifest import FORMAT_VERSION, OLDEST_READ
from tests.conftest import REPOSITORY
from tests.golden import make

GOLDEN = REPOSITORY / "tests" / "golden"
FILES = sorted(GOLDEN.glob("*.tar.zst"))


def version_of(file: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in file.name.partition("-")[0].split("."))


def opened(file: Path, tmp_path: Path) -> tuple[Index, dict[str, Any]]:
    expected = json.loads(file.with_name(file.name.replace(".tar.zst", ".json")).read_text())
    index = Index.from_snapshot(file, tmp_path / "my.idx")
    assert index.manifest.format_version == version_of(file)
    return index, expected


def check_answers(index: Index, expected: dict[str, Any]) -> None:
    """Every query has the hits that it had, with the same scores to the last bit."""
    for asked in expected["queries"]:
        query = vector(asked["terms"], asked["weights"], index.dim)
        hits = index.search(query, 10, recall=1, filter=asked["filter"])[0]
        assert [[hit.id, hit.score] for hit in hits] == asked["hits"]
        for hit in hits:
            record = expected["records"][hit.id]
            if record is not None:
                assert [hit.title, hit.text, dict(hit.metadata)] == record


def vector(terms: list[int], weights: list[float], dim: int, ids: list[str] | None = None) -> SparseVectors:
    return SparseVectors(indptr=[0, len(terms)], indices=terms, values=weights, dim=dim, ids=ids)


def test_there_are_golden_files_of_the_version_that_is_written_and_none_that_is_not_read() -> None:
    """Without those: python -m tests.golden.make"""
    versions = [version_of(file) for file in FILES]
    assert versions.count(FORMAT_VERSION) == 2
    assert all(OLDEST_READ <= version <= FORMAT_VERSION for version in versions)


def test_golden_files_are_never_made_anew() -> None:
    before = {file.name: file.read_bytes() for file in GOLDEN.iterdir() if file.is_file()}
    with pytest.raises(SystemExit, match="never made anew"):
        make.main()
    assert {file.name: file.read_bytes() for file in GOLDEN.iterdir() if file.is_file()} == before


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".tar.zst"))
def test_an_index_of_an_earlier_version_answers_as_it_did_and_can_be_changed(file: Path, tmp_path: Path) -> None:
    index, expected = opened(file, tmp_path)
    list(check_index(index.path, full=True))
    assert [index.id_of(row) for row in range(len(index))] == list(expected["records"])
    check_answers(index, expected)

    # What is added matches everything, and better than anything.
    dim, heavy = index.dim, [100.0] * 50
    terms = sorted({term for asked in expected["queries"] for term in asked["terms"]})[:50]
    if index.manifest.texts:  # with its text, and without the encoder, which may be another by now
        assert index.tokens is not None
        line = {"id": "new", "content": "new", "vector": {index.tokens[term]: 100.0 for term in terms}}
        (tmp_path / "new.jsonl").write_text(json.dumps(line))
        index.add(open_vectors(tmp_path / "new.jsonl", vocabulary=index.tokens))
    else:
        index.add(vector(terms, heavy[: len(terms)], dim, ["new"]))
    assert index.search(vector(terms, heavy[: len(terms)], dim), 1, recall=1)[0].ids == ["new"]
    assert index.manifest.format_version == FORMAT_VERSION
    list(check_index(index.path, full=True))
    index.delete("new")
    check_answers(index, expected)
    index.compact()
    assert [index.id_of(row) for row in range(len(index))] == list(expected["records"])
    list(check_index(index.path, full=True))
    check_answers(index, expected)


@pytest.mark.parametrize("file", [file for file in FILES if "documents" in file.name], ids=lambda file: file.name)
def test_texts_are_encoded_by_what_an_index_of_an_earlier_version_keeps(file: Path, tmp_path: Path) -> None:
    index, expected = opened(file, tmp_path)
    assert index.query_encoder is not None
    for asked in expected["queries"]:
        encoded = index.query_encoder.encode_batch([asked["text"]])
        assert encoded.indices.tolist() == asked["terms"]
        np.testing.assert_allclose(encoded.values, asked["weights"], rtol=1e-6)
        hits = index.search(asked["text"], 10, filter=asked["filter"])
        assert hits.ids == [name for name, _ in asked["hits"]]


@pytest.mark.parametrize("file", [file for file in FILES if "vectors" in file.name], ids=lambda file: file.name)
def test_the_blocks_of_an_earlier_version_are_searched(file: Path, tmp_path: Path) -> None:
    index, expected = opened(file, tmp_path)
    assert index.info()["engine"] == "blocked"
    found = 0
    for asked in expected["queries"]:
        query = vector(asked["terms"], asked["weights"], index.dim)
        scores = {hit.id: hit.score for hit in index.search(query, 300, recall=1)[0]}
        hits = index.search(query, 10, recall=0.9)[0]
        assert all(hit.score == scores[hit.id] for hit in hits)
        found += len({hit.id for hit in hits} & {name for name, _ in asked["hits"]})
    assert found >= 0.8 * sum(len(asked["hits"]) for asked in expected["queries"])
