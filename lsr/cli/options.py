"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["BatchSize", "EncoderName", "IdField", "IndexPath", "MaxLength", "SourceName", "TextField"]

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
        "--encoder", metavar="NAME_OR_PATH", help="Encoder of the documents. [default: lsr-tiny]", show_default=False
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Documents held in memory and encoded at a time.")]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=3,
        help="Tokens of a document that are encoded; the rest is cut. [default: the encoder's]",
        show_default=False,
    ),
]
IdField = Annotated[
    str | None,
    typer.Option(
        "--id-field", metavar="F", help="Field that holds the id. [default: _id, id, ...]", show_default=False
    ),
]
TextField = Annotated[
    list[str] | None,
    typer.Option(
        "--text-field",
        metavar="F",
        help="Field that holds text; may be repeated. [default: text, ...]",
        show_default=False,
    ),
]
