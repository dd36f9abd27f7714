"""What stages make, as JSON, for the cache.

A piece of evidence that is a passage as it stands is kept as its id and score; texts are kept only where a stage changed
them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lsr.rag.types import Answer, Found, Passage, Passages, Prompt, Queries, Query, Span, Usage

__all__ = ["decoded", "decoded_passages", "encoded", "encoded_passages", "with_price", "without_price"]


def encoded(value: Any, passages: Passages) -> bytes:
    """A value that a stage made for a question; equal values are equal bytes."""
    plain = _plain(value, passages)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decoded(data: bytes, passages: Passages) -> Any:
    """What `encoded` was given. Raises `ValueError` or `KeyError` for anything else."""
    return _value(json.loads(data.decode("utf-8", "surrogatepass")), passages)


def with_price(data: bytes, usage: Usage, seconds: float) -> bytes:
    """An encoded value with what it took to make."""
    price = [seconds, usage.calls, usage.tokens_in, usage.tokens_out, usage.cost, usage.seconds]
    return json.dumps(price).encode() + b"\n" + data


def without_price(data: bytes) -> tuple[bytes, Usage, float]:
    """What `with_price` was given. Raises `ValueError` or `TypeError` for anything else."""
    price, _, value = data.partition(b"\n")
    seconds, *used = json.loads(price)
    return value, Usage(*used), float(seconds)


def encoded_passages(passages: list[Passage], usage: Usage, seconds: float) -> bytes:
    rows = [[p.id, p.text, p.title, [_span(span) for span in p.spans], list(p.keys)] for p in passages]
    used = [usage.calls, usage.tokens_in, usage.tokens_out, usage.cost, usage.seconds]
    return json.dumps({"passages": rows, "usage": used, "seconds": seconds}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def decoded_passages(data: bytes) -> tuple[list[Passage], Usage, float]:
    about = json.loads(data.decode("utf-8", "surrogatepass"))
    made = [
        Passage(id, text, title, tuple(Span(*span) for span in spans), tuple(keys))
        for id, text, title, spans, keys in about["passages"]
    ]
    return made, Usage(*about["usage"]), float(about["seconds"])


def _plain(value: Any, passages: Passages) -> Any:
    if isinstance(value, Queries):
        return {"queries": [_query(query) for query in value.items], "fusion": value.fusion}
    if isinstance(value, Prompt):
        context = [_found(piece, passages) for piece in value.context]
        return {"context": context, "tokens": value.tokens, "dropped": value.dropped}
    if isinstance(value, Answer):
        return {"answer": value.text, "citations": list(value.citations)}
    return [_found(piece, passages) for piece in value]


def _value(plain: Any, passages: Passages) -> Any:
    if isinstance(plain, list):
        return tuple(_piece(piece, passages) for piece in plain)
    if "queries" in plain:
        return Queries(tuple(_asked(query) for query in plain["queries"]), plain["fusion"])
    if "context" in plain:
        context = tuple(_piece(piece, passages) for piece in plain["context"])
        return Prompt(context, plain["tokens"], plain["dropped"])
    return Answer(plain["answer"], tuple(plain["citations"]))


def _query(query: Query) -> list[Any]:
    if query.terms is None or query.weights is None:
        return [query.text, query.weight]
    return [query.text, query.weight, query.terms.tolist(), query.weights.tolist()]


def _asked(row: list[Any]) -> Query:
    if len(row) == 2:
        return Query(*row)
    return Query(row[0], row[1], np.array(row[2], np.int64), np.array(row[3], np.float32))


def _found(piece: Found, passages: Passages) -> list[Any]:
    row: list[Any] = [list(piece.passages), piece.score]
    if len(piece.passages) == 1:
        passage = passages.named(piece.passages[0])
        if (piece.text, piece.title, piece.spans) == (passage.text, passage.title, passage.spans):
            return row
    spans = [_span(span) for span in piece.spans]
    text = None if piece.spans and piece.text == passages.text_of(piece.spans) else piece.text
    return [*row, piece.title, spans, text]


def _piece(row: list[Any], passages: Passages) -> Found:
    ids, score = tuple(row[0]), row[1]
    if len(row) == 2:
        passage = passages.named(ids[0])
        return Found(passage.text, passage.title, passage.spans, score, ids)
    spans = tuple(Span(*span) for span in row[3])
    return Found(passages.text_of(spans) if row[4] is None else row[4], row[2], spans, score, ids)


def _span(span: Span) -> list[Any]:
    return [span.document, span.start, span.end]
