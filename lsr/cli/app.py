"""The commands of `lsr`, put together. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from lsr.cli import (
    add,
    bench,
    check,
    compact,
    delete,
    demo,
    encode,
    eval,
    export,
    graph,
    import_tokens,
    import_vectors,
    index,
    info,
    repair,
    search,
    train,
    tune,
)
from lsr.cli.rag import rag
from lsr.cli.run import guarded

__all__ = ["app"]

app = typer.Typer(
    name="lsr",
    help="Search text with learned sparse representations: encode, index, search, evaluate. Start with `lsr demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import lsr

        typer.echo(f"lsr {lsr.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Search text with learned sparse representations: encode, index, search, evaluate. Start with `lsr demo`."""


for command in (
    demo.demo,
    index.index,
    search.search,
    add.add,
    delete.delete,
    compact.compact,
    info.info,
    check.check,
    repair.repair,
    encode.encode,
    train.train,
    tune.tune,
    export.export,
):
    app.command()(guarded(command))
app.command("import")(guarded(import_vectors.import_vectors))
app.command("import-tokens")(guarded(import_tokens.import_tokens))
app.command("bench")(guarded(bench.bench))
app.command("eval")(guarded(eval.evaluate))
app.add_typer(graph.graph)
app.add_typer(rag)
