"""Reading documents and queries: the sources that lsr understands, streamed in bounded memory."""

from __future__ import annotations

from lsr.corpus.objects import given_documents
from lsr.corpus.pydocs import python_documentation
from lsr.corpus.records import Document, Query
from lsr.corpus.sources import read_documents, read_queries

__all__ = ["Document", "Query", "given_documents", "python_documentation", "read_documents", "read_queries"]
