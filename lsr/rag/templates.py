"""Prompt templates: text files, which the user can replace by files of the same names in a folder."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Templates"]


class Templates:
    """folder: the user's own templates; those that are not in it are the built-in ones (`lsr/rag/prompts/NAME.txt`)."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)

    def render(self, name: str, **values: str) -> str:
        raise NotImplementedError

    def fingerprint(self, name: str) -> str:
        """A hash of the template's text."""
        raise NotImplementedError
