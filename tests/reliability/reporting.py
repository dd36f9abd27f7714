"""What long tests counted, for the documentation: printed, and with LSR_RELIABILITY_REPORT appended to that file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["report", "scaled"]


def report(name: str, **figures: Any) -> None:
    """One JSON object a line: what was tested, and figures."""
    line = json.dumps({"name": name, **figures})
    print(line)  # noqa: T201 - pytest shows it with -s
    if path := os.environ.get("LSR_RELIABILITY_REPORT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def scaled(count: int) -> int:
    """A number of cases, times LSR_RELIABILITY_SCALE where that is set."""
    return max(1, round(count * float(os.environ.get("LSR_RELIABILITY_SCALE", "1"))))
