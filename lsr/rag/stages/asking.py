"""How stages ask a generator, and read what it writes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lsr.rag.generators.base import Reply, Request
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Stage
from lsr.rag.templates import as_data
from lsr.rag.types import Failure, Found, Usage

__all__ = ["GENERATOR", "Asked", "asked", "citations", "evidence", "lines"]

GENERATOR = frozenset({"generator"})

# What stands before the items of a list; and what may stand around them.
_MARK = re.compile(r"^(?:[-*•–]\s+|\(?\d{1,2}[.):]\s*|Q\d{1,2}[.:)]\s*)", re.IGNORECASE)
_AROUND = " \t\"'`*“”«»"
_CITED = re.compile(r"\[(?:documents?\s*)?(\d[\d\s,;–-]*)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """The replies for one question, and what they took together."""

    replies: tuple[Reply, ...]
    usage: Usage


def asked(stage: Stage, resources: Resources, groups: Sequence[Sequence[Request]]) -> list[Asked | Failure]:
    """Replies to the requests of each question, all of them in one batch. A question one of whose requests fails has that
    `Failure`, with what all its requests took."""
    replies = iter(resources.ask(stage, [request for group in groups for request in group]))
    results: list[Asked | Failure] = []
    for group in groups:
        mine = [next(replies) for _ in group]
        usage = sum((reply.usage for reply in mine), Usage())
        failures = [reply for reply in mine if isinstance(reply, Failure)]
        if failures:
            # Where one is final, another try of the question is of no use.
            worst = min(failures, key=lambda failure: failure.transient)
            results.append(replace(worst, usage=usage))
        else:
            results.append(Asked(tuple(reply for reply in mine if isinstance(reply, Reply)), usage))
    return results


def evidence(pieces: Sequence[Found]) -> str:
    """Evidence as a prompt shows it."""
    return as_data(pieces) or "(The search found no document.)"


def lines(reply: Reply, most: int) -> list[str]:
    """The different lines that were written, at most so many: without numbers, bullets and quotes. What announces a list
    ("Here are ...:"), marks of code and a last line that was cut are left out. A JSON list of texts is one too."""
    text = reply.text.strip().removeprefix("```json").strip("`").strip()
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
        items = text.splitlines()
        if reply.cut and len(items) > 1:
            items.pop()
    found: dict[str, str] = {}
    for item in items:
        line = _MARK.sub("", " ".join(item.split())).strip(_AROUND)
        if line and not line.endswith(":"):
            found.setdefault(line.casefold(), line)
    return list(found.values())[:most]


def citations(text: str, most: int) -> tuple[int, ...]:
    """The numbers 1 ... most that a text cites, as in [1], [2, 3] or [2-4], in the order in which they first appear. Others
    are invented, and left out."""
    cited: dict[int, None] = {}
    for inside in _CITED.findall(text):
        for part in re.split(r"[,;\s]+", re.sub(r"\s*[–-]\s*", "-", inside)):
            first, _, last = part.partition("-")
            if first.isdecimal() and (last.isdecimal() or not last):
                begin, end = int(first), int(last or first)
                cited.update(dict.fromkeys(range(max(1, begin), min(most, end) + 1)))
    return tuple(cited)
