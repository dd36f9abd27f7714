"""Encoders by name or folder: what turns queries and documents into sparse vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from threading import Lock

from lsr.encoders import folder as layout
from lsr.encoders.document import DocumentEncoder
from lsr.encoders.idf import TokenCounts
from lsr.encoders.query import QueryEncoder
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput
from lsr.sparse import SparseVectors

__all__ = ["BUNDLED", "Encoder", "load_encoder"]

# Encoders that ship inside the package, and their folders beside this file.
BUNDLED = {"lsr-tiny": "lsr_tiny"}


class Encoder:
    """A pair of encoders over one vocabulary: queries by table, documents by model. Made by `load_encoder`.

    Loading and encoding queries need neither ONNX Runtime nor torch; the model is read when the first document is
    encoded. Safe to share between threads.
    """

    def __init__(self, folder: Path, *, max_length: int | None = None, threads: int | None = None) -> None:
        self._folder = folder
        self._description = layout.read_description(folder)
        if max_length is not None:
            if not 3 <= max_length <= self._description.positions:
                raise InvalidInput(
                    f"max_length is {max_length}: {self.name} reads 3 to {self._description.positions} tokens"
                )
            self._description = replace(self._description, max_length=max_length)
        weights = layout.read_weights(folder, self._description)
        tokenizer_json = _text(layout.read_file(folder, layout.TOKENIZER, self._description), folder / layout.TOKENIZER)
        try:
            self.query = QueryEncoder(tokenizer_json, weights)
        except EncoderError as error:
            raise EncoderError(f"{folder}: {error}") from None
        self._threads = threads
        self._document: DocumentEncoder | None = None
        self._lock = Lock()

    @property
    def name(self) -> str:
        """The name that encoder.json gives."""
        return self._description.name

    @property
    def hash(self) -> str:
        """xxh3-128 in hex over model, tokenizer and query weights: equal when and only when the files are."""
        return self._description.hash

    @property
    def dim(self) -> int:
        """Number of terms in the vocabulary."""
        return self._description.dim

    @property
    def max_length(self) -> int:
        """Number of tokens of a document that are read, [CLS] and [SEP] included."""
        return self._description.max_length

    def encode_query(self, queries: str | Sequence[str]) -> SparseVectors:
        """Vectors of one query (a batch of 1) or several, in input order."""
        return self.query.encode_batch([queries] if isinstance(queries, str) else queries)

    def encode_documents(self, texts: Sequence[str], counts: TokenCounts | None = None) -> SparseVectors:
        """Vectors of documents in input order; `counts`, when given, is added to (see `DocumentEncoder.encode`)."""
        return self._documents().encode(texts, counts)

    def save(self, folder: str | Path) -> None:
        """Writes the encoder, with its max_length, to a new folder that `load_encoder` reads.

        Raises `OutputExists` when something is there already.
        """
        contents = {name: layout.read_file(self._folder, name, self._description) for name in layout.FILES}
        layout.write_folder(Path(folder), self._description, contents)

    def _documents(self) -> DocumentEncoder:
        with self._lock:
            if self._document is None:
                try:
                    self._document = DocumentEncoder(
                        layout.read_file(self._folder, layout.MODEL, self._description),
                        self.query.tokenizer_json,
                        max_length=self.max_length,
                        top_terms=self._description.top_terms,
                        threads=self._threads,
                    )
                except EncoderError as error:
                    raise EncoderError(f"{self._folder / layout.MODEL}: {error}") from None
            return self._document

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim {self.dim:,}, max_length {self.max_length})"


def load_encoder(
    name_or_folder: str | Path = "lsr-tiny",
    max_length: int | None = None,
    device: str | None = None,
    *,
    threads: int | None = None,
) -> Encoder:
    """The bundled encoder of that name, or the one in that folder.

    `max_length` is the number of tokens of a document that are read, the encoder's own when None. `threads` is the number
    of cores for documents, all of them when None. `device` can be None or "cpu".

    Raises `EncoderNotFound` when there is no such name or folder, `EncoderError` when the folder holds something else or
    its files are damaged, `InvalidInput` when another argument is out of range.
    """
    if device not in (None, "cpu"):
        raise InvalidInput(f"device is {device!r}: documents are encoded on ONNX Runtime, so it is 'cpu' or None")
    if not str(name_or_folder):
        raise InvalidInput(f"the encoder has no name: give {_bundled()}, or a folder")
    bundled = BUNDLED.get(str(name_or_folder))
    folder = Path(name_or_folder) if bundled is None else Path(__file__).parent / bundled
    if (folder / layout.DESCRIPTION).is_file():
        return Encoder(folder, max_length=max_length, threads=threads)
    if (folder / "config.json").is_file():
        raise EncoderError(
            f"{folder}: a Hugging Face model; export it first: python -m lsr.encoders.export {folder} "
            f"-o {folder.name}-lsr --idf idf.json"
        )
    if folder.is_dir():
        raise EncoderError(f"{folder}: holds no {layout.DESCRIPTION}, so it is no encoder; bundled: {_bundled()}")
    if folder.exists():
        raise EncoderError(f"{folder}: a file; an encoder is a folder with {layout.DESCRIPTION}")
    raise EncoderNotFound(_not_found(str(name_or_folder), folder))


def _not_found(name: str, folder: Path) -> str:
    """The message that lists what could be meant: bundled names and encoders in the folder where this one would be."""
    try:
        neighbours = [f for f in sorted(folder.parent.iterdir()) if (f / layout.DESCRIPTION).is_file()]
    except OSError:
        neighbours = []
    candidates = {n: n for n in BUNDLED} | {f.name: str(f) for f in neighbours}
    close = [candidates[n] for n in get_close_matches(folder.name, candidates, n=3)]
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    remedy = "or give the path of a local folder, as python -m lsr.encoders.export writes it"
    return f"no encoder {name!r}{meant}; bundled: {_bundled()}; {remedy}"


def _bundled() -> str:
    return ", ".join(BUNDLED)


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise EncoderError(f"{path}: not a tokenizer.json (not UTF-8)") from None
