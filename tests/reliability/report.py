"""Figures of long runs, for docs/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["report", "scaled"]


def report(name: str, **figures: Any) -> None:
    """Appends a line of JSON to the file that `LSR_RELIABILITY_REPORT` names, if any."""
    target = os.environ.get("LSR_RELIABILITY_REPORT")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, **figures}) + "\n")


def scaled(count: int) -> int:
    """So many repeats, times `LSR_RELIABILITY_SCALE` (1 by default)."""
    return max(1, round(count * float(os.environ.get("LSR_RELIABILITY_SCALE", "1"))))
