"""Files of arrays (.npz): those of anyone read, their sizes checked, nothing unpickled; large ones written in pieces."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["UNREADABLE", "read_array", "read_arrays", "write_streams"]

_CHUNK = 4 << 20  # bytes

# The header of an array, as numpy and others write it. It is a Python literal, which numpy gives to Python's parser: that
# warns and raises what no list of exceptions has. Arrays of numbers and texts need no more than this.
_ITEM = (
    r"""\s*["'](?:descr["']\s*:\s*["'](?P<type>[<>|=]?[biufcSU?]\d{0,9})["']"""
    r"""|fortran_order["']\s*:\s*(?P<fortran>True|False)|shape["']\s*:\s*\((?P<shape>[-\d\s,]{0,400})\))\s*"""
)
_HEADER_ITEM = re.compile(_ITEM)
_HEADER_LIMIT = 10_000  # bytes, as numpy has it

# What zipfile and numpy raise on bytes that are not what they claim to be.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


# A one-dimensional array in pieces: type, length, pieces.
Stream = tuple[npt.DTypeLike, int, Iterable[npt.NDArray[Any]]]


def write_streams(file: BinaryIO, arrays: Mapping[str, npt.NDArray[Any]], streams: Mapping[str, Stream]) -> None:
    """Writes an uncompressed .npz of arrays, and of others that come in pieces and need not fit in memory."""
    whole = {name: (array.dtype, array.shape, [array]) for name, array in arrays.items()}
    pieces = {name: (np.dtype(dtype), (length,), parts) for name, (dtype, length, parts) in streams.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (dtype, shape, parts) in {**whole, **pieces}.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # the time of its kind: the same arrays give the same bytes
            with archive.open(member, "w", force_zip64=True) as out:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                for part in parts:
                    out.write(part.astype(dtype, copy=False).tobytes())


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .npz. Anything else in the file is passed over."""
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    arrays[member.filename[: -len(".npy")]] = read_array(file, member.filename, member.file_size)
        return arrays


def read_array(file: Any, name: str, file_size: int) -> npt.NDArray[Any]:
    """One array (.npy), after its claimed size was compared with the bytes that are there: a lie would reserve memory.

    Raises what `UNREADABLE` lists, for anything but an array of numbers or texts.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is in version {version} of numpy's format")
    length = int.from_bytes(file.read(2 * version[0]), "little")
    shape, fortran, dtype = _header(file.read(min(length, _HEADER_LIMIT + 1)), name)
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != file_size - file.tell():
        raise ValueError(f"{name} claims {size:,} bytes in a file of {file_size:,}")
    content = np.empty(size, np.uint8)
    for start in range(0, size, _CHUNK):  # not in one piece, which would need the memory twice
        if file.readinto(content[start : start + _CHUNK]) != min(_CHUNK, size - start):
            raise EOFError(f"{name} ends early")
    order: Literal["F", "C"] = "F" if fortran else "C"
    return content.view(dtype).reshape(shape, order=order)


def _header(raw: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and type."""
    text = raw.decode("latin-1").strip()
    found: dict[str, str] = {}
    if len(raw) <= _HEADER_LIMIT and text.startswith("{") and text.endswith("}"):
        parts = re.split(_ITEM, text[1:-1].strip().removesuffix(","))
        for part in _HEADER_ITEM.finditer(text):
            found |= {key: value for key, value in part.groupdict().items() if value is not None}
        if len(parts) != 13 or [part.strip() for part in parts[::4]] != ["", ",", ",", ""]:
            found = {}
    if re.search(r"""["'][<>|=]?O\d*["']""", text):
        raise ValueError(f"{name} holds pickled objects")
    if len(found) != 3:
        raise ValueError(f"{name} holds something else than an array of numbers or texts: {text[:80]!r}")
    shape = tuple(int(size) for size in found["shape"].replace(",", " ").split())
    return shape, found["fortran"] == "True", np.dtype(found["type"])
