"""Changes to the arrays of an index; see `mutations`."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reliability.forging import Forged, files_of

__all__ = ["consistent", "elements", "kind", "length", "order", "other_file", "shape", "whole_array"]

Entry = dict[str, Any]
Array = npt.NDArray[Any]


def _arrays(forged: Forged) -> list[Entry]:
    return [entry for entry in files_of(forged.body) if entry["dtype"] and not entry["name"].endswith("field_table")]


def _special(forged: Forged, array: Array, rng: random.Random) -> list[int]:
    """Values that stand at some edge."""
    n = max(
        (segment["documents"] for segment in forged.body["segments"] if type(segment["documents"]) is int), default=0
    )
    dim = forged.body["dim"] if type(forged.body["dim"]) is int else 9
    neighbour = int(array[rng.randrange(len(array))]) if len(array) and array.dtype.kind in "iu" else 0
    edges = [0, 1, 2, -1, -2, n - 1, n, n + 1, dim - 1, dim, dim + 1, len(array), 1 << 15, 1 << 16, 1 << 31, 1 << 32]
    return [*edges, (1 << 63) - 1, -(1 << 63), 1 << 40, neighbour, neighbour + 1, neighbour - 1, rng.getrandbits(64)]


def _wrapped(values: list[int], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        pool = [0.0, -1.0, float("nan"), float("inf"), -float("inf"), 3e38, 1e-45, 1.0]
        return np.array([pool[value % len(pool)] for value in values], dtype)
    bits = dtype.itemsize * 8
    return np.array([value % (1 << bits) for value in values], f"<u{dtype.itemsize}").view(dtype)


def elements(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    array = forged.array(entry)
    if not len(array):
        return f"{entry['name']} empty"
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        at = rng.choice([0, len(array) - 1, max(0, len(array) - 2), rng.randrange(len(array))])
        array[at] = _wrapped([rng.choice(_special(forged, array, rng))], array.dtype)[0]
    forged.put_array(entry, array)
    return str(entry["name"])


def whole_array(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    array = forged.array(entry)
    if not len(array):
        return f"{entry['name']} empty"
    how = rng.choice(["sort", "reverse", "shuffle", "fill", "roll", "swap", "random", "repeat"])
    generator = np.random.default_rng(rng.getrandbits(32))
    match how:
        case "sort":
            array = np.sort(array)
        case "reverse":
            array = array[::-1].copy()
        case "shuffle":
            generator.shuffle(array)
        case "fill":
            array[:] = _wrapped([rng.choice(_special(forged, array, rng))], array.dtype)[0]
        case "roll":
            array = np.roll(array, rng.choice([1, -1, len(array) // 2]))
        case "swap":
            a, b = rng.randrange(len(array)), rng.randrange(len(array))
            array[a], array[b] = array[b], array[a]
        case "random":
            array = np.frombuffer(generator.bytes(array.nbytes), array.dtype)
        case "repeat":
            array = np.repeat(array[: len(array) // 2 + 1], 2)[: len(array)]
    forged.put_array(entry, array)
    return f"{how} {entry['name']}"


def length(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    array = forged.array(entry)
    size = rng.choice([0, 1, len(array) - 1, len(array) + 1, len(array) // 2, len(array) + 64])
    forged.put_array(entry, np.resize(array, max(0, size)) if len(array) else np.zeros(max(0, size), array.dtype))
    return f"{entry['name']} {len(array)} to {size}"


def kind(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    dtype = np.dtype(rng.choice(["|u1", "<u2", "<u4", "<i8", "<u8", "<f4", "<f8"]))
    if rng.random() < 0.5:
        with np.errstate(all="ignore"):
            forged.put_array(entry, forged.array(entry).astype(dtype))
    else:
        content = forged.content(entry)
        forged.put(entry, content[: len(content) // dtype.itemsize * dtype.itemsize], dtype.str)
    return f"{entry['name']} as {dtype}"


def shape(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(files_of(forged.body))
    length = entry["shape"][0] if entry["shape"] else 0
    shapes: list[Any] = [[], [length, 1], [1] * 70 + [length], [1, length], [0, 1 << 61], [length + 1], [-1], [1 << 61]]
    entry["shape"] = rng.choice(
        [*shapes, [length // 2, 2], "5", None, [str(length)], [[length]], [0] * 65, [1 << 70, 0]]
    )
    return f"{entry['name']} {entry['shape']}"


def other_file(forged: Forged, rng: random.Random) -> str:
    one, two = rng.choice(files_of(forged.body)), rng.choice(files_of(forged.body))
    if rng.random() < 0.5:
        one.update({**two, "name": one["name"]} if rng.random() < 0.3 else two)
    else:
        a, b = dict(one), dict(two)
        one.update({**b, "name": a["name"]})
        two.update({**a, "name": b["name"]})
        contents = forged.content(a), forged.content(b)
        forged.put(one, contents[1])
        forged.put(two, contents[0])
    return f"{one['name']} and {two['name']}"


def consistent(forged: Forged, rng: random.Random) -> str:
    """Arrays that go together get another length, and the offsets into them follow."""
    segment = rng.choice(forged.body["segments"])
    files = {entry["name"].rpartition("/")[2]: entry for entry in segment["files"]}
    groups = [
        ("forward_indptr", ("forward_terms", "forward_codes")),
        ("postings_offsets", ("postings_docs", "postings_codes")),
        ("blocks_lists_offsets", ("blocks_lists_blocks", "blocks_lists_codes")),
        ("blocks_rows_offsets", ("blocks_strip_offsets", "blocks_strip_masks")),
        ("ids_offsets", ("ids_bytes",)),
        ("text_offsets", ("text_blocks",)),
    ]
    offsets_name, names = rng.choice([group for group in groups if group[0] in files])
    offsets = forged.array(files[offsets_name])
    if not len(offsets):
        return "nothing"
    old = int(offsets[-1])
    first = int(offsets[0])
    size = max(first, rng.choice([first, first + 1, old // 2, old + 1, old + 1000, old - 1]))
    if size > 1 << 22:
        return "nothing"
    for name in names:
        array = forged.array(files[name])
        if len(array):
            forged.put_array(files[name], np.resize(array, size))
    offsets = np.minimum(offsets.astype(np.int64), size)
    offsets[-1] = size
    match rng.choice(["clip", "last", "first", "random"]):
        case "last":  # all in the last
            offsets[:-1] = first
        case "first":
            offsets[1:] = size
        case "random":
            offsets[1:-1] = np.sort(
                np.random.default_rng(rng.getrandbits(32)).integers(first, size + 1, len(offsets) - 2)
            )
    forged.put_array(files[offsets_name], offsets)
    if offsets_name == "forward_indptr":
        segment["nnz"] = size
    if offsets_name == "blocks_lists_offsets" and "blocks_rows_offsets" in files:
        forged.put_array(files["blocks_rows_offsets"], forged.array(files["blocks_rows_offsets"]) + (size - old))
    return f"{offsets_name} to {size}"


def order(forged: Forged, rng: random.Random) -> str:
    """Another order of documents that is one."""
    for segment in forged.body["segments"]:
        files = {entry["name"].rpartition("/")[2]: entry for entry in segment["files"]}
        if "order_rows" in files and type(segment["documents"]) is int:
            rows = np.random.default_rng(rng.getrandbits(32)).permutation(len(forged.array(files["order_rows"])))
            forged.put_array(files["order_rows"], rows.astype(np.uint32))
            forged.put_array(files["order_places"], np.argsort(rows).astype(np.uint32))
            return "of documents"
    return "nothing"
