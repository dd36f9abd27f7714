"""`lsr rag run`: a pipeline asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.cli.run import fail

if TYPE_CHECKING:
    from lsr.rag.runner import Outcome
    from lsr.rag.types import Found

__all__ = ["CacheFolder", "cache_of", "run"]

CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Keep indexes, results of stages and replies there. (default: rag in the user's cache folder)",
        show_default=False,
    ),
]


def cache_of(folder: Path | None) -> Path:
    from lsr.cli.demo import cache_folder

    return cache_folder() / "rag" if folder is None else folder


def run(
    pipeline: Annotated[
        Path, typer.Argument(metavar="PIPELINE.yaml", help="A pipeline; see docs/rag.md.", show_default=False)
    ],
    questions: Annotated[
        list[str], typer.Argument(metavar="QUESTION...", help="One question or several.", show_default=False)
    ],
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="SOURCE", help="Documents, in place of the file's.")
    ] = None,
    cache: CacheFolder = None,
    trace: Annotated[bool, typer.Option("--trace", help="What each stage made, took and consumed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a question.")] = False,
) -> None:
    """Answer questions from documents by a pipeline, with citations."""
    from lsr.rag import Rag

    with Rag.open(pipeline, corpus=corpus, cache=cache_of(cache)) as rag:
        outcomes = rag.answer(questions)
    for outcome in outcomes:
        if as_json:
            typer.echo(json.dumps(_as_json(outcome, trace), ensure_ascii=False))
        else:
            _show(outcome, trace)
    failed = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failed:
        more = f" (and {len(failed) - 1:,} more)" if len(failed) > 1 else ""
        fail(f"{failed[0].stage}: {failed[0].message}{more}")


def _show(outcome: Outcome, trace: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if outcome.answer is not None:
        text = outcome.answer.text or "No evidence was found."
        console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
        for number, piece in zip(outcome.answer.citations, outcome.citations, strict=True):
            console.print(f"[dim][{number}] {escape(_place(piece))}[/dim]", highlight=False, soft_wrap=True)
    if trace:
        table = Table("stage", "made", "ms", "tokens", "", box=None, pad_edge=False)
        for step in outcome.steps:
            tokens = step.usage.tokens_in + step.usage.tokens_out
            cells = (f"{step.made}", f"{step.seconds * 1000:.2f}", f"{tokens:,}" if tokens else "")
            table.add_row(step.stage, *cells, "from the cache" if step.cached else "")
        console.print(table)


def _place(piece: Found) -> str:
    """Title and places of a piece, for people."""
    places = ", ".join(f"{span.document}:{span.start}-{span.end}" for span in piece.spans[:3])
    more = ", ..." if len(piece.spans) > 3 else ""
    return f"{piece.title}  ({places}{more})" if piece.title else f"{places}{more}"


def _as_json(outcome: Outcome, trace: bool) -> dict[str, Any]:
    context = () if outcome.prompt is None else outcome.prompt.context
    found: dict[str, Any] = {
        "question": outcome.question,
        "answer": None if outcome.answer is None else outcome.answer.text,
        "citations": [] if outcome.answer is None else list(outcome.answer.citations),
        "context": [
            {
                "number": number,
                "title": piece.title,
                "text": piece.text,
                "score": piece.score,
                "spans": [{"document": s.document, "start": s.start, "end": s.end} for s in piece.spans],
            }
            for number, piece in enumerate(context, 1)
        ],
    }
    if outcome.failure is not None:
        found["failure"] = outcome.failure.to_json()
    if trace:
        found["trace"] = [
            {
                "stage": step.stage,
                "given": step.given,
                "made": step.made,
                "seconds": step.seconds,
                "tokens_in": step.usage.tokens_in,
                "tokens_out": step.usage.tokens_out,
                "cost": step.usage.cost,
                "cached": step.cached,
            }
            for step in outcome.steps
        ]
    return found
