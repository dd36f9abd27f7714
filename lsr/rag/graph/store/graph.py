"""Graph: the graph of an index, built, opened, and kept up to it.

    index = lsr.Index.open("my.idx")
    graph = Graph.build(index, open_extractor("rules"))
    index.add(documents)
    Graph.sync(index)
    graph = Graph.open(index)
    graph.hits(graph.search(["Where was the director of Vertigo born?"]))

An index commits first, its graph after it. What is between, or is left when the second never came, is told by hashes of the
ids and texts that the graph was made of: a graph of other texts than its index has is never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from lsr.errors import IndexNotFound, InvalidInput, LsrError, StoreMismatch
from lsr.hits import Hits
from lsr.index.asking import check_search, checked_texts
from lsr.index.storage.commit import Commits
from lsr.index.storage.generations import holds, manifest_name
from lsr.index.storage.graph_files import GRAPH_FORM, has_graph
from lsr.index.storage.locks import Pin, open_newest
from lsr.index.storage.manifest import Manifest
from lsr.limits import Limits
from lsr.rag.graph.matching import FactLikeness
from lsr.rag.graph.search import GraphResult, GraphSearch
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.store.arrays import open_arrays
from lsr.rag.graph.store.building import build_graph, check_place
from lsr.rag.graph.store.facts import StoredFacts
from lsr.rag.graph.store.makers import (
    BY_ENCODER,
    FREE,
    SynonymFinder,
    check_finder,
    check_made_by,
    encoder_of,
    extractor_of,
    finder_again,
    finder_of,
    graph_of,
    update_command,
)
from lsr.rag.graph.store.manifest import GraphManifest
from lsr.rag.graph.store.searching import IndexFirst, questions_to_facts, questions_to_index
from lsr.rag.graph.store.snapshot import GraphSnapshot, check_belongs, documents_digest, index_digest
from lsr.rag.graph.store.syncing import GraphSyncReport, Syncing, SynonymsWithIdentity, compact
from lsr.rag.graph.types import Extractor, GraphArrays

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index import Index
    from lsr.index.segment_writer import Progress
    from lsr.index.snapshot import Snapshot

__all__ = ["Graph"]

_KEPT = 4  # settings whose searches are kept
_TRIES = 10  # a graph may be replaced while it is opened

Read = TypeVar("Read")


class Graph:
    """The graph of an index, as its folder keeps it: memory-mapped, of one generation. Passage i of the arrays is the
    document in row i of `index`, the generation of the index that it was opened with."""

    def __init__(
        self, path: Path, manifest: GraphManifest, pin: Pin | None, index: Snapshot, limits: Limits | None = None
    ) -> None:
        """For `Graph.open`, which see. Whatever is read of the folder is mapped or read here: a build may replace it later.

        arrays: the graph itself.
        """
        assert manifest.arrays is not None
        self.path, self.manifest, self._pin, self.index = path, manifest, pin, index
        self.arrays: GraphArrays = open_arrays(path, manifest.arrays)
        vectors = manifest.arrays.vectors
        self._vectors = None if vectors is None else StoredFacts(path, vectors)
        self._info = _facts(path, manifest)
        self._limits = limits or Limits.default()
        self._searches: dict[tuple[GraphSettings, str | None], GraphSearch] = {}
        self._lock = Lock()

    # -- making and opening --------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        index: Index,
        extractor: Extractor,
        *,
        synonyms: SynonymFinder | Literal["encoder"] | None = BY_ENCODER,
        encoder: Encoder | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Graph:
        """Makes the graph of an index, of its stored texts, and opens it. It appears whole or not at all.

        extractor: finds phrases and facts, a bounded number of passages at a time; what it found is kept when the build is
          interrupted. synonyms: what finds phrases that mean the same: the encoder by default, None for no such edges.
        encoder: encodes facts and phrases: that of the index by default, the bundled one for an index of bare vectors.
        overwrite: replaces the graph that is there, and forgets an interrupted build unless `resume` goes on with it.
        resume: goes on with an interrupted build, or brings up the graph that is there, whose synonyms stay as they were.
        The index moves on to its newest generation.

        Raises `OutputExists`, `InvalidInput` for an index that keeps no texts and where no passage has a phrase,
        `StoreMismatch` where what is gone on with was made by another extractor, `GeneratorError` where the extractor failed
        on more than a tenth of the passages, `IndexLocked`, `StorageError`, and as extractors and encoders do.
        """
        if index.snapshot.documents and index.snapshot.record_of(0) is None:
            raise InvalidInput(f"{index.path}: keeps no texts, of which a graph is made; build the index with texts")
        if resume and not overwrite and holds(graph_of(index), GRAPH_FORM):
            given = None if synonyms == BY_ENCODER else synonyms
            cls.sync(index, extractor, synonyms=given, encoder=encoder, progress=progress)
            return cls.open(index)
        check_place(graph_of(index), overwrite, resume)
        loaded = cache(lambda: encoder_of(index, encoder))
        build_graph(index, extractor, finder_of(synonyms, loaded), loaded, overwrite, progress or _no_progress)
        return cls.open(index)

    @classmethod
    def open(cls, index: Index) -> Graph:
        """Opens the graph of an index: reads its numbers once, to check them. One that is open stays as it is, whatever
        becomes of its folder.

        Raises `InvalidInput` where it has none, `StoreMismatch` for a graph of another index, or of other texts than those of
        the generation that is open, with the command that brings it up; `UnsupportedVersion`, `CorruptIndex`.
        """

        def opened(manifest: GraphManifest, pin: Pin | None) -> Graph:
            if not _is_current(manifest, index.snapshot):
                raise StoreMismatch(_behind(index, manifest, pin))
            return cls(graph_of(index), manifest, pin, index.snapshot, index.limits)

        return _read(index, opened)

    @classmethod
    def sync(
        cls,
        index: Index,
        extractor: Extractor | None = None,
        *,
        synonyms: SynonymFinder | None = None,
        encoder: Encoder | None = None,
        progress: Progress | None = None,
    ) -> GraphSyncReport:
        """Brings the graph of an index up to the documents that it holds: texts that are new are read, as those before them
        were, and the arrays are made anew. Nothing is done where nothing changed; passages on which the extractor failed are
        tried again. It may be called at any time, and again after it was interrupted. The index moves on to its newest
        generation.

        extractor, synonyms, encoder: those that made the graph; they are opened by their names where they can be.

        Raises `StoreMismatch` for a graph of another index, or made by another extractor, `InvalidInput` where there is none,
        or the extractor must be given, and as `build` does.
        """
        manifest, _ = _newest(index)
        if extractor is not None:
            check_made_by(graph_of(index), manifest, extractor)
        if synonyms is not None:
            check_finder(graph_of(index), manifest, synonyms)

        def opened() -> Extractor:
            return extractor if extractor is not None else extractor_of(index, manifest)

        loaded = cache(lambda: encoder_of(index, encoder))

        def finder(made: GraphManifest) -> SynonymsWithIdentity:
            return (synonyms if synonyms is not None else finder_again(index, made, loaded)), made.synonyms

        return Syncing(graph_of(index), index, opened, finder, loaded, progress or _no_progress).run()

    @classmethod
    def extractor(cls, index: Index) -> Extractor | None:
        """The extractor that made the graph of an index, opened by its name; None where it has to be given. Raises
        `InvalidInput` where there is no graph, `StoreMismatch` where it is another one by now, `MissingExtra`."""
        manifest, _ = _newest(index)
        return extractor_of(index, manifest) if manifest.extractor.kind in FREE else None

    @classmethod
    def compact(cls, index: Index) -> bool:
        """Writes what is kept of passages as one segment. Returns whether there was anything to do. Raises `InvalidInput`
        where there is no graph, `IndexLocked`, `StorageError`."""
        _newest(index)
        with Commits(graph_of(index), GraphManifest).next() as commit:
            return compact(commit)

    # -- searching -----------------------------------------------------------------------------------------------------

    def search(
        self,
        questions: str | Sequence[str],
        k: int = 10,
        *,
        settings: GraphSettings | None = None,
        encoder: Encoder | None = None,
    ) -> list[GraphResult]:
        """For each question, in their order, the k passages that a walk over the graph comes to most, best first: their
        numbers are rows of the index (`id_of`), and `hits` has their texts. The index itself is the first stage.

        settings: how the graph is walked; encoder: that of the vectors, for an index of bare ones. May be called from several
        threads. Raises `InvalidInput` for a k out of range and where an encoder is needed, `StoreMismatch` where that of the
        facts is another one by now, `CorruptIndex`.
        """
        texts = checked_texts(questions)
        check_search(k, None, None, None, self._limits)
        return self.searcher(settings, encoder=encoder).search(texts, int(k))

    def searcher(self, settings: GraphSettings | None = None, *, encoder: Encoder | None = None) -> GraphSearch:
        """What `search` searches with, made once for each of the last few settings: for `explain`. Raises as it does."""
        wanted, made_by = settings or GraphSettings(), None if encoder is None else encoder.hash
        with self._lock:  # making the first takes a while
            found = self._searches.pop((wanted, made_by), None)
            if found is None:
                other = next((one for (_, key), one in self._searches.items() if key == made_by), None)
                found = self._searcher(wanted, encoder) if other is None else other.with_settings(wanted)
            self._searches[wanted, made_by] = found  # the last of them
            if len(self._searches) > _KEPT:
                del self._searches[next(iter(self._searches))]
            return found

    def _searcher(self, settings: GraphSettings, encoder: Encoder | None) -> GraphSearch:
        encode = questions_to_index(self.index, encoder)
        facts = FactLikeness(None, encode)
        if self._vectors is not None:
            to_facts = questions_to_facts(self.path, self._vectors.entry, self.index, encoder)
            facts = FactLikeness(self._vectors, to_facts)
        return GraphSearch(self.arrays, facts, IndexFirst(self.index, encode, self._limits), settings)

    def hits(self, results: Sequence[GraphResult], *, encoder: Encoder | None = None) -> list[Hits]:
        """Results as `Index.search` gives its hits, with ids, texts and snippets; scores are those of the walk."""
        encode = questions_to_index(self.index, encoder)
        queries = encode([result.question for result in results])
        return [
            Hits(self.index, result.passages, result.scores.astype(np.float32), terms, weights, result.question)
            for result, (terms, weights) in zip(results, map(queries.row, range(len(queries))), strict=True)
        ]

    # -- what there is -------------------------------------------------------------------------------------------------

    def id_of(self, passage: int) -> str:
        """The id of a passage of the arrays."""
        return self.index.id_of(passage)

    def info(self) -> dict[str, Any]:
        """passages, phrases, facts, edges by kind (each direction counts), without_phrases, failed (passages on which the
        extractor failed), bytes (of the arrays, the vectors of facts, and the records of what was found), extractor,
        synonyms, and more, as JSON can say it."""
        return deepcopy(self._info)

    @classmethod
    def facts(cls, index: Index) -> dict[str, Any]:
        """The same of the graph of an index that may be behind it: "current" says whether it is not, "behind" how many
        passages it lacks and how many of it are gone. Raises as `open` does but for that."""

        def read(manifest: GraphManifest, pin: Pin | None) -> dict[str, Any]:
            current = _is_current(manifest, index.snapshot)
            facts = {**_facts(graph_of(index), manifest), "current": current}
            if not current:
                lacking, failed, gone = GraphSnapshot(graph_of(index), manifest, pin).difference(index.snapshot)
                facts["behind"] = {"lacking": len(lacking) + len(failed), "gone": len(gone)}
                facts["update"] = update_command(index.path, manifest)
            return facts

        return _read(index, read)

    def __repr__(self) -> str:
        arrays = self.arrays
        counts = f"{arrays.passages:,} passages, {len(arrays.phrases):,} phrases, {len(arrays.predicates):,} facts"
        return f"Graph({str(self.path)!r}: {counts})"


def _newest(index: Index) -> tuple[GraphManifest, Pin | None]:
    """The newest generation of the graph of an index. Raises as `Graph.open` does, unless it is behind."""
    if not has_graph(Path(index.path)):
        raise InvalidInput(f"{index.path}: has no graph; `lsr graph build {index.path}` makes one")
    manifest, pin = open_newest(graph_of(index), GraphManifest)
    check_belongs(graph_of(index), manifest, index.snapshot)
    return manifest, pin


def _read(index: Index, read: Callable[[GraphManifest, Pin | None], Read]) -> Read:
    """What `read` makes of the newest generation. A folder that is replaced as a whole gives files of the same names: what
    was read while that happened, or failed, is read again. Raises as `_newest` and `read` do."""
    for _ in range(_TRIES):
        manifest, pin = _newest(index)
        there = graph_of(index) / manifest_name(manifest.generation)
        try:
            found = read(manifest, pin)
        except LsrError:
            if pin is None or pin.is_at(there):
                raise
            continue
        if pin is None or pin.is_at(there):
            return found
    raise IndexNotFound(f"{graph_of(index)}: replaced faster than it can be opened; try again when that is done")


def _is_current(manifest: GraphManifest, snapshot: Snapshot) -> bool:
    """Whether the arrays are of what was found, and that of the texts of a generation of the index."""
    arrays = manifest.arrays
    if arrays is None or not manifest.current:
        return False
    return arrays.index == index_digest(snapshot) or arrays.documents == documents_digest(snapshot)


def _behind(index: Index, manifest: GraphManifest, pin: Pin | None) -> str:
    """Why a graph is not of the generation that is open, and what to do."""
    path = graph_of(index)
    there, _ = open_newest(Path(index.path), Manifest)
    if there != index.manifest:
        return f"{path}: the index has changed since it was opened; refresh() it, or open it again"
    lacking, _, gone = GraphSnapshot(path, manifest, pin).difference(index.snapshot)
    counts = [f"{len(lacking):,} passages are new or have another text"] if len(lacking) else []
    counts += [f"{len(gone):,} are gone"] if gone else []
    same = "its passages are in another order" if manifest.current else "bringing it up was interrupted"
    why = ", ".join(counts) or same
    return f"{path}: behind its index ({why}); {update_command(index.path, manifest)} brings it up"


def _facts(path: Path, manifest: GraphManifest) -> dict[str, Any]:
    arrays, failed = manifest.arrays, GraphSnapshot(path, manifest).failed
    relations, mentions, synonyms = (0, 0, 0) if arrays is None else arrays.edges
    records = sum(segment.bytes for segment in manifest.segments)
    size = 0 if arrays is None else sum(file.bytes for file in arrays.files)
    vectors = 0 if arrays is None or arrays.vectors is None else sum(file.bytes for file in arrays.vectors.files)
    return {
        "path": str(path),
        "passages": 0 if arrays is None else arrays.passages,
        "phrases": 0 if arrays is None else arrays.phrases,
        "facts": 0 if arrays is None else arrays.facts,
        "edges": {"relations": relations, "mentions": mentions, "synonyms": synonyms},
        "without_phrases": 0 if arrays is None else max(0, arrays.without_phrases - failed),
        "failed": failed,
        "bytes": {"arrays": size, "vectors": vectors, "records": records, "total": size + vectors + records},
        "extractor": asdict(manifest.extractor),
        "synonyms": manifest.synonyms,
        "index": asdict(manifest.index),
        "segments": len(manifest.segments),
        "generation": manifest.generation,
        "created": manifest.created,
        "lsr_version": manifest.lsr_version,
    }


def _no_progress(stage: str, done: int, total: int | None) -> None:
    """Says nothing."""
