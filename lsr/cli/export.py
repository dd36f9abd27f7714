"""`lsr export`: an index as one file, its vectors for another program, or a model in another form. --format says which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lsr.cli.options import MaxLength
from lsr.cli.snapshots import SNAPSHOT, export_snapshot, is_snapshot

__all__ = ["export"]

_VECTORS, _MODELS = "Index or vectors", "Model"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An index, a file of vectors, or a model (folder, hub id or name of an encoder).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUTPUT", help="File to write; of a model a folder.", show_default=False
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of an index: snapshot, all of it in one file. Of an index or vectors: scipy, bigann, seismic-jsonl,"
            " seismic-bin, ciff, anserini or safetensors. Of a model: onnx (runs without torch) or sentence-transformers"
            " (versions 5 and 6, and OpenSearch's tables). (default: snapshot where OUTPUT ends in .tar.zst; else it is"
            " required)",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file, or an ONNX export, that is there.")
    ] = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="Encoder whose vocabulary names the terms of vectors. (default: that of the index, else numbers)",
            show_default=False,
            rich_help_panel=_VECTORS,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Weight that becomes 1 in ciff and anserini, whose weights are whole numbers. (default: that of the index,"
            " which loses nothing)",
            show_default=False,
            rich_help_panel=_VECTORS,
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE",
            help="Other query side: binary, the file of an idf.json, or another model over the same vocabulary.",
            show_default=False,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    idf_of: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Weigh the terms of queries by their inverse document frequency in these documents.",
            show_default=False,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of an ONNX vocabulary head: fp32 or int8.", rich_help_panel=_MODELS)
    ] = "fp32",
    max_length: MaxLength = None,
    top_terms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Terms kept of a document (onnx). (default: as many as the model keeps)",
            show_default=False,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    adapts: Annotated[
        bool,
        typer.Option("--adapts", help="Adapt the table of queries to each index (onnx).", rich_help_panel=_MODELS),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the encoder (onnx). (default: the folder's)", show_default=False, rich_help_panel=_MODELS
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Noted in encoder.json (onnx).", show_default=False, rich_help_panel=_MODELS)
    ] = "",
    origin: Annotated[
        str, typer.Option(help="Noted in encoder.json (onnx).", show_default=False, rich_help_panel=_MODELS)
    ] = "",
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit on the hub.", show_default=False, rich_help_panel=_MODELS),
    ] = None,
) -> None:
    """Write an index as one file (a snapshot), or an index, vectors or a model for another program.

    docs/formats.md says what each format holds. `lsr import` makes an index of a snapshot again.

    A model is compared after it was written: the export gives the same vectors.
    """
    of_model: dict[str, Any] = {
        "query": query,
        "idf_of": idf_of,
        "precision": precision,
        "max_length": max_length,
        "top_terms": top_terms,
        "adapts": adapts,
        "name": name,
        "licence": licence,
        "origin": origin,
        "revision": revision,
    }
    of_vectors: dict[str, Any] = {"encoder": encoder, "scale": scale}
    if is_snapshot(output, form):
        _refuse(of_model | of_vectors, "not with a snapshot, which holds the index as it is")
        export_snapshot(source, output, overwrite=overwrite)
        return
    if form is None:
        raise typer.BadParameter(
            f"name the format of {output}; only an ending of .tar.zst tells one (a snapshot)", param_hint="--format"
        )
    _check(source, form, of_model, of_vectors)
    from lsr.cli.export_model import MODEL_FORMATS, export_model
    from lsr.cli.export_vectors import export_vectors

    if form in MODEL_FORMATS:
        export_model(source, output, form, overwrite=overwrite, **of_model)
    else:
        export_vectors(source, output, form, overwrite=overwrite, **of_vectors)


def _check(source: str, form: str, of_model: dict[str, Any], of_vectors: dict[str, Any]) -> None:
    """Raises `InvalidInput` for an unknown format, options of the other kind of source, and a source of the other kind."""
    from lsr.cli.export_model import MODEL_FORMATS
    from lsr.errors import InvalidInput
    from lsr.index.formats import FORMATS
    from lsr.index.storage.manifest import is_index

    if form in MODEL_FORMATS:
        wrong, kind = of_vectors, "an index or vectors"
        path = Path(source)
        if is_index(path) or path.is_file():
            thing = "a file" if path.is_file() else "an index"
            raise InvalidInput(
                f"{source}: {thing}, and --format {form} is for models; vectors are exported as"
                f" {', '.join(name for name, entry in FORMATS.items() if entry.writes)}"
            )
    elif form in FORMATS:
        wrong, kind = of_model, "a model"
    else:
        raise InvalidInput(
            f"format {form!r} is not known: choose one of {', '.join([*FORMATS, SNAPSHOT, *MODEL_FORMATS])}"
        )
    _refuse(wrong, f"for {kind}, not with --format {form}")


def _refuse(options: dict[str, Any], why: str) -> None:
    """Raises `InvalidInput` when one of the options was given."""
    from lsr.errors import InvalidInput

    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value and value != "fp32"]
    if given:
        raise InvalidInput(f"{', '.join(given)}: {why}")
