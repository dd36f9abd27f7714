"""What stages work with: models, indexes, a generator of text, prompt templates, a counter of tokens."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from lsr import disk
from lsr.errors import InvalidInput, MissingExtra, StorageError
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.searching import Bm25Keys, DenseKeys, SparseKeys
from lsr.rag.templates import Templates
from lsr.rag.types import Failure, Passages, Usage

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.rag.graph.search import GraphSearch
    from lsr.rag.graph.settings import GraphSettings
    from lsr.rag.stages.base import Stage
    from lsr.rerank import MultiVectorEncoder, TextReranker

__all__ = ["BUNDLED", "Resources"]

logger = logging.getLogger(__name__)

BUNDLED = "lsr-tiny"
_INDEXES = 32  # of passages that are held open
Floats = npt.NDArray[np.float64]
T = TypeVar("T")


class Resources(AbstractContextManager["Resources"]):
    """Models and indexes, opened when they are first used, once each. May be shared between threads.

    generator: what writes text; without one, stages that need it are refused. prompts: templates, the built-in ones by
    default. folder: where indexes of passages are kept, up to `limit` bytes; a temporary one by default, which `close`
    removes. device: of models that torch runs.
    """

    def __init__(
        self,
        *,
        generator: Generator | None = None,
        prompts: Templates | None = None,
        folder: str | Path | None = None,
        device: str | None = None,
        limit: int = 2 << 30,
    ) -> None:
        self.generator = generator
        self.prompts = prompts or Templates()
        self._consumed = threading.local()
        self._device, self._limit = device, limit
        self._in_use: set[str] = set()
        self._own = threading.Lock()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.folder = self._own_folder() if folder is None else Path(folder)
        self._made: dict[tuple[Any, ...], Any] = {}
        self._locks: dict[tuple[Any, ...], threading.Lock] = {}
        self._indexes: dict[tuple[Any, ...], None] = {}  # those of passages, the one used last at the end
        self._spared = threading.local()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._made.clear()
        self._indexes.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- text generation -----------------------------------------------------------------------------------------------

    def ask(self, stage: Stage, requests: Sequence[Request]) -> list[Reply | Failure]:
        """What the generator writes. Raises `InvalidInput` where there is none."""
        if self.generator is None:
            raise InvalidInput(f"{stage.name} needs a generator: name one (generator: in the YAML)")
        replies = self.generator.generate(requests)
        self._consumed.usage = sum((reply.usage for reply in replies), self.consumed)
        return [replace(reply, stage=stage.name) if isinstance(reply, Failure) else reply for reply in replies]

    @property
    def consumed(self) -> Usage:
        """What all that this thread asked of the generator consumed."""
        used: Usage = getattr(self._consumed, "usage", Usage())
        return used

    def generator_identity(self) -> Mapping[str, Any] | None:
        return None if self.generator is None else self.generator.identity()

    # -- models --------------------------------------------------------------------------------------------------------

    def encoder(self, name: str = BUNDLED) -> Encoder:
        """A sparse encoder by name or folder; see `lsr.load_encoder`."""
        from lsr.encoders import load_encoder

        return self._once(("encoder", name), lambda: load_encoder(name))

    def multivector(self, name: str) -> MultiVectorEncoder:
        from lsr.rerank import load_multivector_encoder

        return self._once(("multivector", name), lambda: load_multivector_encoder(name, device=self._device))

    def text_reranker(self, name: str) -> TextReranker:
        from lsr.rerank import text_reranker

        return self._once(("text reranker", name), lambda: text_reranker(name))

    def dense_model(self, name: str) -> DenseModel:
        return self._once(("dense", name), lambda: DenseModel(name, self._device))

    def fingerprint(self, stage: Stage, field: str) -> str | None:
        """A hash of the model that a field of a stage names, None where it names none."""
        name = getattr(stage, field)
        if name is None:
            return None
        kind = "maxsim" if field == "maxsim" else stage.kind
        if field == "encoder":
            return self.encoder(name).hash
        if kind == "maxsim":
            return self.multivector(name).fingerprint
        if stage.family == "rerank":
            return str(self.text_reranker(name).fingerprint)  # type: ignore[attr-defined]
        return self.dense_model(name).fingerprint

    # -- indexes of passages -------------------------------------------------------------------------------------------

    def sparse(self, passages: Passages, encoder: str) -> SparseKeys:
        """The passages' keys as a sparse index, kept in the folder."""
        opened = self.encoder(encoder)
        name = xxhash.xxh3_128_hexdigest(f"{passages.key} {opened.hash} {opened.reading}".encode())
        folder = self.folder / f"{name}.idx"

        def make() -> SparseKeys:
            try:
                keys = SparseKeys(passages, folder, opened)
            except StorageError as error:  # a full disk, a folder of another user
                if self._temporary is not None and self.folder == Path(self._temporary.name):
                    raise
                logger.warning("%s; it is kept for this run alone", error)
                keys = SparseKeys(passages, self._own_folder() / folder.name, opened)
            self._in_use.add(folder.name)
            self._forget_indexes()
            return keys

        return self._index(("sparse", name), make)

    def graph(
        self, passages: Passages, extractor: str, encoder: str, settings: GraphSettings, dense: str | None = None
    ) -> GraphSearch:
        """A graph of the passages, kept in the folder, and its search."""
        from lsr.rag.graph.passages import passage_graph

        key = ("graph", passages.key, extractor, encoder, dense)

        made = self._once(key, lambda: passage_graph(self, passages, extractor, encoder, self.folder, dense=dense))
        return self._once((*key, settings), lambda: made.with_settings(settings))

    def hold(self, place: Path) -> None:
        """Says that an index or graph in the folder is in use: it is not forgotten while others are."""
        self._in_use.add(place.name)

    def _own_folder(self) -> Path:
        """A temporary one."""
        with self._own:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="lsr-rag-")
            return Path(self._temporary.name)

    def _forget_indexes(self) -> None:
        """Keeps the indexes and graphs in the folder below their limit: those that nobody opened for the longest go
        first."""
        sizes = {}
        for folder in (*self.folder.glob("*.idx"), *self.folder.glob("*.graph")):
            with contextlib.suppress(OSError):  # another process removes it
                sizes[folder] = folder.stat().st_mtime, sum(p.stat().st_size for p in folder.rglob("*"))
        total = sum(size for _, size in sizes.values())
        for folder in sorted(sizes, key=lambda folder: sizes[folder][0]):
            if total <= self._limit:
                break
            if folder.name not in self._in_use:
                total -= sizes[folder][1]
                disk.remove_tree(folder)

    def bm25(self, passages: Passages, k1: float, b: float) -> Bm25Keys:
        return self._index(("bm25", passages.key, k1, b), lambda: Bm25Keys(passages, k1, b))

    def dense(self, passages: Passages, model: str) -> DenseKeys:
        return self._index(
            ("dense keys", passages.key, model), lambda: DenseKeys(passages, self.dense_model(model).encode)
        )

    # -- scores of texts -----------------------------------------------------------------------------------------------

    def maxsim(self, model: str, questions: Sequence[str], texts: Sequence[Sequence[str]]) -> list[Floats]:
        """MaxSim of each question with its own texts: the best product of each of its tokens, summed."""
        encoder = self.multivector(model)
        vectors = self._vectors_of(("token vectors", model), texts, encoder.encode_documents)
        queries = encoder.encode_queries(list(questions))
        return [
            np.array([_maxsim(queries.of(at), vectors[text]) for text in mine], np.float64)
            for at, mine in enumerate(texts)
        ]

    def cross_encoder(self, model: str, questions: Sequence[str], texts: Sequence[Sequence[str]]) -> list[Floats]:
        """The scores of a cross-encoder for each question with its own texts."""
        pairs = [(question, text) for question, mine in zip(questions, texts, strict=True) for text in mine]
        return _split(self.text_reranker(model).scores(pairs) if pairs else np.zeros(0), texts)

    def relevance(self, questions: Sequence[str], texts: Sequence[Sequence[str]]) -> list[Floats]:
        """Scores of the bundled encoder for each question with its own texts."""
        encoder = self.encoder()
        rows = self._vectors_of(("sparse vectors", BUNDLED), texts, encoder.encode_documents)
        asked = encoder.encode_query(list(questions))
        scores, weights = [], np.zeros(encoder.dim)
        for at, mine in enumerate(texts):
            part = slice(int(asked.indptr[at]), int(asked.indptr[at + 1]))
            weights[asked.indices[part]] = asked.values[part]
            scores.append(np.array([weights[rows[text][0]] @ rows[text][1] for text in mine], np.float64))
            weights[asked.indices[part]] = 0
        return scores

    def likeness(self, texts: Sequence[str]) -> Floats:
        """Cosines [n, n] of texts as sparse vectors of the bundled encoder."""
        from scipy.sparse import csr_array

        encoder = self.encoder()
        rows = self._vectors_of(("sparse vectors", BUNDLED), [texts], encoder.encode_documents)
        edges = np.cumsum([0, *(len(rows[text][0]) for text in texts)])
        terms, values = (np.concatenate([rows[text][side] for text in texts]) for side in (0, 1))
        matrix = csr_array((values, terms.astype(np.int32), edges), shape=(len(texts), encoder.dim))
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        cosines: Floats = (matrix @ matrix.T).toarray() / np.maximum(np.outer(norms, norms), 1e-12)
        return cosines

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Sizes of texts in tokens of the bundled encoder's tokenizer; other models' tokenizers give others, roughly
        alike."""
        from lsr.encoders.tokenizer import load_tokenizer, tokenizing, valid_text

        tokenizer = self._once(("tokenizer",), lambda: load_tokenizer(self.encoder().document_side.tokenizer_json))
        with tokenizing:
            found = tokenizer.encode_batch_fast([valid_text(text) for text in texts], add_special_tokens=False)
        return [len(encoding.ids) for encoding in found]

    # -- keeping -------------------------------------------------------------------------------------------------------

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What `make` returns, made once; others who want it meanwhile wait, those who want something else do not."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                self._made[key] = make()
            made: T = self._made[key]
            return made

    def _index(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """An index of passages, made once as long as not too many others are used after it."""
        made = self._once(key, make)
        with self._lock:
            self._indexes.pop(key, None)
            self._indexes[key] = None
            while len(self._indexes) > _INDEXES:
                oldest = next(iter(self._indexes))
                del self._indexes[oldest]
                self._made.pop(oldest, None)
                if oldest[0] == "sparse":
                    self._in_use.discard(f"{oldest[1]}.idx")
        return made

    @property
    def spared(self) -> float:
        """The seconds that this thread would have taken more so far, had it made anew what was remembered of texts."""
        return getattr(self._spared, "seconds", 0.0)

    def _vectors_of(
        self, key: tuple[str, str], texts: Sequence[Sequence[str]], encode: Callable[[list[str]], Any]
    ) -> dict[str, Any]:
        """The vectors of texts, each text encoded once as long as the memory of them is not full."""
        memory = self._once(key, lambda: TextMemory(encode))
        found, spared = memory.of({text for mine in texts for text in mine})
        self._spared.seconds = self.spared + spared
        return found


class TextMemory:
    """Vectors by text. Holds a bounded number; the oldest half is forgotten then."""

    def __init__(self, encode: Callable[[list[str]], Any], most: int = 1 << 16) -> None:
        self._encode, self._most = encode, most
        self._held: dict[str, tuple[Any, float]] = {}  # with the seconds that each took
        self._lock = threading.Lock()
        encode(["text"])  # the first call takes longer

    def of(self, texts: Iterable[str]) -> tuple[dict[str, Any], float]:
        """The vectors, and the seconds that those took that were known."""
        with self._lock:
            wanted = list(texts)
            spared = sum(self._held[text][1] for text in wanted if text in self._held)
            new = sorted({text for text in wanted if text not in self._held}, key=lambda text: (len(text), text))
            if new:
                started = time.perf_counter()
                rows = _rows_of(self._encode(new))
                share = (time.perf_counter() - started) / max(1, sum(map(len, new)))
                self._held.update((text, (row, share * len(text))) for text, row in zip(new, rows, strict=True))
            found = {text: self._held[text][0] for text in wanted}
            if len(self._held) > self._most:
                for text in list(self._held)[: self._most // 2]:
                    del self._held[text]
            return found, spared


class DenseModel:
    """A dense model of sentence-transformers. Raises as `lsr.encoders.libraries.open_model` does, and `MissingExtra`."""

    def __init__(self, name: str, device: str | None) -> None:
        try:
            import torch

            from lsr.encoders.libraries import fingerprint, named, open_model
        except ImportError:
            raise MissingExtra("torch", "rerank", "a dense model") from None
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        folder, self.name, there, dtype = named(name, where, None, 32, None, trust_remote_code=False)
        self._model = open_model("SentenceTransformer", folder, there, dtype, extra="rerank")
        self.fingerprint = fingerprint(folder)

    def encode(self, side: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, dim] of length 1; side: "query" or "document", whose prompts the model may have."""
        encode = self._model.encode_query if side == "query" else self._model.encode_document
        found = encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, np.float32)


def _rows_of(made: Any) -> list[Any]:
    """A thing for each text: its terms and their weights, or its token vectors."""
    from lsr.sparse import SparseVectors

    if isinstance(made, SparseVectors):
        parts = [slice(*edge) for edge in pairwise(made.indptr.tolist())]
        return [(made.indices[part].copy(), made.values[part].astype(np.float64)) for part in parts]
    return [np.array(made.of(at)) for at in range(len(made))]


def _maxsim(query: npt.NDArray[np.float32], document: npt.NDArray[np.float32]) -> float:
    return float((query @ document.T).max(axis=1).sum()) if len(query) and len(document) else 0.0


def _split(scores: npt.NDArray[Any], texts: Sequence[Sequence[str]]) -> list[Floats]:
    edges = np.cumsum([len(mine) for mine in texts])[:-1]
    return [np.asarray(part, np.float64) for part in np.split(scores, edges)]
