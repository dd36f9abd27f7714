"""`lsr search`: ask an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.options import Candidates, IndexPath
from lsr.cli.run import note
from lsr.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lsr.cli.graph_search import GraphWalk
    from lsr.hits import Hits, Reranker, TokenMatches
    from lsr.index import Index

__all__ = ["search"]

_BATCH = 1024  # queries of a file answered at a time


def search(
    index: IndexPath,
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help='Each argument is one query: quote "several words".', show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Share of the exact hits that is enough. (default: 0.98; all, where the index has the exact engine alone)",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="All exact hits: the same as --recall 1.")] = False,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="EXPR",
            help='Only documents that it allows: \'year >= 2020 and lang in ("en", "de") and not draft\'.',
            show_default=False,
        ),
    ] = None,
    rerank: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="A second stage: none; maxsim, by the token vectors of lsr index --multivector; or a model that reads the"
            " stored texts: a cross-encoder (a folder or a hub id), or flashrank:NAME.",
        ),
    ] = "none",
    candidates: Candidates = None,
    graph: Annotated[
        bool,
        typer.Option("--graph", help="Rank by a walk over the graph (lsr graph build), for questions of several hops."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show matched terms and their weights; with --rerank maxsim matched tokens; with --graph the way to each"
            " hit.",
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.html", help="With --graph: draw the part of the graph that mattered.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a query.")] = False,
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File of queries: .tsv (id, text) or .jsonl (_id, text); - for standard input.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="OUT.trec", help="Write a TREC run file.", show_default=False)
    ] = None,
) -> None:
    """Search an index: ranked documents for one query, several, or a file of them."""
    if bool(query) == bool(queries):
        raise typer.BadParameter("give one or more QUERY arguments, or --queries FILE", param_hint="QUERY")
    if exact and recall is not None:
        raise typer.BadParameter("--exact means --recall 1: give one of them", param_hint="--exact")
    if graph and (exact or recall is not None or filter_ is not None):
        raise typer.BadParameter(
            "goes without --recall, --exact and --filter: all of the graph is walked", param_hint="--graph"
        )
    if picture is not None and (not graph or len(query or ()) != 1):
        raise typer.BadParameter("goes with --graph and one QUERY", param_hint="--picture")
    if picture is not None and (picture.is_dir() or not picture.absolute().parent.is_dir()):
        why = "it is a folder" if picture.is_dir() else "there is no such folder"
        raise InvalidInput(f"{picture}: no picture can be written there: {why}")
    from lsr.index import Index

    opened = Index.open(index)
    stage = _stage(opened, rerank, candidates, k)
    walk = None
    if graph:
        from lsr.cli.graph_search import GraphWalk

        walk = GraphWalk(opened, stage, picture)
    answers = _answers(opened, _asked(query or [], queries), k, 1.0 if exact else recall, filter_, stage, walk)
    if run is not None:
        from lsr.run_file import write_run

        ranked = ((str(hits.query_id), hits.ids, hits.scores) for hits in answers)
        note(f"{write_run(run, ranked):,} queries answered: {run}")
        return
    from lsr.cli.show import show_hits

    for number, hits in enumerate(answers):
        if as_json:
            typer.echo(json.dumps(_as_json(hits, explain, walk), ensure_ascii=False))
        else:
            way = None if walk is None else walk.told
            show_hits(hits, explain, opened, first=number == 0, filtered=filter_ is not None, way=way)


def _asked(arguments: list[str], file: str | None) -> Iterator[tuple[str, str]]:
    """Queries as (id, text)."""
    if file is None:
        yield from ((str(number), text) for number, text in enumerate(arguments, start=1))
        return
    from lsr.corpus import read_queries

    yield from ((query.id, query.text) for query in read_queries(file))


def _stage(index: Index, name: str, candidates: int | None, k: int) -> Reranker | None:
    """The second stage of that name. Where nobody said how many candidates, there are k at least."""
    if name == "none":
        return None
    from dataclasses import replace

    from lsr.rerank import MaxSimReranker, Policy, text_reranker

    if name == "maxsim":
        if candidates is not None:
            return MaxSimReranker.of(index, Policy(kappa=candidates))
        stage = MaxSimReranker.of(index)
        stage.policy = replace(stage.policy, kappa=max(stage.policy.kappa, k))
        return stage
    return text_reranker(name, 50 if candidates is None else candidates)


def _answers(
    index: Index,
    asked: Iterator[tuple[str, str]],
    k: int,
    recall: float | None,
    filter_: str | None,
    stage: Reranker | None,
    walk: GraphWalk | None,
) -> Iterator[Hits]:
    from itertools import islice

    while batch := list(islice(asked, _BATCH)):
        texts = [text for _, text in batch]
        if walk is None:
            answers = index.search(texts, k, recall=recall, filter=filter_, rerank=stage)
        else:
            answers = walk.search(texts, k)
        for (query_id, _), hits in zip(batch, answers, strict=True):
            hits.query_id = query_id
            yield hits
    if missing := getattr(stage, "missing", 0):
        note(
            f"{missing:,} {'candidate has' if missing == 1 else 'candidates have'} no token vectors: placed by the index"
        )


def _as_json(hits: Hits, explain: bool, walk: GraphWalk | None) -> dict[str, object]:
    found = []
    for hit in hits:
        item: dict[str, object] = {"rank": hit.rank, "id": hit.id, "score": hit.score}
        if hit.text is not None:
            item.update({"title": hit.title} if hit.title else {}, text=hit.text)
        if explain:
            explanation = hit.explain()
            item["explanation"] = [
                {
                    "term": term.token,
                    "query_weight": term.query_weight,
                    "document_weight": term.document_weight,
                    "contribution": term.contribution,
                }
                for term in explanation.terms
            ]
            if explanation.matches is not None:
                item["matches"] = _matches_as_json(explanation.matches)
            if walk is not None:
                way = walk.way(hits, hit.row)
                item["way"] = None if way is None else way.as_dict()
        found.append(item)
    fell_back = {} if walk is None else {"fell_back": walk.fell_back(hits)}
    return {"query_id": hits.query_id, "query": hits.query, **fell_back, "hits": found}


def _matches_as_json(found: TokenMatches) -> dict[str, object]:
    return {
        "maxsim": found.score,
        "stored": found.stored,
        "text": found.text,
        "tokens": [
            {"query": match.query, "document": match.document, "similarity": match.similarity, "span": match.span}
            for match in found.matches
        ],
    }
