"""`lsr export --format seismic-jsonl|ciff|...`: the vectors of an index, or of a file, for another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lsr.cli.run import note

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.sparse import SparseVectors

__all__ = ["export_vectors"]


def export_vectors(
    source: str, output: Path, form: str, *, encoder: str | None, scale: float | None, overwrite: bool
) -> None:
    """Writes vectors in another form, and says what is not in it."""
    from lsr.cli.progress import showing_progress
    from lsr.cli.show import size
    from lsr.index.formats import FORMATS, write_vectors

    opened = _opened(source, form)
    vocabulary = None
    if encoder is not None:
        from lsr.encoders import load_encoder

        vocabulary = load_encoder(encoder).vocabulary.tokens
    with showing_progress() as progress:
        written = write_vectors(
            opened, output, form, vocabulary=vocabulary, scale=scale, overwrite=overwrite, progress=progress
        )
    note(f"{written.documents:,} documents, {written.nnz:,} weights, {size(output.stat().st_size)}: {output}")
    if written.scale is not None and written.largest is not None:
        dropped = f"; {written.dropped:,} weights nearest to 0 are left out" if written.dropped else ""
        note(
            f"weights are whole numbers up to {written.largest:,}: weight = number x {written.scale:.9g} (--scale){dropped}"
        )
        if form == "ciff" and written.largest > 255:
            note("BMP takes numbers up to 255 only: a larger --scale makes smaller ones")
    note(f"not in {form}: {FORMATS[form].loses}")


def _opened(source: str, form: str) -> Index | SparseVectors:
    from lsr.errors import InvalidInput
    from lsr.index import Index
    from lsr.index.formats import open_vectors
    from lsr.index.storage.manifest import is_index

    path = Path(source)
    if is_index(path):
        return Index.open(path)
    if path.is_file():
        return open_vectors(path).vectors()
    raise InvalidInput(
        f"{source}: no index and no file of vectors, which --format {form} is for; a model is exported as onnx or"
        " sentence-transformers"
    )
