"""`lsr export`: a model to another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import MaxLength
from lsr.cli.run import note

__all__ = ["export"]

FORMATS = ("onnx", "sentence-transformers")


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder, hub id or name of an encoder.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write.", show_default=False)
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx (runs without torch) or sentence-transformers (versions 5 and 6, and OpenSearch's tables).",
            show_default=False,
        ),
    ],
    query: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE",
            help="Other query side: binary, the file of an idf.json, or another model over the same vocabulary.",
            show_default=False,
        ),
    ] = None,
    idf_of: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Weigh the terms of queries by their inverse document frequency in these documents.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="Of an ONNX vocabulary head: fp32 or int8.")] = "fp32",
    max_length: MaxLength = None,
    top_terms: Annotated[
        int | None, typer.Option(min=1, help="Terms kept of a document (onnx). (default: all)", show_default=False)
    ] = None,
    adapts: Annotated[bool, typer.Option("--adapts", help="Adapt the table of queries to each index (onnx).")] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the encoder (onnx). (default: the folder's)", show_default=False)
    ] = None,
    licence: Annotated[str, typer.Option(help="Noted in encoder.json (onnx).", show_default=False)] = "",
    origin: Annotated[str, typer.Option(help="Noted in encoder.json (onnx).", show_default=False)] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an ONNX export that is there.")] = False,
) -> None:
    """Write a model in another form, after a check that it gives the same vectors."""
    from lsr.corpus import read_documents
    from lsr.encoders import corpus_idf, load_encoder
    from lsr.errors import EncoderError, InvalidInput

    if form not in FORMATS:
        raise InvalidInput(f"format {form!r} is not known: choose one of {', '.join(FORMATS)}")
    encoder = load_encoder(model, max_length=max_length, query=query, revision=revision)
    if idf_of is not None:
        if query is not None:
            raise InvalidInput("--query and --idf-of both name the query side: give one of them")
        texts = (document.content for document in read_documents(idf_of))
        table = corpus_idf(texts, encoder.vocabulary)
        encoder = load_encoder(model, max_length=max_length, query=table, revision=revision)
    if form == "sentence-transformers":
        _refuse_onnx_only(precision != "fp32", top_terms, adapts, name, licence, origin, overwrite)
        if encoder.is_export:
            raise EncoderError(
                f"{encoder.source}: an ONNX export has no weights that sentence-transformers reads; export the model"
                " that it was made from"
            )
        encoder.save(output)
        note(f"{encoder.source}: saved for sentence-transformers: {output}")
        return
    from lsr.encoders.export import export_onnx

    parity = export_onnx(
        encoder,
        output,
        precision=precision,
        name=name,
        top_terms=top_terms,
        adapts=adapts,
        licence=licence,
        origin=origin,
        overwrite=overwrite,
    )
    size = sum(file.stat().st_size for file in output.iterdir())
    note(f"{output}: {size / 1e6:.1f} MB in {precision}")
    if parity is None:
        note("not compared with the original: torch is not installed")
        return
    note(
        f"{parity.texts} texts, against {parity.reference}: largest difference {parity.largest_difference:.2g}, mean cosine "
        f"{parity.mean_cosine:.4f}"
    )


def _refuse_onnx_only(*given: object) -> None:
    """Raises `InvalidInput` when an option is given that the other form cannot honour."""
    from lsr.errors import InvalidInput

    names = ("precision", "top-terms", "adapts", "name", "licence", "origin", "overwrite")
    if found := [f"--{name}" for name, value in zip(names, given, strict=True) if value]:
        raise InvalidInput(f"{', '.join(found)}: only with --format onnx")
