"""What a teacher is: it scores pairs of query and document, and a student learns to score alike.

Two kinds. A `MatrixTeacher` encodes each text once and then scores any queries against any documents at the cost of a
product: it scores whole batches, and mines candidates. A `PairTeacher` looks at a pair at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lsr.encoders.tokenizer import valid_text
from lsr.errors import InvalidInput

__all__ = ["Floats", "MatrixTeacher", "PairTeacher", "Rows", "Teacher", "checked_texts"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_AT_A_TIME = 64  # queries whose candidates share one product


class Teacher:
    """Documents and queries are named by their rows in the lists that `prepare` was given.

    name: for messages. key: what its scores depend on, as JSON can say it; complete once it is prepared.
    """

    name: str
    key: Mapping[str, Any]

    def prepare(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        """Does once what need not be done for each pair. What takes long is kept in the cache that the teacher was given."""
        raise NotImplementedError


class MatrixTeacher(Teacher):
    """A teacher whose score is a product of two vectors.

    cosine: whether scores are cosines: those of several teachers may then be added as they are.
    floor: a document with this score or less was not found, as one that shares no term with the query.
    """

    device: torch.device
    cosine = False
    floor = -float("inf")

    def matrix(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Scores float32 [B, N] on the teacher's device of queries int64 [B] and documents int64 [N]."""
        raise NotImplementedError

    def own(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Scores float32 [B, K] of each query int64 [B] with its own documents int64 [B, K]."""
        found = []
        for first in range(0, len(queries), _AT_A_TIME):
            rows, columns = (each[first : first + _AT_A_TIME] for each in (queries, documents))
            scores = self.matrix(rows, columns.reshape(-1)).view(len(rows), *columns.shape)
            found.append(scores.diagonal(dim1=0, dim2=1).T)
        return torch.cat(found) if found else torch.zeros(documents.shape, device=self.device)


class PairTeacher(Teacher):
    """A teacher that is asked for pairs."""

    def pairs(self, queries: Rows, documents: Rows) -> Floats:
        """Scores float32 [P] of pairs, int64 [P] each; NaN where the teacher does not know one."""
        raise NotImplementedError


def checked_texts(texts: Sequence[str], what: str) -> list[str]:
    """The texts as tokenizers take them. Raises `InvalidInput` where there are none."""
    if isinstance(texts, str) or not len(texts):
        raise InvalidInput(f"a teacher is prepared with a list of {what}, of one at least")
    return [valid_text(text) for text in texts]
