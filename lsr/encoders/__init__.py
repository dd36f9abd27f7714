"""Encoders: text to sparse vectors. Queries by a table of weights or a network, documents by a network."""

from __future__ import annotations

from lsr.encoders.document import DocumentEncoder
from lsr.encoders.encoder import Encoder
from lsr.encoders.idf import TokenCounts, blend
from lsr.encoders.inspection import Statistics, TermOrigin, flops, statistics
from lsr.encoders.loading import load_encoder
from lsr.encoders.passages import passages
from lsr.encoders.query import QueryEncoder
from lsr.encoders.tables import binary, corpus_idf, li_lsr
from lsr.encoders.vocabulary import Vocabulary

__all__ = [
    "DocumentEncoder",
    "Encoder",
    "QueryEncoder",
    "Statistics",
    "TermOrigin",
    "TokenCounts",
    "Vocabulary",
    "binary",
    "blend",
    "corpus_idf",
    "flops",
    "li_lsr",
    "load_encoder",
    "passages",
    "statistics",
]
