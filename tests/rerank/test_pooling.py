"""Token pooling: fewer vectors of a document, the same as those of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lsr
from lsr.errors import InvalidInput, StorageError
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, TokenStore, TokenVectors, index_tokens, living, sync_tokens
from tests.cli import commands
from tests.rerank.living_index import NEW, QUERY, TEXTS, lines, stored, written
from tests.rerank.naive import collection


def unit(documents: int, dim: int, seed: int, longest: int = 30) -> TokenVectors:
    vectors, offsets = collection(documents, dim, seed, longest=longest)
    return TokenVectors(offsets, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def as_set(vectors: np.ndarray) -> np.ndarray:
    """Vectors in an order that does not depend on how they came."""
    order = np.lexsort(np.round(vectors, 5).T)
    return vectors[order]


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_the_same_vectors_as_sentence_transformers(factor: int) -> None:
    import torch
    from sentence_transformers.multi_vector_encoder.modules.token_pooling import HierarchicalTokenPooling

    given = unit(60, 16, seed=factor)
    texts = [torch.from_numpy(given.of(i).copy()) for i in range(1, len(given)) if len(given.of(i))]
    wanted = HierarchicalTokenPooling(float(factor)).pool(texts)
    found = given.pooled(factor)
    rows = [i for i in range(1, len(given)) if len(given.of(i))]
    for i, expected in zip(rows, wanted, strict=True):
        assert found.of(i)[0].tolist() == given.of(i)[0].tolist(), "the first token stays as it is"
        np.testing.assert_allclose(as_set(found.of(i)), as_set(expected.numpy()), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_counts_lengths_and_means(factor: int) -> None:
    given = unit(40, 8, seed=1)
    found = given.pooled(factor)
    assert len(found) == len(given)
    assert found.tokens is None
    for i, (before, after) in enumerate(zip(given.lengths.tolist(), found.lengths.tolist(), strict=True)):
        assert after == min(before, 1 + max(1, (before - 1) // factor)), i
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    twice = np.concatenate([np.eye(8)[:1], *[np.eye(8)[1:4]] * 2]).astype(np.float32)  # what is alike becomes one
    pooled = TokenVectors(np.array([0, 7]), twice).pooled(2)
    np.testing.assert_allclose(as_set(pooled.vectors), as_set(np.eye(8, dtype=np.float32)[:4]), atol=1e-6)


def test_one_pools_nothing_and_what_is_no_factor_is_refused() -> None:
    given = unit(5, 8, seed=2)
    assert given.pooled(1) is given
    for factor in (0, -1, 1.5, True):
        with pytest.raises(InvalidInput, match="tokens are pooled by"):
            given.pooled(factor)  # type: ignore[arg-type]
    empty = TokenVectors(np.array([0, 0, 0]), np.zeros((0, 4), np.float32)).pooled(2)
    assert (len(empty), empty.dim) == (2, 4)
    opposite = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
    assert np.isfinite(TokenVectors(np.array([0, 3]), opposite).pooled(2).vectors).all()


def test_documents_that_come_later_are_pooled_in_the_same_way(tmp_path: Path, encoder: MultiVectorEncoder) -> None:
    index = lsr.Index.build(lines(TEXTS), tmp_path / "my.idx")
    with pytest.raises(InvalidInput, match="tokens are pooled by 0"):
        index_tokens(index, encoder, pool=0)
    store = index_tokens(index, encoder, codec="f32", pool=2)
    assert (store.manifest.pool, store.info()["pool"]) == (2, 2)
    index.add(lines({"f": NEW}))
    sync_tokens(index, encoder)
    texts = {**TEXTS, "f": NEW}
    wanted = encoder.encode_documents([f"{name.upper()} {text}" for name, text in texts.items()]).pooled(2)
    assert stored(index) == {name: wanted.of(i).tolist() for i, name in enumerate(texts)}
    living.open_tokens(index).compact()
    assert living.open_tokens(index).manifest.pool == 2
    hit = index.search(QUERY, k=1, rerank=MaxSimReranker.of(index, encoder=encoder))[0]
    matches = hit.explain().matches
    assert matches is not None
    assert matches.stored == pytest.approx(hit.score, rel=1e-6)
    assert abs(matches.score - matches.stored) > 1e-3, "the similarities are those of the tokens"


def test_an_interrupted_build_is_not_gone_on_with_by_another_factor(
    tmp_path: Path, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = lsr.Index.build(lines(TEXTS), tmp_path / "my.idx")
    monkeypatch.setattr(living, "DOCUMENTS", 2)

    def stop(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_tokens(index, encoder, pool=2, resume=True, progress=stop)
    with pytest.raises(StorageError, match="had another codec"):
        index_tokens(index, encoder, resume=True)
    assert len(index_tokens(index, encoder, pool=2, resume=True)) == 5


def test_the_command_line_pools(tmp_path: Path, colbert: Path) -> None:
    path, source = tmp_path / "my.idx", written(tmp_path / "docs.jsonl", TEXTS)
    done = commands.lsr("index", source, "-o", path, "--multivector", colbert, "--pool-tokens", 2)
    assert done.returncode == 0, done.stderr
    assert TokenStore.open(path / "multivector").manifest.pool == 2
    none = commands.lsr("index", source, "-o", tmp_path / "x.idx", "--multivector", colbert, "--pool-tokens", 0)
    assert none.returncode == 2
    for option in (("--pool-tokens", 2), ("--codec", "int4")):
        without = commands.lsr("index", source, "-o", tmp_path / "x.idx", *option)
        assert without.returncode == 2
        assert "only with --multivector" in without.stderr
    assert not (tmp_path / "x.idx").exists()
