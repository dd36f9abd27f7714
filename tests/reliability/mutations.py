"""Changes to an index that someone could make who knows its format and recomputes every checksum."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from tests.reliability.forging import Forged, files_of

__all__ = ["mutate"]

Entry = dict[str, Any]
Array = npt.NDArray[Any]

NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 64, 96, 128, 255, 256, 1000, 65_535, 65_536),
    *(1 << 31, (1 << 32) - 1, 1 << 32, 1 << 53, (1 << 62) - 1, 1 << 62, 1 << 64, 10**400, -(10**400), -(1 << 63)),
    *(0.0, -0.5, 0.5, 1.5, 1e-300, 1e-45, 1e-38, 1e38, 1e300, float("nan"), float("inf"), float("-inf")),
]
TEXTS = ["", "x", "exact", "blocked", "auto", "quantum", "LOCK", "manifest-000001.json", "..", ".", "/", "a\nb", "\0"]
TEXTS += [
    "\x1b[31m",
    "\ud800",
    "ä" * 300,
    "/dev/zero",
    "a/b",
    "C:\\x",
    "drop",
    "table",
    "count",
    "passages",
    "lsr-tiny",
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2], [[["x"]]], "5", [0], ["cuda"], "cuda"]


def mutate(forged: Forged, rng: random.Random) -> list[str]:
    """Makes one to three changes, and says which. The folder is not saved yet."""
    chosen = rng.choices(list(CHANGES), list(CHANGES.values()), k=rng.choice([1, 1, 1, 2, 3]))
    said = []
    for change in sorted(chosen, key=lambda one: one in LAST):
        try:
            said.append(f"{change.__name__.strip('_')} {change(forged, rng)}")
        except (KeyError, TypeError, IndexError, ValueError) as error:  # another change left nothing to change
            said.append(f"{change.__name__.strip('_')} failed: {type(error).__name__}")
    return said


# -- arrays ------------------------------------------------------------------------------------------------------------


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


def _elements(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    array = forged.array(entry)
    if not len(array):
        return f"{entry['name']} empty"
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        at = rng.choice([0, len(array) - 1, max(0, len(array) - 2), rng.randrange(len(array))])
        array[at] = _wrapped([rng.choice(_special(forged, array, rng))], array.dtype)[0]
    forged.put_array(entry, array)
    return str(entry["name"])


def _whole_array(forged: Forged, rng: random.Random) -> str:
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


def _length(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    array = forged.array(entry)
    size = rng.choice([0, 1, len(array) - 1, len(array) + 1, len(array) // 2, len(array) + 64])
    forged.put_array(entry, np.resize(array, max(0, size)) if len(array) else np.zeros(max(0, size), array.dtype))
    return f"{entry['name']} {len(array)} to {size}"


def _kind(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(_arrays(forged))
    dtype = np.dtype(rng.choice(["|u1", "<u2", "<u4", "<i8", "<u8", "<f4", "<f8"]))
    if rng.random() < 0.5:
        with np.errstate(all="ignore"):
            forged.put_array(entry, forged.array(entry).astype(dtype))
    else:
        content = forged.content(entry)
        forged.put(entry, content[: len(content) // dtype.itemsize * dtype.itemsize], dtype.str)
    return f"{entry['name']} as {dtype}"


def _shape(forged: Forged, rng: random.Random) -> str:
    entry = rng.choice(files_of(forged.body))
    length = entry["shape"][0] if entry["shape"] else 0
    shapes: list[Any] = [[], [length, 1], [1] * 70 + [length], [1, length], [0, 1 << 61], [length + 1], [-1], [1 << 61]]
    entry["shape"] = rng.choice(
        [*shapes, [length // 2, 2], "5", None, [str(length)], [[length]], [0] * 65, [1 << 70, 0]]
    )
    return f"{entry['name']} {entry['shape']}"


def _other_file(forged: Forged, rng: random.Random) -> str:
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


def _consistent(forged: Forged, rng: random.Random) -> str:
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
    offsets = np.minimum(offsets, size)
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


def _order(forged: Forged, rng: random.Random) -> str:
    """Another order of documents that is one."""
    for segment in forged.body["segments"]:
        files = {entry["name"].rpartition("/")[2]: entry for entry in segment["files"]}
        if "order_rows" in files and type(segment["documents"]) is int:
            rows = np.random.default_rng(rng.getrandbits(32)).permutation(len(forged.array(files["order_rows"])))
            forged.put_array(files["order_rows"], rows.astype(np.uint32))
            forged.put_array(files["order_places"], np.argsort(rows).astype(np.uint32))
            return "of documents"
    return "nothing"


# -- JSON --------------------------------------------------------------------------------------------------------------


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key) of everything below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        found.append((value, key))
        _places(inner, found)
    return found


def _twist(body: Any, rng: random.Random) -> str:
    """Changes something in a JSON value."""
    places = _places(body, [])
    if not places:
        return "nothing"
    container, key = rng.choice(places)
    old = container[key]
    how = rng.random()
    if how < 0.12:
        del container[key]
        return f"{key} gone"
    if how < 0.2 and isinstance(container, list):
        container.append(json.loads(json.dumps(old)))
        return f"{key} twice"
    if how < 0.3 and isinstance(old, dict):
        old[rng.choice([*TEXTS, "surprise"])] = rng.choice(NUMBERS)
        return f"{key} more"
    pools = [NUMBERS, TEXTS, OTHERS]
    if type(old) is int and how < 0.7:
        pool: list[Any] = [old + 1, old - 1, old * 2, -old, float(old), str(old), *NUMBERS]
    elif isinstance(old, float) and how < 0.7:
        pool = NUMBERS
    elif isinstance(old, str) and how < 0.6:
        pool = [old + "x", old[:-1], old.upper(), *TEXTS]
    else:
        pool = rng.choice(pools)
    container[key] = rng.choice(pool)
    return f"{key} = {str(container[key])[:40]!r}"


def _manifest(forged: Forged, rng: random.Random) -> str:
    return _twist(forged.body, rng)


def _facts(forged: Forged, rng: random.Random) -> str:
    """What stands at the top of the manifest, or of a segment or encoder in it; not the entries of files."""
    body = forged.body
    parts = [body, body, body["building"], body["segments"], *body["segments"], *body["segments"]]
    parts += [body["encoder"], body["encoder"]["policy"], body["encoder"]["reading"]] if body["encoder"] else []
    part = rng.choice([part for part in parts if part])
    keys = [key for key in (part if isinstance(part, dict) else range(len(part))) if key not in ("files", "vocabulary")]
    if not keys:
        return "nothing"
    key = rng.choice(keys)
    old = part[key]
    if rng.random() < 0.1 and isinstance(part, list):
        part.append(old)
        return f"{key} twice"
    near = [old + 1, old - 1, old * 2, old // 2] if type(old) is int else []
    part[key] = rng.choice([*near, rng.choice(NUMBERS), rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(OTHERS)])
    return f"{key} = {str(part[key])[:40]!r}"


def _curves(forged: Forged, rng: random.Random) -> str:
    chosen = [segment for segment in forged.body["segments"] if segment["block_size"]]
    if not chosen or not isinstance(chosen[0]["curves"], list):
        return "nothing"
    return _twist(chosen[0]["curves"], rng)


def _fields(forged: Forged, rng: random.Random) -> str:
    tables = [entry for entry in files_of(forged.body) if entry["name"].endswith("field_table")]
    if not tables:
        return "nothing"
    entry = rng.choice(tables)
    try:
        body = json.loads(forged.content(entry))
    except ValueError:
        return "nothing"
    said = _twist(body, rng)
    forged.put(entry, json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return said


def _tokenizer(forged: Forged, rng: random.Random) -> str:
    entries = [entry for entry in files_of(forged.body) if entry["name"].endswith("tokenizer.json")]
    if not entries:
        return "nothing"
    try:
        body = json.loads(forged.content(entries[0]))
        said = _twist(rng.choice([body, body, body["model"], body["added_tokens"], body["model"]["vocab"]]), rng)
    except (ValueError, KeyError, TypeError):
        return "nothing"
    if rng.random() < 0.3:
        body["model"] = rng.choice(
            [
                {
                    "type": "WordLevel",
                    "vocab": {"a": rng.choice([0, 1 << 20, (1 << 32) - 1]), "w1": 7},
                    "unk_token": "a",
                },
                {"type": "Unigram", "vocab": [["a", 0.0], ["w", float("-inf")]], "unk_id": rng.choice([0, 1, 5])},
                {"type": "BPE", "vocab": {"a": 0, "w": 1}, "merges": rng.choice([[], ["a w"], ["w 1"]])},
            ]
        )
        said += f" and {body['model']['type']}"
    if rng.random() < 0.2:
        pattern = rng.choice(["(a+)+$", "(", "w*", "", "(?=w)"])
        behavior = rng.choice(["Isolated", "Removed", "Contiguous"])
        body["pre_tokenizer"] = {
            "type": "Split",
            "pattern": {rng.choice(["Regex", "String"]): pattern},
            "behavior": behavior,
            "invert": False,
        }
        said += f" and split {pattern}"
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        content = content[: rng.randrange(len(content))]
    forged.put(entries[0], content)
    return said


# -- texts and ids -----------------------------------------------------------------------------------------------------

DEEP = "[" * 900 + "]" * 900
RECORDS = [
    "[]",
    "5",
    "null",
    "",
    '["a","b"]',
    '["a","b",[]]',
    '["a",5,{}]',
    '["a","b",{},1]',
    '["\\ud800","b",{}]',
    '["a","b",{"x":"\\ud800"}]',
    '["a","b",{"\\ud800":1}]',
    '["a","b",{"x":NaN}]',
    '["a","b",{"x":1e999}]',
    '["a\\u0000","b\\u0000",{"x":"\\u0000"}]',
    f'["a","b",{{"x":{DEEP}}}]',
    f'["a","b",{{"x":{"[" * 150 + "]" * 150}}}]',
    "[" * 100_000,
    '["a","b",{"x":' + "9" * 4000 + "}]",
    '["a","b",{"x":' + "9" * 5000 + "}]",
    '["a","b",{"x":18446744073709551616,"_id":1,"and":[],"year":"x"}]',
    '["a","' + "long " * 50_000 + '",{}]',
    '["a","b",{' + ",".join(f'"f{number}":{number}' for number in range(600)) + "}]",
]


def _texts(forged: Forged, rng: random.Random) -> str:
    """Blocks of texts that hold something else."""
    for segment in forged.body["segments"]:
        files = {entry["name"].rpartition("/")[2]: entry for entry in segment["files"]}
        if "text_blocks" in files:
            break
    else:
        return "nothing"
    data, offsets = forged.content(files["text_blocks"]), forged.array(files["text_offsets"]).tolist()
    frames = [data[a:b] for a, b in itertools.pairwise(offsets)]
    if not frames:
        return "nothing"
    at = rng.randrange(len(frames))
    how = rng.choice(
        ["record", "record", "record", "bomb", "claim", "bytes", "lines", "cut", "unsized", "empty", "two"]
    )
    try:
        lines = zstandard.ZstdDecompressor().decompress(frames[at]).split(b"\n")
    except zstandard.ZstdError:
        lines = [b""]
    compressor = zstandard.ZstdCompressor()
    match how:
        case "record":
            for _ in range(rng.choice([1, 1, 16])):
                lines[rng.randrange(len(lines))] = rng.choice(RECORDS).encode()
            frames[at] = compressor.compress(b"\n".join(lines))
        case "bomb":
            size = rng.choice([1 << 20, 40 << 20, (256 << 20) + 1, 1 << 30 if rng.random() < 0.02 else 1 << 20])
            frames[at] = _bomb(rng.choice([b"\n", b"x", b"[", b"\xf0"]), size)
        case "claim":  # more than there is
            frames[at] = (
                b"\x28\xb5\x2f\xfd\xe0" + rng.choice([1 << 40, 1 << 27, 100]).to_bytes(8, "little") + frames[at][6:]
            )
        case "bytes":
            frames[at] = compressor.compress(bytes(rng.getrandbits(8) for _ in range(100)))
        case "lines":
            frames[at] = compressor.compress(b"\n".join(lines * 2 if rng.random() < 0.5 else lines[: len(lines) // 2]))
        case "cut":
            frames[at] = frames[at][: rng.randrange(len(frames[at]) + 1)]
        case "unsized":
            frames[at] = zstandard.ZstdCompressor(write_content_size=False).compress(b"\n".join(lines))
        case "empty":
            frames[at] = rng.choice([b"", compressor.compress(b"")])
        case "two":
            frames[at] *= 2
    ends = np.cumsum([0, *map(len, frames)], dtype=np.int64)
    forged.put(files["text_blocks"], b"".join(frames))
    forged.put_array(files["text_offsets"], ends)
    return f"{how} {at}"


def _bomb(byte: bytes, size: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    piece = byte * (1 << 20)
    parts = [packer.compress(piece[: min(len(piece), size - done)]) for done in range(0, size, len(piece))]
    return b"".join([*parts, packer.flush()])


def _ids(forged: Forged, rng: random.Random) -> str:
    """Ids that are empty, given twice, no UTF-8, or not where their hashes say."""
    segment = rng.choice(forged.body["segments"])
    files = {entry["name"].rpartition("/")[2]: entry for entry in segment["files"]}
    if "ids_bytes" not in files:
        return "nothing"
    data, offsets = forged.array(files["ids_bytes"]), forged.array(files["ids_offsets"])
    if not len(data) or len(offsets) < 3:
        return "nothing"
    how = rng.choice(["bytes", "same", "empty", "hashes", "rows"])
    match how:
        case "bytes":
            data[rng.randrange(len(data))] = rng.choice([0, 10, 255, 128])
            forged.put_array(files["ids_bytes"], data)
        case "same":
            data[:] = ord("d")
            forged.put_array(files["ids_bytes"], data)
        case "empty":
            at = rng.randrange(1, len(offsets) - 1)
            offsets[at] = offsets[at - 1]
            forged.put_array(files["ids_offsets"], offsets)
        case "hashes":
            hashes = forged.array(files["ids_hashes"])
            hashes[:] = hashes[rng.randrange(len(hashes))]
            forged.put_array(files["ids_hashes"], hashes)
        case "rows":
            forged.put_array(files["ids_rows"], np.zeros_like(forged.array(files["ids_rows"])))
    return how


def _deletions(forged: Forged, rng: random.Random) -> str:
    """Another set of documents is deleted, and the count says so."""
    segment = rng.choice(forged.body["segments"])
    n = segment["documents"]
    if type(n) is not int or not 0 < n < 1 << 20:
        return "nothing"
    bits = np.random.default_rng(rng.getrandbits(32)).random(n) < rng.choice([0, 0.01, 0.5, 1, 1])
    entry = segment["deletions"] or forged.add_file("deleted-0001-0009", b"", "|u1")
    forged.put_array(entry, np.packbits(bits, bitorder="little"))
    segment.update(deletions=entry, deleted=int(bits.sum()) + rng.choice([0, 0, 0, 1, -1]))
    return f"{int(bits.sum())} of {n}"


CHANGES: dict[Callable[[Forged, random.Random], str], float] = {
    _elements: 20,
    _whole_array: 14,
    _length: 5,
    _kind: 4,
    _shape: 2,
    _other_file: 3,
    _consistent: 10,
    _order: 1,
    _manifest: 6,
    _facts: 12,
    _curves: 4,
    _fields: 5,
    _tokenizer: 6,
    _texts: 8,
    _ids: 4,
    _deletions: 3,
}
# What leaves a manifest that no other change could read.
LAST = (_manifest, _facts, _shape)
