"""TREC run files: `query Q0 document rank score tag`, one hit a line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from lsr.errors import InvalidInput
from lsr.files import atomic_write
from lsr.hits import Hits

__all__ = ["write_run"]


def write_run(path: str | Path, answers: Iterable[Hits], tag: str = "lsr") -> int:
    """Writes the hits of queries as a TREC run; returns the number of queries.

    Scores are made to fall strictly within a query: evaluation tools sort by score and break ties each in their own way,
    so equal scores would be ranked otherwise than the search did. The change is the smallest step of a float64.
    Raises `InvalidInput` for an id with white space, which the format cannot hold. The file appears when it is complete.
    """
    count = 0
    with atomic_write(Path(path)) as file:
        for hits in answers:
            count += 1
            query_id = _plain(str(hits.query_id if hits.query_id is not None else count), "query")
            last = math.inf
            for rank, (identifier, score) in enumerate(zip(hits.ids, hits.scores.tolist(), strict=True), start=1):
                last = score if score < last else math.nextafter(last, -math.inf)
                file.write(f"{query_id} Q0 {_plain(identifier, 'document')} {rank} {last!r} {tag}\n".encode())
    return count


def _plain(identifier: str, kind: str) -> str:
    if identifier.split() != [identifier]:
        raise InvalidInput(f"the {kind} id {identifier!r} has white space in it: a TREC run cannot hold it; use --json")
    return identifier
