"""What commands that change an index do about its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsr.cli.run import fail, note
from lsr.errors import LsrError

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.rag.graph.store import GraphSyncReport
    from lsr.rag.graph.types import Extractor

__all__ = ["bring_graph_up", "compact_graph", "extractor_of", "graph_facts"]


def extractor_of(index: Index) -> Extractor | None:
    """The extractor that made the graph of an index, to read more texts; None where there is no graph, or where it has to
    be given. Raises where it is not there any more, or is another one by now."""
    if not _has_graph(index):
        return None
    from lsr.rag.graph.store import Graph

    return Graph.extractor(index)


def bring_graph_up(index: Index, what: str, extractor: Extractor | None = None) -> GraphSyncReport | None:
    """Brings the graph of an index up to a change that is done; what: it, in words. None where there is none, nothing is
    to be done, and where its extractor has to be given, which is said.

    An error is one line, which also says that the index has changed.
    """
    if not _has_graph(index):
        return None
    from lsr.cli.progress import showing_progress
    from lsr.rag.graph.store import FREE, Graph

    update = f"`lsr graph build {index.path} --resume`"
    try:
        facts = Graph.facts(index)
        if facts["current"]:
            return None
        update = facts["update"]
        if facts["extractor"]["kind"] not in FREE and facts["behind"]["lacking"]:
            note(f"Its graph is behind it now: {update} brings it up")
            return None
        with showing_progress() as progress:
            report = Graph.sync(index, extractor, progress=progress)
    except KeyboardInterrupt:
        note(f"{what}, but its graph is not up to it: its next change, or {update}, goes on with it")
        raise
    except LsrError as error:
        fail(f"{what}, but its graph is behind it ({error}); {update} brings it up", error)
    if report.failed:
        note(f"{report.failed:,} passages could not be read ({report.failure}); the next time they are tried again")
    return report


def compact_graph(index: Index) -> bool:
    """Whether there was anything to do."""
    if not _has_graph(index):
        return False
    from lsr.rag.graph.store import Graph

    return Graph.compact(index)


def graph_facts(index: Index) -> dict[str, Any] | None:
    """What `lsr info` says of the graph of an index; None where it has none."""
    if not _has_graph(index):
        return None
    from lsr.rag.graph.store import Graph

    try:
        facts = Graph.facts(index)
    except LsrError as error:  # which must not hide what is known of the index
        return {"error": str(error)}
    kept = {name: facts[name] for name in ("passages", "phrases", "facts", "current")}
    return {**kept, "bytes": facts["bytes"]["total"], "extractor": facts["extractor"]["name"]}


def _has_graph(index: Index) -> bool:
    from lsr.index.storage.graph_files import has_graph  # storage takes long to load, and lsr --help loads this file

    return has_graph(index.path)
