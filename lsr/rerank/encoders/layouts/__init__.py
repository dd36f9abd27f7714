"""Folders of multivector models, read and written: one form (lsr.rerank.encoders.model) for all."""

from __future__ import annotations

from pathlib import Path

from lsr.encoders.layouts.modules import MODULES
from lsr.errors import EncoderError
from lsr.rerank.encoders.layouts.pipeline import read_pipeline
from lsr.rerank.encoders.layouts.stanford import read_stanford
from lsr.rerank.encoders.model import MultiVectorModel

__all__ = ["read_model"]


def read_model(folder: Path, source: str) -> MultiVectorModel:
    """The model of a folder, whatever its layout. `source` is what it is known by: a path, or hub id@revision.

    Raises `EncoderError` that says which file is missing or wrong.
    """
    read = read_pipeline if (folder / MODULES).is_file() else read_stanford
    try:
        return read(folder, source)
    except EncoderError as error:
        if str(folder) in str(error):
            raise
        raise EncoderError(f"{folder}: {error}") from None
