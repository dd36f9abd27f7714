"""Valid files made invalid, by chance but from a seed: bytes, and what the bytes stand for.

`mutated` changes bytes as they are, or opens what it knows (zip, gzip, xz, bzip2, zstd, JSON, safetensors, .npy, protobuf, a
digest over the rest) and changes what is inside, so that lengths and checksums around it are right again.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import xxhash

from lsr.index.formats.protobuf import varint

__all__ = ["mutated"]

MAGIC = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         1 << 40, (1 << 62) - 1, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1)  # fmt: skip
AWKWARD = (
    b"", b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud800",
    b"\\u0000", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x1b[31m", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1",
    b"-0.0", b"0x10", b"1_000", b"null", b"true", b"{}", b"[]", b'""', b'"', b"'", b"`", b"\\", b"../", b"/etc/passwd",
    b"%s%n", b"{0}", b"&a *a", b"!!python/object/apply:os.getpid []", b"9" * 5000, b"9" * 400, b"1e" + b"9" * 30,
    b"[" * 3000, b'{"a":' * 3000, b"(" * 3000, b"a" * 70000,
    "\u0660\u0661".encode(), "e\u0301\u202e".encode(), b"<s>", b"[UNK]",
)  # fmt: skip
BRACKETS = b"\"'`()[]{}<>,:;=\n\t "
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 1 << 31, (1 << 32) - 1, 1 << 63, -(1 << 63), 1 << 64, 10**400, 0.5, -0.5, 1e-320,
    1e308, float("nan"), float("inf"), float("-inf"), "", " ", "a", "\0", "\ud800", "\n", "a\nb", "\u2028", "\x1b[31m", "..",
    "../x", "/etc/passwd", ".", "x" * 300, "x" * 70000, "9" * 5000, "NaN", "0", "1", "true", "[UNK]", [], {}, [[]], [None],
    {"a": 1}, {"": {}}, ["a"], [1, 2], [[1, 2], [3]], {"content": None}, {"type": "x"},
)  # fmt: skip

DEEPEST = 200  # of values in values


def mutated(name: str, seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The seed, changed in one to four ways; `others` are files to take parts from, `name` tells what the file is."""
    inside = _structure(name, seed)
    if inside is not None and random.random() < 0.6:
        try:
            return inside(seed, others, random)
        except Unfit:
            pass
    return _bytes_changed(seed, others, random)


class Unfit(Exception):
    """The content is not what its name says (the file is a seed that was damaged before)."""


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes_changed(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    data = seed
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        data = random.choice(BYTE_CHANGES)(data, others, random)
    return data


def _place(data: bytes, random: Random) -> int:
    """Anywhere, with more weight on both ends: there are the headers."""
    if random.random() < 0.3:
        near = min(len(data), 96)
        return random.randint(0, near) if random.random() < 0.5 else len(data) - random.randint(0, near)
    return random.randint(0, len(data))


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 16, 64, 256, 1024)))


