"""`lsr encode`: documents to sparse vectors in a file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import BatchSize, EncoderName, IdField, MaxLength, SourceName, TextField
from lsr.cli.run import note, note_truncated

__all__ = ["encode"]


def encode(
    source: SourceName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="VECTORS.npz", help="File to write.", show_default=False)
    ],
    encoder: EncoderName = None,
    batch_size: BatchSize = 2048,
    max_length: MaxLength = None,
    id_field: IdField = None,
    text_field: TextField = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Encode documents to sparse vectors (.npz), without an index."""
    from lsr.cli.progress import showing_progress
    from lsr.corpus import read_documents
    from lsr.encoders import load_encoder
    from lsr.encoders.idf import TokenCounts
    from lsr.errors import InvalidInput, OutputExists
    from lsr.sparse import SparseVectors

    if output.suffix != ".npz":
        raise InvalidInput(f"{output}: vectors are written as .npz; give a name that ends in .npz")
    if output.exists() and not overwrite:
        raise OutputExists(f"{output}: a file is there already; --overwrite replaces it")
    model = load_encoder(encoder or "lsr-tiny", max_length=max_length)
    documents = read_documents(source, id_field=id_field, text_fields=text_field or ())
    counts, ids, parts = TokenCounts(model.dim), [], []
    with showing_progress() as progress:
        while batch := list(islice(documents, batch_size)):
            parts.append(model.encode_documents([document.content for document in batch], counts=counts))
            ids += [document.id for document in batch]
            progress("encoding", len(ids), None)
    joined = SparseVectors.concat(parts)
    vectors = SparseVectors(indptr=joined.indptr, indices=joined.indices, values=joined.values, dim=joined.dim, ids=ids)
    vectors.save(output)
    note(f"{len(vectors):,} documents, {vectors.nnz / max(len(vectors), 1):.1f} terms each: {output}")
    note_truncated(counts.truncated, model.max_length)
