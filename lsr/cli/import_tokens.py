"""`lsr import-tokens`: token vectors that another program stored, for reranking with an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import IndexPath
from lsr.cli.tokens import say_made

__all__ = ["import_tokens"]


def import_tokens(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of token vectors: PLAID of ColBERT or PyLate, fast-plaid, or kANNolo.",
            show_default=False,
        ),
    ],
    index: IndexPath,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="ColBERT that made them (a folder, or a hub id): it encodes queries.",
            show_default=False,
        ),
    ],
    ids: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ids of the documents of SOURCE, one a line, in its order. (default: those that PyLate kept, or else the"
            " documents in the order of the index)",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[str, typer.Option(help="How they are kept: f32, f16, int8, int4, residual2, pq.")] = "int8",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace token vectors that are there.")] = False,
) -> None:
    """Keep token vectors of another program with an index, for lsr search --rerank maxsim."""
    from lsr.cli.progress import showing_progress
    from lsr.index import Index
    from lsr.rerank import import_tokens as imported

    opened = Index.open(index)
    with showing_progress() as progress:
        store = imported(
            source,
            opened,
            encoder=model,
            codec=codec,
            ids=None if ids is None else _lines(ids),
            overwrite=overwrite,
            progress=progress,
        )
    say_made(opened, store)


def _lines(file: str) -> list[str]:
    from lsr.corpus.streams import file_source
    from lsr.limits import Limits

    return [line for _, line in file_source(Path(file), Limits.default()).lines()]
