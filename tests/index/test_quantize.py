"""Stored weights: 8 bits where they are enough, 16 where not, and no loss where none is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr import Index, SparseVectors
from tests.conftest import random_vectors


def stored(vectors: SparseVectors, folder: Path) -> tuple[Index, SparseVectors]:
    index = Index.build(vectors, folder / "my.idx")
    return index, index.vectors(range(len(vectors)))


def test_float_weights_are_kept_to_half_a_step_of_8_bits(tmp_path: Path) -> None:
    vectors = random_vectors(500, 200, 20, seed=1)
    index, kept = stored(vectors, tmp_path)
    assert index.info()["weight_bits"] == 8
    half_step = float(vectors.values.max()) / 255 / 2
    difference = np.abs((vectors.to_scipy() - kept.to_scipy()).toarray())
    assert difference.max() <= half_step * 1.001


@pytest.mark.parametrize(
    ("step", "levels", "bits"), [(1.0, 200, 8), (3.5 / 255, 255, 8), (1.0, 4_000, 16), (0.25, 9, 8)]
)
def test_weights_on_a_grid_are_kept_without_loss(tmp_path: Path, step: float, levels: int, bits: int) -> None:
    grid = random_vectors(400, 100, 15, seed=2, levels=levels)
    vectors = SparseVectors(
        indptr=grid.indptr, indices=grid.indices, values=grid.values * np.float32(step), dim=grid.dim
    )
    index, kept = stored(vectors, tmp_path)
    assert index.info()["weight_bits"] == bits
    np.testing.assert_allclose(kept.values, vectors.values, rtol=1e-6)
    np.testing.assert_array_equal(kept.indices, vectors.indices)


def test_one_huge_weight_does_not_crush_the_others(tmp_path: Path) -> None:
    vectors = random_vectors(500, 200, 20, seed=3)
    values = vectors.values.copy()
    values[17] = 900.0
    vectors = SparseVectors(indptr=vectors.indptr, indices=vectors.indices, values=values, dim=vectors.dim)
    index, kept = stored(vectors, tmp_path)
    assert index.info()["weight_bits"] == 16
    assert np.abs((vectors.to_scipy() - kept.to_scipy()).toarray()).max() <= 900 / 65535


def test_a_document_with_terms_can_always_be_found(tmp_path: Path) -> None:
    vectors = SparseVectors(indptr=[0, 1, 3], indices=[0, 1, 2], values=[1e6, 1e-3, 2e-3], dim=3)
    index, _ = stored(vectors, tmp_path)
    query = SparseVectors(indptr=[0, 1], indices=[2], values=[1.0], dim=3)
    assert index.search(query)[0].rows.tolist() == [1]


def test_tiny_weights_do_not_divide_by_zero(tmp_path: Path) -> None:
    vectors = SparseVectors(indptr=[0, 2], indices=[0, 1], values=[1e-44, 3e-45], dim=3)
    index, _ = stored(vectors, tmp_path)
    query = SparseVectors(indptr=[0, 1], indices=[0], values=[1e38], dim=3)
    assert index.search(query)[0].rows.tolist() == [0]
