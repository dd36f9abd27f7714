"""Files of arrays (.npz): those of anyone read, their sizes checked, nothing unpickled; large ones written in pieces."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["UNREADABLE", "read_arrays", "write_streams"]

_CHUNK = 4 << 20  # bytes

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
                    arrays[member.filename[: -len(".npy")]] = _read_array(file, member)
        return arrays


def _read_array(file: Any, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array, after its claimed size was compared with the bytes that are there: a lie would reserve memory."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{member.filename} is in version {version} of numpy's format")
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds pickled objects")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != member.file_size - file.tell():
        raise ValueError(f"{member.filename} claims {size:,} bytes in a file of {member.file_size:,}")
    content = np.empty(size, np.uint8)
    for start in range(0, size, _CHUNK):  # not in one piece, which would need the memory twice
        if file.readinto(content[start : start + _CHUNK]) != min(_CHUNK, size - start):
            raise EOFError(f"{member.filename} ends early")
    order: Literal["F", "C"] = "F" if fortran else "C"
    return content.view(dtype).reshape(shape, order=order)
