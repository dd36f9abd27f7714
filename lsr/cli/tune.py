"""`lsr tune`: how a second stage is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.options import IndexPath
from lsr.cli.run import note

if TYPE_CHECKING:
    from lsr.eval.tuning import Configuration, Tuned
    from lsr.rerank import Policy

__all__ = ["tune"]


def tune(
    index: IndexPath,
    queries: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="File of queries: .tsv (id, text) or .jsonl (_id, text).", show_default=False
        ),
    ],
    qrels: Annotated[
        Path, typer.Option(metavar="FILE", help="File of judgments: query, document, grade.", show_default=False)
    ],
    max_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS", help="Milliseconds that scoring may take a query. (default: any)", show_default=False
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(metavar="LOSS", help="How far below the best unpruned quality the choice may be.")
    ] = 0.0,
    k: Annotated[int, typer.Option("-k", help="Number of hits that searches ask for.")] = 10,
    measure: Annotated[
        str | None,
        typer.Option(metavar="M", help="What quality is, such as RR@10. (default: nDCG at k)", show_default=False),
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A codec to choose among others; may be repeated. Others than the store's own are simulated. (default: its"
            " own)",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the halves of the queries, and of intervals.")] = 0,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the policy with the index: lsr search --rerank maxsim follows it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Choose how token vectors are used, from judged queries: which candidates are scored, and how much that may cost."""
    from lsr.cli.progress import showing_progress
    from lsr.corpus import read_queries
    from lsr.eval import read_qrels, tuning
    from lsr.index import Index

    opened = Index.open(index)
    asked = {query.id: query.text for query in read_queries(queries)}
    judged = read_qrels(qrels)
    with showing_progress() as progress:
        tuned = tuning.tune(
            opened,
            asked,
            judged,
            codecs=codec,
            measure=measure,
            k=k,
            max_ms=max_ms,
            max_loss=max_loss,
            seed=seed,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(tuned.to_json(), ensure_ascii=False))
    else:
        _show(tuned)
    if save:
        tuned.save(opened)
        note(f"saved; lsr search {index} QUERY --rerank maxsim follows it")


def _show(tuned: Tuned) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = ["", "codec", "kappa", "alpha", "beta", "weight", tuned.measure, "scored", "ms"]
    title = f"Chosen by {len(tuned.queries)} queries; what no other beats of {len(tuned.table):,} tried"
    table = Table(*columns, box=None, pad_edge=False, title=title, title_justify="left")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in tuned.front:
        table.add_row(*_cells(row, row == tuned.chosen))
    console.print(table)
    held = tuned.held_out
    console.print(f"On the other {len(held.queries)} queries, {tuned.measure} of the choice is {held.chosen:.4f}:")
    for against, name, theirs in (
        (held.over_sparse, "the index alone", held.sparse),
        (held.over_unpruned, "all candidates scored", held.unpruned),
    ):
        low, high = against.interval
        console.print(f"  {name} {theirs:.4f}, so {against.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    fixed = tuned.fixed_ms
    console.print(
        f"On top of scoring come {fixed['search']:.3g} ms of search and {fixed['encode']:.3g} ms of encoding."
    )
    console.print(f"MaxSimReranker.of(index, {_typed(tuned.policy)})", highlight=False)
    if tuned.codec != tuned.own_codec:
        console.print(
            f"The token vectors are kept as {tuned.own_codec}: build them again with lsr index --multivector MODEL --codec"
            f" {tuned.codec}.",
            highlight=False,
        )


def _cells(row: Configuration, chosen: bool) -> list[str]:
    policy = row.policy
    settings = [policy.kappa, policy.alpha, policy.beta, policy.weight]
    return [
        "*" if chosen else "",
        f"{row.codec} (simulated)" if row.simulated else row.codec,
        *("-" if value is None else f"{value:g}" for value in settings),
        f"{row.quality:.4f}",
        f"{row.scored:.1f}",
        f"{row.ms:.3f}",
    ]


def _typed(policy: Policy) -> str:
    """A policy as it is written in Python, without what is left out."""
    from dataclasses import asdict

    given = [f"{name}={value:g}" for name, value in asdict(policy).items() if value is not None]
    return f"Policy({', '.join(given)})"
