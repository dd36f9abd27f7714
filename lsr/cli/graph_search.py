"""`lsr search --graph`: the graph of an index walked, and what led to each hit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from lsr.cli.run import note
from lsr.rag.graph.explain import explain
from lsr.rag.graph.store import Graph

if TYPE_CHECKING:
    from lsr.hits import Hits, Reranker
    from lsr.index import Index
    from lsr.rag.graph.explain import Path as Way
    from lsr.rag.graph.search import GraphResult

__all__ = ["GraphWalk"]


class GraphWalk:
    """stage: orders the passages that the walk found anew; picture: where one is drawn of the last question's walk."""

    def __init__(self, index: Index, stage: Reranker | None, picture: Path | None) -> None:
        self._graph, self._stage, self._picture = Graph.open(index), stage, picture
        self._results: WeakKeyDictionary[Hits, GraphResult] = WeakKeyDictionary()

    def search(self, questions: list[str], k: int) -> list[Hits]:
        """Hits, in the order of the questions. What found no way into the graph is said."""
        graph, stage = self._graph, self._stage
        results = graph.search(questions, k if stage is None else max(k, stage.candidates))
        hits = graph.hits(results)
        if stage is not None:
            hits = stage.rerank(hits, k)
        for found, result in zip(hits, results, strict=True):
            self._results[found] = result
            if result.fell_back is not None:
                note(f"{result.question}: {result.fell_back}; these are the hits of the index without it")
            if self._picture is not None:
                self._draw(result, self._picture)
        return hits

    def fell_back(self, hits: Hits) -> str | None:
        """Why there was no walk."""
        return self._results[hits].fell_back

    def way(self, hits: Hits, row: int) -> Way | None:
        """The strongest way to a document, by its row."""
        return explain(self._graph.searcher(), self._results[hits], row, name_of=self._graph.id_of)

    def told(self, hits: Hits, row: int) -> str:
        """The same in words."""
        way = self.way(hits, row)
        return "no way leads here from the question" if way is None else str(way)

    def _draw(self, result: GraphResult, path: Path) -> None:
        from lsr import disk
        from lsr.rag.graph.picture import picture

        page = picture(self._graph.searcher(), result, self._graph.id_of)
        with disk.atomic_write(path) as file:
            file.write(page.encode("utf-8", "replace"))
        note(f"The walk is drawn: {path}")
