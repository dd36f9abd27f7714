"""Document encoding on ONNX Runtime: length-sorted batches, every core busy, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.idf import TokenCounts
from lsr.encoders.tokenizer import load_tokenizer, special_ids, valid_text, vocabulary
from lsr.errors import EncoderError, InvalidInput, one_line
from lsr.processors import available_cores
from lsr.sparse import SparseVectors, term_type

__all__ = ["DocumentEncoder"]

IdArray = npt.NDArray[np.int64]
Vector = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]

# Tokens of a batch, padding included. Short texts share the fixed cost of a run; more gives no speed and takes memory.
TOKEN_BUDGET = 1024
# Texts are padded to a multiple of this, whatever their company, so that a text's vector never depends on it.
LENGTH_STEP = 8
# Texts are cut after this many characters for each token that the model reads, before they are tokenised.
CHARACTERS_PER_TOKEN = 32
TEXTS_PER_TOKENIZATION = 512


class DocumentEncoder:
    """Turns texts into sparse vectors with an ONNX model of the form that lsr.encoders.graph writes. Thread-safe.

    `max_length` counts the tokens that are read, [CLS] and [SEP] included; `top_terms` are kept of each text; `threads`
    is the number of cores to use, all that the process may use when it is None.

    The vector of a text is a function of that text alone: batches hold texts of one padded length, the integer products
    are exact, and each run has one thread.

    Raises `EncoderError` when ONNX Runtime refuses the model, or it is made for another vocabulary.
    """

    def __init__(
        self, model: bytes, tokenizer_json: str, *, max_length: int, top_terms: int = 256, threads: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads is {threads}: it must be 1 or more")
        self._tokenizer = load_tokenizer(tokenizer_json)
        self.dim = len(vocabulary(self._tokenizer))
        self.max_length = max_length
        self.top_terms = min(top_terms, self.dim)
        self.threads = threads or available_cores()
        self._tokenizer.enable_truncation(max_length)
        self._is_special = np.zeros(self.dim, np.bool_)
        self._is_special[sorted(special_ids(self._tokenizer))] = True
        self._id_type = term_type(self.dim)
        self._session = _session(model, self.dim)

    def encode(self, texts: Sequence[str], counts: TokenCounts | None = None) -> SparseVectors:
        """The vectors of the texts in input order; a text without a word gives an empty one.

        `counts` is added to: documents, tokens read and document frequencies, and how many texts were longer than
        `max_length`. Memory grows with the tokens of the texts, not with the vocabulary: give a large corpus in parts of
        some thousand texts. Raises `InvalidInput` when a text is not a str.
        """
        if isinstance(texts, str):
            raise InvalidInput("encode takes a list of texts, not one text: put it in a list")
        documents, truncated = self._tokenize(texts)
        nothing: Vector = (np.zeros(0, self._id_type), np.zeros(0, np.float32))
        rows = [nothing] * len(documents)

        def encode_batch(batch: IdArray) -> None:
            for row, vector in zip(batch.tolist(), self._run([documents[i] for i in batch]), strict=True):
                rows[row] = vector

        _in_threads(encode_batch, self._batches(documents), self.threads)
        vectors = self._joined(rows)
        if counts is not None:  # at the end, so that a failure leaves them as they were
            counts.add([ids[~self._is_special[ids]] for ids in documents], truncated)
        return vectors

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[IdArray], int]:
        """Token ids of each text as the model reads them, and the number of texts that were truncated."""
        documents: list[IdArray] = []
        truncated = 0
        for start in range(0, len(texts), TEXTS_PER_TOKENIZATION):
            part = [valid_text(text) for text in texts[start : start + TEXTS_PER_TOKENIZATION]]
            heads = [_head(text, self.max_length * CHARACTERS_PER_TOKEN) for text in part]
            for text, head, encoding in zip(part, heads, self._tokenizer.encode_batch_fast(heads), strict=True):
                if len(head) < len(text) and not encoding.overflowing:
                    encoding = self._tokenizer.encode(text)  # few tokens in many characters: read all of it
                documents.append(np.array(encoding.ids, np.int64))
                truncated += bool(encoding.overflowing)
        return documents, truncated

    def _batches(self, documents: Sequence[IdArray]) -> list[IdArray]:
        """Rows of texts that have a word, those of one padded length together, longest first."""
        lengths = np.array([len(ids) for ids in documents], np.int64)
        padded = np.minimum(-(-lengths // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        padded[lengths <= self._tokenizer.num_special_tokens_to_add(False)] = 0
        batches = []
        for length in np.unique(padded[padded > 0])[::-1].tolist():
            rows = np.flatnonzero(padded == length)
            size = max(1, TOKEN_BUDGET // length)
            batches += [rows[i : i + size] for i in range(0, len(rows), size)]
        return batches

    def _run(self, documents: Sequence[IdArray]) -> list[Vector]:
        """Term ids, rising, and weights of texts of one padded length."""
        lengths = np.array([len(ids) for ids in documents], np.int64)
        width = min(-(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP, self.max_length)
        ids = np.zeros((len(documents), width), np.int64)
        for row, document in zip(ids, documents, strict=True):
            row[: len(document)] = document
        top = np.array([self.top_terms], np.int64)
        terms, weights = self._session.run(None, {"input_ids": ids, "lengths": lengths, "top_terms": top})
        # Term and weight as one integer: one sort brings both in the order of the terms, those without weight last.
        keys = np.where(weights > 0, terms << 32 | weights.view(np.uint32), np.iinfo(np.int64).max)
        keys.sort(axis=1)
        found = (weights > 0).sum(1).tolist()
        terms = (keys >> 32).astype(self._id_type)
        weights = keys.astype(np.uint32).view(np.float32)
        return [(terms[i, :n].copy(), weights[i, :n].copy()) for i, n in enumerate(found)]

    def _joined(self, rows: Sequence[Vector]) -> SparseVectors:
        indptr = np.cumsum([0, *(len(terms) for terms, _ in rows)], dtype=np.int64)
        indices = np.concatenate([np.zeros(0, self._id_type), *(terms for terms, _ in rows)])
        values = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in rows)])
        return SparseVectors(indptr=indptr, indices=indices, values=values, dim=self.dim)


def _head(text: str, characters: int) -> str:
    """The text, or its start up to a space: words stay whole, so it has the same tokens as far as it goes."""
    if len(text) <= characters:
        return text
    end = text.rfind(" ", 0, characters)
    return text if end < 0 else text[:end]


def _in_threads(work: Callable[[IdArray], None], batches: Sequence[IdArray], threads: int) -> None:
    """Calls work on each batch from several threads. The first failure, or Ctrl-C, drops what has not started."""
    if threads == 1 or len(batches) < 2:
        for batch in batches:
            work(batch)
        return
    pool = ThreadPoolExecutor(min(threads, len(batches)), thread_name_prefix="lsr-encode")
    try:
        for future in [pool.submit(work, batch) for batch in batches]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _session(model: bytes, dim: int) -> Any:
    """An ONNX Runtime session of one thread: batches run side by side, without a barrier after each operation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the log goes to stderr
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = session.get_modelmeta().custom_metadata_map.get("dim")
    except Exception as error:  # onnxruntime raises a dozen unrelated kinds
        raise EncoderError(f"ONNX Runtime cannot read the document model ({one_line(error)})") from None
    names = [value.name for value in session.get_inputs()]
    if names != ["input_ids", "lengths", "top_terms"] or found is None:
        raise EncoderError(f"the document model has inputs {names}: it was not written by lsr.encoders.export")
    if found != str(dim):
        raise EncoderError(f"the document model has {found} terms, its tokenizer {dim}: they do not belong together")
    return session
