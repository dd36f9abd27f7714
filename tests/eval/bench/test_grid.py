"""Which settings are measured."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lsr.eval.bench.grid import LEVELS, cheapest, front, worth_measuring


@dataclass(frozen=True)
class Setting:
    recall: float
    mean_us: float


SETTINGS = st.lists(st.builds(Setting, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 1.0]), st.integers(1, 9)))


def beats(a: Setting, b: Setting) -> bool:
    return a.recall >= b.recall and a.mean_us <= b.mean_us and a != b


@given(SETTINGS)
def test_the_front_is_what_nothing_beats(settings: list[Setting]) -> None:
    found = front(settings)
    assert set(found) == {a for a in settings if not any(beats(b, a) for b in settings)}
    assert [point.mean_us for point in found] == sorted({point.mean_us for point in found})
    assert [point.recall for point in found] == sorted({point.recall for point in found})


@given(SETTINGS, st.sampled_from([*LEVELS, 0.0, 1.0]))
def test_the_cheapest_setting_reaches_its_level(settings: list[Setting], level: float) -> None:
    times = [point.mean_us for point in settings if point.recall >= level]
    found = cheapest(settings, level)
    assert (found is None) == (not times)
    if found is not None:
        assert found.recall >= level
        assert found.mean_us == min(times)


@given(st.lists(st.builds(Setting, st.floats(0, 1), st.floats(1, 1e6)), min_size=1), st.integers(1, 20))
def test_what_reaches_each_level_is_measured_with_its_neighbours(settings: list[Setting], most: int) -> None:
    found, on_front = worth_measuring(settings, most=most), front(settings)
    assert set(found) <= set(on_front)
    assert {on_front[0], on_front[-1]} <= set(found)
    for level in LEVELS:
        first = next((i for i, point in enumerate(on_front) if point.recall >= level), None)
        if first is not None:
            assert set(on_front[max(0, first - 1) : first + 2]) <= set(found)
    # Around each level three at most, and both ends, come before the limit.
    assert len(found) <= max(most, 3 * len(LEVELS) + 2)
    assert len(found) >= min(most, len(on_front))
    assert found == sorted(found, key=lambda point: point.mean_us)
