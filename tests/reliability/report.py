"""Figures of the reliability tests, where somebody wants to keep them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["report"]


def report(name: str, **figures: Any) -> None:
    """Appends a line of JSON to the file that LSR_RELIABILITY_REPORT names; nothing where it names none."""
    path = os.environ.get("LSR_RELIABILITY_REPORT")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, **figures}) + "\n")
