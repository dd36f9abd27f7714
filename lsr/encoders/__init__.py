"""Encoders: text to sparse vectors. Queries by a table of weights, documents by a model on ONNX Runtime."""

from __future__ import annotations

from lsr.encoders.document import DocumentEncoder
from lsr.encoders.encoder import Encoder, load_encoder
from lsr.encoders.idf import TokenCounts, blend
from lsr.encoders.query import QueryEncoder

__all__ = ["DocumentEncoder", "Encoder", "QueryEncoder", "TokenCounts", "blend", "load_encoder"]
