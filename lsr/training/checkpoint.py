"""Checkpoints: tensors as safetensors, everything else as JSON, in a folder that appears as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lsr import disk
from lsr.errors import InvalidInput, one_line

__all__ = ["latest", "load", "save"]

PREFIX = "checkpoint-"


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes the checkpoint of a step and removes those before it, when it is there."""
    from safetensors.torch import save as to_bytes

    place, working = folder / f"{PREFIX}{step:09d}", folder / f"tmp-{step:09d}"
    disk.make_folder(folder, exist_ok=True)
    for left in (place, working):
        if left.exists():
            disk.remove_tree(left)
    disk.make_folder(working)
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    disk.write_new(working / "state.safetensors", to_bytes(flat))
    disk.write_new(working / "state.json", json.dumps({**facts, "step": step}, indent=1).encode())
    disk.rename(working, place)
    disk.sync_folder(folder)
    for older in _found(folder):
        if older != place:
            disk.remove_tree(older)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a folder."""
    found = _found(folder)
    return found[-1] if found else None


def load(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint. Raises `InvalidInput` when it is damaged."""
    from safetensors.torch import load as from_bytes

    try:
        tensors = from_bytes((place / "state.safetensors").read_bytes())
        facts = json.loads((place / "state.json").read_text(encoding="utf-8"))
        facts["step"] = int(facts["step"])
    except Exception as error:  # of safetensors, json and the system
        raise InvalidInput(
            f"{place}: the checkpoint is damaged ({one_line(error)[:120]}); remove it, or train anew without --resume"
        ) from None
    return tensors, facts


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir()) if folder.is_dir() else []