def _flip_bit(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    at = min(_place(data, random), len(data) - 1)
    return data if not data else data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _set_byte(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([random.choice((0, 1, 127, 128, 255, random.randrange(256)))]) + data[at + 1 :]


def _truncate(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    return data[: _place(data, random)]


def _behead(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    return data[_place(data, random) :]


def _insert(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 8, 40))) + data[at:]


def _remove(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _move(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = _span(data, random)
    rest = data[:start] + data[end:]
    at = _place(rest, random)
    return rest[:at] + data[start:end] + rest[at:]


def _splice(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(others) if others else data
    if random.random() < 0.5:
        return data[: _place(data, random)] + other[_place(other, random) :]
    start, end = _span(other, random)
    at = _place(data, random)
    return data[:at] + other[start:end] + data[at + random.choice((0, end - start)) :]


def _number(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    size, order = random.choice((1, 2, 4, 4, 8, 8)), random.choice(("little", "big"))
    value = (random.choice(MAGIC) + random.choice((0, 0, -1, 1))) % (1 << 8 * size)
    at = _place(data, random)
    at = at - at % size if random.random() < 0.5 else at
    return data[:at] + value.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def _sum_changed(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A little-endian number a little larger or smaller."""
    size = random.choice((1, 2, 4, 8))
    at = _place(data, random)
    value = int.from_bytes(data[at : at + size], "little") + random.choice((-2, -1, 1, 2, 16))
    return data[:at] + (value % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def _digit(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    places = [i for i, byte in enumerate(data[: 1 << 16]) if 48 <= byte < 58]
    if not places:
        return data
    at = random.choice(places)
    return (
        data[:at] + random.choice((b"0", b"9", b"-1", b"1e9", b".", b"", b"99999999999", b"%d" % at)) + data[at + 1 :]
    )


def _bracket(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    places = [i for i, byte in enumerate(data[: 1 << 16]) if byte in BRACKETS]
    if not places:
        return data
    at, new = random.choice(places), random.choice(BRACKETS)
    return data[:at] + bytes([new]) * random.choice((0, 1, 1, 2)) + data[at + 1 :]


def _awkward(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + random.choice(AWKWARD) + data[random.choice((start, end)) :]


def _lines(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return data
    a, b = random.randrange(len(lines)), random.randrange(len(lines))
    if random.random() < 0.5:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines.insert(a, lines[b])
    return b"".join(lines)


Change = Callable[[bytes, Sequence[bytes], Random], bytes]
BYTE_CHANGES: tuple[Change, ...] = (
    _flip_bit, _set_byte, _truncate, _behead, _insert, _remove, _repeat, _move, _splice, _number, _number, _sum_changed,
    _digit, _bracket, _awkward, _awkward, _lines,
)  # fmt: skip


# -- what the bytes stand for ------------------------------------------------------------------------------------------


def _structure(name: str, seed: bytes) -> Change | None:
    """What changes the content of a file, keeping its shell whole."""
    for magic, change in MAGICS.items():
        if seed.startswith(magic):
            return change
    for suffix, change in SUFFIXES.items():
        if name.endswith(suffix):
            return change
    return None


def _zip(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A member changed, renamed, given twice or left out; all checksums right."""
    try:
        with zipfile.ZipFile(io.BytesIO(seed)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception as error:
        raise Unfit from error
    if not members:
        raise Unfit
    at = random.randrange(len(members))
    name, content = members[at]
    what = random.random()
    if what < 0.75:
        members[at] = name, mutated(name, content, [content for _, content in members] + list(others), random)
    elif what < 0.85:
        members[at] = (
            _bytes_changed(name.encode(), [], random).decode("utf-8", "replace").replace("\0", "")[:60000],
            content,
        )
    elif what < 0.9:
        del members[at]
    else:
        members.append((random.choice(members)[0], content))
    method = random.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in members:
            # As infos: zipfile warns of a name that comes twice, and of nothing else that is odd.
            archive.NameToInfo.clear()
            info = zipfile.ZipInfo("x", (2020, 1, 1, 0, 0, 0))
            info.filename, info.compress_type = name, method
            try:
                archive.writestr(info, content)
            except (UnicodeEncodeError, zipfile.LargeZipFile, struct.error) as error:
                raise Unfit from error
    return made.getvalue()


def _packed(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> Change:
    def change(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
        try:
            content = unpack(seed)
        except Exception as error:
            raise Unfit from error
        return pack(mutated("", content, [], random))

    return change


def _unzstd(data: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 24))


def _zstd(data: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdCompressor().compress(data))


def _json(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A value changed, left out, given again under another name."""
    try:
        value = json.loads(seed)
    except (ValueError, RecursionError) as error:
        raise Unfit from error
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _value_changed(value, random)
    try:
        return json.dumps(value, ensure_ascii=random.random() < 0.9).encode("utf-8", "surrogatepass")
    except RecursionError as error:
        raise Unfit from error


def _value_changed(value: Any, random: Random) -> Any:
    """A copy with one place changed: every place is as likely as its siblings, so that large tables do not hide the rest."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        if isinstance(value, dict):
            changed, key = dict(value), random.choice(list(value))
        else:
            changed, key = dict(enumerate(value)), random.randrange(len(value))
        what = random.random()
        if what < 0.8:
            changed[key] = _value_changed(changed[key], random)
        elif what < 0.9:
            del changed[key]
        elif isinstance(value, dict):
            changed[random.choice(("", "a", "\ud800", "\n", "id", "type", key + "x", *value))] = changed[key]
        else:
            changed[len(value)] = changed[key]
        return changed if isinstance(value, dict) else list(changed.values())
    if isinstance(value, str) and random.random() < 0.5:
        text = _bytes_changed(value.encode("utf-8", "surrogatepass"), [], random)
        return text.decode("utf-8", "replace")
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and random.random() < 0.5:
        return random.choice(
            (value + 1, value - 1, -value, value * 2, value * 1000, value // 2, str(value)[:4000], [value])
        )
    if random.random() < 0.03:
        for _ in range(random.choice((DEEPEST, 5 * DEEPEST))):
            value = [value]
        return value
    return random.choice(ODD_VALUES)


def _json_lines(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    lines = seed.splitlines(keepends=True)
    if not lines:
        raise Unfit
    at = random.randrange(len(lines))
    lines[at] = _json(lines[at], others, random) + b"\n"
    return b"".join(lines)


def _safetensors(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The header changed, its length right; or the numbers after it."""
    size = int.from_bytes(seed[:8], "little")
    header, body = seed[8 : 8 + size], seed[8 + size :]
    if random.random() < 0.25 and body:
        width = random.choice((2, 4, 8))
        at = random.randrange(len(body)) // width * width
        number = random.choice((struct.pack("<f", random.choice((0.0, -1.0, float("nan"), float("inf"), 3e38, 1e-45))),
                                (random.choice(MAGIC) % (1 << 64)).to_bytes(8, "little")))  # fmt: skip
        body = body[:at] + number + body[at + len(number) :]
    else:
        header = _json(header, others, random) if random.random() < 0.8 else _bytes_changed(header, [], random)
    return len(header).to_bytes(8, "little") + header + body


def _npy(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The header of an array changed, its length right; or its numbers."""
    if not seed.startswith(b"\x93NUMPY\x01\0"):
        raise Unfit
    size = int.from_bytes(seed[8:10], "little")
    header, body = seed[10 : 10 + size], seed[10 + size :]
    if random.random() < 0.4 and body:
        body = _number(body, others, random)
    elif random.random() < 0.4:
        old, new = random.choice(NPY_WORDS)
        header = header.replace(old, new)
    else:
        header = _bytes_changed(header, [], random)[:65535]
    return seed[:8] + len(header).to_bytes(2, "little") + header + body


NPY_WORDS = [
    (b"False", b"True"), (b"<i8", b"|O"), (b"<i8", b">i8"), (b"<i8", b"<u8"), (b"<i8", b"<f8"), (b"<i8", b"<c16"),
    (b"<i8", b"<M8[s]"), (b"<i8", b"|S8"), (b"<i8", b"<U2"), (b"<f4", b"<f2"), (b"<f4", b"|V4"), (b"<f4", b"<i4"),
    (b"<f4", b"|b1"), (b"'<f4'", b"[('a', '<f4')]"), (b"<u2", b"|S2"), (b"<u2", b"<i2"), (b"|u1", b"|S1"), (b"|u1", b"|b1"),
    (b"'<i8'", b"[('a', '|O')]"), (b",)", b", 1)"), (b",)", b", 0)"), (b",)", b", -1)"), (b"(", b"(-"), (b",)", b"9,)"),
    (b"(), ", b"(1,), "), (b"'<i8'", b"('<i8', (0,))"), (b"'<i8'", b"('<i8', (2,))"), (b"<f4", b"<f16"),
]  # fmt: skip


def _protobuf(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """CIFF: messages with their lengths before them. A field of one changed, or a message repeated, moved or left out."""
    messages = list(_messages(seed))
    at = random.randrange(len(messages))
    what = random.random()
    if what < 0.7:
        messages[at] = _message_changed(messages[at], random)
    elif what < 0.8:
        del messages[at]
    elif what < 0.9:
        messages.insert(at, random.choice(messages))
    else:
        messages.append(messages.pop(at))
    return b"".join(varint(len(content)) + content for content in messages)


def _message_changed(content: bytes, random: Random) -> bytes:
    fields = list(_fields(content))
    if not fields:
        return content + random.randbytes(2)
    at = random.randrange(len(fields))
    key, value = fields[at]
    if isinstance(value, int):
        new = random.choice((random.choice(MAGIC) % (1 << 64), value + 1, max(0, value - 1)))
        changed = varint(key) + varint(new)
        if random.random() < 0.2:  # more bytes than it needs
            changed = (
                varint(key) + varint(new)[:-1] + bytes([varint(new)[-1] | 128]) + b"\x80" * random.randrange(12) + b"\0"
            )
    else:
        inner = _message_changed(value, random) if random.random() < 0.6 and len(value) < 1 << 12 else None
        if inner is None:
            inner = _bytes_changed(value, [], random)
        changed = varint(key) + varint(len(inner)) + inner
    if random.random() < 0.1:
        changed += changed
    if random.random() < 0.1:
        changed = varint((key ^ random.randrange(64)) & 0xFFFF) + changed[len(varint(key)) :]
    parts = [varint(k) + (varint(v) if isinstance(v, int) else varint(len(v)) + v) for k, v in fields]
    return b"".join([*parts[:at], changed, *parts[at + 1 :]])


def _messages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size, at = _varint(data, at)
        if at + size > len(data):
            raise Unfit
        found.append(data[at : at + size])
        at += size
    if not found:
        raise Unfit
    return found


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """(key, value) as long as there are numbers and bytes; the rest is lost."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            value, after = _varint(data, at)
            if key & 7 == 0:
                found.append((key, value))
                at = after
            elif key & 7 == 2 and after + value <= len(data):
                found.append((key, data[after : after + value]))
                at = after + value
            else:
                break
    except Unfit:
        pass
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    raise Unfit


def _checkpoint(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """JSON after a line with its digest: changed, the digest right."""
    _, _, body = seed.partition(b"\n")
    body = _json(body, others, random)
    return xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body


MAGICS: dict[bytes, Change] = {
    b"PK\x03\x04": _zip,
    b"\x1f\x8b": _packed(gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0)),
    b"\xfd7zXZ\0": _packed(lzma.decompress, lambda data: lzma.compress(data, preset=0)),
    b"BZh": _packed(bz2.decompress, lambda data: bz2.compress(data, 1)),
    b"\x28\xb5\x2f\xfd": _packed(_unzstd, _zstd),
    b"\x93NUMPY": _npy,
}
SUFFIXES: dict[str, Change] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".safetensors": _safetensors,
    ".ciff": _protobuf,
    "checkpoint": _checkpoint,
}
