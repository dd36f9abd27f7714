"""Changes to an index that someone could make who knows its format and recomputes every checksum."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import zstandard

from tests.reliability import array_mutations as arrays
from tests.reliability.forging import Forged, files_of

__all__ = ["mutate"]

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
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:  # an earlier change left nothing
            said.append(f"{change.__name__.strip('_')} failed: {type(error).__name__}")
    return said


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
    except (zstandard.ZstdError, MemoryError):  # what was forged before
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
    arrays.elements: 20,
    arrays.whole_array: 14,
    arrays.length: 5,
    arrays.kind: 4,
    arrays.shape: 2,
    arrays.other_file: 3,
    arrays.consistent: 10,
    arrays.order: 1,
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
LAST = (_manifest, _facts, arrays.shape)
