"""lsr's own layout: an encoder exported to ONNX, which needs no weights of another library and no graph to be written.

    encoder.json          name, sizes, the two sides, licence, and length and hash of each other file
    model.onnx            the network (see lsr.encoders.network.graph); query_model.onnx where queries have another one
    tokenizer.json        as the tokenizers library writes it; query_tokenizer.json where queries have another one
    query_weights.npy     float32 [dim], the weight of each term in a query, where queries need no network

The bundled encoder has this layout, and `lsr export --format onnx` writes it.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_hexdigest

from lsr.encoders.layouts import checked
from lsr.encoders.model import ACTIVATIONS, Model, NetworkSide, OnnxSide, Selection, Side, TableSide
from lsr.encoders.network.checkpoint import read_json
from lsr.encoders.rows import selection
from lsr.errors import EncoderError, InvalidInput, OutputExists, StorageError, one_line
from lsr.limits import MAX_DIM
from lsr.npz import UNREADABLE, read_array

__all__ = ["DESCRIPTION", "read_onnx_folder", "write_files", "write_onnx_folder"]

FORMAT_VERSION = 1
DESCRIPTION = "encoder.json"
KINDS = ("vocabulary", "tokens", "latents")


def read_onnx_folder(folder: Path) -> Model:
    """The encoder of such a folder. Raises `EncoderError` that names the file or field that is missing or wrong."""
    path = folder / DESCRIPTION
    found = read_json(path)
    checked.version(path, found, FORMAT_VERSION)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise EncoderError(f"{path}: name is {name!r}: it must be a str")
    files = _Files(folder, found.get("files"))
    with checked.described(path):
        sides = [_side(files, found["dim"], found[which]) for which in ("query", "document")]
    settings = {which: {k: v for k, v in found[which].items() if k != "max_length"} for which in ("query", "document")}
    seed = json.dumps([found["dim"], settings, files.entries], sort_keys=True)
    return Model(
        name=name,
        source=str(folder),
        query=sides[0],
        document=sides[1],
        fingerprint=lambda: xxh3_128_hexdigest(seed.encode()),
    )


def write_onnx_folder(
    model: Model,
    folder: Path,
    graph: Callable[[NetworkSide], bytes],
    *,
    notes: Mapping[str, str],
    overwrite: bool = False,
) -> None:
    """Writes an encoder in this layout; `graph` makes the ONNX file of a network, `notes` are further fields (licence).

    Raises `OutputExists`, unless there is an encoder of this layout and `overwrite` is true, and `StorageError`.
    """
    if folder.exists() and not (overwrite and (folder / DESCRIPTION).is_file()):  # before the long work
        raise OutputExists(f"{folder}: already exists; give another folder, or remove it first")
    contents: dict[str, bytes] = {}
    made: dict[tuple[Any, ...], str] = {}
    entries = {}
    for which, side in (("document", model.document), ("query", model.query)):
        entry: dict[str, Any] = {"max_length": side.max_length, "prompt": side.prompt}
        entry["tokenizer"] = _placed(contents, which, "tokenizer.json", side.tokenizer_json.encode())
        if isinstance(side, TableSide):
            entry["table"] = _placed(contents, which, "query_weights.npy", _npy(side.weights))
            entry |= checked.policies_of(side) | {"adapts": side.adapts}
        else:
            if isinstance(side, NetworkSide) and side.table is not None:
                raise InvalidInput(
                    "a table after a network has no place in the ONNX layout; keep the model's own folder"
                )
            key = (side.folder, id(side.head)) if isinstance(side, NetworkSide) else (id(side.model),)
            if key not in made:
                content = graph(side) if isinstance(side, NetworkSide) else side.model()
                made[key] = _placed(contents, which, "model.onnx", content)
            chosen = selection(side) if isinstance(side, NetworkSide) else side.chosen
            entry |= {"model": made[key], "positions": side.positions, **asdict(chosen)}
            del entry["dim"]
        entries[which] = entry
    hashes = {name: {"bytes": len(raw), "xxh3_128": xxh3_128_hexdigest(raw)} for name, raw in contents.items()}
    described = {"format_version": FORMAT_VERSION, "name": model.name, "dim": model.document.dim, **notes}
    described |= entries | {"files": hashes}
    contents[DESCRIPTION] = f"{json.dumps(described, indent=2)}\n".encode()
    write_files(folder, contents, overwrite=overwrite)


def write_files(folder: Path, contents: Mapping[str, bytes | Path], *, overwrite: bool = False) -> None:
    """Writes a folder of files (bytes, or files to copy) in a temporary one that is renamed at the end.

    Raises `OutputExists` when something is at `folder` already, unless it is an encoder of lsr's layout and `overwrite` is
    true; `StorageError` when the folder cannot be written.
    """
    # Only an encoder is ever replaced: a mistyped folder must not cost anyone their files.
    if folder.exists() and not (overwrite and (folder / DESCRIPTION).is_file()):
        raise OutputExists(f"{folder}: already exists; give another folder, or remove it first")
    temporary = folder.with_name(f".{folder.name}.{token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, content in contents.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Files:
    """The files of a folder, checked against what encoder.json says of them."""

    def __init__(self, folder: Path, entries: Any) -> None:
        self.folder, self.entries = folder, entries
        path = folder / DESCRIPTION
        if not isinstance(entries, dict):
            raise EncoderError(f"{path}: files has no lengths and hashes")
        for name, entry in entries.items():
            if not isinstance(entry, dict) or [type(entry.get(key)) for key in ("bytes", "xxh3_128")] != [int, str]:
                raise EncoderError(f"{path}: files has no length and hash of {name}")
            if Path(name).name != name:
                raise EncoderError(f"{path}: {name!r} is not a file of this folder")
            try:
                size = (folder / name).stat().st_size
            except (OSError, ValueError):  # also half a surrogate pair, which no name of a file can have
                raise EncoderError(f"{folder / name}: no such file; copy the whole folder of the encoder") from None
            if size != entry["bytes"]:
                raise EncoderError(
                    f"{folder / name}: has {size} bytes, encoder.json says {entry['bytes']}; copy the file again"
                )

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises `EncoderError` when it is not the file that encoder.json describes."""
        if name not in self.entries:
            raise EncoderError(f"{self.folder / DESCRIPTION}: files has no length and hash of {name}")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise EncoderError(f"{self.folder / name}: cannot be read ({error.strerror or error})") from None
        if xxh3_128_hexdigest(content) != self.entries[name]["xxh3_128"]:
            raise EncoderError(
                f"{self.folder / name}: is not the file that encoder.json describes (hash differs); copy it again"
            )
        return content


