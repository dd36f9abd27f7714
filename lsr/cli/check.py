"""`lsr check`: is an index sound?"""

from __future__ import annotations

from typing import Annotated

import typer

from lsr.cli.options import IndexPath

__all__ = ["check"]


def check(
    index: IndexPath,
    full: Annotated[bool, typer.Option("--full", help="Also checksums and contents: reads every byte.")] = False,
) -> None:
    """Verify an index. Exit status 1 when something is wrong."""
    from lsr.index.storage.check import check_index
    from lsr.index.storage.graph_files import has_graph
    from lsr.index.storage.token_files import has_tokens

    for line in check_index(index, full):
        typer.echo(f"ok  {line}")
    if has_tokens(index):
        from lsr.index import Index
        from lsr.rerank import check_tokens

        for line in check_tokens(Index.open(index), full):
            typer.echo(f"ok  {line}")
    if has_graph(index):
        from lsr.index import Index
        from lsr.rag.graph.store import check_graph

        for line in check_graph(Index.open(index), full):
            typer.echo(f"ok  {line}")
