"""`lsr rag search` and `lsr rag report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.rag.run import CacheFolder, cache_of
from lsr.cli.run import note

if TYPE_CHECKING:
    from lsr.rag.search.search import Found, Search

__all__ = ["report", "search"]


def search(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="What to search; see docs/rag.md.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="STUDY", help="Folder of the study.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study that is there.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Pipelines at the same time, in place of the file's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the search would take, from a few questions, and stop.")
    ] = False,
    cache: CacheFolder = None,
) -> None:
    """Search for the pipeline that answers questions best, and compare it with the baseline on questions apart."""
    from lsr.cli.progress import showing_progress
    from lsr.errors import OutputExists
    from lsr.rag.search.config import read_search
    from lsr.rag.search.search import open_search, search_pipelines
    from lsr.rag.search.store import Store

    if output is None and not dry_run:
        raise typer.BadParameter("name the folder of the study", param_hint="-o")
    if output is not None and not resume and Store(output).exists():
        raise OutputExists(f"{output}: holds a study: --resume goes on with it, or give another folder")
    with open_search(read_search(config), cache_of(cache)) as opened:
        _say_before(opened)
        if dry_run or opened.runner.resources.generator is not None:
            _say_estimate(opened)
        if dry_run or output is None:
            return
        try:
            with showing_progress() as progress:
                found = search_pipelines(opened, output, resume=resume, workers=workers, progress=progress, say=note)
        except KeyboardInterrupt:
            note(f"what is finished stays in {output}; --resume goes on from there")
            raise
    _say_found(found, output)


def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a finished study.", show_default=False)],
) -> None:
    """Write the report of a finished study again, from its report.json."""
    from lsr.errors import StorageError
    from lsr.rag.report import read_report, write_report
    from lsr.rag.search.store import read_study

    if not (study / "report.json").is_file():
        records = read_study(study).records
        raise StorageError(
            f"{study}: the study is not finished ({len(records):,} pipelines so far): lsr rag search CONFIG.yaml -o {study}"
            " --resume goes on with it"
        )
    for page in write_report(read_report(study), study):
        if page.suffix == ".html":
            note(f"Report: {page}")


def _say_before(search: Search) -> None:
    from lsr.rag.search.selection import detectable

    parts = search.split
    note(
        f"{search.data.name}: {len(search.data.documents):,} documents; {len(parts.search):,} questions to search by, "
        f"{len(parts.holdout):,} apart, which show differences from about {detectable(len(parts.holdout)):.3f}"
    )
    note(f"{search.config.space.count():,} legal pipelines")


def _say_estimate(search: Search) -> None:
    found = search.estimate()
    tokens = "" if not found.tokens else f", {found.tokens:,.0f} tokens"
    cost = "" if not found.cost else f", {found.cost:,.4g} in money"
    note(
        f"the baseline on {found.questions:,} questions would take about {found.seconds:,.1f} s{tokens}{cost}; "
        f"{found.pipelines:,} such pipelines {found.pipelines * found.seconds:,.0f} s"
        + ("" if not found.tokens else f", {found.pipelines * found.tokens:,.0f} tokens")
        + ("" if not found.cost else f", {found.pipelines * found.cost:,.4g}")
        + ", without what the cache and racing spare"
    )


def _say_found(found: Found, output: Path) -> None:
    from rich.console import Console

    console = Console()
    view, holdout = found.view, found.view.holdout
    console.print(f"{view.verdict[0].upper()}{view.verdict[1:]}.", highlight=False)
    console.print(
        f"{view.quality} on {len(holdout.questions):,} questions apart:"
        f" {holdout.winner:.4f}, baseline {holdout.baseline:.4f}",
        highlight=False,
    )
    if holdout.difference is not None and holdout.interval is not None:
        low, high = holdout.interval
        console.print(
            f"difference {holdout.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})", highlight=False
        )
    counts = f"{len(view.pipelines):,} pipelines evaluated; {found.ended.reason}"
    rate = view.budget.hit_rate
    console.print(counts + ("" if rate is None else f"; {rate:.0%} of stage runs came from the cache"), highlight=False)
    note(f"Winner: {output / 'winner.yaml'}  (lsr rag run {output / 'winner.yaml'} QUESTION)")
    note(f"Report: {output / 'report.html'}")
