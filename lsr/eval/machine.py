"""The machine that a figure was measured on. A number without it means little."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from lsr.processors import available_cores

__all__ = ["describe"]

PACKAGES = ("numpy", "scipy", "numba")


def describe(packages: Sequence[str] = ()) -> dict[str, str | int | float]:
    """Processor, cores that this process may use, memory in GB, Python, the versions of packages, and the date (UTC)."""
    facts: dict[str, str | int | float] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if memory := _memory_bytes():
        facts["memory_gb"] = round(memory / 1e9, 1)
    for name in (*PACKAGES, *packages):
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    """Model name and, where Linux tells, family and model number: cloud machines give names that say little."""
    facts: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name


def _memory_bytes() -> int:
    """0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
