"""`lsr bench`: lsr beside other engines, on your vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.run import command_typed, fail, note

if TYPE_CHECKING:
    from lsr.eval.bench import Outcome
    from lsr.sparse import SparseVectors

__all__ = ["bench"]


def bench(
    vectors: Annotated[
        Path,
        typer.Argument(
            metavar="VECTORS",
            help="Documents: an .npz of vectors, or the folder of an index.",
            show_default=False,
        ),
    ],
    queries: Annotated[
        list[Path],
        typer.Option(
            "--queries", metavar="QUERIES", help="An .npz of query vectors; may be repeated.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPORT_DIR", help="Folder of the report.", show_default=False)
    ],
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            help="seismic, sindi, bmp, kannolo, splade-index or bm25s; may be repeated. (default: all that are installed)",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        list[int] | None,
        typer.Option(
            "-k", min=1, help="Documents asked for; may be repeated. (default: 10 and 100)", show_default=False
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of timing, in which the engines take turns.")] = 5,
    sweep_queries: Annotated[
        int, typer.Option(min=1, help="Queries of each set that the settings are chosen with.")
    ] = 100,
    build_threads: Annotated[int, typer.Option(min=1, help="Threads that an index is built with.")] = 1,
    indexes: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep the peers' indexes there, and use those that fit again.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
) -> None:
    """Measure lsr beside other engines on the same vectors: recall against time, memory, disk, time to build."""
    from lsr.cli.progress import showing_progress
    from lsr.eval.bench import PEERS, Benchmark
    from lsr.eval.bench import bench as run

    for name in peer or ():
        if name not in PEERS:
            raise typer.BadParameter(f"{name!r} is not known: choose from {', '.join(PEERS)}", param_hint="--peer")
    benchmark = Benchmark(
        name=vectors.name.removesuffix(".npz"),
        peers=peer,
        ks=tuple(dict.fromkeys(k or (10, 100))),
        rounds=rounds,
        sweep_queries=sweep_queries,
        build_threads=build_threads,
        indexes=indexes,
        overwrite=overwrite,
        command=command_typed(),
    )
    documents, asked = _documents(vectors), _queries(queries)
    with showing_progress() as progress:
        outcome = run(documents, asked, output, benchmark, progress)
    _say(outcome)


def _documents(path: Path) -> SparseVectors:
    from lsr.sparse import SparseVectors

    if not path.is_dir():
        return SparseVectors.load(path)
    from lsr.index import Index

    index = Index.open(path)
    return index.vectors(range(len(index)))


def _queries(paths: list[Path]) -> dict[str, SparseVectors]:
    """By the names of the files, which must differ."""
    from lsr.sparse import SparseVectors

    names = [path.name.removesuffix(".npz") for path in paths]
    if len(set(names)) < len(names):
        raise typer.BadParameter("two files have the same name", param_hint="--queries")
    return {name: SparseVectors.load(path) for name, path in zip(names, paths, strict=True)}


def _say(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lsr.eval.bench.report.tables import levels_table
    from lsr.eval.bench.report.view import BenchmarkView

    view, console = BenchmarkView(outcome.report), Console()
    for queries in view.queries:
        for k in view.ks:
            found = levels_table(view, queries, k)
            table = Table(box=None, pad_edge=False, title_justify="left", title=Text(found.caption))
            for column in found.columns:
                table.add_column(column.name, justify="right" if column.number else "left")
            for row in found.rows:
                table.add_row(*(f"{cell.text} {cell.detail}".strip() for cell in row))
            console.print(table)
    for entry in outcome.report["skipped"]:
        note(f"Skipped {entry['name']}: {entry['reason']}")
    note(f"Report: {next(page for page in outcome.pages if page.suffix == '.html')}")
    if outcome.report["failed"]:
        fail("; ".join(f"{entry['name']}: {entry['error']}" for entry in outcome.report["failed"]))
