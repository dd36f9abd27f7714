"""Modules of tests that run in a process of their own, which may die."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import REPOSITORY

__all__ = ["run_module"]


def run_module(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE ARGUMENT...`, with variables of the environment added, and returns what it said."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=False,
        encoding="utf-8",
    )
