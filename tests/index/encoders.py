"""An encoder that is not the bundled one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsr.encoders.layouts.onnx_folder import read_onnx_folder, write_onnx_folder
from lsr.encoders.model import TableSide


def with_other_weights(folder: Path, other: Path) -> Path:
    """A copy of an encoder whose query weights are twice as large."""
    model = read_onnx_folder(folder)
    assert isinstance(model.query, TableSide)
    changed = replace(model, name="lsr-tiny-2", query=replace(model.query, weights=model.query.weights * 2))
    write_onnx_folder(changed, other, lambda side: b"", notes={})
    return other
