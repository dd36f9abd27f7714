"""`lsr export --format onnx|sentence-transformers`: a model to another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsr.cli.run import note

__all__ = ["MODEL_FORMATS", "export_model"]

MODEL_FORMATS = ("onnx", "sentence-transformers")


def export_model(
    model: str,
    output: Path,
    form: str,
    *,
    query: str | None,
    idf_of: str | None,
    max_length: int | None,
    revision: str | None,
    **onnx: Any,
) -> None:
    """Writes a model in another form; `onnx` are options of that form alone."""
    from lsr.corpus import read_documents
    from lsr.encoders import corpus_idf, load_encoder
    from lsr.errors import EncoderError, InvalidInput

    encoder = load_encoder(model, max_length=max_length, query=query, revision=revision)
    if idf_of is not None:
        if query is not None:
            raise InvalidInput("--query and --idf-of both name the query side: give one of them")
        texts = (document.content for document in read_documents(idf_of))
        table = corpus_idf(texts, encoder.vocabulary)
        encoder = load_encoder(model, max_length=max_length, query=table, revision=revision)
    if form == "sentence-transformers":
        _refuse_onnx_only(onnx)
        if encoder.is_export:
            raise EncoderError(
                f"{encoder.source}: an ONNX export has no weights that sentence-transformers reads; export the model"
                " that it was made from"
            )
        encoder.save(output, layout=form)
        note(f"{encoder.source}: saved for sentence-transformers: {output}")
        return
    from lsr.encoders.export import export_onnx

    parity = export_onnx(encoder, output, **onnx)
    size = sum(file.stat().st_size for file in output.iterdir())
    note(f"{output}: {size / 1e6:.1f} MB in {onnx['precision']}")
    if parity is None:
        note("not compared with the original: torch is not installed")
        return
    note(
        f"{parity.texts} texts, against {parity.reference}: largest difference {parity.largest_difference:.2g}, mean cosine "
        f"{parity.mean_cosine:.4f}"
    )


def _refuse_onnx_only(given: dict[str, Any]) -> None:
    """Raises `InvalidInput` when an option is given that the other form cannot honour."""
    from lsr.errors import InvalidInput

    found = [f"--{name.replace('_', '-')}" for name, value in given.items() if value and value != "fp32"]
    if found:
        raise InvalidInput(f"{', '.join(found)}: only with --format onnx")
