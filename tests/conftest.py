"""What tests share: where real data lie, and small collections of vectors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lsr.sparse import SparseVectors

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """The folder of real collections and models: `LSR_SHARED`, or `shared` beside the checkout."""
    given = os.environ.get("LSR_SHARED")
    folder = Path(given) if given else REPOSITORY.parent / "shared"
    return folder if (folder / "data").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("the shared collections are not here: set LSR_SHARED to their folder")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the user's cache folder of lsr."""
    monkeypatch.setenv("LSR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def random_vectors(
    rows: int, dim: int, terms: float, seed: int = 0, *, levels: int | None = None, skew: float = 1.0
) -> SparseVectors:
    """Random sparse vectors with about `terms` terms a row, low term ids being more frequent by `skew`.

    levels: weights are whole numbers from 1 to `levels` (many ties); otherwise floats in (0, 3].
    """
    generator = np.random.default_rng(seed)
    lengths = np.minimum(generator.poisson(terms, rows), dim)
    popularity = 1.0 / np.arange(1, dim + 1) ** skew
    popularity /= popularity.sum()
    indices = [np.sort(generator.choice(dim, length, replace=False, p=popularity)) for length in lengths]
    nnz = int(lengths.sum())
    if levels is None:
        values = generator.uniform(1e-3, 3.0, nnz)
    else:
        values = generator.integers(1, levels + 1, nnz).astype(float)
    return SparseVectors(
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        indices=np.concatenate(indices) if nnz else np.zeros(0, np.int64),
        values=values,
        dim=dim,
    )
