"""Semantic similarity of an answer and right ones, by an encoder. The name of the measure says which: two encoders give two
measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from lsr.encoders import Encoder

__all__ = ["DenseSimilarity", "Similarity", "SparseSimilarity", "answer_similarity"]

Floats = npt.NDArray[np.float64]


class Similarity(Protocol):
    """name: of the measure, with the encoder's. identity: a hash of what its values depend on."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def pairs(self, one: Sequence[str], other: Sequence[str]) -> Floats:
        """The similarity of texts in pairs, 0 ... 1: float64 [n]."""
        ...


class SparseSimilarity:
    """The cosine of two sparse vectors, both encoded as documents; the bundled encoder where none is named."""

    def __init__(self, encoder: Encoder | str | Path = "lsr-tiny") -> None:
        from lsr.encoders import load_encoder

        self._encoder = load_encoder(encoder) if isinstance(encoder, str | Path) else encoder

    @property
    def name(self) -> str:
        return f"similarity ({self._encoder.name})"

    @property
    def identity(self) -> str:
        return self._encoder.hash

    def pairs(self, one: Sequence[str], other: Sequence[str]) -> Floats:
        """An empty text is like nothing: 0."""
        texts = list(dict.fromkeys([*one, *other]))
        if not texts:
            return np.zeros(0)
        place = {text: row for row, text in enumerate(texts)}
        vectors = self._encoder.encode_documents(texts).to_scipy().astype(np.float64)
        lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        a, b = ([place[text] for text in side] for side in (one, other))
        products = np.asarray(vectors[a].multiply(vectors[b]).sum(axis=1)).ravel()
        return _cosines(products, lengths[a] * lengths[b])


class DenseSimilarity:
    """The cosine of two dense vectors of a model of sentence-transformers, a folder or hub id; what is below 0 counts as 0.

    Raises as `lsr.encoders.libraries.named` and `open_model` do, and `MissingExtra`.
    """

    def __init__(
        self, model: str | Path, *, device: str = "cpu", batch: int = 32, local_files_only: bool = False
    ) -> None:
        try:
            from lsr.encoders.libraries import fingerprint, named, open_model
        except ImportError:
            raise MissingExtra("torch", "rag", "similarity by a dense model") from None
        folder, self._called, there, dtype = named(
            model, device, None, batch, None, trust_remote_code=False, local_files_only=local_files_only
        )
        self._model: Any = open_model("SentenceTransformer", folder, there, dtype, extra="rag")
        self._batch, self._identity = batch, fingerprint(folder)

    @property
    def name(self) -> str:
        return f"similarity ({self._called})"

    @property
    def identity(self) -> str:
        return self._identity

    def pairs(self, one: Sequence[str], other: Sequence[str]) -> Floats:
        sides = [
            np.asarray(
                self._model.encode(list(side), batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True),
                np.float64,
            ).reshape(len(side), -1)
            for side in (one, other)
        ]
        lengths = np.linalg.norm(sides[0], axis=1) * np.linalg.norm(sides[1], axis=1)
        return _cosines((sides[0] * sides[1]).sum(axis=1), lengths)


def _cosines(products: Floats, lengths: Floats) -> Floats:
    return np.clip(np.divide(products, lengths, out=np.zeros(len(products)), where=lengths > 0), 0.0, 1.0)


def answer_similarity(answers: Sequence[str], right: Sequence[Sequence[str]], by: Similarity) -> Floats:
    """The similarity of each answer with the right answer that it is most like: float64 [n].

    Raises `InvalidInput` unless every answer has right ones.
    """
    if len(answers) != len(right) or not all(right):
        raise InvalidInput("similarity needs right answers for each answer: leave the others out (require_answers)")
    values = by.pairs(
        [answer for answer, several in zip(answers, right, strict=True) for _ in several],
        [one for several in right for one in several],
    )
    ends = np.cumsum([len(several) for several in right])
    return np.array([values[end - len(several) : end].max() for end, several in zip(ends, right, strict=True)])