def _side(files: _Files, dim: int, entry: dict[str, Any]) -> Side:
    """One side. Raises KeyError, TypeError or ValueError that names what is wrong with its entry."""
    if type(dim) is not int or not 1 <= dim <= MAX_DIM:
        raise ValueError(f"dim is {dim!r}")
    where = files.folder / entry["tokenizer"]
    try:
        tokenizer_json = files.read(entry["tokenizer"]).decode()
    except UnicodeDecodeError:
        raise EncoderError(f"{where}: not a tokenizer.json (not UTF-8)") from None
    prompt, limit = checked.text(entry, "prompt"), entry["max_length"]
    if "table" in entry:
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValueError(f"max_length is {limit!r}")
        return TableSide(
            tokenizer_json=tokenizer_json,
            weights=_read_weights(files, entry["table"], dim),
            max_length=limit,
            prompt=prompt,
            adapts=entry["adapts"] is True,
            **checked.policies(entry),
        )
    positions, name = entry["positions"], entry["model"]
    if type(positions) is not int:
        raise ValueError(f"positions is {positions!r}")
    if name not in files.entries:
        raise EncoderError(f"{files.folder / DESCRIPTION}: files has no length and hash of {name}")
    return OnnxSide(
        model=lambda: files.read(name),
        where=str(files.folder / name),
        tokenizer_json=tokenizer_json,
        chosen=_selection(entry, dim),
        dim=dim,
        max_length=checked.limit(entry, positions),
        positions=positions,
        prompt=prompt,
    )


def _selection(entry: dict[str, Any], dim: int) -> Selection:
    return Selection(
        kind=checked.choice(entry, "kind", KINDS),
        dim=dim,
        activation=checked.choice(entry, "activation", ACTIVATIONS),
        prune_ratio=checked.ratio(entry),
        dropped=checked.terms(entry, dim),
        top_terms=checked.count(entry, "top_terms"),
        largest=checked.count(entry, "largest"),
        summed=bool(entry["summed"]),
    )


def _read_weights(files: _Files, name: str, dim: int) -> npt.NDArray[np.float32]:
    path = files.folder / name
    content = files.read(name)
    try:
        weights = read_array(io.BytesIO(content), path.name, len(content))
    except UNREADABLE as error:
        raise EncoderError(f"{path}: not a numpy array ({one_line(error)})") from None
    if weights.dtype != np.float32 or weights.shape != (dim,):
        raise EncoderError(f"{path}: not a float32 array of {dim} weights")
    if not np.isfinite(weights).all():
        raise EncoderError(f"{path}: the weight of term {int(np.argmin(np.isfinite(weights)))} is not a finite number")
    return weights


def _npy(weights: npt.NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(weights, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def _placed(contents: dict[str, bytes], which: str, name: str, content: bytes) -> str:
    """The name under which the content is kept: a query's own file gets one of its own."""
    if name in contents and contents[name] != content:
        name = f"{which}_{name}"
    contents[name] = content
    return name
