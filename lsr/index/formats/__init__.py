"""Formats of other programs: sparse vectors read from their files, and written for them."""

from __future__ import annotations

from lsr.index.formats.registry import FORMATS, Format, Written, open_vectors, read_vectors, write_vectors
from lsr.index.formats.vector_file import Batch, VectorFile

__all__ = ["FORMATS", "Batch", "Format", "VectorFile", "Written", "open_vectors", "read_vectors", "write_vectors"]
