"""`lsr rag`: questions answered from documents, and the search for the pipeline that does it best."""

from __future__ import annotations

import typer

from lsr.cli.rag import draft, run, search
from lsr.cli.run import guarded

__all__ = ["rag"]

rag = typer.Typer(
    name="rag",
    help="Answer questions from documents, and search for the pipeline that does it best.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
rag.command("run")(guarded(run.run))
rag.command("search")(guarded(search.search))
rag.command("report")(guarded(search.report))
rag.command("draft")(guarded(draft.draft))
