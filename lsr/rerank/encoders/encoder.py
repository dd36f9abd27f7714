"""A multivector encoder: a ColBERT ready to turn queries and documents into token vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from lsr.encoders.batching import FEW_TEXTS, Threads, batches, padded_lengths, run_now
from lsr.encoders.encoder import Settings
from lsr.encoders.model import VectorEngine, VectorSide
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError, InvalidInput
from lsr.rerank.encoders.model import MultiVectorModel
from lsr.rerank.encoders.reading import TextReader, Texts, reader
from lsr.rerank.encoders.spans import SpanReader, TextToken
from lsr.rerank.token_vectors import TokenVectors

__all__ = ["MultiVectorEncoder"]


class MultiVectorEncoder:
    """Queries and documents to a vector a token. Made by `load_multivector_encoder`. Safe to share between threads.

    Loading needs neither ONNX Runtime nor torch; the network is read when the first text goes through it. On ONNX Runtime the
    vectors of a text are a function of that text alone.
    """

    def __init__(self, model: MultiVectorModel, settings: Settings, query_length: int | None = None) -> None:
        if settings.precision == "int8":
            raise InvalidInput("int8 is for vocabulary heads, and a multivector model has none: use fp32")
        query = _limited(model.query, "query_length", query_length, model.name)
        document = _limited(model.document, "max_length", settings.max_length, model.name)
        expansion = model.expansion
        if expansion is not None and query_length is not None:
            short = query_length if expansion.fixed else min(query_length, expansion.length)
            expansion = replace(expansion, length=short)
        self.model = replace(model, query=query, document=document, expansion=expansion)
        self._settings = settings
        self._readers: dict[str, TextReader] = {}
        self._span_readers: dict[str, SpanReader] = {}
        self._engine: VectorEngine | None = None
        self._hash: str | None = None
        self._lock = Lock()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the model is called: its folder, or hub id."""
        return self.model.name

    @property
    def source(self) -> str:
        """Where it came from: a folder, or hub id@revision."""
        return self.model.source

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.model.document.head.dim

    @property
    def max_length(self) -> int:
        """Tokens of a document that are read, markers and special tokens included."""
        return self.model.document.max_length

    @property
    def query_length(self) -> int:
        """Tokens of a query that are read, markers and special tokens included."""
        return self.model.query.max_length

    @property
    def similarity(self) -> str:
        """ "maxsim", or "meanmaxsim" for a model that divides the sum by the number of the query's vectors."""
        return self.model.similarity

    @property
    def fingerprint(self) -> str:
        """xxh3-128 in hex over weights, tokenizer and settings of the model; length limits do not count."""
        with self._lock:
            if self._hash is None:
                self._hash = self.model.fingerprint()
            return self._hash

    def token(self, token: int) -> str:
        """The text of a token of the vocabulary, as `TokenVectors.tokens` has them."""
        return Vocabulary(self.model.document.tokenizer_json).token(token)

    # -- encoding ------------------------------------------------------------------------------------------------------

    def encode_queries(self, queries: Sequence[str], batch_size: int | None = None) -> TokenVectors:
        """The vectors of queries in input order, those of expansion tokens among them, and the token of each.

        batch_size: queries that go through the network at a time, at most; as many as suit the engine when None.

        Raises `InvalidInput` when one is not a str, `EncoderError` when the network cannot be run.
        """
        return self._encode("query", queries, batch_size)

    def encode_documents(self, texts: Sequence[str], batch_size: int | None = None) -> TokenVectors:
        """The vectors of documents in input order, without those of the skiplist, and the token of each; as above."""
        return self._encode("document", texts, batch_size)

    def query_tokens(self, query: str) -> list[TextToken]:
        """What each vector of a query stands for: its token, and the token's place in the text."""
        return self._spans("query").read(query)

    def document_tokens(self, text: str) -> list[TextToken]:
        """The same for a document."""
        return self._spans("document").read(text)

    def save(self, folder: str | Path) -> None:
        """Writes the model, with its lengths, to a new folder in the layout of sentence-transformers 6 (MultiVectorEncoder).

        Both open it, and give the same vectors. Raises `OutputExists` when something is there already, `StorageError`.
        """
        from lsr.rerank.encoders.layouts.writing import write_model

        write_model(self.model, Path(folder))

    def _encode(self, task: str, texts: Sequence[str], batch_size: int | None) -> TokenVectors:
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch_size is {batch_size}: it must be 1 or more, or None")
        found = self._reader(task)
        read = found.read(texts)
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(read.scored)])
        offsets = kept[read.starts]
        vectors = np.empty((int(offsets[-1]), self.dim), np.float32)
        if len(read.ids):
            self._fill(vectors, offsets, read, found.longest, batch_size)
        try:
            return TokenVectors(offsets=offsets, vectors=vectors, tokens=read.ids[read.scored].astype(np.uint32))
        except InvalidInput:
            raise EncoderError(
                f"{self.source}: gives vectors that are no numbers; its weights are damaged, or need precision 'fp32'"
            ) from None

    def _reader(self, task: str) -> TextReader:
        with self._lock:
            if task not in self._readers:
                self._readers[task] = reader(self.model, task)
            return self._readers[task]

    def _spans(self, task: str) -> SpanReader:
        found = self._reader(task)
        with self._lock:
            if task not in self._span_readers:
                side = self.model.query if task == "query" else self.model.document
                self._span_readers[task] = SpanReader(side, found)
            return self._span_readers[task]

    def _fill(
        self,
        vectors: npt.NDArray[np.float32],
        offsets: npt.NDArray[np.int64],
        read: Texts,
        longest: int,
        batch_size: int | None,
    ) -> None:
        """Runs the network and puts the vectors that are kept in their places."""
        engine = self._running()
        lengths = np.diff(read.starts)
        padded = padded_lengths(lengths, longest)
        some = np.flatnonzero(lengths)  # a tokenizer without special tokens gives an empty text nothing

        def run(batch: npt.NDArray[np.int64]) -> None:
            ids = np.zeros((len(batch), int(padded[batch].max())), np.int64)
            row, place = np.nonzero(np.arange(ids.shape[1]) < lengths[batch, None])
            ids[row, place] = read.ids[read.starts[batch][row] + place]
            found = engine.encode(ids, lengths[batch], read.attended[batch])
            for text, each in zip(batch.tolist(), found, strict=True):
                scored = read.scored[read.starts[text] : read.starts[text + 1]]
                vectors[offsets[text] : offsets[text + 1]] = each[: len(scored)][scored]

        chosen = batches(padded[some], engine.token_budget, mixes=engine.mixes, most=batch_size)
        if len(some) <= FEW_TEXTS:
            _run_all(run_now, run, [some[batch] for batch in chosen])
            return
        with Threads(engine.workers, "lsr-encode") as workers:
            _run_all(workers.submit, run, [some[batch] for batch in chosen])

    def _running(self) -> VectorEngine:
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self.model.document, self._settings)
            return self._engine

    def __repr__(self) -> str:
        return f"MultiVectorEncoder({self.name!r}, dim {self.dim:,}, max_length {self.max_length})"


def _run_all(
    submit: Callable[[Callable[[], None]], Future[None]],
    run: Callable[[npt.NDArray[np.int64]], None],
    chosen: Sequence[npt.NDArray[np.int64]],
) -> None:
    for done in [submit(partial(run, batch)) for batch in chosen]:
        done.result()


def _engine(side: VectorSide, settings: Settings) -> VectorEngine:
    from lsr.encoders.onnx_engine import OnnxVectorEngine

    def onnx() -> VectorEngine:
        return OnnxVectorEngine(side, settings.threads)

    def torch(**options: object) -> VectorEngine:
        from lsr.encoders.torch_vectors import TorchVectorEngine

        return TorchVectorEngine(side, **options)  # type: ignore[arg-type]

    return settings.made(onnx, torch)


def _limited(side: VectorSide, name: str, limit: int | None, model: str) -> VectorSide:
    if limit is None:
        return side
    if not isinstance(limit, int) or not 3 <= limit <= side.positions:
        raise InvalidInput(f"{name} is {limit}: {model} reads 3 to {side.positions} tokens")
    return replace(side, max_length=limit)
