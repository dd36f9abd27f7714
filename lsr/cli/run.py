"""How a command ends: one line for an error, never a traceback, and the exit status of the contract."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from lsr.errors import LsrError

if TYPE_CHECKING:
    from lsr.index import Index

__all__ = ["command_typed", "fail", "guarded", "note", "note_long", "note_to_compact"]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors become one line on stderr and exit status 1; Ctrl-C ends with 130.

    `LSR_DEBUG=1` in the environment shows the traceback.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        _show_log()
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except LsrError as error:
            fail(str(error), error)
        except KeyboardInterrupt as error:
            fail("interrupted", error, INTERRUPTED)
        except BrokenPipeError:  # `lsr search ... | head`: whoever read has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except MemoryError as error:
            fail("out of memory; a smaller --batch-size needs less", error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}", error)

    return run


def fail(message: str, error: BaseException | None = None, status: int = FAILED) -> NoReturn:
    """Prints one line and ends the command."""
    if error is not None and os.environ.get("LSR_DEBUG", "") not in ("", "0"):
        raise error
    line = " ".join(message.split())
    typer.secho("lsr: ", err=True, bold=True, fg="red", nl=False)
    typer.echo(line, err=True)
    raise typer.Exit(status)


def note(message: str) -> None:
    """A line for people, on stderr: stdout belongs to results."""
    typer.secho(message, err=True, dim=True)


def note_long(documents: int, reading: Mapping[str, Any]) -> None:
    """Says once how many documents were longer than the encoder reads, and what became of them."""
    if documents:
        became = "read in windows" if reading["long"] == "windows" else "cut there (--max-length, --long)"
        note(f"{documents:,} of them longer than {reading['max_length']} tokens, and {became}")


def note_to_compact(index: Index) -> None:
    """Says when an index should be compacted, and why."""
    reason = index.info()["compact"]
    if reason is not None:
        note(f"Next: lsr compact {index.path}  ({reason})")


def command_typed() -> list[str]:
    """The command as it was typed, for a report; not the path of the script."""
    return ["lsr", *sys.argv[1:]]


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def _show_log() -> None:
    logger = logging.getLogger("lsr")
    if not any(isinstance(handler, _NoteHandler) for handler in logger.handlers):
        logger.addHandler(_NoteHandler(logging.WARNING))
        logger.propagate = False
