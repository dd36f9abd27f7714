"""`lsr rag draft`: questions made from documents, where nobody has asked any yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import SourceName
from lsr.cli.run import note

__all__ = ["draft"]


def draft(
    source: SourceName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.jsonl", help="File to write.", show_default=False)
    ],
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 50,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.yaml",
            help="A file with generator: (as a pipeline's), which then writes them; without one they are clozes.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which passages are taken.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Draft questions from documents, with the passage that each was made of as its gold, for you to correct."""
    from lsr.disk import exists
    from lsr.errors import OutputExists
    from lsr.rag.drafting import draft_questions
    from lsr.rag.files import Surroundings, read_surroundings
    from lsr.rag.questions import write_questions
    from lsr.rag.rag import open_documents, open_resources

    if not overwrite and exists(output):
        raise OutputExists(f"{output}: is there already; --overwrite replaces it")
    surroundings = Surroundings() if config is None else read_surroundings(config)
    documents = open_documents(source, None)
    with open_resources(surroundings, None) as resources:
        questions = draft_questions(
            documents.values(), count, generator=resources.generator, prompts=resources.prompts, seed=seed
        )
    write_questions(questions, output)
    fewer = f" (of {count:,} that were asked for)" if len(questions) < count else ""
    note(f"{len(questions):,} questions{fewer}: {output}")
    note("Look through them: whoever drafts from a passage uses its words, which favours what matches words.")
