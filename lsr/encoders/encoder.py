"""An encoder: a learned sparse model ready to turn queries and documents into sparse vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from lsr.encoders.document import DocumentEncoder
from lsr.encoders.idf import TokenCounts
from lsr.encoders.model import AutoencoderHead, Engine, Model, NetworkSide, OnnxSide, TableSide
from lsr.encoders.query import QueryEncoder
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError, InvalidInput, MissingExtra
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders.inspection import TermOrigin

__all__ = ["Encoder", "Settings"]

E = TypeVar("E")
ENGINES = ("onnx", "torch")
PRECISIONS = {"onnx": ("fp32", "int8"), "torch": ("fp32", "bf16", "fp16")}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an encoder runs; see `load_encoder`."""

    max_length: int | None = None
    device: str | Sequence[str] | None = None
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    long: str = "truncate"
    stride: int | None = None
    query_top_k: int | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.engine not in (None, *ENGINES):
            raise InvalidInput(f"engine is {self.engine!r}: it must be one of {', '.join(ENGINES)}, or None")
        if self.engine == "onnx" and not self.on_cpu:
            raise InvalidInput(f"device is {self.device!r}: the onnx engine runs on the CPU; use engine='torch'")
        known = {name for engine, names in PRECISIONS.items() if self.engine in (None, engine) for name in names}
        if self.precision is not None and self.precision not in known:
            raise InvalidInput(
                f"precision is {self.precision!r}: it must be one of {', '.join(sorted(known))}, or None"
            )
        if self.query_top_k is not None and self.query_top_k < 1:
            raise InvalidInput(f"query_top_k is {self.query_top_k}: it must be 1 or more")

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU is the only device."""
        return self.device is None or set([self.device] if isinstance(self.device, str) else self.device) == {"cpu"}

    def made(self, onnx: Callable[[], E], torch: Callable[..., E]) -> E:
        """The engine that these settings ask for: by `onnx` wherever that knows the network, unless another is named.

        Raises `MissingExtra` where only torch would know it and is not there.
        """
        from lsr.encoders.network import UnsupportedNetwork

        # A list of devices is for torch.
        fits = self.device in (None, "cpu") and self.precision not in ("bf16", "fp16")
        if self.engine == "onnx" or (self.engine is None and fits):
            try:
                return onnx()
            except UnsupportedNetwork as error:
                if self.engine == "onnx" or self.precision == "int8":
                    raise
                if find_spec("torch") is None:
                    raise MissingExtra("torch", "torch", f"{error}: encoding with it") from None
        names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", None: None}
        return torch(
            device=self.device,
            dtype=names[self.precision],
            threads=self.threads,
            trust_remote_code=self.trust_remote_code,
        )


class Encoder:
    """Queries and documents to vectors over one vocabulary. Made by `load_encoder`. Safe to share between threads.

    Loading and encoding queries with a table (`inference_free`) need neither ONNX Runtime nor torch; a network is read when
    the first text goes through it.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self._settings = settings
        document, limit = model.document, settings.max_length
        if isinstance(document, TableSide):
            raise EncoderError(f"{model.source}: its documents have no network; use its table with QueryEncoder")
        if limit is not None and not 3 <= limit <= document.positions:
            raise InvalidInput(f"max_length is {limit}: {model.name} reads 3 to {document.positions} tokens")
        self.document_side = document if limit is None else replace(document, max_length=limit)
        self.vocabulary = _vocabulary(model)
        self._table: QueryEncoder | None = None
        if isinstance(model.query, TableSide):
            self._table = _query_encoder(model.query, model.source, settings.query_top_k)
        self._engines: dict[tuple[object, ...], Engine] = {}
        self._encoders: dict[str, DocumentEncoder] = {}
        self._hash: str | None = None
        self._lock = Lock()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the model is called: by its description, or its folder or hub id."""
        return self.model.name

    @property
    def source(self) -> str:
        """Where it came from: the name of a bundled encoder, a folder, or hub id@revision."""
        return self.model.source

    @property
    def hash(self) -> str:
        """xxh3-128 in hex over weights, tokenizer and settings of the model; what is in `reading` does not count."""
        with self._lock:
            if self._hash is None:
                self._hash = self.model.fingerprint()
            return self._hash

    @property
    def dim(self) -> int:
        """Number of terms in the vocabulary."""
        return self.document_side.dim

    @property
    def max_length(self) -> int:
        """Number of tokens of a document that are read at a time, special tokens included."""
        return self.document_side.max_length

    @property
    def reading(self) -> dict[str, Any]:
        """What vectors of documents depend on besides the model: max_length, long, stride (unless by default), precision."""
        settings = self._settings
        found: dict[str, Any] = {"max_length": self.max_length, "long": settings.long}
        if settings.stride is not None:
            found["stride"] = settings.stride
        if not isinstance(self.document_side, OnnxSide):  # an export has the precision that it was given
            found["precision"] = settings.precision or ("fp32" if settings.on_cpu else "bf16")
        return found

    @property
    def is_export(self) -> bool:
        """Whether it was exported to ONNX, and has no weights for other libraries."""
        return isinstance(self.document_side, OnnxSide)

    @property
    def inference_free(self) -> bool:
        """Whether queries need no network."""
        return self._table is not None

    @property
    def adapts(self) -> bool:
        """Whether its table is made to be adapted to the documents of an index (see lsr.encoders.idf)."""
        return isinstance(self.model.query, TableSide) and self.model.query.adapts

    @property
    def query_top_k(self) -> int | None:
        """How many terms of a query are kept; None for all."""
        return self._settings.query_top_k

    @property
    def query(self) -> QueryEncoder:
        """The table that encodes queries. Raises `EncoderError` when queries go through a network."""
        if self._table is None:
            raise EncoderError(f"{self.name}: its queries go through a network, not a table; use encode_query")
        return self._table

    def token(self, term: int) -> str:
        """The text of a term of the vocabulary."""
        return self.vocabulary.token(term)

    # -- encoding ------------------------------------------------------------------------------------------------------

    def encode_query(self, queries: str | Sequence[str]) -> SparseVectors:
        """Vectors of one query (a batch of 1) or several, in input order; with `query_top_k` their heaviest terms only."""
        from lsr.encoders.rows import heaviest

        texts = [queries] if isinstance(queries, str) else queries
        if self._table is not None:
            return self._table.encode_batch(texts)
        vectors = self._network("query").encode(texts)
        return vectors if self.query_top_k is None else heaviest(vectors, self.query_top_k)

    def encode_documents(self, texts: Sequence[str], counts: TokenCounts | None = None) -> SparseVectors:
        """Vectors of documents in input order; `counts`, when given, is added to (see `DocumentEncoder.encode`)."""
        return self._network("document").encode(texts, counts)

    def encode_parts(
        self, parts: Iterable[Sequence[str]], counts: TokenCounts | None = None
    ) -> Iterator[SparseVectors]:
        """The vectors of each part of a stream of documents; the next part is tokenised while one is computed."""
        return self._network("document").encode_parts(parts, counts)

    def count(self, texts: Sequence[str], counts: TokenCounts) -> None:
        """Adds the tokens of documents to `counts`, as encoding them does."""
        self._network("document").count(texts, counts)

    @property
    def engine(self) -> Engine:
        """What runs the network of documents; its `token_budget`, the tokens of a batch, may be set."""
        with self._lock:
            return self._engine(self.document_side)

    # -- looking inside ------------------------------------------------------------------------------------------------

    def explain(self, text: str, top_k: int | None = None) -> list[TermOrigin]:
        """The terms of a document, heaviest first, each with the piece of the text that gave it its weight.

        Only what fits in `max_length` is read. Raises `InvalidInput` where terms come from all positions together (sum
        pooling).
        """
        from lsr.encoders.inspection import explain

        side = self.document_side
        return explain(self.engine, side.tokenizer_json, self.vocabulary, text, self.max_length, side.prompt, top_k)

    def decode(self, vectors: SparseVectors, top_k: int | None = None) -> list[list[tuple[str, float]]]:
        """The terms of each vector as text with their weights, heaviest first; the `top_k` first when given."""
        from lsr.encoders.inspection import decode

        if vectors.dim != self.dim:
            raise InvalidInput(f"the vectors have {vectors.dim:,} dimensions, the encoder {self.name} {self.dim:,}")
        return decode(vectors, self.vocabulary, top_k)

    # -- leaving -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, layout: str | None = None, precision: str | None = None) -> None:
        """Writes the model, with its max_length, to a new folder that `load_encoder` reads: it gives the same vectors.

        layout: "sentence-transformers", which versions 5 and 6 open too; "lsr" for what has no module there (token weights,
        softplus, EPIC's heads ...); None takes the first where it can. Top terms, dropped terms and the pruning ratio stand
        in an lsr.json that sentence-transformers passes over: there, documents have more terms. One that was exported to
        ONNX has no weights: it is written as it is, for lsr alone.
        precision: of the weights, "fp32" or "fp16"; as they are when None.

        Raises `OutputExists` when something is there already, `EncoderError` when the layout cannot hold what the model does.
        """
        from lsr.encoders.layouts import write_model

        write_model(replace(self.model, document=self.document_side), Path(folder), layout, precision)

    def push_to_hub(
        self, repo_id: str, *, private: bool = False, token: str | None = None, message: str = "Add model"
    ) -> str:
        """Saves to the Hugging Face hub, making the repository if there is none. Returns the address of the commit."""
        from lsr.encoders.hub import upload

        return upload(self.save, repo_id, private=private, token=token, message=message)

    # -- the networks --------------------------------------------------------------------------------------------------

    def _network(self, which: str) -> DocumentEncoder:
        with self._lock:
            if which not in self._encoders:
                side = self.document_side if which == "document" else self.model.query
                assert not isinstance(side, TableSide)
                windows = which == "document"  # queries are short: they are cut, never read in windows
                self._encoders[which] = DocumentEncoder(
                    self._engine(side),
                    side.tokenizer_json,
                    max_length=side.max_length,
                    prompt=side.prompt,
                    long=self._settings.long if windows else "truncate",
                    stride=self._settings.stride if windows else None,
                    table=side.table if isinstance(side, NetworkSide) else None,
                    top_terms=side.top_terms if isinstance(side, NetworkSide) else side.chosen.top_terms,
                )
            return self._encoders[which]

    def _engine(self, side: NetworkSide | OnnxSide) -> Engine:
        """The engine of a side; one for both when they are the same network."""
        if isinstance(side, OnnxSide):
            key: tuple[object, ...] = (side.where, side.chosen)
        else:
            key = (side.folder, id(side.head), side.dropped, side.top_terms)
        if key not in self._engines:
            self._engines[key] = self._made(side)
        return self._engines[key]

    def _made(self, side: NetworkSide | OnnxSide) -> Engine:
        from lsr.encoders.onnx_engine import OnnxEngine, onnx_bytes
        from lsr.encoders.rows import selection

        settings = self._settings
        if isinstance(side, OnnxSide):
            if settings.engine == "torch" or settings.precision is not None or not settings.on_cpu:
                raise InvalidInput(f"{self.name}: exported to ONNX, it runs on the CPU in the precision it was given")
            try:
                return OnnxEngine(side.model(), side.chosen, settings.threads)
            except EncoderError as error:
                raise EncoderError(f"{side.where}: {error}") from None
        precision = self._precision()

        def onnx() -> Engine:
            return OnnxEngine(onnx_bytes(side, precision), selection(side), settings.threads)

        def torch(**options: Any) -> Engine:
            from lsr.encoders.torch_engine import TorchEngine

            return TorchEngine(side, **options)

        return settings.made(onnx, torch)

    def _precision(self) -> str:
        return self._settings.precision or "fp32"

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim {self.dim:,}, max_length {self.max_length})"


def _vocabulary(model: Model) -> Vocabulary:
    """The names of the terms; the latents of an autoencoder have none, and get numbers."""
    side = model.document
    latents = (isinstance(side, NetworkSide) and isinstance(side.head, AutoencoderHead)) or (
        isinstance(side, OnnxSide) and side.chosen.kind == "latents"
    )
    try:
        return Vocabulary(side.tokenizer_json, side.dim, named=not latents)
    except EncoderError as error:
        raise EncoderError(f"{model.source}: {error}") from None


def _query_encoder(side: TableSide, source: str, top_k: int | None) -> QueryEncoder:
    try:
        return QueryEncoder(
            side.tokenizer_json,
            side.weights,
            special=side.special,
            unknown=side.unknown,
            repeated=side.repeated,
            max_length=side.max_length,
            top_k=top_k,
            prompt=side.prompt,
            dim=side.dim,
        )
    except EncoderError as error:
        raise EncoderError(f"{source}: {error}") from None
