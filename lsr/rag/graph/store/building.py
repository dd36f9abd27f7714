"""Making a graph where there is none: in a hidden folder beside its place, in which it grows by commits as it does later. So
what an interrupted build had committed is there for the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lsr
from lsr import disk
from lsr.errors import IndexLocked, InvalidInput, LsrError, OutputExists, StorageError
from lsr.index.storage.checkpoint import read_checkpoint, write_checkpoint
from lsr.index.storage.folder import CHECKPOINT, Workplace, check_output, new_folder, partial_of
from lsr.index.storage.generations import holds, manifest_name, newest
from lsr.index.storage.graph_files import GRAPH_FORM
from lsr.index.storage.locks import is_claimed, writing
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.store.makers import graph_of
from lsr.rag.graph.store.manifest import ExtractorEntry, GraphManifest, as_json
from lsr.rag.graph.store.snapshot import GraphSnapshot
from lsr.rag.graph.store.syncing import Syncing, SynonymsWithIdentity
from lsr.rag.graph.types import Extractor
from lsr.rerank.store import IndexIdentity

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index import Index
    from lsr.index.segment_writer import Progress

__all__ = ["build_graph", "check_place"]

logger = logging.getLogger(__name__)

_STORE = "store"  # the graph in the making, in the scratch folder
_SHOWN = 3  # ids in a message


def check_place(path: Path, overwrite: bool, resume: bool) -> None:
    """Raises `OutputExists` for what nobody said to replace, `IndexLocked` where another build is at work. Removes an
    interrupted build that is not to be gone on with."""
    partial = partial_of(path)
    if holds(path, GRAPH_FORM) and not overwrite:
        raise OutputExists(
            f"{path}: a graph is there already; --resume (resume=True) brings it up to its index, --overwrite"
            " (overwrite=True) replaces it"
        )
    if overwrite and not holds(path, GRAPH_FORM) and any(path.glob("manifest-*.json")):
        disk.remove_tree(path)  # damaged, and nothing in it that cannot be made again
    check_output(path, overwrite, GRAPH_FORM)
    if not partial.is_dir():
        return
    if is_claimed(partial):
        raise IndexLocked(f"{path}: another process is building it; wait until that is done, or end it")
    kept, store = (partial / "scratch" / CHECKPOINT).exists(), partial / "scratch" / _STORE
    if kept and holds(partial / "target", GRAPH_FORM) and not disk.exists(store):  # whole, and about to take its place
        disk.rename(partial / "target", store)
    if resume:
        return
    if not overwrite and kept:
        raise OutputExists(
            f"{path}: an interrupted build is there; --resume (resume=True) goes on with it, --overwrite (overwrite=True)"
            " begins anew"
        )
    disk.remove_tree(partial)


def build_graph(
    index: Index,
    extractor: Extractor,
    synonyms: SynonymsWithIdentity,
    encoder: Callable[[], Encoder],
    overwrite: bool,
    progress: Progress,
) -> None:
    """Makes the graph of an index, at a place that `check_place` has looked at; see `Graph.build`."""
    entry = ExtractorEntry.of(extractor)  # what is missing is told before a folder is made
    if isinstance(extractor, GivenTriples):
        extractor.check(index.id_of(row) for row in range(len(index)))
    with new_folder(graph_of(index), overwrite, True, GRAPH_FORM) as place, writing(place.scratch):
        folder, checkpoint = _begun(place, index, entry, synonyms[1]), place.scratch / CHECKPOINT
        try:
            Syncing(folder, index, lambda: extractor, lambda _: synonyms, encoder, progress).run()
        except BaseException:
            if not _manifest(folder).segments:  # nothing to go on with
                disk.remove(checkpoint)
            raise
        arrays = _manifest(folder).arrays
        if arrays is not None and arrays.passages and not arrays.phrases:
            disk.remove(checkpoint)
            shown = ", ".join(index.id_of(row) for row in range(min(_SHOWN, len(index))))
            raise InvalidInput(
                f"{index.path}: {extractor.name} found no phrase in any of {arrays.passages:,} passages ({shown}, ...); are"
                " these the passages that it is for?"
            )
        disk.sync_folder(folder)
        disk.remove_tree(place.target)
        disk.rename(folder, place.target)


def _manifest(folder: Path) -> GraphManifest:
    return GraphManifest.parse(newest(folder, GRAPH_FORM))


def _begun(place: Workplace, index: Index, extractor: ExtractorEntry, synonyms: dict[str, Any] | None) -> Path:
    """The folder of the graph in the making: that of an interrupted build, or a new one."""
    folder, checkpoint = place.scratch / _STORE, place.scratch / CHECKPOINT
    identity = IndexIdentity.of(index)
    plan = as_json(
        {"extractor": extractor.identity, "index": [identity.created, identity.dim, identity.encoder]},
    )
    noted = read_checkpoint(checkpoint)
    if noted is not None and noted != plan:
        raise StorageError(
            f"{place.scratch.parent}: the interrupted build had another extractor or index; give that one, or --overwrite"
            " (overwrite=True) without --resume begins anew"
        )
    if noted is not None:
        try:
            left = _manifest(folder)
            GraphSnapshot(folder, left)
            # After an exchange that nobody cleared up after, the graph that was replaced may lie there.
            if left.extractor.identity == extractor.identity and left.index.same(identity):
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
