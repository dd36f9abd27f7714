"""The query side of an index: a table of term weights kept in the index, or the network that made the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import CorruptIndex, EncoderError, EncoderMismatch, InvalidInput, one_line
from lsr.index.storage.arrays import map_array, read_file, write_array, write_bytes
from lsr.index.storage.manifest import EncoderEntry, FileEntry, Manifest
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.encoders.idf import TokenCounts
    from lsr.encoders.vocabulary import Vocabulary

__all__ = [
    "NetworkQueries",
    "QuerySide",
    "TermNames",
    "check_encoder",
    "document_encoder",
    "open_query_side",
    "term_weights",
    "write_adapted",
    "write_encoder",
]

# What loading an encoder may raise, where a manifest says strange things of it.
_NOT_LOADED = (EncoderError, TypeError, ValueError, AttributeError, OverflowError, OSError)
# In the folder encoder/; term weights that were adapted since the index was built are in encoder-GENERATION/.
TOKENIZER, WEIGHTS = "tokenizer.json", "term_weights"


class TermNames(Protocol):
    """What explaining a hit asks of an encoder or a vocabulary."""

    def token(self, term: int) -> str:
        """The text of a term."""

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """(term id, start, end) of each token of a text."""


class QuerySide(TermNames, Protocol):
    """What an index asks of its encoder: `QueryEncoder`, or `NetworkQueries`."""

    def encode_batch(self, texts: Sequence[str]) -> SparseVectors:
        """Queries as vectors, in input order."""


class NetworkQueries:
    """Queries through the network that made the documents. It is loaded when the first query comes: from a folder, or the
    cache of the hub, which an index is not to make anyone fetch from."""

    def __init__(self, path: Path, entry: EncoderEntry, vocabulary: Vocabulary, given: Encoder | None) -> None:
        self._path, self._entry, self._vocabulary, self._encoder = path, entry, vocabulary, given
        self.token, self.spans = vocabulary.token, vocabulary.spans
        self._lock = Lock()

    def encode_batch(self, texts: Sequence[str]) -> SparseVectors:
        """Queries as vectors. Raises `EncoderError` when the network is not where it was when the index was built."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._loaded()
        return self._encoder.encode_query(list(texts))

    def _loaded(self) -> Encoder:
        from lsr.encoders import load_encoder

        try:
            encoder = load_encoder(
                self._entry.source, query_top_k=self._entry.policy.get("top_k"), local_files_only=True
            )
        except InvalidInput:
            raise
        except _NOT_LOADED as error:
            raise EncoderError(
                f"{self._path}: queries go through the network of {self._entry.name}, which cannot be loaded ({error}); "
                "give its folder or hub id as encoder= to Index.open"
            ) from None
        if encoder.hash != self._entry.hash:
            raise EncoderMismatch(
                f"{self._path}: what is at {self._entry.source} now is not the encoder {self._entry.name} that made it,"
                " or had another query= or prune_ratio= then; give that encoder as encoder= to Index.open"
            )
        return encoder


def write_encoder(
    work: Path, encoder: Encoder, reading: dict[str, Any] | None, counts: TokenCounts | None
) -> EncoderEntry:
    """Writes tokenizer and term weights, so that searching needs the index alone; `counts` adapt the weights.

    `reading` is what was read of the documents, None for vectors that were made elsewhere.
    """
    vocabulary = encoder.vocabulary
    files: tuple[FileEntry, ...] = (write_bytes(work, f"encoder/{TOKENIZER}", vocabulary.tokenizer_json.encode()),)
    policy: dict[str, Any] = {"top_k": encoder.query_top_k}
    origin = "by its network"
    if encoder.inference_free:
        policy = encoder.query.policy
        origin = "of the encoder" if counts is None else "of the encoder, adapted to the documents"
        files += (write_array(work, f"encoder/{WEIGHTS}", _weights(encoder, counts)),)
    return EncoderEntry(
        name=encoder.name,
        source=encoder.source,
        hash=encoder.hash,
        vocabulary_hash=vocabulary.hash,
        reading=reading,
        term_weights=origin,
        policy=policy,
        files=files,
    )


def write_adapted(work: Path, folder: str, entry: EncoderEntry, encoder: Encoder, counts: TokenCounts) -> EncoderEntry:
    """The query side with term weights adapted to other documents, which are written to a folder of their own."""
    kept = tuple(file for file in entry.files if _plain(file) != WEIGHTS)
    return replace(entry, files=(*kept, write_array(work, f"{folder}/{WEIGHTS}", _weights(encoder, counts))))


def _weights(encoder: Encoder, counts: TokenCounts | None) -> npt.NDArray[np.float32]:
    from lsr.encoders.idf import blend

    table = encoder.query.weights
    if counts is None:
        return np.asarray(table, np.float32)
    weights = blend(counts, table)
    kept = sorted(encoder.vocabulary.special)  # no document is counted to hold them
    weights[kept] = table[kept]
    return weights


def _plain(file: FileEntry) -> str:
    return file.name.rpartition("/")[2]


