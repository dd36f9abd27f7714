"""The folder an encoder lives in: what the files are, how they are written and how they are checked.

    encoder.json         name, sizes, settings, licence, and length and hash of each other file
    model.onnx           the document encoder (see lsr.encoders.graph)
    tokenizer.json       as the tokenizers library writes it
    query_weights.npy    float32 [dim], the weight of each term in a query

The bundled encoder and those of the user have the same layout.
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_hexdigest

from lsr.errors import EncoderError, OutputExists, StorageError

__all__ = [
    "DESCRIPTION",
    "FILES",
    "MODEL",
    "TOKENIZER",
    "WEIGHTS",
    "Description",
    "read_description",
    "read_file",
    "read_weights",
    "weights_bytes",
    "write_folder",
]

FORMAT_VERSION = 1
DESCRIPTION = "encoder.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
WEIGHTS = "query_weights.npy"
FILES = (MODEL, TOKENIZER, WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What encoder.json says.

    `max_length` counts tokens with [CLS] and [SEP]; `positions` is the largest the model takes. `top_terms` is the number
    of terms kept in a document. `files` maps each file's name to {"bytes": length, "xxh3_128": hash in hex}.
    """

    name: str
    dim: int
    max_length: int
    positions: int
    top_terms: int
    activation: str
    precision: str
    special_ids: list[int]
    licence: str = ""
    origin: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """xxh3-128 in hex over the hashes of the files: the same for the same model, whatever its folder or name."""
        return xxh3_128_hexdigest("".join(f"{name}:{self.files[name]['xxh3_128']}\n" for name in FILES).encode())


TYPES: dict[str, type] = {
    "name": str,
    "dim": int,
    "max_length": int,
    "positions": int,
    "top_terms": int,
    "activation": str,
    "precision": str,
    "special_ids": list,
    "files": dict,
}


def read_description(folder: Path) -> Description:
    """Reads and checks encoder.json. Raises `EncoderError` that names the field that is missing or wrong."""
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: not the description of an encoder")
    version = found.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise EncoderError(f"{path}: no format_version, so not the description of an encoder of lsr")
    if version > FORMAT_VERSION:
        raise EncoderError(f"{path}: written by a newer lsr (format {version}); upgrade lsr")
    for name, kind in TYPES.items():
        if not isinstance(found.get(name), kind) or isinstance(found.get(name), bool):
            raise EncoderError(f"{path}: {name} is {found.get(name)!r}: it must be a {kind.__name__}")
    description = Description(
        **{name: found[name] for name in TYPES},
        licence=str(found.get("licence", "")),
        origin=str(found.get("origin", "")),
    )
    _check_description(path, description)
    return description


def _check_description(path: Path, found: Description) -> None:
    if found.dim < 1 or found.top_terms < 1 or not 3 <= found.max_length <= found.positions:
        raise EncoderError(
            f"{path}: dim {found.dim}, top_terms {found.top_terms}, max_length {found.max_length}, positions "
            f"{found.positions} make no encoder"
        )
    if not all(isinstance(i, int) and 0 <= i < found.dim for i in found.special_ids):
        raise EncoderError(f"{path}: special_ids must be term ids below {found.dim}")
    for name in FILES:
        entry = found.files.get(name)
        if not isinstance(entry, dict) or [type(entry.get(key)) for key in ("bytes", "xxh3_128")] != [int, str]:
            raise EncoderError(f"{path}: files has no length and hash of {name}")
        try:
            size = (path.parent / name).stat().st_size
        except OSError:
            raise EncoderError(f"{path.parent / name}: no such file; copy the whole folder of the encoder") from None
        if size != entry["bytes"]:
            raise EncoderError(
                f"{path.parent / name}: has {size} bytes, encoder.json says {entry['bytes']}; copy the file again"
            )


def read_file(folder: Path, name: str, description: Description) -> bytes:
    """The bytes of a file of the folder. Raises `EncoderError` when it is not the file that encoder.json describes."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise EncoderError(f"{folder / name}: cannot be read ({error.strerror or error})") from None
    if xxh3_128_hexdigest(content) != description.files[name]["xxh3_128"]:
        raise EncoderError(
            f"{folder / name}: is not the file that encoder.json describes (hash differs); copy it again"
        )
    return content


def read_weights(folder: Path, description: Description) -> npt.NDArray[np.float32]:
    """The query weights, float32 [dim]. Raises `EncoderError` when they are not."""
    path = folder / WEIGHTS
    try:
        weights = np.load(io.BytesIO(read_file(folder, WEIGHTS, description)), allow_pickle=False)
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise EncoderError(f"{path}: not a numpy array ({error})") from None
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float32 or weights.shape != (description.dim,):
        raise EncoderError(f"{path}: not a float32 array of {description.dim} weights")
    if not np.isfinite(weights).all():
        raise EncoderError(f"{path}: the weight of term {int(np.argmin(np.isfinite(weights)))} is not a finite number")
    return weights


def weights_bytes(weights: npt.NDArray[np.float32]) -> bytes:
    """Query weights as the content of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(weights, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def write_folder(
    folder: Path, description: Description, contents: dict[str, bytes], *, overwrite: bool = False
) -> None:
    """Writes an encoder in a temporary folder that is renamed at the end: the files, and encoder.json with their hashes.

    Raises `OutputExists` when something is at `folder` already, unless it is an encoder and `overwrite` is true;
    `StorageError` when the folder cannot be written.
    """
    # Only an encoder is ever replaced: a mistyped folder must not cost anyone their files.
    replaceable = overwrite and (folder / DESCRIPTION).is_file()
    if folder.exists() and not replaceable:
        raise OutputExists(f"{folder}: already exists; give another folder, or remove it first")
    entries = {name: {"bytes": len(raw), "xxh3_128": xxh3_128_hexdigest(raw)} for name, raw in contents.items()}
    text = json.dumps({"format_version": FORMAT_VERSION, **asdict(description), "files": entries}, indent=2)
    temporary = folder.with_name(f".{folder.name}.{token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, raw in {**contents, DESCRIPTION: f"{text}\n".encode()}.items():
            (temporary / name).write_bytes(raw)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
