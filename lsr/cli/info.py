"""`lsr info`: what an index holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lsr.cli.options import IndexPath

__all__ = ["info"]


def info(index: IndexPath, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show what an index holds: documents, sizes, encoder, token vectors, graph, versions."""
    from lsr.cli.graph_upkeep import graph_facts
    from lsr.cli.tokens import token_facts
    from lsr.index import Index

    opened = Index.open(index)
    facts = opened.info()
    if (tokens := token_facts(opened)) is not None:
        facts["multivector"] = tokens
    if (graph := graph_facts(opened)) is not None:
        facts["graph"] = graph
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    from lsr.cli.show import facts_table

    facts_table(facts)
