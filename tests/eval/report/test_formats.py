"""Numbers as they are shown, and the axes of plots."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsr.eval.report import formats as f
from lsr.eval.report import svg

FINITE = st.floats(-1e12, 1e12)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (f.score, 0.64494, "0.6449"), (f.score, -0.1, "−0.1000"), (f.score, -0.00001, "0.0000"), (f.score, None, "–"),
        (f.signed, 0.0123, "+0.0123"), (f.signed, -0.0123, "−0.0123"), (f.signed, 0.00004, "0.0000"),
        (f.signed, None, "–"), (f.interval, (0.6, 0.7), "0.6000 to 0.7000"), (f.interval, (None, 0.7), "–"),
        (f.p_value, 0.00099, "< 0.001"), (f.p_value, 0.0499999, "0.0499999"), (f.p_value, 0.05, "0.050"),
        (f.p_value, 1, "1.000"), (f.p_phrase, 0.0001, "p < 0.001"), (f.p_phrase, 0.34, "p = 0.340"),
        (f.count, 5183, "5,183"), (f.count, None, "–"), (f.whole, 9.0, "9"), (f.whole, 9.5, "9.50"),
        (f.milliseconds, 0, "0 ms"), (f.milliseconds, 0.087, "87.0 µs"), (f.milliseconds, 0.99996, "1.00 ms"),
        (f.milliseconds, 1.234, "1.23 ms"), (f.milliseconds, 999.96, "1.00 s"), (f.milliseconds, 200_000, "3 min 20 s"),
        (f.milliseconds, 9e6, "2 h 30 min"), (f.seconds, 18.2, "18.2 s"), (f.per_second, 19_000, "19,000/s"),
        (f.tick_milliseconds, 0.5, "500 µs"), (f.tick_milliseconds, 1, "1 ms"), (f.tick_milliseconds, 2e4, "20 s"),
        (f.bytes_of, 0, "0 B"), (f.bytes_of, 812, "812 B"), (f.bytes_of, 1536, "1.50 KiB"),
        (f.bytes_of, 2**20 - 1, "1.00 MiB"), (f.bytes_of, 2**60, "1,048,576 TiB"),
        (f.day, "2026-11-24T09:00:00+01:00", "24 November 2026, 08:00 UTC"), (f.day, "2026-99-99T", "2026-99-99T"),
    ],
)  # fmt: skip
def test_a_number_is_written_as(write: Callable[[object], str], value: object, text: str) -> None:
    assert write(value) == text


def test_one_and_many_are_told_apart() -> None:
    assert [f.counted(n, "query", "queries") for n in (0, 1, 1000)] == ["0 queries", "1 query", "1,000 queries"]


@given(st.floats(0, 1))
@example(0.0495)
@example(0.0009999)
def test_p_is_never_rounded_over_a_usual_level(p: float) -> None:
    text = f.p_value(p)
    if not text.startswith("<"):
        assert all((float(text) < level) == (p < level) for level in (0.001, 0.01, 0.05, 0.1))


@given(FINITE)
def test_a_sign_is_shown_if_and_only_if_digits_other_than_zero_are(value: float) -> None:
    text = f.signed(value)
    assert (text[0] in "+−") == bool(re.search("[1-9]", text))
    assert "-" not in text


@given(st.floats(1e-3, 1e11), st.floats(1e-3, 1e11))
def test_longer_times_and_sizes_do_not_look_shorter(a: float, b: float) -> None:
    units = {"µs": 1e-3, "ms": 1, "s": 1e3, "min": 6e4, "h": 3.6e6}

    def read(text: str) -> float:
        words = text.replace(",", "").split()
        return sum(float(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))

    low, high = sorted((a, b))
    assert read(f.milliseconds(low)) <= read(f.milliseconds(high)) * (1 + 1e-12)
    assert read(f.milliseconds(a)) == pytest.approx(a, rel=0.006)


# -- axes --------------------------------------------------------------------------------------------------------------

_ENDS = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(sorted).filter(lambda ends: ends[1] - ends[0] > 1e-6)


@given(_ENDS, st.integers(3, 9))
def test_a_linear_axis_covers_its_range_with_round_ticks_that_can_be_told_apart(ends: list[float], ticks: int) -> None:
    low, high = ends
    scale = svg.linear(low, high, 10, 110, ticks=ticks)
    assert scale.to(low) == pytest.approx(10)
    assert scale.to(high) == pytest.approx(110)
    assert 1 <= len(scale.ticks) <= ticks + 1
    assert all(9.99 <= scale.to(tick) <= 110.01 for tick in scale.ticks)
    assert len({scale.written(tick) for tick in scale.ticks}) == len(scale.ticks)


@given(st.floats(1e-6, 1e9), st.floats(1, 1e6))
def test_a_logarithmic_axis_names_at_least_two_values(low: float, factor: float) -> None:
    scale = svg.logarithmic(low, low * factor, 0, 100)
    places = [scale.to(tick) for tick in scale.ticks]
    assert len(places) >= 2
    assert places == sorted(places)
    assert all(-0.01 <= place <= 100.01 for place in [*places, scale.to(low), scale.to(low * factor)])
    assert all(b - a > 4 for a, b in pairwise(places))
    assert len({f.tick_milliseconds(tick) for tick in scale.ticks}) == len(places)


def test_a_time_of_zero_stands_at_the_end_of_a_logarithmic_axis() -> None:
    scale = svg.logarithmic(0.5, 2, 0, 100)
    assert scale.to(0) == 0
    assert math.isfinite(svg.logarithmic(5e-324, 5e-324, 0, 100).to(5e-324))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_moved_apart_and_keep_their_order(places: list[float]) -> None:
    placed = svg.spread(places, 15, 0, 100)
    in_order = sorted(placed)
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(in_order))
    assert [placed[i] for i in sorted(range(len(places)), key=lambda i: places[i])] == in_order
    assert in_order[0] >= -1e-9
    assert in_order[-1] <= 100 + 1e-9


def test_eighteen_systems_look_all_different() -> None:
    looks = [(re.sub(r'"[-\d., ]+"', "", svg.marker(i, 0, 0)), *svg.stroke(i).values()) for i in range(19)]
    assert len(set(looks)) == 19
