"""Index: build, open, search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, InvalidInput, UnsupportedVersion
from lsr.hits import Explanation, Hits
from lsr.index.blocked.curves import Curve
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.explain import explain
from lsr.index.filters.expression import Filter
from lsr.index.filters.masks import Masks
from lsr.index.query_side import QuerySide, check_encoder, open_query_side
from lsr.index.searcher import Searcher
from lsr.index.storage.manifest import Manifest
from lsr.index.storage.records import Record
from lsr.index.storage.segment import Segment
from lsr.index.storage.vocabulary import StoredVocabulary
from lsr.processors import available_cores
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.corpus import Document
    from lsr.encoders import Encoder
    from lsr.index.build import BuildReport
    from lsr.index.formats import VectorFile
    from lsr.index.segment_writer import Progress

__all__ = ["MAX_K", "Index"]

MAX_K = 10_000
MAX_QUERY_TERMS = 4_096
DEFAULT_RECALL = 0.98


class Index:
    """Documents as sparse vectors on disk, and their search.

    An index is a folder, opened by mapping its files into memory: opening costs milliseconds and memory is shared
    between processes. With an inference-free encoder searching needs neither its network nor torch nor ONNX Runtime. One
    index may be searched from several threads.

        index = lsr.Index.build("docs.jsonl", "my.idx")
        index = lsr.Index.open("my.idx")
        hits = index.search("how do I rotate a log file?", k=10)
        print(hits[0].explain())
    """

    def __init__(self, path: Path, manifest: Manifest, encoder: Encoder | None = None) -> None:
        """For `Index.open`, which see."""
        self.path = path
        self.manifest = manifest
        self.build_report: BuildReport | None = None  # set by `build`
        if len(manifest.segments) != 1 or manifest.engine not in ("exact", "blocked"):
            raise UnsupportedVersion(f"{path}: made by a newer lsr ({manifest.lsr_version}): pip install -U lsr-engine")
        self._segment = Segment(path, manifest.segments[0], manifest.dim, manifest.texts)
        self._curves = _curves(path, manifest)
        self._searcher = Searcher(self._segment, manifest.dim, self._curves)
        self._masks = Masks(self._segment.fields, self._segment.ids, self._segment.rows_of)
        self._given_encoder = encoder
        self._query_side: QuerySide | None = None
        self._words = StoredVocabulary(path, manifest.vocabulary, manifest.dim) if manifest.vocabulary else None

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
        keep_text: bool = True,
        corpus_idf: bool | None = None,
        block_size: int | None = None,
        postings_energy: float = 0.8,
        sample_queries: SparseVectors | Sequence[str] | None = None,
        overwrite: bool = False,
        resume: bool = False,
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
        keep_text: store the texts, compressed, for display.
        corpus_idf: adapt the term weights of queries to the documents (see `lsr.encoders.idf`); False keeps the
          encoder's own. None adapts those of encoders that say so, as the bundled one does.
        block_size, postings_energy: how the blocked engine is built; see `BlockOptions`. The defaults suit the collection.
        sample_queries: queries like those to come, from which the blocked engine learns what recall costs: texts, or
          SparseVectors; 100 or more. Queries made from the documents by default.
        resume: keep what is done when interrupted, and go on from there with the next call.
        progress: called as progress(stage, done, total or None).

        Raises `CorpusError` for unreadable documents, `OutputExists` when something is at `path` already,
        `EncoderError` and `InvalidInput` for the other arguments, `StorageError` when the disk does not take it.
        """
        from lsr.index.build import BuildOptions, build_index
        from lsr.index.reading import Reading

        reading = Reading(
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
        index = cls.open(path, given)
        index.build_report = report
        return index

    @classmethod
    def open(cls, path: str | Path, encoder: str | Path | Encoder | None = None) -> Index:
        """Opens an index read-only.

        The structure of all files is checked first; their contents are checked by `lsr check --full`.
        encoder: not needed, unless queries go through a network that is no longer where it was when the index was built; when
          given it must be the one that made the index, else `EncoderMismatch`.

        Raises `IndexNotFound`, `UnsupportedVersion` (made by a newer lsr) or `CorruptIndex`.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        if isinstance(encoder, str | Path):
            from lsr.encoders import load_encoder

            encoder = load_encoder(encoder)
        if encoder is not None:
            check_encoder(path, manifest.encoder, encoder, manifest.dim)
        return cls(path, manifest, encoder)

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
    ) -> Hits | list[Hits]:
        """The k documents with the highest scores, best first; equal scores in document order.

        query: a text gives one `Hits`; a list of texts or SparseVectors give a list of `Hits`, in input order.
        k: 1 to 10,000. Fewer hits come back when fewer documents share a term with the query and pass the filter.
        recall: the share of the exact top-k that is enough, on average over queries, above 0 and up to 1 (default: 0.98).
          With the blocked engine it is reached as cheaply as the curves of the index tell (`info()["curves"]`); 1, and an
          index without that engine, give exact answers.
        filter: documents that may be hits, by their metadata ({"year": {">=": 2020}, "lang": ["en", "de"]}, or the text
          'year >= 2020 and lang in ("en", "de")') or by their ids (a list); see docs/filters.md. The hits are those that a
          search without it would give, were the other documents not there.
        settings: for the blocked engine, in place of a recall.
        threads: processors for several queries, all by default. The result does not depend on it.

        Scores are dot products of query weights and stored (8-bit) document weights. Empty queries find nothing.
        Raises `InvalidInput` for a k or recall out of range, a text query on an index of bare vectors, or vectors of
        another dim, or a filter on a field that does not exist.
        """
        if not isinstance(k, int | np.integer) or not 1 <= k <= MAX_K:
            raise InvalidInput(f"k is {k}: it must be a whole number from 1 to {MAX_K:,}")
        if recall is not None and not 0 < recall <= 1:
            raise InvalidInput(f"recall is {recall}: it must be above 0 and at most 1")
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads is {threads}: it must be at least 1")
        if settings is not None and recall is not None:
            raise InvalidInput("recall and settings both say how to search: give one of them")
        if settings is not None and self._searcher.blocked is None:
            raise InvalidInput(
                f"{self.path} has no blocked engine: build it with engine='blocked', or give no settings"
            )
        texts: list[str] | None = None
        if isinstance(query, SparseVectors):
            if query.dim != self.dim:
                raise InvalidInput(f"the queries have {query.dim:,} dimensions, the index {self.dim:,}")
            queries = query
        else:
            texts = [query] if isinstance(query, str) else list(query)
            for text in texts:
                if not isinstance(text, str):
                    raise InvalidInput(f"a query is a {type(text).__name__}: give texts or SparseVectors")
            queries = self._encode(texts)
        allowed = None if filter is None else self._masks.allowed(filter)
        # A single query waits for every line of Python: what only batches need is left out.
        workers = 1 if len(queries) == 1 else threads or available_cores()
        hits = self._answer(
            texts, queries, int(k), DEFAULT_RECALL if recall is None else recall, settings, workers, allowed
        )
        return hits[0] if isinstance(query, str) else hits

    def _encode(self, texts: list[str]) -> SparseVectors:
        encoder = self.query_encoder
        if encoder is None:
            raise InvalidInput(
                f"{self.path} was made from vectors and keeps no encoder: search it with SparseVectors, or give"
                " encoder= to Index.open or Index.build"
            )
        return encoder.encode_batch(texts)

    def _answer(
        self,
        texts: list[str] | None,
        queries: SparseVectors,
        k: int,
        recall: float,
        settings: SearchSettings | None,
        threads: int,
        allowed: npt.NDArray[np.uint8] | None,
    ) -> list[Hits]:
        if queries.nnz > MAX_QUERY_TERMS and (longest := int(np.diff(queries.indptr).max())) > MAX_QUERY_TERMS:
            raise InvalidInput(f"a query has {longest:,} terms: at most {MAX_QUERY_TERMS:,} are searched")
        scores, rows, counts = self._searcher.search(queries, k, recall, threads, settings, allowed)
        edges = queries.indptr.tolist()
        result = []
        for i, count in enumerate(counts.tolist()):
            part = slice(edges[i], edges[i + 1])
            hits = Hits(
                self,
                rows[i, :count],
                scores[i, :count],
                queries.indices[part],
                queries.values[part],
                None if texts is None else texts[i],
                None if queries.ids is None else queries.ids[i],
            )
            result.append(hits)
        return result

    # -- what is inside ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of documents."""
        return self._segment.documents

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @property
    def nnz(self) -> int:
        """Number of stored weights in all documents together."""
        return self._segment.entry.nnz

    @property
    def scale(self) -> float:
        """The step of the stored weights: each is a whole number of them (see docs/architecture.md)."""
        return float(self._segment.entry.scale)

    @cached_property
    def tokens(self) -> tuple[str, ...] | None:
        """The text of each term [dim]: the vocabulary of the encoder, or the words of the file that was imported; None for
        an index of bare vectors."""
        names = self.query_encoder or self._words
        return None if names is None else tuple(names.token(term) for term in range(self.dim))

    @property
    def query_encoder(self) -> QuerySide | None:
        """The query side of the encoder, as the index keeps it; None for an index made from bare vectors."""
        if self._query_side is None:
            self._query_side = open_query_side(self.path, self.manifest, self._given_encoder)
        return self._query_side

    def vectors(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> SparseVectors:
        """The stored vectors of documents, by row number, with their ids."""
        found = [self._segment.document(self._checked_row(int(row))) for row in rows]
        return SparseVectors(
            indptr=np.cumsum([0] + [len(terms) for terms, _ in found]),
            indices=np.concatenate([terms for terms, _ in found]) if found else np.zeros(0, np.int64),
            values=np.concatenate([weights for _, weights in found]) if found else np.zeros(0, np.float32),
            dim=self.dim,
            ids=[self.id_of(int(row)) for row in rows],
        )

    def batches(self, size: int = 1 << 14) -> Iterator[SparseVectors]:
        """The stored vectors of all documents with their ids, in document order, up to `size` documents at a time."""
        for first in range(0, len(self), size):
            yield self.vectors(range(first, min(first + size, len(self))))

    def statistics(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Terms of each document [documents], and documents of each term [dim]: what sparsity is measured from."""
        segment = self._segment
        frequencies = np.zeros(self.dim, np.int64)
        for first in range(0, len(segment.forward_terms), 1 << 24):  # bincount makes 8 bytes of each term id
            frequencies += np.bincount(segment.forward_terms[first : first + (1 << 24)], minlength=self.dim)
        return segment.lengths(), frequencies

    def row_of(self, identifier: str) -> int | None:
        """The row number of a document, None when there is no document with that id."""
        return self._segment.ids.find(identifier)

    def id_of(self, row: int) -> str:
        """The id of the document in a row."""
        return self._segment.ids[self._checked_row(row)]

    def record_of(self, row: int) -> Record | None:
        """Title, text and metadata of the document in a row; None when the index keeps no texts."""
        texts = self._segment.texts
        return None if texts is None else texts[self._checked_row(row)]

    def explain(self, terms: npt.NDArray[Any], weights: npt.NDArray[np.float32], row: int) -> Explanation:
        """Why the document in a row has its score for a sparse query; see `Hit.explain`."""
        return explain(self._segment, self._checked_row(row), terms, weights, self.query_encoder or self._words)

    def info(self) -> dict[str, Any]:
        """Counts, sizes and origin, as `lsr info --json` prints them."""
        manifest, segment = self.manifest, self._segment
        sizes = {"vectors": 0, "postings": 0, "blocks": 0, "ids": 0, "texts": 0, "fields": 0, "encoder": 0}
        kinds = {
            "forward": "vectors",
            "dense": "postings",
            "text": "texts",
            "order": "blocks",
            "field": "fields",
            "token": "encoder",
        }
        for file in manifest.files():
            kind = "encoder" if file.name.startswith("encoder/") else file.name.rpartition("/")[2].partition("_")[0]
            sizes[kinds.get(kind, kind)] += file.bytes
        encoder = manifest.encoder
        return {
            "path": str(self.path),
            "documents": segment.documents,
            "dim": manifest.dim,
            "nnz": segment.entry.nnz,
            "terms": len(segment.lists.terms) + len(segment.rows.terms),
            "bytes": {**sizes, "total": sum(sizes.values())},
            "engine": manifest.engine,
            "block_size": segment.entry.block_size or None,
            "curves": [curve.to_json() for curve in self._curves],
            "weight_bits": segment.forward_codes.dtype.itemsize * 8,
            "encoder": None
            if encoder is None
            else {
                "name": encoder.name,
                "hash": encoder.hash,
                "vocabulary_hash": encoder.vocabulary_hash,
                "source": encoder.source,
                "reading": encoder.reading,
                "term_weights": encoder.term_weights,
            },
            "generation": manifest.generation,
            "format_version": ".".join(map(str, manifest.format_version)),
            "lsr_version": manifest.lsr_version,
            "created": manifest.created,
            "texts": manifest.texts,
            "fields": segment.fields.describe(),
            "source": manifest.source,
        }

    def __repr__(self) -> str:
        name = "vectors" if self.manifest.encoder is None else self.manifest.encoder.name
        return f"Index({str(self.path)!r}: {len(self):,} documents, {name}, {self.manifest.engine})"

    def _checked_row(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise InvalidInput(f"there is no document {row}: the index holds {len(self):,}, counted from 0")
        return row


def _curves(path: Path, manifest: Manifest) -> tuple[Curve, ...]:
    try:
        return tuple(Curve.from_json(curve) for curve in manifest.curves)
    except (KeyError, TypeError, ValueError, InvalidInput) as error:
        raise CorruptIndex(f"{path}: a curve in its manifest is wrong ({error}); build the index again") from None


def _no_progress(stage: str, done: int, total: int | None) -> None:
    """Shows nothing."""
