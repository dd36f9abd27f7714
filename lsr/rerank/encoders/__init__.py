"""Multivector encoders: ColBERT checkpoints of three layouts, from text to token vectors."""

from __future__ import annotations

from lsr.rerank.encoders.encoder import MultiVectorEncoder
from lsr.rerank.encoders.loading import load_multivector_encoder

__all__ = ["MultiVectorEncoder", "load_multivector_encoder"]
