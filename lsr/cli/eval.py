"""`lsr eval`: reports on quality, speed and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.cli.options import Candidates, MaxLength
from lsr.cli.run import command_typed, fail, note

if TYPE_CHECKING:
    from lsr.eval.evaluate import Outcome

__all__ = ["evaluate"]


def evaluate(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET",
            help="A folder with corpus, queries and qrels, a BEIR zip, beir/NAME in $LSR_DATA, or an ir_datasets id.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="REPORT", help="Folder of the report.", show_default=False)
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            "--system",
            metavar="[NAME=]SPEC",
            help="An index, an encoder to index with, bm25, or a TREC run; may be repeated. (default: lsr-tiny)",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="The system that the others are compared with.", show_default=False),
    ] = None,
    rerank: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Also a second stage of each index, apart and with it: maxsim, or a cross-encoder; see lsr search.",
        ),
    ] = "none",
    candidates: Candidates = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", metavar="M", help="Such as nDCG@10, RR@10, AP(rel=2)@1000; repeatable.", show_default=False
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the judgments. (default: test)", show_default=False)
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch what is not on this machine.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on when judged documents are not in the collection.")
    ] = False,
    relevance_threshold: Annotated[
        int | None,
        typer.Option(min=1, help="Lowest grade that is relevant. (default: the collection's)", show_default=False),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1, help="Hits kept of a query. (default: 1000, or what the measures need)", show_default=False
        ),
    ] = None,
    max_length: MaxLength = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is finished and go on from there.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Write report.tex too, a table for a paper.")] = False,
    texts: Annotated[bool, typer.Option(help="Keep texts of the worst losses in the report.")] = True,
    timing: Annotated[bool, typer.Option(help="Measure speed and cost too.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the random draws of tests and intervals.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="report.json", help="Make the pages again; nothing is run.", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Repeat what the .yaml files there expect.", show_default=False),
    ] = None,
) -> None:
    """Evaluate systems on collections: a report of quality, significance, speed and cost."""
    _check_usage(datasets, output, source, check)
    if check is not None:
        _check(check, download)
        return
    from lsr.eval.evaluate import Evaluation, evaluate_collections, report_again

    if source is not None:
        _say_pages(report_again(source, output, latex=latex))
        return
    from lsr.cli.progress import showing_progress
    from lsr.eval.measures import Measure

    assert datasets is not None
    assert output is not None
    evaluation = Evaluation(
        systems=system or ([] if baseline else ["lsr-tiny"]),
        baseline=baseline,
        rerank=None if rerank == "none" else rerank,
        candidates=candidates,
        measures=[Measure.parse(name) for name in measure or ()],
        split=split,
        download=download,
        allow_missing=allow_missing,
        relevance_threshold=relevance_threshold,
        depth=depth,
        max_length=max_length,
        resume=resume,
        overwrite=overwrite,
        latex=latex,
        texts=texts,
        timing=timing,
        seed=seed,
        command=command_typed(),
    )
    try:
        with showing_progress() as progress:
            outcome = evaluate_collections(datasets, output, evaluation, progress)
    except KeyboardInterrupt:
        note(f"what is finished stays in {output}; --resume goes on from there")
        raise
    _say(outcome)


def _check_usage(datasets: list[str] | None, output: Path | None, source: Path | None, check: Path | None) -> None:
    ways = [bool(datasets), source is not None, check is not None]
    if sum(ways) != 1:
        raise typer.BadParameter("give DATASETs, or --from report.json, or --check FOLDER", param_hint="DATASET")
    if datasets and output is None:
        raise typer.BadParameter("name the folder of the report", param_hint="-o")


def _say(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for report in outcome.reports.values():
        shown = report["measures"][:4]
        timed = any(system.get("latency_ms") for system in report["systems"])
        columns = ["", *shown, *(["p50 ms"] if timed else [])]
        table = Table(*columns, box=None, pad_edge=False, title_justify="left", title=_title(report))
        for column in table.columns[1:]:
            column.justify = "right"
        for system in report["systems"]:
            latency = system.get("latency_ms")
            cells = [f"{system['metrics'][name]:.4f}" for name in shown]
            cells += [f"{latency['p50']:.3f}"] if latency else []
            table.add_row(system["name"], *cells)
        console.print(table)
    _say_pages(outcome.pages)
    if outcome.failed:
        fail("; ".join(f"{name}: {error}" for name, error in outcome.failed.items()))


def _title(report: dict[str, Any]) -> str:
    facts = report["dataset"]
    return f"{facts['name']}: {facts['queries']:,} queries, {facts['documents']:,} documents"


def _say_pages(pages: list[Path]) -> None:
    for page in pages:
        if page.suffix == ".html":
            note(f"Report: {page}")


def _check(folder: Path, download: bool) -> None:
    from lsr.cli.progress import showing_progress
    from lsr.eval.reproduce import check_reproductions

    counted = {"matches": 0, "differs": 0, "failed": 0, "skipped": 0}
    with showing_progress() as progress:
        results = check_reproductions(folder, progress, download=download)
        for result in results:
            counted[result.verdict] += 1
            typer.echo(f"{result.verdict:8} {result.name}: {result.text}")
    note(", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count))
    if counted["differs"] or counted["failed"]:
        fail(f"{folder}: {counted['differs'] + counted['failed']} not reproduced")
