"""What tests of pipelines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lsr.rag.resources import Resources


@pytest.fixture(scope="session")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """Without a generator."""
    with Resources(folder=tmp_path_factory.mktemp("indexes")) as made:
        yield made
