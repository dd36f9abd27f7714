"""An encoder that is not the bundled one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsr.encoders import folder as layout


def with_other_weights(folder: Path, other: Path) -> Path:
    """A copy of an encoder whose query weights are twice as large."""
    description = layout.read_description(folder)
    contents = {name: layout.read_file(folder, name, description) for name in layout.FILES}
    contents[layout.WEIGHTS] = layout.weights_bytes(layout.read_weights(folder, description) * 2)
    layout.write_folder(other, replace(description, name="lsr-tiny-2"), contents)
    return other