def term_weights(path: Path, entry: EncoderEntry | None, dim: int) -> npt.NDArray[np.float32] | None:
    """The table of term weights [dim] that an index keeps, None where it has none."""
    files = {_plain(file): file for file in entry.files} if entry is not None else {}
    return _table(path, files[WEIGHTS], dim) if WEIGHTS in files else None


def _table(path: Path, file: FileEntry, dim: int) -> npt.NDArray[np.float32]:
    read_file(path, file)  # for the checksum: small, and every score rests on it
    table = map_array(path, file)
    if table.dtype != np.float32 or table.shape != (dim,) or not np.isfinite(table).all():
        raise CorruptIndex(f"{path}: term weights of shape {table.shape} for {dim:,} terms; build it again")
    return table


def check_encoder(path: Path, made_with: EncoderEntry | None, encoder: Encoder, dim: int | None = None) -> None:
    """Raises `EncoderMismatch` when the encoder is not the one that made the index, or has another dim than its vectors."""
    if made_with is None:
        if encoder.dim != dim:
            raise EncoderMismatch(
                f"{path}: its vectors have {dim:,} dimensions, the encoder {encoder.name} {encoder.dim:,};"
                " open it with the encoder that made the vectors"
            )
    elif made_with.hash != encoder.hash:
        raise EncoderMismatch(
            f"{path}: made with the encoder {made_with.name} ({made_with.hash[:12]}), not {encoder.name}"
            f" ({encoder.hash[:12]}); open it without naming an encoder, or build the index again with {encoder.name}"
        )


def document_encoder(
    path: Path, entry: EncoderEntry, given: Encoder | None, device: str | Sequence[str] | None = None
) -> Encoder:
    """The encoder that made the documents of an index, set to read others as it read them.

    Raises `EncoderMismatch` when what is there now, or the one that was given, is another or reads otherwise; `EncoderError`
    when there is none.
    """
    from lsr.encoders import load_encoder

    assert entry.reading is not None
    reading = {name: value for name, value in entry.reading.items() if name in ("max_length", "precision", "stride")}
    passages = entry.reading.get("long") == "passages"
    if passages:
        reading.pop("stride", None)  # of the passages, not of windows in them
    else:
        reading["long"] = entry.reading.get("long", "truncate")
    if given is None:
        try:
            given = load_encoder(
                entry.source,
                device=device,
                query_top_k=entry.policy.get("top_k"),
                local_files_only=True,  # whoever made the index named it, not whoever adds to it
                **reading,
            )
        except InvalidInput:
            raise
        except _NOT_LOADED as error:
            raise EncoderError(
                f"{path}: its documents were encoded by {entry.name}, which cannot be loaded ({error}); give its folder or"
                " hub id as encoder= to Index.open"
            ) from None
    check_encoder(path, entry, given)
    differing = [name for name, value in reading.items() if given.reading.get(name) != value]
    if differing:
        was, now = entry.reading[differing[0]], given.reading.get(differing[0])
        raise EncoderMismatch(
            f"{path}: its documents were read with {differing[0]} {was}, the encoder given has {now}; give it without"
            " settings, or as they were"
        )
    return given


def open_query_side(path: Path, manifest: Manifest, given: Encoder | None) -> QuerySide | None:
    """The query side; None for an index made from bare vectors and opened without an encoder."""
    from lsr.encoders.query import QueryEncoder
    from lsr.encoders.vocabulary import Vocabulary

    entry = manifest.encoder
    if entry is None:
        if given is None:
            return None
        if given.inference_free:
            return given.query
        return NetworkQueries(path, _no_entry(given), given.vocabulary, given)
    files = {_plain(file): file for file in entry.files}
    try:
        tokenizer_json = read_file(path, files[TOKENIZER]).decode()
        if WEIGHTS not in files:
            return NetworkQueries(path, entry, Vocabulary(tokenizer_json, manifest.dim), given)
        weights = files[WEIGHTS]
    except KeyError as name:
        raise CorruptIndex(f"{path}: {name} is not in its manifest; build the index again") from None
    except (EncoderError, ValueError) as error:
        raise _unusable(path, error) from None
    table = _table(path, weights, manifest.dim)
    try:
        return QueryEncoder(tokenizer_json, table, dim=manifest.dim, **_policy(entry.policy))
    except (EncoderError, ValueError) as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> CorruptIndex:
    return CorruptIndex(f"{path}: its tokenizer cannot be used ({one_line(error)[:300]}); build the index again")


def _policy(found: dict[str, Any]) -> dict[str, Any]:
    known = ("special", "unknown", "repeated", "max_length", "top_k", "prompt")
    return {name: found[name] for name in known if name in found}


def _no_entry(given: Encoder) -> EncoderEntry:
    return EncoderEntry(
        name=given.name,
        source=given.source,
        hash=given.hash,
        vocabulary_hash=given.vocabulary.hash,
        reading=None,
        term_weights="by its network",
        policy={"top_k": given.query_top_k},
        files=(),
    )
