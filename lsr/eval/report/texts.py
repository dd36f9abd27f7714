"""Texts that others wrote (ids, queries, titles), made fit to stand in a report: in one line, and short."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from urllib.parse import quote

__all__ = ["UNFIT", "clean", "command_line", "file_link", "line", "middle", "short", "slug"]

# Controls, halves of surrogate pairs, and the marks that turn the direction of all that follows.
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_SPACE = re.compile(r"[\s\x85\u2028\u2029]+")


def clean(text: str) -> str:
    """The text with what no page should hold shown as U+FFFD."""
    return UNFIT.sub("�", text)


def line(text: str) -> str:
    """The cleaned text with runs of white space, line ends too, as one space each."""
    return clean(_SPACE.sub(" ", text).strip())


def short(text: str, longest: int) -> str:
    """The first characters of `line(text)`, with an ellipsis when there are more."""
    text = line(text)
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def middle(text: str, longest: int) -> str:
    """As `short`, but the end stays: names of models differ there."""
    text = line(text)
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def command_line(words: Sequence[str]) -> str:
    """The words as a shell takes them."""
    return clean(shlex.join(words))


def slug(text: str) -> str:
    """Letters, digits and hyphens: for labels and anchors."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def file_link(path: str | None) -> str | None:
    """A link to a file beside the report, None for anything that points elsewhere (schemes, hosts, absolute, up)."""
    if not path:
        return None
    parts = path.split("/")
    if path[0] in "/\\" or ".." in parts or "\\" in path or UNFIT.search(path):
        return None
    return quote(path, safe="/")  # a colon becomes %3A, so that no scheme is left
