"""`lsr add`: more documents to an index."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lsr.cli.graph_upkeep import bring_graph_up, extractor_of
from lsr.cli.options import BatchSize, Device, IdField, IndexPath, SourceName, TextField
from lsr.cli.run import fail, note, note_long, note_to_compact
from lsr.cli.tokens import bring_up, model_of
from lsr.errors import LsrError

__all__ = ["add"]


def add(
    index: IndexPath,
    source: SourceName,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Replace documents that have the same ids; without it they are an error.")
    ] = False,
    batch_size: BatchSize = 2048,
    device: Device = None,
    id_field: IdField = None,
    text_field: TextField = None,
    multivector: Annotated[
        bool,
        typer.Option(
            "--multivector/--no-multivector",
            help="Also make token vectors, where the index has some. Documents without are placed by the index alone.",
        ),
    ] = True,
    graph: Annotated[
        bool,
        typer.Option(
            "--graph/--no-graph",
            help="Also bring the graph up, where the index has one whose extractor needs no generator and no file.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Add documents to an index: all of them or, when something is wrong, none."""
    from lsr.cli.progress import showing_progress
    from lsr.index import Index

    opened = Index.open(index)
    encoder = None
    if multivector:  # a model that is gone is told before anything is written
        try:
            encoder = model_of(opened, device)
        except LsrError as error:
            fail(f"{error} (--no-multivector adds without token vectors)", error)
    reader = None
    if graph:
        try:
            reader = extractor_of(opened)
        except LsrError as error:
            fail(f"{error} (--no-graph adds without bringing the graph up)", error)
    with showing_progress() as progress:
        change = opened.upsert if upsert else opened.add
        report = change(
            source,
            batch_size=batch_size,
            device=device,
            id_field=id_field,
            text_fields=text_field or (),
            progress=progress,
        )
    tokens = bring_up(opened, f"the documents are in {index}", encoder) if multivector else None
    followed = bring_graph_up(opened, f"the documents are in {index}", reader) if graph else None
    if as_json:
        facts = {"added": report.documents, "replaced": report.replaced, "truncated": report.truncated}
        if tokens is not None:
            facts["token_vectors"] = tokens.encoded
        if followed is not None:
            facts["graph"] = followed.extracted
        typer.echo(json.dumps({**facts, "documents": len(opened), "generation": opened.generation}))
        return
    replaced = f", {report.replaced:,} of them in place of others," if report.replaced else ""
    note(f"{report.documents:,} documents added{replaced} in {report.seconds:.1f} s: {len(opened):,} in {index}")
    made = opened.manifest.encoder
    if made is not None and made.reading is not None:
        note_long(report.truncated, made.reading)
    if tokens is not None:
        note(f"{tokens.encoded:,} documents encoded as token vectors")
    if followed is not None:
        note(f"{followed.extracted:,} documents read for the graph")
    note_to_compact(opened)
