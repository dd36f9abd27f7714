"""A small ColBERT with random weights, and an index with its token vectors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lsr
from lsr.rerank import MultiVectorEncoder, index_tokens, load_multivector_encoder
from tests.rerank.living_index import TEXTS, lines
from tests.training import models


@pytest.fixture(scope="session")
def colbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colbert")
    return models.multi_vector(folder / "model", work=folder / "backbone")


@pytest.fixture(scope="session")
def encoder(colbert: Path) -> MultiVectorEncoder:
    return load_multivector_encoder(colbert)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, encoder: MultiVectorEncoder) -> Path:
    index = lsr.Index.build(lines(TEXTS), tmp_path_factory.mktemp("living") / "my.idx")
    index_tokens(index, encoder, codec="f32")
    return index.path


@pytest.fixture
def index(original: Path, tmp_path: Path) -> lsr.Index:
    """One of `living_index.TEXTS` with token vectors (f32), to be changed."""
    return lsr.Index.open(shutil.copytree(original, tmp_path / "my.idx"))
