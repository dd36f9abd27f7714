"""`lsr encode`: documents to sparse vectors in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import (
    BatchSize,
    Device,
    EncoderName,
    IdField,
    Long,
    MaxLength,
    Precision,
    SourceName,
    Stride,
    TextField,
)
from lsr.cli.run import note, note_long

__all__ = ["encode"]


def encode(
    source: SourceName,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help=".npz, .jsonl, .jsonl.gz or .parquet to write.", show_default=False
        ),
    ],
    encoder: EncoderName = None,
    batch_size: BatchSize = 2048,
    max_length: MaxLength = None,
    long: Long = "truncate",
    stride: Stride = None,
    device: Device = None,
    precision: Precision = None,
    id_field: IdField = None,
    text_field: TextField = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is done when interrupted, and go on from there.")
    ] = False,
) -> None:
    """Encode documents to a file of sparse vectors, without an index."""
    from lsr.cli.progress import showing_progress
    from lsr.index.reading import Reading
    from lsr.index.vectors_file import encode_to_file

    reading = Reading(
        batch_size=batch_size,
        max_length=max_length,
        long=long,
        stride=stride,
        device=device,
        precision=precision,
        id_field=id_field,
        text_fields=tuple(text_field or ()),
    )
    with showing_progress() as progress:
        report = encode_to_file(source, output, encoder, reading, overwrite=overwrite, resume=resume, progress=progress)
    if report.resumed:
        note(f"went on after the {report.resumed:,} documents of the interrupted run")
    found = report.statistics
    note(f"{found.vectors:,} documents, {found.terms:.1f} terms each, FLOPS {found.flops:.2f}: {output}")
    note_long(report.truncated, report.reading)
