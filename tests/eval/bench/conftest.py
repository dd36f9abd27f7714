"""One small benchmark that several tests look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lsr import SparseVectors
from lsr.eval.bench import Benchmark, Outcome, bench
from tests.conftest import REPOSITORY, random_vectors

HERE = "tests.eval.bench.engines"
HOSTILE = "<script>*q*|`"


@dataclass(frozen=True)
class Run:
    outcome: Outcome
    documents: SparseVectors
    queries: dict[str, SparseVectors]
    folder: Path
    indexes: Path
    stages: list[str]

    @property
    def report(self) -> dict[str, Any]:
        return self.outcome.report


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Workers find the engines of the tests, and no user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("LSR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield patch


@pytest.fixture(scope="session")
def run(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bench")
    documents = random_vectors(300, 80, 12, seed=3)
    queries = {"plain": random_vectors(12, 80, 4, seed=4), HOSTILE: random_vectors(7, 80, 6, seed=5)}
    empty = SparseVectors(indptr=[0, 0], indices=[], values=[], dim=80)
    asked = {**queries, HOSTILE: SparseVectors.concat([queries[HOSTILE][:3], empty, queries[HOSTILE][3:]])}
    stages: list[str] = []
    environment.setattr("lsr.eval.bench.run.lacks", lambda peer: "not here" if peer.name == "bmp" else None)
    benchmark = Benchmark(
        name="small",
        peers=["bmp", f"{HERE}:Partial", f"{HERE}:Fails", f"{HERE}:Ends"],
        ks=(1, 5),
        rounds=2,
        warm_ups=3,
        sweep_queries=5,
        indexes=folder / "indexes",
        command=["lsr", "bench", "small.npz"],
    )
    outcome = bench(documents, asked, folder / "report", benchmark, lambda stage, done, total: stages.append(stage))
    return Run(outcome, documents, queries, folder / "report", folder / "indexes", stages)
