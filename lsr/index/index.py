"""Index: build, open, search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lsr.errors import InvalidInput
from lsr.hits import Hits, Reranker
from lsr.index.asking import check_queries, check_search, checked_texts
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.contents import Contents
from lsr.index.filters.expression import Filter
from lsr.index.query_side import check_encoder
from lsr.index.snapshot import Snapshot
from lsr.index.storage.locks import Pin, open_newest
from lsr.index.storage.manifest import Manifest
from lsr.index.writer import Writer
from lsr.limits import Limits
from lsr.processors import available_cores
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.corpus import Document
    from lsr.encoders import Encoder
    from lsr.index.build import BuildReport
    from lsr.index.formats import VectorFile
    from lsr.index.new_segment import Source
    from lsr.index.segment_writer import Progress
    from lsr.index.storage.commit import Commit
    from lsr.index.writer import AddReport, CompactReport

__all__ = ["Index"]

DEFAULT_RECALL = 0.98

Changed = TypeVar("Changed")


class Index(Contents):
    """Documents as sparse vectors on disk, and their search.

    An index is a folder, opened by mapping its files into memory: opening costs milliseconds and memory is shared
    between processes. With an inference-free encoder searching needs neither its network nor torch nor ONNX Runtime. One
    index may be searched from several threads.

        index = lsr.Index.build("docs.jsonl", "my.idx")
        index = lsr.Index.open("my.idx")
        hits = index.search("how do I rotate a log file?", k=10)
        print(hits[0].explain())
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        pin: Pin | None = None,
        encoder: Encoder | None = None,
        limits: Limits | None = None,
    ) -> None:
        """For `Index.open`, which see."""
        self.path = path
        self.limits = limits or Limits.default()
        self.build_report: BuildReport | None = None  # set by `build`
        self._given_encoder = encoder
        self._snapshot = Snapshot(path, manifest, pin, encoder)
        self._writer = Writer(path)

    # -- making and opening --------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        source: str | Path | SparseVectors | VectorFile | Iterable[Document | Mapping[str, Any] | str],
        path: str | Path,
        *,
        encoder: str | Path | Encoder | None = None,
        engine: str = "auto",
        batch_size: int = 2048,
        max_length: int | None = None,
        long: str = "truncate",
        stride: int | None = None,
        device: str | Sequence[str] | None = None,
        precision: str | None = None,
        id_field: str | None = None,
        text_fields: Sequence[str] = (),
        duplicates: str = "error",
        keep_text: bool = True,
        corpus_idf: bool | None = None,
        block_size: int | None = None,
        postings_energy: float = 0.8,
        sample_queries: SparseVectors | Sequence[str] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Builds an index from documents or vectors and opens it.

        source: a path (see `lsr.read_documents`; a .npz is read as vectors), SparseVectors, what `lsr.open_vectors` opened
          of another program (texts and tokens that its file has are kept), or an iterable of texts, mappings (with the
          field names that files may have: "text", and optional "id" and "title"; what JSON can say is kept as metadata),
          or `lsr.Document`. It is read as a stream: a collection larger than memory is indexed in bounded memory.
        path: the folder to make. It appears when it is complete; an interrupted or failed build leaves nothing.
        encoder: name, folder or object; the bundled one by default. For vectors: the encoder whose query side the index
          keeps (none by default: such an index is searched with vectors).
        engine: "exact"; "blocked", which adds what approximate search needs (twice the space, several times the speed on
          large collections) and still answers exactly when asked to; "auto" takes it from 100,000 documents.
        batch_size: documents held in memory and encoded at a time.
        id_field, text_fields: which fields hold id and text, where their names are not those that lsr knows.
        max_length: tokens of a document that are read at a time; the encoder's own limit by default.
        long, stride: what becomes of a longer document. "truncate" leaves out the rest (`build_report` counts them);
          "windows" reads it in windows `stride` tokens apart and keeps each term's largest weight; "passages" makes
          documents of its passages, with ids ID#1, ID#2, ... and the metadata "parent" (see `lsr.encoders.passages`).
        device, precision: where and how the network of an encoder given by name runs; see `lsr.load_encoder`.
        duplicates: what becomes of a document whose id came before: "error", or "first", which leaves it out
          (`build_report.skipped` counts them).
        keep_text: store the texts, compressed, for display.
        corpus_idf: adapt the term weights of queries to the documents (see `lsr.encoders.idf`); False keeps the
          encoder's own. None adapts those of encoders that say so, as the bundled one does.
        block_size, postings_energy: how the blocked engine is built; see `BlockOptions`. The defaults suit the collection.
        sample_queries: queries like those to come, from which the blocked engine learns what recall costs: texts, or
          SparseVectors; 100 or more. Queries made from the documents by default.
        resume: keep what is done when interrupted, and go on from there with the next call.
        limits: what documents may not exceed, and searches of the index that is returned; `Limits.default()` by default.
        progress: called as progress(stage, done, total or None).

        Raises `CorpusError` for unreadable documents, `OutputExists` when something is at `path` already,
        `EncoderError` and `InvalidInput` for the other arguments, `StorageError` when the disk does not take it.
        """
        from lsr.index.build import BuildOptions, build_index
        from lsr.index.reading import Reading

        limits = limits or Limits.default()
        reading = Reading(
            limits=limits,
            duplicates=duplicates,
            batch_size=batch_size,
            max_length=max_length,
            long=long,
            stride=stride,
            device=device,
            precision=precision,
            id_field=id_field,
            text_fields=(text_fields,) if isinstance(text_fields, str) else tuple(text_fields),
        )
        options = BuildOptions(
            reading=reading,
            engine=engine,
            keep_text=keep_text,
            corpus_idf=corpus_idf,
            block_size=block_size,
            postings_energy=postings_energy,
            sample_queries=sample_queries,
            overwrite=overwrite,
            resume=resume,
        )
        report = build_index(source, Path(path), encoder, options, progress or _no_progress)
        given = None if isinstance(encoder, str | Path) else encoder  # with settings that its name does not tell
        index = cls.open(path, given, limits=limits)
        index.build_report = report
        return index

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: str | Path | Encoder | None = None,
        *,
        limits: Limits | None = None,
        verify: bool = False,
    ) -> Index:
        """Opens the newest generation of an index.

        What is opened stays as it is, whatever others do to the index, until `refresh`. The structure of all files is checked
        first; their contents are checked by `lsr check --full`.
        encoder: not needed, unless queries go through a network that is no longer where it was when the index was built; when
          given it must be the one that made the index, else `EncoderMismatch`.
        limits: of searches, and of documents that are added; `Limits.default()` by default.
        verify: read every file first and check it, as `lsr check --full` does: no damage to it then leads to a wrong answer.

        Raises `IndexNotFound`, `UnsupportedVersion` (made by a newer lsr) or `CorruptIndex`.
        """
        path = Path(path)
        manifest, pin = open_newest(path, Manifest)
        if verify:
            from lsr.index.storage.check import check_generation

            for _ in check_generation(path, manifest, full=True):
                pass
        if isinstance(encoder, str | Path):
            from lsr.encoders import load_encoder

            encoder = load_encoder(encoder)
        if encoder is not None:
            check_encoder(path, manifest.encoder, encoder, manifest.dim)
        return cls(path, manifest, pin, encoder, limits)

    @classmethod
    def from_snapshot(
        cls,
        file: str | Path,
        path: str | Path,
        *,
        limits: Limits | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Index:
        """Makes an index of a file that `save_snapshot` wrote, and opens it: the same generation, file by file.

        path: the folder to make. It appears when all files are there, their checksums match and their structure is sound.
        limits: `archive_ratio` is how many bytes one of the file may become; the rest as for `open`.

        Raises `IndexNotFound` when there is no such file, `OutputExists`, `UnsupportedVersion` for another format,
        `CorruptIndex` for a damaged or hostile file, `StorageError` for one that becomes too large, or a disk that does not
        take it.
        """
        from lsr.index.storage.archive import read_snapshot

        limits = limits or Limits.default()
        read_snapshot(Path(file), Path(path), overwrite, limits, cls.open, progress or _no_progress)
        return cls.open(path, limits=limits)

    # -- searching -----------------------------------------------------------------------------------------------------

    @overload  # a str is a Sequence[str] too: the first that fits counts
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        recall: float | None = None,
        filter: Filter | None = None,
        settings: SearchSettings | None = None,
        threads: int | None = None,
        rerank: Reranker | None = None,
    ) -> Hits: ...

    @overload
    def search(
        self,
        query: Sequence[str] | SparseVectors,
        k: int = 10,
        *,
        recall: float | None = None,
        filter: Filter | None = None,
        settings: SearchSettings | None = None,
        threads: int | None = None,
        rerank: Reranker | None = None,
    ) -> list[Hits]: ...

    def search(
        self,
        query: str | Sequence[str] | SparseVectors,
        k: int = 10,
        *,
        recall: float | None = None,
        filter: Filter | None = None,
        settings: SearchSettings | None = None,
        threads: int | None = None,
        rerank: Reranker | None = None,
    ) -> Hits | list[Hits]:
        """The k documents with the highest scores, best first; equal scores in document order.

        query: a text gives one `Hits`; a list of texts or SparseVectors give a list of `Hits`, in input order.
        k: 1 to `limits.k` (10,000). Fewer hits come back when fewer documents have a term of the query and pass the filter.
        recall: the share of the exact top-k that is enough, on average over queries, above 0 and up to 1 (default: 0.98).
          With the blocked engine it is reached as cheaply as the curves of the index tell (`info()["curves"]`); 1, and an
          index without that engine, give exact answers.
        filter: documents that may be hits, by their metadata ({"year": {">=": 2020}, "lang": ["en", "de"]}, or the text
          'year >= 2020 and lang in ("en", "de")') or by their ids (a list); see docs/filters.md. The hits are those that a
          search without it would give, were the other documents not there.
        settings: for the blocked engine, in place of a recall.
        threads: processors for several queries, all by default. The result does not depend on it.
        rerank: a second stage (`lsr.rerank`), which orders the candidates that it asks for anew; scores are its own then.

        Scores are dot products of query weights and stored (8-bit) document weights. Empty queries find nothing.
        Raises `InvalidInput` for a k or recall out of range, a query of more terms than `limits.query_terms`, a text query
        on an index of bare vectors, or vectors of another dim, or a filter on a field that does not exist.
        """
        check_search(k, recall, threads, settings, self.limits)
        wanted = k
        if rerank is not None and rerank.candidates > k:
            wanted = rerank.candidates
            check_search(wanted, recall, threads, settings, self.limits)
        snapshot = self._snapshot  # one generation, from the beginning to the end
        if settings is not None and not snapshot.has_blocks:
            raise InvalidInput(
                f"{self.path} has no blocked engine: build it with engine='blocked', or give no settings"
            )
        texts: list[str] | None = None
        if isinstance(query, SparseVectors):
            queries = query
        else:
            texts = checked_texts(query)
            queries = self._encode(snapshot, texts)
        check_queries(queries, snapshot.manifest.dim, self.limits)
        # A single query waits for every line of Python: what only batches need is left out.
        workers = 1 if len(queries) == 1 else threads or available_cores()
        enough = DEFAULT_RECALL if recall is None else recall
        hits = self._answer(snapshot, texts, queries, int(wanted), enough, settings, workers, filter)
        if rerank is not None:
            hits = rerank.rerank(hits, int(k))
        return hits[0] if isinstance(query, str) else hits

    def _encode(self, snapshot: Snapshot, texts: list[str]) -> SparseVectors:
        encoder = snapshot.query_encoder
        if encoder is None:
            raise InvalidInput(
                f"{self.path} was made from vectors and keeps no encoder: search it with SparseVectors, or give"
                " encoder= to Index.open or Index.build"
            )
        return encoder.encode_batch(texts)

    def _answer(
        self,
        snapshot: Snapshot,
        texts: list[str] | None,
        queries: SparseVectors,
        k: int,
        recall: float,
        settings: SearchSettings | None,
        threads: int,
        filter: Filter | None,
    ) -> list[Hits]:
        scores, rows, counts = snapshot.search(queries, k, recall, threads, settings, filter)
        edges = queries.indptr.tolist()
        result = []
        for i, count in enumerate(counts.tolist()):
            part = slice(edges[i], edges[i + 1])
            hits = Hits(
                snapshot,
                rows[i, :count],
                scores[i, :count],
                queries.indices[part],
                queries.values[part],
                None if texts is None else texts[i],
                None if queries.ids is None else queries.ids[i],
            )
            result.append(hits)
        return result

    # -- changing ------------------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Moves on to the newest generation of the index. Returns whether there was a newer one.

        Searches that run, and hits that were given out, stay with the generation that they began with. Raises as `open` does.
        """
        manifest, pin = open_newest(self.path, Manifest)
        if manifest == self.manifest:
            return False
        if self._given_encoder is not None:
            check_encoder(self.path, manifest.encoder, self._given_encoder, manifest.dim)
        self._snapshot = Snapshot(self.path, manifest, pin, self._given_encoder, self._snapshot)
        return True

    def add(
        self,
        source: str | Path | SparseVectors | VectorFile | Iterable[Document | Mapping[str, Any] | str],
        *,
        batch_size: int = 2048,
        device: str | Sequence[str] | None = None,
        id_field: str | None = None,
        text_fields: Sequence[str] = (),
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> AddReport:
        """Adds documents that are not in the index yet, all of them or none.

        source: as `build` takes it. Texts are encoded by the encoder that made the index, and read as its documents were
          (lengths, windows, passages). To an index made of vectors, vectors of the same dim are added.
        batch_size, device, id_field, text_fields, progress: as for `build`.
        limits: what the documents may not exceed; those that the index was opened with by default.

        The documents are there when this returns, and stay there whatever happens to the machine. A document without an id
        gets the number of documents that were ever added before it. Term weights of queries and the step of stored weights
        stay as they are until `compact(refresh=True)`: answers are those of an index built with them of all documents.

        Raises `DuplicateId` for an id that the index has (`upsert` replaces those), `IndexLocked` while someone else changes
        the index, and as `build` does.
        """
        return self._add(source, False, batch_size, device, id_field, text_fields, limits, progress)

    def upsert(
        self,
        source: str | Path | SparseVectors | VectorFile | Iterable[Document | Mapping[str, Any] | str],
        *,
        batch_size: int = 2048,
        device: str | Sequence[str] | None = None,
        id_field: str | None = None,
        text_fields: Sequence[str] = (),
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> AddReport:
        """Adds documents, in place of those with the same ids that the index has; see `add`.

        A replaced document stands where a new one does, at the end. Raises `InvalidInput` for documents without ids,
        `DuplicateId` for an id that is given twice, and as `add` does.
        """
        return self._add(source, True, batch_size, device, id_field, text_fields, limits, progress)

    def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """Deletes documents by their ids, all of them or none. Returns how many there were.

        Raises `InvalidInput`, which names them, for ids that the index has not, unless `missing_ok`; and `IndexLocked` while
        someone else changes the index. Their space is given back by `compact`.
        """
        return self._changed(lambda commit: self._writer.delete(commit, self._snapshot, ids, missing_ok))

    def compact(self, *, refresh: bool = False, progress: Progress | None = None) -> CompactReport:
        """Writes all documents anew as one segment, without what was deleted, ordered and calibrated as by `build`.

        Answers are the same to the last bit; those of the blocked engine, to the recall that is asked for.
        refresh: adapt the term weights of queries to the documents that there are now, and choose the step of the stored
          weights anew, as `build` would. For the former, where an index does so, texts must be kept.

        Needs the space of a second index, and about two thirds of that beside while it works; the next change gives it back,
        when no reader holds the old generation. Interrupted, it leaves the index as it was, and what it had done, from which
        the next call goes on unless the index was changed meanwhile.
        Raises `IndexLocked`, `StorageError`, and with `refresh` `InvalidInput` for an index that keeps no texts, and
        `EncoderError` when its encoder is gone.
        """
        return self._changed(
            lambda commit: self._writer.compact(
                commit, self._snapshot, self._given_encoder, refresh, progress or _no_progress
            )
        )

    def _add(
        self,
        source: Source,
        replacing: bool,
        batch_size: int,
        device: str | Sequence[str] | None,
        id_field: str | None,
        text_fields: Sequence[str],
        limits: Limits | None,
        progress: Progress | None,
    ) -> AddReport:
        from lsr.index.reading import Reading

        fields = (text_fields,) if isinstance(text_fields, str) else tuple(text_fields)
        reading = Reading(
            batch_size=batch_size,
            device=device,
            id_field=id_field,
            text_fields=fields,
            limits=limits or self.limits,
        )
        return self._changed(
            lambda commit: self._writer.add(
                commit, self._snapshot, source, reading, self._given_encoder, replacing, progress or _no_progress
            )
        )

    def _changed(self, change: Callable[[Commit[Manifest]], Changed]) -> Changed:
        """Does a change to the newest generation, and moves on to what came of it."""
        with self._writer.commits.next() as commit:
            self.refresh()
            result = change(commit)
        self.refresh()
        return result

    def save_snapshot(self, path: str | Path, *, overwrite: bool = False, progress: Progress | None = None) -> None:
        """Writes the generation that is open as one file, FILE.tar.zst by habit; `from_snapshot` makes an index of it.

        Token vectors in its folder go along, those of the newest generation that they have. Others may change the index
        meanwhile. The checksum of every file is compared, and the same generation gives the
        same bytes. Raises `OutputExists`, `CorruptIndex` for an index that is damaged, `StorageError`; then no file is made.
        """
        from lsr.index.storage.archive import write_snapshot

        snapshot = self._snapshot  # held to the end: its files are not collected meanwhile
        write_snapshot(snapshot.path, snapshot.manifest, Path(path), overwrite, progress or _no_progress)

    def __repr__(self) -> str:
        name = "vectors" if self.manifest.encoder is None else self.manifest.encoder.name
        return f"Index({str(self.path)!r}: {len(self):,} documents, {name}, {self.manifest.engine})"


def _no_progress(stage: str, done: int, total: int | None) -> None:
    """Shows nothing."""
