"""The `lsr` command. One small file a command; `app` puts them together, `run` turns errors into one line."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the `lsr` command."""
    from lsr.cli.app import app

    app(prog_name="lsr")
