"""`lsr graph`: the graph of an index, for questions of several hops."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.graph_upkeep import extractor_of
from lsr.cli.options import IndexPath
from lsr.cli.rag.run import CacheFolder, cache_of
from lsr.cli.run import guarded, note
from lsr.errors import InvalidInput

if TYPE_CHECKING:
    from lsr.rag.graph.types import Extractor

__all__ = ["graph"]

graph = typer.Typer(
    name="graph",
    help="The graph of an index: phrases, facts and passages, for questions of several hops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def build(
    index: IndexPath,
    extractor: Annotated[
        str | None,
        typer.Option(
            metavar="rules|entities|names|llm|given",
            help="What finds phrases and facts: rules over a parse (spaCy); its phrases alone; capitalised names, without"
            " any model; a language model (--config); a file (--triples). (default: what made the graph, or rules)",
            show_default=False,
        ),
    ] = None,
    triples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help='For given: {"passage_id", "triples": [[subject, predicate, object]], "entities": [...]} a line.',
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml", help="For llm: a file with generator: (as a pipeline's).", show_default=False
        ),
    ] = None,
    cache: CacheFolder = None,
    synonyms: Annotated[
        bool,
        typer.Option("--synonyms/--no-synonyms", help="Relate phrases that mean the same, by the index's encoder."),
    ] = True,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count lines of --triples that are none, instead of refusing the file.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with an interrupted build, or bring the graph that is there up to the index."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the graph that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make the graph of an index, of the texts that it keeps. What is done is kept when this is interrupted."""
    from lsr.cli.progress import showing_progress
    from lsr.index import Index
    from lsr.rag.graph.store import BY_ENCODER, Graph

    name = extractor or ("given" if triples else "llm" if config else None)
    for given, needed, option in ((triples, "given", "--triples"), (config, "llm", "--config")):
        if (given is None) == (name == needed):
            raise typer.BadParameter(f"goes with --extractor {needed}, and that with it", param_hint=option)
    opened = Index.open(index)
    with ExitStack() as stack:
        chosen = extractor_of(opened) if name is None and resume and not overwrite else None
        chosen = chosen or _extractor(name or "rules", triples, config, cache, skip_bad, stack)
        try:
            with showing_progress() as progress:
                made = Graph.build(
                    opened,
                    chosen,
                    synonyms=BY_ENCODER if synonyms else None,
                    overwrite=overwrite,
                    resume=resume,
                    progress=progress,
                )
        except KeyboardInterrupt:
            note("What is done is kept: the same command with --resume goes on from there")
            raise
    facts = made.info()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    passages = facts["passages"]
    if skipped := getattr(chosen, "skipped", 0):
        note(f"{skipped:,} lines of {triples} are no triples, and were passed over")
    if facts["failed"]:
        note(f"{facts['failed']:,} of {passages:,} passages could not be read; --resume tries them again")
    if facts["without_phrases"]:
        note(f"{facts['without_phrases']:,} of {passages:,} passages have no phrase: no walk leads to them")
    edges = ", ".join(f"{count // 2:,} {kind}" for kind, count in facts["edges"].items())
    note(f"{passages:,} passages, {facts['phrases']:,} phrases, {facts['facts']:,} facts, {edges}: {made.path}")


def _extractor(
    name: str, triples: Path | None, config: Path | None, cache: Path | None, skip_bad: bool, stack: ExitStack
) -> Extractor:
    """The extractor asked for. stack: closes what it works with."""
    from lsr.rag.graph.extractors import open_extractor

    if config is None:
        return open_extractor(name, triples=triples, skip_bad=skip_bad)
    from lsr.rag.files import read_surroundings
    from lsr.rag.rag import open_resources

    surroundings = read_surroundings(config)
    if surroundings.generator is None:
        raise InvalidInput(f"{config}: names no generator: for --extractor llm; see docs/rag.md")
    resources = stack.enter_context(open_resources(surroundings, cache_of(cache)))
    return open_extractor(name, generator=resources.generator, prompts=resources.prompts)


def info(index: IndexPath, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show what the graph of an index holds, and whether it is up to the index."""
    from lsr.index import Index
    from lsr.rag.graph.store import Graph

    facts = Graph.facts(Index.open(index))
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    from lsr.cli.show import facts_table

    facts_table(facts)
    if not facts["current"]:
        note(f"Next: {facts['update']}")


graph.command("build")(guarded(build))
graph.command("info")(guarded(info))
