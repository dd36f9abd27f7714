"""Figures of long runs, for whoever wants to keep them."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["report"]


def report(name: str, **figures: object) -> None:
    """Adds a line of JSON to the file that LSR_RELIABILITY_REPORT names; does nothing where it names none."""
    path = os.environ.get("LSR_RELIABILITY_REPORT")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, **figures}) + "\n")
