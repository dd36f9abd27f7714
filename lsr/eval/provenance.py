"""Where a report comes from: what was run, with which versions, on which machine."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lsr
from lsr.eval.machine import describe

__all__ = ["now", "provenance"]

PACKAGES = ("onnxruntime", "tokenizers", "bm25s", "ir-datasets")
_MACHINE = ("date", "processor", "cores", "system", "python", "memory_gb")


def now() -> str:
    """The part "created" of a report: the time in UTC, as 2026-11-24T08:00:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def provenance(
    seed: int | None,
    models: Sequence[Mapping[str, str | None]],
    *,
    packages: Sequence[str] = PACKAGES,
    threads: int | None = None,
) -> dict[str, Any]:
    """The part "provenance" of a report. packages: those whose versions matter. threads: all cores unless given."""
    facts = describe(packages)
    commit, dirty = _commit(Path(lsr.__file__).resolve().parents[1])
    return {
        "lsr_version": lsr.__version__,
        "commit": commit,
        "dirty": dirty,
        "python": facts["python"],
        "platform": facts["system"],
        "cpu": facts["processor"],
        "cores": facts["cores"],
        "memory_gb": facts.get("memory_gb"),
        "threads": facts["cores"] if threads is None else threads,
        "packages": {name: version for name, version in facts.items() if name not in _MACHINE},
        "seed": seed,
        "models": [dict(model) for model in models],
    }


def _commit(root: Path) -> tuple[str | None, bool | None]:
    """The commit of a checkout, and whether files differ from it; None for an installed package."""
    if not (root / ".git").exists():
        return None, None
    found = [_git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")]
    return (found[0], bool(found[1])) if found[0] is not None and found[1] is not None else (None, None)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
