"""Numbers for people, the same in every form of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

__all__ = [
    "NONE",
    "bytes_of",
    "count",
    "counted",
    "day",
    "decimal",
    "interval",
    "milliseconds",
    "p_phrase",
    "p_value",
    "per_second",
    "score",
    "seconds",
    "signed",
    "tick_milliseconds",
    "whole",
]

NONE = "–"  # not measured
MINUS = "−"
_KIB = 1024
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
# A p-value is never rounded over one of these: 0.0499 is not 0.050.
_LEVELS = (0.001, 0.01, 0.05, 0.1)


def score(value: float | None, digits: int = 4) -> str:
    """A measure: 0.6449."""
    return NONE if value is None else f"{_unsigned_zero(value, digits):,.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 4) -> str:
    """A difference: +0.0123, −0.0123, 0.0000."""
    if value is None:
        return NONE
    value = _unsigned_zero(value, digits)
    return f"{value:+,.{digits}f}".replace("-", MINUS) if value else f"{0:.{digits}f}"


def interval(pair: Sequence[float | None] | None, *, sign: bool = False) -> str:
    """Both ends: "0.6012 to 0.6891"."""
    if pair is None or pair[0] is None or pair[1] is None:
        return NONE
    show = signed if sign else score
    return f"{show(pair[0])} to {show(pair[1])}"


def p_value(p: float | None) -> str:
    """< 0.001, 0.012, 0.340; more digits rather than a p rounded over 0.05 or another usual level."""
    if p is None:
        return NONE
    if p < _LEVELS[0]:
        return f"< {_LEVELS[0]}"
    for digits in range(3, 8):
        text = f"{p:.{digits}f}"
        if all((float(text) < level) == (p < level) for level in _LEVELS):
            return text
    return repr(p)


def p_phrase(p: float | None) -> str:
    """p < 0.001, p = 0.012."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def count(number: float | None) -> str:
    """5,183."""
    return NONE if number is None else f"{round(number):,}".replace("-", MINUS)


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 query, 300 queries."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def decimal(number: float | None) -> str:
    """Three figures where there are as many after the point, whole numbers from 1,000: 0.123, 12.3, 1,401."""
    return NONE if number is None else _figures(number)


def whole(number: float | None) -> str:
    """A count that need not be one, such as a median: 9, 9.50."""
    return count(number) if number is not None and number == round(number) else decimal(number)


def milliseconds(value: float | None) -> str:
    """A time given in milliseconds, in the unit that fits: 87.0 µs, 1.23 ms, 2.50 s, 3 min 20 s."""
    if value is None:
        return NONE
    if value == 0:
        return "0 ms"
    for unit, size in (("µs", 1e-3), ("ms", 1.0)):
        if abs(float(f"{value / size:.3g}")) < 1000:  # as it will be shown: 999.96 µs is 1.00 ms
            return f"{_figures(value / size)} {unit}"
    if abs(round(value / 1000)) < 120:
        return f"{_figures(value / 1000)} s"
    minutes, rest = divmod(round(value / 1000), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def tick_milliseconds(value: float) -> str:
    """The name of a tick, a time in milliseconds: 500 µs, 1 ms, 20 s."""
    for unit, size in (("µs", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if value < 999 * size or unit == "s":
            return f"{value / size:g} {unit}"
    raise AssertionError


def seconds(value: float | None) -> str:
    """A time given in seconds, as `milliseconds`."""
    return NONE if value is None else milliseconds(value * 1000)


def per_second(value: float | None) -> str:
    """20,000/s."""
    return NONE if value is None else f"{_figures(value)}/s"


def bytes_of(number: float | None) -> str:
    """A size in binary units: 812 B, 1.50 KiB, 12.3 MiB."""
    if number is None:
        return NONE
    if number < 999.5:
        return f"{round(number)} B" if number == round(number) else f"{_figures(number)} B"
    value = float(number)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= _KIB
        if float(f"{value:.3g}") < 1000 or unit == "TiB":
            break
    return f"{_figures(value)} {unit}"


def day(time: str) -> str:
    """An ISO time as "24 November 2026, 08:00 UTC"; as it is when it is none."""
    try:
        moment = datetime.fromisoformat(time).astimezone(UTC)
    except (ValueError, OverflowError):
        return time
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"  # %B would follow the locale


def _figures(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.3g}")))))
    return f"{value:,.{min(digits, 6)}f}".replace("-", MINUS)


def _unsigned_zero(value: float, digits: int) -> float:
    """What rounds to zero is zero, and has no sign."""
    return 0.0 if round(value, digits) == 0 else value
