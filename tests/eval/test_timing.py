"""Timing: what is counted, not how long it takes."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.errors import EvaluationError
from lsr.eval.timing import (
    Stopwatch,
    available_mib,
    fresh_process,
    most_resident_mib,
    peak_memory,
    resident_mib,
    throughput,
    time_stages,
)


def test_each_query_goes_through_all_stages_after_the_warm_ups() -> None:
    calls: list[tuple[str, str]] = []

    def first(text: str) -> str:
        calls.append(("first", text))
        return text.upper()

    def second(text: str) -> None:
        calls.append(("second", text))

    times = time_stages([("a", first), ("b", second)], ["x", "y", "z"], warm_ups=5, repeats=2, seconds=0)
    assert calls[0::2] == [("first", t) for t in "xyzxy" + "xyz" * 2]
    assert calls[1::2] == [("second", t.upper()) for t in "xyzxy" + "xyz" * 2]
    assert {name: taken.shape for name, taken in times.stages.items()} == {"a": (2, 3), "b": (2, 3)}
    np.testing.assert_allclose(times.total, times.stages["a"] + times.stages["b"])


def test_a_latency_says_how_it_was_measured() -> None:
    latency = time_stages([("a", str)], list(range(7)), warm_ups=3, repeats=4, seconds=0).latency()
    assert (latency["queries"], latency["warmups"], latency["threads"], latency["repeats"]) == (7, 3, 1, 4)
    assert len(latency["quantiles"]) == 101
    assert latency["quantiles"] == sorted(latency["quantiles"])
    assert latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]


def test_fast_queries_are_repeated_until_the_time_is_up() -> None:
    assert time_stages([("a", str)], [1], warm_ups=0, repeats=2, seconds=0.001).total.shape[0] > 2
    assert time_stages([("a", str)], [1], warm_ups=0, repeats=2, seconds=60).total.shape[0] == 1000


def test_nothing_to_time_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="nothing to time"):
        time_stages([("a", str)], [])


def test_throughput_warms_up_each_number_of_threads() -> None:
    asked: list[int] = []
    rates = throughput(asked.append, 10, [1, 2], repeats=3)
    assert asked == [1] * 4 + [2] * 4
    assert [rate["threads"] for rate in rates] == [1, 2]
    assert all(rate["queries_per_second"] > 0 for rate in rates)


def test_a_fresh_process_prints_its_figures() -> None:
    code = "import json, os, sys; print('noise'); "
    code += "print(json.dumps({'cache': os.environ.get('NUMBA_CACHE_DIR'), 'a': sys.argv[1]}))"
    assert fresh_process(code, ["x"])["a"] == "x"
    assert fresh_process(code, ["x"], empty_cache=True)["cache"]
    with pytest.raises(EvaluationError, match="ended with status 1: ValueError: no"):
        fresh_process("raise ValueError('no')", [])


def test_the_memory_of_a_block_is_seen() -> None:
    with peak_memory(interval=0.001) as small:
        pass
    with peak_memory(interval=0.001) as large, Stopwatch():
        block = np.ones(32 << 20)
        assert block[-1] == 1
    if small.peak_mib is None:
        pytest.skip("this system does not tell the memory of a process")
    assert large.peak_mib is not None
    assert large.peak_mib > small.peak_mib + 150


def test_the_most_that_a_process_held_is_its_own() -> None:
    """Not what the process that started it held."""
    block = np.ones(64 << 20)
    code = "import json; from lsr.eval.timing import most_resident_mib as most; print(json.dumps({'most': most()}))"
    child = fresh_process(code, [])["most"]
    if child is None:
        pytest.skip("this system does not tell the memory of a process")
    assert block[-1] == 1
    most, now, free = most_resident_mib(), resident_mib(), available_mib()
    assert most is not None
    assert now is not None
    assert free is not None
    assert most >= now - 1 > 512
    assert 10 < child < 400
    assert free > 0
