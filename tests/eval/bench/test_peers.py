"""Every peer that is installed finds on a small collection what its kind should: what is set up badly is not compared."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from lsr import SparseVectors
from lsr.eval.bench.peers import OURS, PEERS, lacks, load_peer
from lsr.eval.bench.peers.bm25s import fixed_weights
from lsr.eval.bench.peers.seismic import write_documents
from lsr.eval.bench.truth import Truth
from tests.conftest import random_vectors

EXACT = {"lsr": 0.97, "bm25s": 1.0, "splade-index": 1.0, "sindi": 1.0, "bmp": 0.9}  # two of them round to 8 bits
NEAR = {"seismic": 0.9, "kannolo": 0.8}
COMPILED = {"bm25s": "bm25s.numba", "splade-index": "splade_index.numba"}  # anew in each process, for up to 15 seconds


def interpret(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that a peer compiles are run by Python: what they find is the same."""
    for part in ("retrieve_utils", "selection"):
        module = importlib.import_module(f"{package}.{part}")
        compiled = {name: function.py_func for name, function in vars(module).items() if hasattr(function, "py_func")}
        assert compiled
        for name, function in compiled.items():
            monkeypatch.setattr(module, name, function)


@pytest.mark.parametrize("name", [OURS, *PEERS])
def test_a_peer_finds_what_it_should(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = load_peer(name)
    if (reason := lacks(peer)) is not None:
        pytest.skip(reason)
    if peer.name in COMPILED:
        interpret(COMPILED[peer.name], monkeypatch)
    documents = random_vectors(400, 60, 15, seed=8, skew=0.3)
    queries = random_vectors(10, 60, 5, seed=9, skew=0.3)
    if peer.name == "bm25s":  # it has no query weights, unless a term has the same in all queries
        queries = SparseVectors(
            indptr=queries.indptr, indices=queries.indices, values=1 + queries.indices % 7, dim=queries.dim
        )
    truth = Truth(documents).answers(queries, [10])[10]
    best = 0.0
    for number, settings in enumerate(peer.builds(len(documents))):
        files, folder = tmp_path / f"files-{number}", tmp_path / f"index-{number}"
        files.mkdir()
        folder.mkdir()
        peer.build(peer.convert(documents, files), folder, settings)
        opened = peer.open(folder, settings)
        prepared = opened.prepare(queries)
        for search in peer.searches(settings, 10):
            find = opened.searcher(search, 10)
            rows = [opened.rows(find(query)) for query in prepared]
            assert all(len(found) <= 10 and len(np.unique(found)) == len(found) for found in rows)
            best = max(best, truth.recall(rows))
    assert best >= (EXACT | NEAR)[peer.name]


def test_the_file_for_seismic_is_in_its_form(tmp_path: Path) -> None:
    """The number of vectors, then of each: its length, its terms, its weights, all in 4 bytes."""
    vectors = SparseVectors(indptr=[0, 2, 2, 3], indices=[1, 4, 0], values=[0.5, 2.0, 1.5], dim=5)
    write_documents(vectors, tmp_path / "v.bin")
    words = np.frombuffer((tmp_path / "v.bin").read_bytes(), "<u4")
    expected = [3, 2, 1, 4, *np.array([0.5, 2.0], "<f4").view("<u4"), 0, 1, 0, *np.array([1.5], "<f4").view("<u4")]
    assert words.tolist() == expected


def test_fixed_weights_are_those_that_every_query_agrees_on() -> None:
    agree = SparseVectors(indptr=[0, 2, 3], indices=[0, 2, 2], values=[3.0, 2.0, 2.0], dim=4)
    assert np.array_equal(fixed_weights(agree), [3, 1, 2, 1])  # type: ignore[arg-type]
    differ = SparseVectors(indptr=[0, 2, 3], indices=[0, 2, 2], values=[3.0, 2.0, 1.0], dim=4)
    assert fixed_weights(differ) is None
