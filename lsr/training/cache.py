"""What took long to compute and comes out the same each time, kept on the disk: embeddings of teachers, mined candidates.

An entry is an array (.npy) and beside it a small .json that says what it is. Both are named by a hash of what the array
depends on, so an entry is never out of date, and the folder may be deleted at any time.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from lsr import disk
from lsr.errors import InvalidInput, StorageError

__all__ = ["Cache", "texts_hash"]

Array = npt.NDArray[Any]

logger = logging.getLogger(__name__)


class Cache:
    """Arrays of numbers by what they depend on, in a folder; without one (None) everything is made each time.

    Several processes may share a folder: an entry appears when it is complete.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def array(self, key: Mapping[str, Any], make: Callable[[], Array]) -> Array:
        """The array of that key: mapped from the disk, read-only, where it is there and whole; else what `make` returns.

        key: all that the array depends on, as JSON can say it. A file of another size, type or shape than was written is
        made again.
        Raises `InvalidInput` for a key that is no JSON or an array that holds no numbers, `StorageError` when the disk does
        not take it.
        """
        if self.folder is None:
            return make()
        try:
            text = json.dumps(key, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the key of a cached array is no JSON ({error})") from None
        path = self.folder / f"{xxhash.xxh3_128_hexdigest(text.encode())}.npy"
        if (found := _read(path, text)) is not None:
            logger.info("%s: read from %s", key.get("what", "array"), path)
            return found
        _write(path, text, np.asarray(make(), order="C"))
        found = _read(path, text)
        if found is None:
            raise StorageError(f"{path}: was written and is not there; does another program clear the folder?")
        return found


def texts_hash(texts: Sequence[str]) -> str:
    """xxh3-128 in hex over texts and where each ends."""
    digest = xxhash.xxh3_128()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The bytes that an .npy of that type and shape begins with."""
    out = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def _write(path: Path, key: str, array: Array) -> None:
    if array.dtype.kind not in "iuf":
        raise InvalidInput(f"an array of {array.dtype} is not kept in a cache: it must hold numbers")
    _make_folders(path.parent)
    with disk.atomic_write(path) as file:
        file.write(_header(array.dtype, array.shape))
        file.write(array.reshape(-1).view(np.uint8).data)
    about = {"key": json.loads(key), "type": array.dtype.str, "shape": list(array.shape)}
    with disk.atomic_write(path.with_suffix(".json")) as file:
        file.write(json.dumps(about, indent=1).encode())


def _read(path: Path, key: str) -> Array | None:
    """The array as it was written, or None."""
    try:
        about = json.loads(path.with_suffix(".json").read_bytes())
        dtype, shape = np.dtype(about["type"]), tuple(map(int, about["shape"]))
        if about["key"] != json.loads(key) or dtype.kind not in "iuf" or min(shape, default=0) < 0:
            return None
        header = _header(dtype, shape)
        count = int(np.prod(shape, dtype=np.int64))
        with path.open("rb") as file:
            if path.stat().st_size != len(header) + count * dtype.itemsize or file.read(len(header)) != header:
                logger.warning("%s: damaged; it is made again", path)
                return None
        if count == 0:
            return np.zeros(shape, dtype)  # nothing can be mapped
        return np.memmap(path, dtype, "r", len(header), shape)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # not there, or not what was written
        return None


def _make_folders(folder: Path) -> None:
    disk.check_name(folder)
    try:
        for path in reversed((folder, *folder.parents)):
            if path.name:
                disk.make_folder(path, exist_ok=True)
    except FileExistsError:  # made by another process meanwhile, or a file
        if not folder.is_dir():
            raise StorageError(f"{folder}: a file is in the way of the cache folder; name another one") from None
    except OSError as error:
        raise StorageError(f"{folder}: the cache folder cannot be made ({error.strerror or error})") from None
