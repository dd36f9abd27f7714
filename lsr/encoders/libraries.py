"""Models that sentence-transformers runs, as teachers and rerankers: found, told apart, fingerprinted, opened on a device."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash

from lsr.encoders.hub import model_folder
from lsr.errors import EncoderError, InvalidInput, MissingExtra, one_line

__all__ = ["checked_device", "fingerprint", "named", "number_type", "open_cross_encoder", "open_model", "reported"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The classes of sentence-transformers, and what a model of each is called here.
KINDS = {
    "SentenceTransformer": "dense",
    "SparseEncoder": "sparse",
    "CrossEncoder": "cross-encoder",
    "MultiVectorEncoder": "multi-vector",
}
# Without modules.json these load too. Anything else would get a layer of random weights, or a pooling that nobody named.
BARE = {"CrossEncoder": "ForSequenceClassification", "MultiVectorEncoder": "HF_ColBERT"}
# What the numbers of a model depend on: weights, settings, tokenizers, code.
COUNTED = {".json", ".txt", ".safetensors", ".bin", ".model", ".py", ".metadata"}
PASSED_OVER = ("onnx", "openvino")
# A line of transformers' report on loading.
LACKING = re.compile(r"^(\S+)\s+\|\s*(?:MISSING|MISMATCH)", re.MULTILINE)
CHUNK = 1 << 22


def fingerprint(folder: Path) -> str:
    """xxh3-128 in hex over the files of a model that its numbers depend on."""
    digest = xxhash.xxh3_128()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix not in COUNTED or inside.parts[0] in PASSED_OVER or not path.is_file():
            continue
        digest.update(f"{inside.as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def checked_device(device: str | torch.device) -> torch.device:
    """Raises `InvalidInput` for a device that is not on this machine."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(
            f"device is {str(device)!r}: torch finds no such device here ({one_line(error)[:120]})"
        ) from None
    return found


def number_type(precision: str | None, device: torch.device) -> torch.dtype:
    """The type that a network runs in: "fp32", "bf16" or "fp16"; None is fp32 on the CPU and bf16 on a GPU."""
    if precision is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if precision not in PRECISIONS:
        raise InvalidInput(f"precision is {precision!r}: it must be one of {', '.join(PRECISIONS)}, or None")
    return PRECISIONS[precision]


def named(
    model: str | Path,
    device: str | torch.device,
    precision: str | None,
    batch: int,
    max_length: int | None,
    *,
    trust_remote_code: bool,
    local_files_only: bool = False,
) -> tuple[Path, str, torch.device, torch.dtype]:
    """The model that arguments name: its folder, what it is called, and the device and type it is to run in.

    Raises `InvalidInput` for one that is out of range, and as `hub.model_folder` does.
    """
    for what, value in (("batch", batch), ("max_length", max_length)):
        if value is not None and value < 1:
            raise InvalidInput(f"{what} is {value}: it must be 1 or more")
    there = checked_device(device)
    dtype = number_type(precision, there)
    folder, _ = model_folder(model, trust_remote_code=trust_remote_code, local_files_only=local_files_only)
    return folder, folder.resolve().name if Path(model).is_dir() else str(model), there, dtype


def open_model(
    kind: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    extra: str = "train",
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """A model of sentence-transformers, `kind` being the name of its class; `extra` installs that library.

    Raises `EncoderError` for a folder of another kind, or one that cannot be read, and `MissingExtra`.
    """
    _check_kind(kind, folder)
    try:
        import sentence_transformers
    except ImportError:
        raise MissingExtra("sentence-transformers", extra, f"a {KINDS[kind]} model") from None
    try:
        with reported() as reports:
            model = getattr(sentence_transformers, kind)(
                str(folder), device=str(device), trust_remote_code=trust_remote_code, local_files_only=True, **options
            )
    except Exception as error:  # of any of the libraries beneath it
        raise EncoderError(
            f"{folder}: sentence-transformers cannot open it ({one_line(error)[:200]}); copy the whole folder of the model"
        ) from None
    # What the file lacks was made up by chance. A pooler is not used but by cross-encoders.
    lacking = [
        name for report in reports for name in LACKING.findall(report) if kind == "CrossEncoder" or "pooler" not in name
    ]
    if lacking:
        raise EncoderError(
            f"{folder}: its weights lack {', '.join(lacking[:3])}: not the model that its config.json names"
        )
    return model.to(dtype).eval()


def open_cross_encoder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    max_length: int | None,
    *,
    extra: str = "train",
    trust_remote_code: bool = False,
) -> Callable[[Sequence[tuple[str, str]], int], npt.NDArray[np.float32]]:
    """A cross-encoder as a function of pairs of texts and of how many go through it at a time: its logits, float32 [n].

    max_length: tokens of a pair that are read; the model's own limit when None. Raises as `open_model` does, and
    `EncoderError` for one with several outputs.
    """
    options: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
    model = open_model(
        "CrossEncoder", folder, device, dtype, extra=extra, trust_remote_code=trust_remote_code, **options
    )
    if model.num_labels != 1:
        raise EncoderError(f"{folder}: gives {model.num_labels} numbers a pair; it must give one, its score")
    plain = torch.nn.Identity()

    def scores(pairs: Sequence[tuple[str, str]], batch: int) -> npt.NDArray[np.float32]:
        found = model.predict(list(pairs), batch_size=batch, show_progress_bar=False, activation_fn=plain)
        return np.asarray(found, np.float32)

    return scores


@contextlib.contextmanager
def reported() -> Iterator[list[str]]:
    """What transformers says while it loads, rather than on the terminal: its reports on weights are said nowhere else."""
    from transformers.utils import logging as settings

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("transformers")
    handlers, level, propagates, bars = log.handlers[:], log.level, log.propagate, settings.is_progress_bar_enabled()
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.WARNING)
    settings.disable_progress_bar()
    try:
        yield said
    finally:
        log.handlers[:], log.propagate = handlers, propagates
        log.setLevel(level)
        if bars:
            settings.enable_progress_bar()


def _check_kind(kind: str, folder: Path) -> None:
    """Raises `EncoderError` for a folder that would open as something that it is not."""
    said = _settings(folder / "config_sentence_transformers.json").get("model_type", kind)
    if said != kind and said in KINDS:
        raise EncoderError(
            f"{folder}: a {KINDS[said]} model, and is asked for as a {KINDS[kind]} one; name it as what it is"
        )
    if (folder / "modules.json").is_file():
        return
    classes = _settings(folder / "config.json").get("architectures") or []
    if kind not in BARE or not any(str(name).endswith(BARE[kind]) for name in classes):
        raise EncoderError(
            f"{folder}: no {KINDS[kind]} model of sentence-transformers: it has no modules.json; save it with that library"
        )


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({one_line(error)}); copy it again") from None
    return found if isinstance(found, dict) else {}
