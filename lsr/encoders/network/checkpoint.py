"""Reading the config.json and the weights of a Hugging Face folder into numpy arrays. No code from the folder is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EncoderError, MissingExtra, one_line

__all__ = ["SHARDED", "Checkpoint", "Config", "read_config", "read_json", "read_safetensors", "weight_files"]

Array = npt.NDArray[np.float32]

SAFETENSORS, SHARDED = "model.safetensors", "model.safetensors.index.json"
BIN, SHARDED_BIN = "pytorch_model.bin", "pytorch_model.bin.index.json"


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `EncoderError` when it is missing or none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; the folder of a model has one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: not JSON ({one_line(error)})") from None


class Config:
    """A config.json whose values are checked as they are read."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self.path, self.values = path, values

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def size(self, *names: str) -> int:
        """The first of the settings that is there, a number above 0. Raises `EncoderError` otherwise."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
                return value
            if value is not None:
                raise EncoderError(f"{self.path}: {name} is {value!r}: it must be a number above 0")
        raise EncoderError(f"{self.path}: has no {names[0]}, so not the configuration of a transformer")

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 62:
            raise EncoderError(f"{self.path}: {name} is {value!r}: it must be a number")
        return float(value)

    def padding(self) -> int:
        """The id of padding; models that count positions from it leave its place and those before it unused."""
        value = self.values.get("pad_token_id")
        if value is None:
            return 1
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise EncoderError(f"{self.path}: pad_token_id is {value!r}: it must be the id of a token")
        return value


def read_config(folder: Path) -> Config:
    """config.json of a folder. Raises `EncoderError` when it is missing or malformed."""
    path = folder / "config.json"
    values = read_json(path)
    if not isinstance(values, dict):
        raise EncoderError(f"{path}: not the configuration of a model")
    return Config(path, values)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: safetensors first, else torch's. Raises `EncoderError` when there are none."""
    for single, index in ((SAFETENSORS, SHARDED), (BIN, SHARDED_BIN)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = read_json(folder / index)
            names = shards.get("weight_map") if isinstance(shards, dict) else None
            if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
                raise EncoderError(f"{folder / index}: not the index of a model in parts")
            return [folder / name for name in sorted(set(names.values()))]
    raise EncoderError(f"{folder}: has no weights ({SAFETENSORS} or {BIN}); copy the whole folder of the model")


class Checkpoint:
    """The weights of a model by name, float32, checked to be finite as they are read.

    `files` are those of the folder's transformer when None; `description` is the file that says what is in them.
    """

    def __init__(self, folder: Path, files: list[Path] | None = None, description: str = "config.json") -> None:
        self.folder, self.description = folder, description
        self.tensors: dict[str, Array] = {}
        for path in weight_files(folder) if files is None else files:
            self.tensors.update(_read_bin(path) if path.suffix == ".bin" else read_safetensors(path))

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def prefix(self, ending: str) -> str:
        """What stands before the name `ending`: models with and without a head name the same weights differently."""
        found = sorted(name for name in self.tensors if name == ending or name.endswith("." + ending))
        if len(found) != 1:
            what = "several" if found else "no"
            raise EncoderError(
                f"{self.folder}: its weights hold {what} {ending!r}: not the model that config.json names"
            )
        return found[0][: -len(ending)]

    def tensor(self, name: str, *shape: int | None) -> Array:
        """The tensor of that name. Raises `EncoderError` when it is missing, of another shape (None: any) or not finite."""
        found = self.tensors.get(name)
        if found is None:
            raise EncoderError(
                f"{self.folder}: its weights hold no tensor {name!r}: not the model that {self.description} names"
            )
        if len(found.shape) != len(shape) or any(b not in (a, None) for a, b in zip(found.shape, shape, strict=True)):
            wanted = tuple("any" if size is None else size for size in shape)
            raise EncoderError(f"{self.folder}: {name} has shape {found.shape}, {self.description} says {wanted}")
        if not np.isfinite(found).all():
            raise EncoderError(f"{self.folder}: {name} holds NaN or infinity; the weights are damaged")
        return found


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors of numbers in a safetensors file, as float32. Raises `EncoderError` when it is none."""
    from safetensors import SafetensorError, deserialize

    types = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
    tensors: dict[str, Array] = {}
    try:
        for name, entry in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
            if entry["dtype"] in types:
                flat = np.frombuffer(entry["data"], types[entry["dtype"]])
            elif entry["dtype"] == "BF16":  # the upper half of a float32
                flat = (np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                continue  # buffers of integers, as position_ids of old checkpoints
            tensors[name] = flat.reshape(entry["shape"]).astype(np.float32, copy=False)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; copy the whole folder of the model") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderError(f"{path}: not a safetensors file ({one_line(error)})") from None
    return tensors


def _read_bin(path: Path) -> dict[str, Array]:
    """Weights in torch's own form, with the loader that accepts nothing but weights."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "torch", f"reading {path.name}, which is no safetensors file,") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.to(torch.float32).numpy() for name, tensor in found.items() if tensor.is_floating_point()}
    except Exception as error:  # pickle's and torch's errors have no common base
        raise EncoderError(f"{path}: not a file of weights alone ({one_line(error)[:200]})") from None
