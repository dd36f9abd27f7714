"""What tests of pipelines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lsr.rag.resources import Resources
from tests.rag.script import OPEN


@pytest.fixture(scope="session")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """Without a generator."""
    with Resources(folder=tmp_path_factory.mktemp("indexes")) as made:
        yield made


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Resources of scripted generators are closed after each test."""
    yield
    while OPEN:
        OPEN.pop().close()
