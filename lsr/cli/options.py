"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BatchSize",
    "Candidates",
    "Device",
    "EncoderName",
    "Engine",
    "IdField",
    "IndexPath",
    "Long",
    "MaxLength",
    "Precision",
    "SampleQueries",
    "SourceName",
    "Stride",
    "TextField",
]

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.", show_default=False)]
SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Documents: a .jsonl, .csv, .tsv, .parquet, .txt or .md file (.gz too), a BEIR folder or zip, a folder of"
        " .txt/.md/.rst files, - for standard input, or vectors (.npz).",
        show_default=False,
    ),
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME_OR_PATH",
        help="Encoder of the documents: a folder, a hub id, or a bundled one. (default: lsr-tiny)",
        show_default=False,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|exact|blocked",
        help="blocked adds what fast approximate search needs, and twice the space; auto takes it from 100,000 documents.",
    ),
]
SampleQueries = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Queries like those to come, 100 or more (.tsv, .jsonl, or vectors as .npz): the blocked engine learns from them"
        " what recall costs. (default: made from the documents)",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Documents held in memory and encoded at a time.")]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=3,
        help="Tokens of a document that are read at a time. (default: the encoder's)",
        show_default=False,
    ),
]
Long = Annotated[
    str,
    typer.Option(
        "--long",
        metavar="truncate|windows|passages",
        help="A longer document: truncate it, read it in windows and keep each term's largest weight, or cut it into passages"
        " with ids ID#1, ID#2, ...",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        "--stride",
        min=1,
        help="Tokens from one window or passage to the next. (default: three quarters of one)",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, or with torch cuda, cuda:1, cuda:all. (default: cpu)", show_default=False),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of the network: fp32 or int8 on the CPU, bf16, fp16 or fp32 on a GPU. (default: fp32, bf16 on a GPU)",
        show_default=False,
    ),
]
IdField = Annotated[
    str | None,
    typer.Option(
        "--id-field", metavar="F", help="Field that holds the id. (default: _id, id, ...)", show_default=False
    ),
]
TextField = Annotated[
    list[str] | None,
    typer.Option(
        "--text-field",
        metavar="F",
        help="Field that holds text; may be repeated. (default: text, ...)",
        show_default=False,
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        metavar="N",
        help="With --rerank: hits of the index that are ordered anew. (default: what lsr tune --save has left, or 50)",
        show_default=False,
    ),
]
