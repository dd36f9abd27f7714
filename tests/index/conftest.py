"""What tests of snapshots share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.index.archives import small_snapshot


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that unpack hundreds of archives, and not of what survives a loss of power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small snapshot."""
    return small_snapshot(tmp_path_factory.mktemp("small"))
