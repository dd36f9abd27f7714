"""Graph: the graph of an index, built, opened, and kept up to it.

    index = lsr.Index.open("my.idx")
    graph = Graph.build(index, open_extractor("rules"))
    index.add(documents)
    Graph.sync(index)
    graph = Graph.open(index)

An index commits first, its graph after it. What is between, or is left when the second never came, is told by hashes of the
ids and texts that the graph was made of: a graph of other texts than its index has is never opened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import lsr
from lsr import disk
from lsr.errors import IndexLocked, InvalidInput, LsrError, OutputExists, StorageError, StoreMismatch
from lsr.index.query_side import document_encoder
from lsr.index.storage.checkpoint import read_checkpoint, write_checkpoint
from lsr.index.storage.commit import Commits
from lsr.index.storage.folder import CHECKPOINT, Workplace, check_output, new_folder, partial_of
from lsr.index.storage.generations import holds, manifest_name, newest
from lsr.index.storage.graph_files import GRAPH, GRAPH_FORM, has_graph
from lsr.index.storage.locks import Pin, is_claimed, open_newest, writing
from lsr.index.storage.manifest import Manifest
from lsr.rag.graph.arrays import Synonyms
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.store.arrays import open_arrays
from lsr.rag.graph.store.check import check_graph
from lsr.rag.graph.store.manifest import ExtractorEntry, GraphManifest, as_json
from lsr.rag.graph.store.snapshot import GraphSnapshot, check_belongs, documents_digest, index_digest
from lsr.rag.graph.store.syncing import GraphSyncReport, Syncing, SynonymsWithIdentity, compact
from lsr.rag.graph.synonyms import SynonymSearch
from lsr.rag.graph.types import Extractor, GraphArrays
from lsr.rerank.store import IndexIdentity

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index import Index
    from lsr.index.segment_writer import Progress
    from lsr.index.snapshot import Snapshot

__all__ = ["BY_ENCODER", "Graph", "SynonymFinder", "graph_of", "update_command"]

logger = logging.getLogger(__name__)

BY_ENCODER: Final = "encoder"
_STORE = "store"  # a graph in the making, in the scratch folder of its build
_FREE = ("rules", "entities", "names")  # extractors that need nothing but their name


class SynonymFinder(Synonyms, Protocol):
    """Finds synonyms, and says what that depends on, as `SynonymSearch` does."""

    def identity(self) -> Mapping[str, Any]: ...


class Graph:
    """The graph of an index, as its folder keeps it: memory-mapped, of one generation. Passage i of the arrays is the
    document in row i of `index`, the generation of the index that it was opened with."""

    def __init__(self, path: Path, manifest: GraphManifest, pin: Pin | None, index: Snapshot) -> None:
        """For `Graph.open`, which see."""
        self.path, self.manifest, self._pin, self.index = path, manifest, pin, index

    # -- making and opening --------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        index: Index,
        extractor: Extractor,
        *,
        synonyms: SynonymFinder | Literal["encoder"] | None = BY_ENCODER,
        overwrite: bool = False,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Graph:
        """Makes the graph of an index, of its stored texts, and opens it. It appears whole or not at all.

        extractor: finds phrases and facts, a bounded number of passages at a time; what it found is kept when the build is
          interrupted. synonyms: what finds phrases that mean the same: the encoder of the index by default (the bundled one
          for an index of bare vectors), None for no such edges.
        overwrite: replaces the graph that is there, or begins an interrupted build anew. resume: goes on with an interrupted
          build, or brings up the graph that is there. The index moves on to its newest generation.

        Raises `OutputExists`, `InvalidInput` for an index that keeps no texts and where no passage has a phrase,
        `StoreMismatch` where what is gone on with was made by another extractor, `GeneratorError` where the extractor failed
        on more than a tenth of the passages, `IndexLocked`, `StorageError`, and as extractors and encoders do.
        """
        if index.snapshot.documents and index.snapshot.record_of(0) is None:
            raise InvalidInput(f"{index.path}: keeps no texts, of which a graph is made; build the index with texts")
        path, told = graph_of(index), progress or _no_progress
        if resume and not overwrite and holds(path, GRAPH_FORM):
            finder = synonyms if synonyms is not None and synonyms != BY_ENCODER else None
            cls.sync(index, extractor, synonyms=finder, progress=progress)
            return cls.open(index)
        _check_place(path, overwrite, resume)
        entry = ExtractorEntry.of(extractor)  # what is missing is told before a folder is made
        found = _finder(index, synonyms)
        with new_folder(path, overwrite, True, GRAPH_FORM) as place, writing(place.scratch):
            folder = _begun(place, index, entry, found[1])
            try:
                Syncing(folder, index, lambda: extractor, lambda _: found, told).run()
                made = GraphManifest.parse(newest(folder, GRAPH_FORM))
                if made.arrays is not None and made.arrays.passages and not made.arrays.phrases:
                    (place.scratch / CHECKPOINT).unlink()
                    raise InvalidInput(
                        f"{index.path}: {extractor.name} found no phrase in any of {made.arrays.passages:,} passages"
                        f" ({', '.join(index.id_of(row) for row in range(min(3, len(index))))}, ...); is it made for these?"
                    )
            except BaseException:
                if not GraphManifest.parse(newest(folder, GRAPH_FORM)).segments:  # nothing to go on with
                    (place.scratch / CHECKPOINT).unlink(missing_ok=True)
                raise
            disk.sync_folder(folder)
            disk.remove_tree(place.target)
            disk.rename(folder, place.target)
        return cls.open(index)

    @classmethod
    def open(cls, index: Index) -> Graph:
        """Opens the graph of an index, at a cost that grows with its passages only where the index changed since.

        Raises `InvalidInput` where it has none, `StoreMismatch` for a graph of another index, or of other texts than those of
        the generation that is open, with the command that brings it up; `UnsupportedVersion`, `CorruptIndex`.
        """
        manifest, pin, arrays = _opened(index)
        snapshot = index.snapshot
        if not manifest.current or arrays is None or not _is_of(manifest, snapshot):
            raise StoreMismatch(_behind(index, manifest, pin))
        return cls(graph_of(index), manifest, pin, snapshot)

    @classmethod
    def sync(
        cls,
        index: Index,
        extractor: Extractor | None = None,
        *,
        synonyms: SynonymFinder | None = None,
        progress: Progress | None = None,
    ) -> GraphSyncReport:
        """Brings the graph of an index up to the documents that it holds: texts that are new are read, as those before them
        were, and the arrays are made anew. Nothing is done where nothing changed; passages on which the extractor failed are
        tried again. It may be called at any time, and again after it was interrupted. The index moves on to its newest
        generation.

        extractor, synonyms: those that made the graph; they are opened by their names where they can be.

        Raises `StoreMismatch` for a graph of another index, or made by another extractor, `InvalidInput` where there is none,
        or the extractor must be given, and as `build` does.
        """
        manifest, _, _ = _opened(index)
        path = graph_of(index)
        if extractor is not None:
            _check_made_by(path, manifest, extractor)
        if synonyms is not None and not _alike(manifest.synonyms, as_json(synonyms.identity())):
            raise StoreMismatch(
                f"{path}: its synonyms were found otherwise; `lsr graph build {index.path} --overwrite` makes it again"
            )

        def opened() -> Extractor:
            return extractor if extractor is not None else _extractor_of(index, manifest)

        def finder(made: GraphManifest) -> SynonymsWithIdentity:
            return (synonyms or _finder_again(index, made)), made.synonyms

        return Syncing(path, index, opened, finder, progress or _no_progress).run()

    @classmethod
    def compact(cls, index: Index) -> bool:
        """Writes what is kept of passages as one segment. Returns whether there was anything to do."""
        with Commits(graph_of(index), GraphManifest).next() as commit:
            return compact(commit)

    # -- what there is -------------------------------------------------------------------------------------------------

    @cached_property
    def arrays(self) -> GraphArrays:
        """The graph itself. Raises `CorruptIndex`."""
        assert self.manifest.arrays is not None
        return open_arrays(self.path, self.manifest.arrays)

    def id_of(self, passage: int) -> str:
        """The id of a passage of the arrays."""
        return self.index.id_of(passage)

    def info(self) -> dict[str, Any]:
        """See `Graph.facts`."""
        return _facts(self.path, self.manifest)

    @classmethod
    def facts(cls, index: Index) -> dict[str, Any]:
        """passages, phrases, facts, edges by kind, without_phrases, failed, bytes (of arrays and of what was found), extractor,
        synonyms, and more, as JSON can say it; also of a graph that is behind its index, which "current" tells. Raises as
        `open` does but for that."""
        manifest, pin, _ = _opened(index)
        current = manifest.current and _is_of(manifest, index.snapshot)
        facts = {**_facts(graph_of(index), manifest), "current": current}
        if not current:
            lacking, failed, gone = GraphSnapshot(graph_of(index), manifest, pin).difference(index.snapshot)
            facts["behind"] = {"lacking": len(lacking) + len(failed), "gone": len(gone)}
        return facts

    def check(self, full: bool = False) -> Iterator[str]:
        """Verifies the newest generation: see `check_graph`."""
        return check_graph(lsr.Index.open(self.index.path), full)

    def __repr__(self) -> str:
        arrays = self.manifest.arrays
        assert arrays is not None
        return f"Graph({str(self.path)!r}: {arrays.passages:,} passages, {arrays.phrases:,} phrases, {arrays.facts:,} facts)"


# -- where and whose -------------------------------------------------------------------------------------------------------


def graph_of(index: Index) -> Path:
    """Where the graph of an index is kept."""
    return Path(index.path) / GRAPH


def update_command(index: Index, manifest: GraphManifest) -> str:
    """The command that brings a graph up to its index."""
    kind = manifest.extractor.kind
    more = {"llm": " --extractor llm --config FILE.yaml", "given": " --extractor given --triples FILE.jsonl"}
    if kind in (*_FREE, *more):
        chosen = "" if kind == "rules" else f" --extractor {kind}"
        return f"lsr graph build {index.path} --resume{more.get(kind, chosen)}"
    return f"Graph.sync(index, extractor) with {manifest.extractor.name}"


def _opened(index: Index) -> tuple[GraphManifest, Pin | None, Any]:
    if not has_graph(Path(index.path)):
        raise InvalidInput(f"{index.path}: has no graph; `lsr graph build {index.path}` makes one")
    manifest, pin = open_newest(graph_of(index), GraphManifest)
    check_belongs(graph_of(index), manifest, index.snapshot)
    return manifest, pin, manifest.arrays


def _is_of(manifest: GraphManifest, snapshot: Snapshot) -> bool:
    """Whether the arrays are of the texts of a generation of the index."""
    arrays = manifest.arrays
    if arrays is None:
        return False
    return arrays.index == index_digest(snapshot) or arrays.documents == documents_digest(snapshot)


def _behind(index: Index, manifest: GraphManifest, pin: Pin | None) -> str:
    newest_index, _ = open_newest(Path(index.path), Manifest)
    if newest_index != index.manifest:
        return f"{graph_of(index)}: the index has changed since it was opened; refresh() it, or open it again"
    lacking, _, gone = GraphSnapshot(graph_of(index), manifest, pin).difference(index.snapshot)
    what = " and ".join(
        said
        for number, said in (
            (len(lacking), f"{len(lacking):,} passages are new or have another text"),
            (len(gone), f"{len(gone):,} are gone"),
        )
        if number
    )
    return f"{graph_of(index)}: behind its index ({what or 'it was interrupted'}); {update_command(index, manifest)} brings it up"


# -- building --------------------------------------------------------------------------------------------------------------


def _check_place(path: Path, overwrite: bool, resume: bool) -> None:
    """Raises `OutputExists` for what nobody said to replace, `IndexLocked` where a build is at work."""
    partial, index = partial_of(path), path.parent
    if holds(path, GRAPH_FORM) and not overwrite:
        raise OutputExists(
            f"{path}: a graph is there already; --resume (resume=True) brings it up to {index}, --overwrite"
            " (overwrite=True) replaces it"
        )
    check_output(path, overwrite, GRAPH_FORM)
    if resume or not partial.is_dir():
        return
    if is_claimed(partial):
        raise IndexLocked(f"{path}: another process is building it; wait until that is done, or end it")
    if not overwrite and (partial / "scratch" / CHECKPOINT).exists():
        raise OutputExists(
            f"{path}: an interrupted build is there; --resume (resume=True) goes on with it, --overwrite (overwrite=True)"
            " begins anew"
        )
    disk.remove_tree(partial)


def _begun(place: Workplace, index: Index, extractor: ExtractorEntry, synonyms: dict[str, Any] | None) -> Path:
    """The folder of a graph in the making: that of an interrupted build, or a new one."""
    folder, checkpoint = place.scratch / _STORE, place.scratch / CHECKPOINT
    identity = IndexIdentity.of(index)
    plan = as_json(
        {"extractor": extractor.identity, "index": [identity.created, identity.dim, identity.encoder]},
    )
    noted = read_checkpoint(checkpoint)
    if noted is not None and noted != plan:
        raise StorageError(
            f"{place.scratch.parent}: the interrupted build had another extractor or index; --overwrite (overwrite=True)"
            " begins anew"
        )
    if noted is not None:
        try:
            GraphSnapshot(folder, GraphManifest.parse(newest(folder, GRAPH_FORM)))
            return folder
        except LsrError as error:
            logger.warning("%s: what an interrupted build left is damaged (%s); starting afresh", folder, error)
    if disk.exists(folder):
        disk.remove_tree(folder)
    disk.make_folder(folder)
    manifest = GraphManifest(
        generation=1,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        lsr_version=lsr.__version__,
        index=identity,
        extractor=extractor,
        synonyms=synonyms,
    )
    disk.write_new(folder / manifest_name(1), manifest.to_json())
    disk.sync_folder(folder)
    write_checkpoint(checkpoint, plan)
    return folder


# -- who made it -----------------------------------------------------------------------------------------------------------


def _check_made_by(path: Path, manifest: GraphManifest, extractor: Extractor) -> None:
    mine = ExtractorEntry.of(extractor)
    if mine.identity != manifest.extractor.identity:
        raise StoreMismatch(
            f"{path}: made by {manifest.extractor.name[:200]}, which is not {mine.name[:200]}, or has other settings, files or"
            f" versions; give that one, or `lsr graph build {path.parent} --overwrite` makes it again"
        )


def _extractor_of(index: Index, manifest: GraphManifest) -> Extractor:
    made = manifest.extractor
    if made.kind not in _FREE:
        raise InvalidInput(
            f"{graph_of(index)}: {made.name[:200]} found its phrases, and must be given; {update_command(index, manifest)}"
        )
    extractor = open_extractor(made.kind)
    _check_made_by(graph_of(index), manifest, extractor)
    return extractor


def _finder(index: Index, synonyms: SynonymFinder | str | None) -> SynonymsWithIdentity:
    if synonyms is None:
        return None, None
    if isinstance(synonyms, str):
        if synonyms != BY_ENCODER:
            raise InvalidInput(f"synonyms are {synonyms!r}: give what finds them, {BY_ENCODER!r} or None")
        synonyms = SynonymSearch(_encoder(index))
    return synonyms, as_json(synonyms.identity())


def _encoder(index: Index) -> Encoder:
    made = index.manifest.encoder
    if made is None or made.reading is None:
        from lsr.encoders import load_encoder

        return load_encoder()
    return document_encoder(Path(index.path), made, None)


def _finder_again(index: Index, manifest: GraphManifest) -> SynonymFinder | None:
    """What found the synonyms of a graph, opened by what the manifest keeps of it."""
    identity = manifest.synonyms
    if identity is None:
        return None
    try:
        made, threshold, most = identity["encoder"], identity["threshold"], identity["most"]
        source, wanted = made["source"], made["hash"]
    except (KeyError, TypeError):
        raise InvalidInput(f"{graph_of(index)}: what found its synonyms must be given (synonyms=)") from None
    mine = index.manifest.encoder
    if mine is not None and mine.hash == wanted:
        encoder = _encoder(index)
    else:
        from lsr.encoders import load_encoder

        encoder = load_encoder(source)
    finder = SynonymSearch(encoder, threshold, most)
    if not _alike(identity, as_json(finder.identity())):
        raise StoreMismatch(
            f"{graph_of(index)}: its synonyms were found by another encoder than {source[:200]} is now;"
            f" `lsr graph build {index.path} --overwrite` makes it again"
        )
    return finder


def _alike(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two identities of what finds synonyms are the same, wherever their encoders lie."""

    def bare(identity: dict[str, Any] | None) -> Any:
        if identity is None or not isinstance(identity.get("encoder"), dict):
            return identity
        return {**identity, "encoder": identity["encoder"].get("hash")}

    return bool(bare(one) == bare(other))


def _facts(path: Path, manifest: GraphManifest) -> dict[str, Any]:
    arrays = manifest.arrays
    store = GraphSnapshot(path, manifest)
    relations, mentions, synonyms = (0, 0, 0) if arrays is None else arrays.edges
    failed = store.failed
    made_of = sum(segment.bytes for segment in manifest.segments)
    in_arrays = 0 if arrays is None else sum(file.bytes for file in arrays.files)
    return {
        "path": str(path),
        "passages": 0 if arrays is None else arrays.passages,
        "phrases": 0 if arrays is None else arrays.phrases,
        "facts": 0 if arrays is None else arrays.facts,
        "edges": {"relations": relations, "mentions": mentions, "synonyms": synonyms},
        "without_phrases": 0 if arrays is None else max(0, arrays.without_phrases - failed),
        "failed": failed,
        "bytes": {"arrays": in_arrays, "records": made_of, "total": in_arrays + made_of},
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
