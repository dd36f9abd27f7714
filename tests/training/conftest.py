"""Small models of each kind of teacher, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders import families
from tests.training import kit, models


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dense")
    prompts = {"query": "the fox ", "document": "the river "}
    return models.dense(place / "model", prompts=prompts, work=place / "backbone")


@pytest.fixture(scope="session")
def dot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dot")
    return models.dense(place / "model", normalize=False, work=place / "backbone")


@pytest.fixture(scope="session")
def cross_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.cross_encoder(tmp_path_factory.mktemp("cross") / "model")


@pytest.fixture(scope="session")
def multi_vector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("multi")
    return models.multi_vector(place / "model", work=place / "backbone")


@pytest.fixture(scope="session")
def splade_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("splade") / "model")


@pytest.fixture(scope="session")
def inference_free_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.opensearch(tmp_path_factory.mktemp("free") / "model", "idf.json")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with queries, and the models that trainings start from; nothing writes there."""
    return kit.collection(tmp_path_factory.mktemp("small"))
