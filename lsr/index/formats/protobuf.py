"""As much of protobuf's wire format as CIFF needs (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "message", "number_field", "read_varint", "text_field", "varint"]


def read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """(value, next place) of a number at data[at:end]. Raises ValueError when it is not whole."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
    raise ValueError("a number has more than 10 bytes")


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a message: an int, or bytes. Raises ValueError when it is malformed."""
    at = start
    while at < end:
        key, at = read_varint(data, at, end)
        wire = key & 7
        if wire == 0:
            value, at = read_varint(data, at, end)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, at = read_varint(data, at, end)
        if size is None or size > end - at:
            raise ValueError("a field is of no known kind" if size is None else "a field is longer than its message")
        yield key >> 3, data[at : at + size]
        at += size


def varint(value: int) -> bytes:
    """A number of 0 or above."""
    result = bytearray()
    while value > 127:
        result.append((value & 127) | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def number_field(number: int, value: int) -> bytes:
    """A field with a whole number; nothing for 0, as proto3 has it."""
    return varint(number << 3) + varint(value) if value else b""


def text_field(number: int, value: bytes) -> bytes:
    """A field with bytes; nothing for none."""
    return varint(number << 3 | 2) + varint(len(value)) + value if value else b""


def message(*parts: bytes) -> bytes:
    """A message with its length before it."""
    return varint(sum(map(len, parts))) + b"".join(parts)
