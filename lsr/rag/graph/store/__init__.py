"""The graph of an index, kept in its folder: made of its texts, and brought up to what it holds when it changes."""

from __future__ import annotations

from lsr.rag.graph.store.check import check_graph
from lsr.rag.graph.store.graph import Graph
from lsr.rag.graph.store.makers import BY_ENCODER, FREE, SynonymFinder
from lsr.rag.graph.store.syncing import GraphSyncReport

__all__ = ["BY_ENCODER", "FREE", "Graph", "GraphSyncReport", "SynonymFinder", "check_graph"]
