"""The graph of an index, kept in its folder: made of its texts, and brought up to what it holds when it changes."""

from __future__ import annotations

from lsr.rag.graph.store.graph import BY_ENCODER, Graph, SynonymFinder
from lsr.rag.graph.store.syncing import GraphSyncReport

__all__ = ["BY_ENCODER", "Graph", "GraphSyncReport", "SynonymFinder"]
