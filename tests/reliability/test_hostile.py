"""Index folders that someone forged, with right checksums: lsr refuses them or answers, and nothing worse comes of it.

`hostile_child` does the work, in processes of its own with limits on memory and time: no signal, no error but lsr's own, of
one line, at most 10 seconds and 700 MB a case.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.children import run_module
from tests.reliability.report import report, scaled
from tests.reliability.samples import build_samples

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is limited as Linux counts it")

PARTS = 20  # of the long run, for as many processes


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "samples"
    folder.mkdir()
    build_samples(folder)
    return folder


def run(samples: Path, seed: int, first: int, count: int, **environment: str) -> dict[str, Any]:
    """Runs cases; returns the counts. Fails with what went wrong, and how to see it again."""
    settings = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **environment}
    done = run_module("tests.reliability.hostile_child", samples, seed, first, count, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    *faults, totals = map(json.loads, done.stdout.splitlines())
    again = f"python -m tests.reliability.hostile_child SAMPLES {seed} CASE 1 --say"
    assert not faults, f"{len(faults)} cases, to be seen again by `{again}`: {json.dumps(faults[:5], indent=1)}"
    assert totals["cases"] == count
    return dict(totals)


def test_forged_indexes_are_refused_or_answer(samples: Path) -> None:
    count = scaled(2_000)
    totals = run(samples, 1, 0, count)
    assert count < 100 or totals["refused whole"] < 0.7 * totals["cases"], (
        "much of what is forged gets past the opening"
    )
    report("forged indexes", **totals)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_many_forged_indexes_are_refused_or_answer(samples: Path, part: int) -> None:
    count = scaled(200_000 // PARTS)
    report("forged indexes, long", **run(samples, 2, part * count, count))


@pytest.mark.slow
def test_forged_indexes_lead_no_kernel_out_of_an_array(samples: Path, tmp_path: Path) -> None:
    """Most reads that go a little too far end no process; with NUMBA_BOUNDSCHECK they are errors."""
    count = scaled(10_000)
    totals = run(samples, 3, 0, count, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
    report("forged indexes, bounds checked", **totals)
