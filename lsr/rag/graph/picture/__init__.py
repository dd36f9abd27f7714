"""A walk over a graph as a page: what of the graph mattered (`neighbourhood`), where it stands (`layout`), how it looks
(`drawing`), and what is said beside it (`page`)."""

from __future__ import annotations

from lsr.rag.graph.picture.page import picture

__all__ = ["picture"]
