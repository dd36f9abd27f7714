"""A multi-vector model as a teacher: MaxSim over the vectors of tokens (Khattab and Zaharia 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lsr.encoders.libraries import fingerprint, named, open_model
from lsr.errors import InvalidInput
from lsr.training.cache import Cache, texts_hash
from lsr.training.teachers.teacher import Floats, PairTeacher, Rows, checked_texts

__all__ = ["MultiVectorTeacher"]

TEXTS = 4096  # encoded at a time
NUMBERS = 1 << 26  # of vectors of documents, gathered at a time


class _Tokens(NamedTuple):
    """The vectors of the tokens of all texts one after another [T, H], and where each text begins, int64 [N + 1]."""

    vectors: torch.Tensor
    starts: torch.Tensor

    def of(self, rows: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors float32 [P, width, H] of texts int64 [P], and which of them are there, bool [P, width]."""
        places = self.starts[rows, None] + torch.arange(width, device=rows.device)
        real = places < self.starts[rows + 1, None]
        return self.vectors[places.clamp(max=len(self.vectors) - 1)].float(), real


class MultiVectorTeacher(PairTeacher):
    """Scores are the sums over the query's tokens of their largest product with a token of the document.

    model: a folder, or a hub id, of a ColBERT in the layout of sentence-transformers, of PyLate, or of Stanford's own
      (`linear.weight` beside the backbone). sentence-transformers opens it, with the markers, lengths and masks that the
      model names.
    max_length: tokens that are read of a document; the model's own limit when None. precision: as `DenseTeacher`.

    The vectors of all documents stay on the device, as float16 unless precision is fp32: with 128 numbers each, 256 bytes a
    token.

    Raises `EncoderNotFound`, `EncoderError` for a model of another kind, `InvalidInput`, `MissingExtra`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | torch.device,
        precision: str | None = None,
        batch: int = 128,
        max_length: int | None = None,
        trust_remote_code: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self._folder, self.name, self._device, self._dtype = named(
            model, device, precision, batch, max_length, trust_remote_code=trust_remote_code
        )
        self._batch, self._max_length = batch, max_length
        self._trust, self._cache = trust_remote_code, cache or Cache(None)
        self._sides: tuple[_Tokens, _Tokens] | None = None
        self._mean = False

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        facts = {
            "what": "multi-vector embeddings",
            "model": fingerprint(self._folder),
            "name": self.name,
            "max_length": self._max_length,
            "precision": str(self._dtype),
        }
        opened = once(self._opened)
        kept, keys = [], {}
        for side, texts in (("query", queries), ("document", documents)):
            checked = checked_texts(texts, f"{side} texts")
            keys[side] = {**facts, "side": side, "texts": texts_hash(checked)}
            made = once(lambda s=side, c=checked: self._encode(opened(), s, c))
            arrays = [
                self._cache.array({**keys[side], "part": part}, lambda at=at, m=made: m()[at])  # type: ignore[misc]
                for at, part in enumerate(("vectors", "starts", "mean"))
            ]
            # Copies: the cache is read-only.
            vectors, starts = (torch.from_numpy(np.array(array)).to(self._device) for array in arrays[:2])
            kept.append(_Tokens(vectors, starts))
            self._mean = bool(arrays[2][0])
        self._sides = kept[0], kept[1]
        self.key = {"what": "multi-vector scores", **keys}

    def pairs(self, queries: Rows, documents: Rows) -> Floats:
        if self._sides is None:
            raise InvalidInput(f"the teacher {self.name} has no vectors yet: prepare comes first")
        asked, found = self._sides
        rows = torch.from_numpy(np.stack([queries, documents]).astype(np.int64)).to(self._device)
        scores = torch.zeros(len(queries), device=self._device)
        lengths = torch.stack(
            [side.starts[row + 1] - side.starts[row] for side, row in zip(self._sides, rows, strict=True)]
        )
        # Pairs by the length of the document, so that little is padding.
        order = lengths[1].argsort()
        widest = lengths.cpu().amax(dim=1).clamp(min=1).tolist() if len(queries) else [1, 1]
        size = max(NUMBERS // (sum(widest) * found.vectors.shape[1]), 1)
        for first in range(0, len(order), size):
            part = order[first : first + size]
            widths = lengths[:, part].amax(dim=1).clamp(min=1).tolist()
            left, real = asked.of(rows[0, part], widths[0])
            right, there = found.of(rows[1, part], widths[1])
            products = (left @ right.transpose(1, 2)).masked_fill(~there[:, None, :], -torch.inf)
            best = products.amax(dim=2).masked_fill(~real, 0)
            scores[part] = best.sum(dim=1) / (real.sum(dim=1).clamp(min=1) if self._mean else 1)
        scores[~scores.isfinite()] = torch.nan  # a document without a token left: nothing is known of it
        return np.asarray(scores.cpu().numpy())

    def _opened(self) -> Any:
        model = open_model("MultiVectorEncoder", self._folder, self._device, self._dtype, trust_remote_code=self._trust)
        if self._max_length is not None:
            model[0].document_length = self._max_length
        return model

    def _encode(self, model: Any, side: str, texts: list[str]) -> list[npt.NDArray[Any]]:
        encode = model.encode_query if side == "query" else model.encode_document
        options = {"batch_size": self._batch, "show_progress_bar": False, "convert_to_numpy": True}
        parts, lengths = [], [0]
        for first in range(0, len(texts), TEXTS):
            found = encode(texts[first : first + TEXTS], **options)
            lengths += map(len, found)
            joined = np.concatenate(found).astype(np.float32)
            if not np.isfinite(joined).all():
                raise InvalidInput(f"{self.name}: gives vectors that are no numbers; try precision 'fp32'")
            parts.append(joined if self._dtype == torch.float32 else joined.astype(np.float16))
        mean = model.similarity_fn_name == "meanmaxsim"
        return [np.concatenate(parts), np.cumsum(lengths, dtype=np.int64), np.array([mean], np.int8)]
