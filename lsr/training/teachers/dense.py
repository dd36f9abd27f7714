"""A dense teacher: one vector a text, by any model of sentence-transformers."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lsr.encoders.libraries import fingerprint, named, open_model
from lsr.errors import InvalidInput
from lsr.training.cache import Cache, texts_hash
from lsr.training.data.tokens import TokenStore
from lsr.training.teachers.teacher import MatrixTeacher, Rows, checked_texts

__all__ = ["DenseTeacher"]

BATCHES = 16  # that a thread takes at a time
# On a GPU two copies of the model work, one tokenises while the other computes.
COPIES = 2
# A batch of short texts has too few tokens to fill a GPU: it holds more of them, up to so many times.
TOKENS, MORE = 256, 8
CHARACTERS = 4  # a token, roughly
# Tokens, with padding, that go through the network at a time.
TOKENS_ON_GPU, TOKENS_ON_CPU = 1 << 17, 1 << 13
UNIT = 0.01  # how far the length of a vector may be from 1, rounded to 16 bits

logger = logging.getLogger(__name__)


class DenseTeacher(MatrixTeacher):
    """Scores are products of the vectors of query and document, cosines where the model says so.

    model: a folder, or a hub id (owner/name, owner/name@revision), of a sentence-transformers model. Its prompts for queries
      and documents are used.
    precision: "fp32", "bf16" or "fp16"; None is fp32 on the CPU and bf16 on a GPU. Vectors stay on the device, as float32
      when that is the precision, else as float16.
    batch: texts a batch; several times as many where they are short.
    max_length: tokens that are read of a text; the model's own limit when None.
    similarity: "cosine" or "dot", in place of what the model says.

    Raises `EncoderNotFound`, `EncoderError` for a model of another kind, `InvalidInput` for the other arguments, when made;
    `MissingExtra` and `EncoderError` when prepared.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device,
        precision: str | None = None,
        batch: int = 256,
        max_length: int | None = None,
        similarity: str | None = None,
        trust_remote_code: bool = False,
        cache: Cache | None = None,
    ) -> None:
        if similarity not in (None, "cosine", "dot"):
            raise InvalidInput(f"similarity is {similarity!r}: it must be 'cosine' or 'dot', or None")
        self._folder, self.name, self.device, self._dtype = named(
            model, device, precision, batch, max_length, trust_remote_code=trust_remote_code
        )
        self._batch, self._max_length, self._similarity = batch, max_length, similarity
        self._trust, self._cache = trust_remote_code, cache or Cache(None)
        self._queries = self._documents = torch.zeros(0, 0)

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        # The prompts are in the files of the model, and so in its fingerprint.
        facts = {
            "what": "dense embeddings",
            "model": fingerprint(self._folder),
            "name": self.name,
            "max_length": self._max_length,
            "similarity": self._similarity,
            "precision": str(self._dtype),
        }
        models: list[Any] = []  # opened when something has to be encoded, and gone at the end
        kept, keys = [], {}
        for side, texts in (("query", queries), ("document", documents)):
            checked = checked_texts(texts, f"{side} texts")
            keys[side] = {**facts, "side": side, "texts": texts_hash(checked)}
            array = self._cache.array(keys[side], partial(self._encode, side, checked, models))
            kept.append(torch.from_numpy(np.array(array)).to(self.device))  # a copy: the cache is read-only
        self._queries, self._documents = kept
        self.key = {"what": "dense scores", **keys}
        self.cosine = all(bool(((side.float().norm(dim=1) - 1).abs() < UNIT).all()) for side in kept)

    def matrix(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        asked, found = self._vectors(queries, documents)
        return asked @ found.T

    def own(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        asked, found = self._vectors(queries, documents)
        return torch.einsum("bh,bkh->bk", asked, found)

    def _vectors(self, queries: torch.Tensor, documents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not len(self._documents):
            raise InvalidInput(f"the teacher {self.name} has no vectors yet: prepare comes first")
        return (
            self._queries[queries.to(self.device)].float(),
            self._documents[documents.to(self.device)].float(),
        )

    # -- encoding ------------------------------------------------------------------------------------------------------

    def _encode(self, side: str, texts: list[str], models: list[Any]) -> npt.NDArray[Any]:
        """The vectors of texts [N, H], float32 or float16."""
        started = time.monotonic()
        if not models:
            models += [self._opened() for _ in range(1 if self.device.type == "cpu" else COPIES)]
        plain = _plain_tokenizer(models[0])
        if plain is not None:
            vectors = self._encode_tokens(models[0], TokenStore.of(texts, *plain))
        else:
            vectors = self._encode_texts(models, side, texts)
        logger.info("%s: encoded %d %s texts in %.1f s", self.name, len(texts), side, time.monotonic() - started)
        return vectors

    def _encode_tokens(self, model: Any, store: TokenStore) -> npt.NDArray[Any]:
        """By the network alone. sentence-transformers tokenises 3,000 texts a second, whatever the number of cores; a GPU
        encodes ten times as many."""
        tokens = store.to(self.device)
        budget = TOKENS_ON_CPU if self.device.type == "cpu" else TOKENS_ON_GPU
        order, parts, first = np.argsort(-store.lengths, kind="stable"), [], 0
        while first < len(order):
            rows = order[first : first + max(1, budget // max(1, int(store.lengths[order[first]])))]
            ids, lengths = tokens.batch(rows)
            mask = (torch.arange(ids.shape[1], device=self.device) < lengths[:, None]).long()
            try:
                with torch.inference_mode():
                    found = model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]
            except torch.cuda.OutOfMemoryError:
                if len(rows) == 1:
                    raise self._too_large() from None
                budget //= 2
                continue
            parts.append(self._finished(model, found))
            first += len(rows)
        vectors = np.empty((len(order), parts[0].shape[1]), np.result_type(*(part.numpy().dtype for part in parts)))
        vectors[order] = torch.cat(parts).numpy()
        return vectors

    def _encode_texts(self, models: list[Any], side: str, texts: list[str]) -> npt.NDArray[Any]:
        """By sentence-transformers, with all that it does to texts."""
        free: SimpleQueue[Any] = SimpleQueue()
        for model in models:
            free.put(model)
        # Longest first: a batch that does not fit in memory is the first one.
        order = np.argsort([-len(text) for text in texts], kind="stable")
        chunks = [order[first : first + BATCHES * self._batch] for first in range(0, len(order), BATCHES * self._batch)]

        def run(chunk: Rows) -> npt.NDArray[Any]:
            model = free.get()
            try:
                return self._encode_chunk(model, side, [texts[row] for row in chunk.tolist()])
            finally:
                free.put(model)

        with ThreadPoolExecutor(len(models)) as threads:
            parts = list(threads.map(run, chunks))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.result_type(*parts))
        for chunk, part in zip(chunks, parts, strict=True):
            vectors[chunk] = part
        return vectors

    def _opened(self) -> Any:
        model = open_model("SentenceTransformer", self._folder, self.device, self._dtype, trust_remote_code=self._trust)
        if self._max_length is not None:
            config = getattr(getattr(model[0], "auto_model", None), "config", None)
            limit = getattr(config, "max_position_embeddings", None)
            if isinstance(limit, int) and self._max_length > limit:
                raise InvalidInput(f"max_length is {self._max_length}: {self.name} reads {limit} tokens at most")
            model.max_seq_length = self._max_length
        return model

    def _encode_chunk(self, model: Any, side: str, texts: list[str]) -> npt.NDArray[Any]:
        tokens = max(len(texts[0]) // CHARACTERS, 1)
        size = self._batch * min(max(TOKENS // tokens, 1), MORE)
        encode = getattr(model, f"encode_{side}", model.encode)
        options: Mapping[str, Any] = {"convert_to_tensor": True, "show_progress_bar": False}
        while True:
            try:
                vectors: torch.Tensor = encode(texts, batch_size=size, **options).float()
                break
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise self._too_large() from None
                size //= 2
        return np.asarray(self._finished(model, vectors).numpy())

    def _too_large(self) -> InvalidInput:
        return InvalidInput(
            f"{self.name}: one text does not fit in the memory of {self.device}; give a smaller max_length"
        )

    def _finished(self, model: Any, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors as they are kept, on the host: of length 1 where the model compares by cosine, in 16 bits if they fit."""
        vectors = vectors.float()
        if (self._similarity or model.similarity_fn_name) == "cosine":
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        if not bool(vectors.isfinite().all()):
            raise InvalidInput(f"{self.name}: gives vectors that are no numbers; try precision 'fp32'")
        if self._dtype != torch.float32 and bool((vectors.abs() < 6e4).all()):  # else out of a float16's range
            vectors = vectors.half()
        return vectors.cpu()


def _plain_tokenizer(model: Any) -> tuple[str, int] | None:
    """The tokenizer.json and the limit of a model of text that has no prompts and changes no text; None for any other."""
    first = model[0]
    tokenizer = getattr(getattr(first, "tokenizer", None), "backend_tokenizer", None)
    limit, prompts = getattr(first, "max_seq_length", None), getattr(model, "prompts", None) or {}
    if type(first).__name__ != "Transformer" or tokenizer is None or type(limit) is not int or any(prompts.values()):
        return None
    if getattr(first, "do_lower_case", False) or getattr(model, "default_prompt_name", None):
        return None
    return str(tokenizer.to_str()), limit
