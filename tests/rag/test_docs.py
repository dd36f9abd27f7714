"""docs/rag.md tells the truth: its files can be read, and it names every stage that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lsr.rag import read_pipeline
from lsr.rag.search.config import read_search
from lsr.rag.stages.base import FAMILIES, kinds_of
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "rag.md").read_text(encoding="utf-8")
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_its_pipeline_and_its_search_can_be_read(tmp_path: Path) -> None:
    pipeline, search = YAML
    (tmp_path / "pipeline.yaml").write_text(pipeline)
    (tmp_path / "search.yaml").write_text(search)
    assert read_pipeline(tmp_path / "pipeline.yaml").surroundings.join == "article_id"
    assert read_search(tmp_path / "search.yaml").budget.pipelines == 60


@pytest.mark.parametrize("family", FAMILIES)
def test_it_names_every_stage_and_no_other(family: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{family}`")]
    named = set(re.findall(r"`([a-z0-9+-]+)`", row)) - {family}
    there = {kind for kind in kinds_of(family) if not kind.startswith("test-")}
    assert named == there
