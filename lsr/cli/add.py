"""`lsr add`: more documents to an index."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lsr.cli.options import BatchSize, Device, IdField, IndexPath, SourceName, TextField
from lsr.cli.run import note, note_long, note_to_compact

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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Add documents to an index: all of them or, when something is wrong, none."""
    from lsr.cli.progress import showing_progress
    from lsr.index import Index

    opened = Index.open(index)
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
    if as_json:
        facts = {"added": report.documents, "replaced": report.replaced, "truncated": report.truncated}
        typer.echo(json.dumps({**facts, "documents": len(opened), "generation": opened.generation}))
        return
    replaced = f", {report.replaced:,} of them in place of others," if report.replaced else ""
    note(f"{report.documents:,} documents added{replaced} in {report.seconds:.1f} s: {len(opened):,} in {index}")
    encoder = opened.manifest.encoder
    if encoder is not None and encoder.reading is not None:
        note_long(report.truncated, encoder.reading)
    note_to_compact(opened)
