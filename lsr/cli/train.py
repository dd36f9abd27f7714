"""`lsr train`: an encoder from a recipe, or fitted to a collection without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.run import note

__all__ = ["train"]


def train(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL", help="Folder to write the encoder to.", show_default=False),
    ],
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="RECIPE", help="A YAML file; see docs/training.md.", show_default=False),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            metavar="SOURCE",
            help="Without a recipe: fit an encoder to these documents, with queries made from them. May be repeated.",
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="MODEL",
            help="With --corpus: a dense model of sentence-transformers to learn from too. May be repeated.",
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="MODEL", help="The model to start from, in place of the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps, in place of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model, or an interrupted training, that is there.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="cuda, cpu, ...; a GPU if there is one by default.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="FOLDER", help="Keep embeddings and candidates there for other recipes."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count lines that cannot be read instead of stopping at the first.")
    ] = False,
) -> None:
    """Train an encoder by a recipe, or fit one to a collection: lsr train --corpus docs.jsonl -o MODEL."""
    from lsr.cli.progress import showing_progress
    from lsr.training import recipe_for
    from lsr.training import train as run
    from lsr.training.card import in_words
    from lsr.training.recipe import MULTIVECTOR

    chosen = recipe_for(
        recipe, corpus=tuple(corpus or ()), teachers=tuple(teacher or ()), start=start, steps=steps, name=output.name
    )
    with showing_progress() as progress:
        report = run(
            chosen,
            output,
            resume=resume,
            overwrite=overwrite,
            device=device,
            cache=cache,
            skip_bad=skip_bad,
            progress=progress,
        )
    if not report.card:
        return  # another process than the first
    if report.resumed:
        note(f"went on after step {report.resumed:,}")
    for file, lines in report.card["data"]["skipped"].items():
        if lines:
            note(f"{file}: {lines:,} lines were skipped")
    for warning in report.outcome.last.get("warnings", ()):  # what came before was said then
        note(warning)
    best = report.outcome.best
    figures = f"; on the development set {in_words(best)}" if best else ""
    note(f"{report.outcome.steps:,} steps in {report.outcome.seconds:,.0f} s{figures}: {output}")
    option = "multivector" if chosen.document.kind == MULTIVECTOR else "encoder"
    note(f"Next: lsr index SOURCE -o INDEX --{option} {output}")
