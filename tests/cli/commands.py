"""Runs `lsr` for tests: in this process, or in one of its own where it is the process that counts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from unittest import mock

from typer.testing import CliRunner

from lsr.cli.app import app
from tests.conftest import REPOSITORY

__all__ = ["lsr", "lsr_process", "one_line"]

Done = subprocess.CompletedProcess[str]


def lsr(*arguments: object, stdin: str | None = None, **environment: str) -> Done:
    """The command in this process: a process of its own would load libraries and compiled kernels first, for seconds."""
    typed = list(map(str, arguments))
    logger = logging.getLogger("lsr")
    handlers, propagate = list(logger.handlers), logger.propagate
    try:
        with mock.patch.object(sys, "argv", ["lsr", *typed]):
            result = CliRunner().invoke(app, typed, stdin, {"COLUMNS": "120", **environment}, prog_name="lsr")
    finally:  # the command sends the log to its own stderr
        logger.handlers[:], logger.propagate = handlers, propagate
    stderr = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(result.exception))
    return subprocess.CompletedProcess(typed, result.exit_code, result.stdout, stderr)


def lsr_process(*arguments: object, stdin: str | None = None, code: str | None = None, **environment: str) -> Done:
    """The command as a shell runs it. code: Python that runs it otherwise."""
    how = ["-m", "lsr"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *how, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        input=stdin,
        env={**os.environ, "COLUMNS": "120", **environment},
        cwd=REPOSITORY,
        check=False,
    )


def one_line(done: Done, status: int = 1) -> str:
    """What a command that failed says: one line on stderr, and nothing on stdout."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("lsr: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
