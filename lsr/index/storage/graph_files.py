"""What an index knows of the graph in its folder: that it is there, and which files it has.

It is a folder of generations of its own, which `lsr.rag.graph.store` reads. A snapshot of the index holds it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from lsr.index.storage.generations import Form
from lsr.index.storage.token_files import TokenFiles

__all__ = ["GRAPH", "GRAPH_FORM", "GraphFiles", "has_graph"]

GRAPH = "graph"  # its folder, in that of the index
GRAPH_FORM = Form(
    noun="graph",
    magic="lsr-graph",
    version=(1, 0),
    oldest=(1, 0),
    made="`lsr graph build INDEX` makes one",
    remedy="`lsr graph build INDEX --overwrite` makes the graph again",
)


def has_graph(index: Path) -> bool:
    """Whether the index in a folder has a graph."""
    return any((index / GRAPH).glob("manifest-*.json"))


class GraphFiles(TokenFiles):
    """A generation of a graph, as far as someone needs to know who copies it."""

    __slots__ = ()
    form: ClassVar[Form] = GRAPH_FORM
