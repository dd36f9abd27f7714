"""TokenFile: token vectors that another program stored, opened; and reading the files that it is made of."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.corpus.streams import reason, shown
from lsr.errors import CorpusError, InvalidVectors
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.token_vectors import TokenVectors
from lsr.torch_tensors import import_torch

__all__ = ["TokenFile", "check_regular", "checked_lengths", "read_json", "read_npy", "read_pt"]

TOKENS, NUMBERS = 1 << 16, 1 << 24  # decoded at a time, whichever is less
MOST = 1 << 31  # tokens of a document
# What a file of a few bytes may claim is bounded: numbers of a vector, and those of a document, which is decoded as a whole.
DIM, OF_DOCUMENT = 1 << 16, 1 << 28

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class TokenFile:
    """What is known of a store before its vectors are read.

    layout: what wrote it; lengths: tokens of each document, int64 [documents]; ids: those of the documents where the store
    has them, None for one that was deleted there; read: the vectors of tokens `first` to `last`, counted over all documents,
    float32 [last - first, dim].

    Raises `CorpusError` for vectors or documents of a size that no model gives.
    """

    name: str
    layout: str
    dim: int
    lengths: npt.NDArray[np.int64]
    read: Callable[[int, int], Floats]
    ids: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        longest = int(self.lengths.max(initial=0))
        if not 1 <= self.dim <= DIM or longest * self.dim > OF_DOCUMENT:
            raise CorpusError(
                f"{self.name}: vectors of {self.dim:,} numbers, up to {longest:,} of a document: that is no store of token"
                " vectors, copy it again"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self) -> Iterator[tuple[range, Callable[[], TokenVectors]]]:
        """Documents in order, by their places, and what reads their vectors: some ten thousand tokens at a time."""
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
        first, most = 0, max(1, min(TOKENS, NUMBERS // self.dim))
        while first < len(self):
            last = int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            yield range(first, last), partial(self._batch, first, offsets[first : last + 1])
            first = last

    def _batch(self, first: int, offsets: npt.NDArray[np.int64]) -> TokenVectors:
        vectors = self.read(int(offsets[0]), int(offsets[-1]))
        try:
            return TokenVectors(offsets - offsets[0], vectors)
        except InvalidVectors as error:
            raise CorpusError(f"{self.name}, documents from {first:,} on: {error}") from None


# -- files -------------------------------------------------------------------------------------------------------------


def check_regular(path: Path) -> None:
    """Raises `CorpusError` for a pipe or a device, which would be waited for, or read without end."""
    if path.exists() and not path.is_file():
        raise CorpusError(f"{shown(path)}: is no regular file; copy the store again")


def read_json(path: Path) -> Any:
    """Raises `CorpusError` for what is missing, or is no JSON."""
    check_regular(path)
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{shown(path)}: cannot be read as JSON ({reason(error)})") from None


def read_npy(path: Path, kinds: str, dimensions: int) -> Array:
    """An array, mapped into memory, of a kind of numbers ("f", "iu", ...) and so many dimensions. Raises `CorpusError`."""
    check_regular(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # numpy would open an archive too, and call anything else a pickle
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as one")
            warnings.simplefilter("ignore")  # of sizes that overflow
            found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # what numpy's parser of foreign headers raises has no end
        raise CorpusError(f"{shown(path)}: cannot be read as an array of numpy ({reason(error)})") from None
    return _checked(found, path, kinds, dimensions)


def read_pt(path: Path, kinds: Sequence[tuple[str, int]]) -> list[Array]:
    """The tensors of a file, or its one tensor, of these kinds of numbers and dimensions; nothing else is ever made of it.

    Raises `CorpusError`, and `MissingExtra` without torch.
    """
    torch = import_torch(f"{shown(path)}: reading a tensor of torch")
    check_regular(path)
    try:
        size = path.stat().st_size
        _check_unpacked(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what an unpickler of foreign bytes raises has no end
        raise CorpusError(f"{shown(path)}: torch cannot read it as tensors alone ({reason(error)[:150]})") from None
    tensors = found if isinstance(found, list | tuple) else [found]
    if len(tensors) != len(kinds) or not all(isinstance(one, torch.Tensor) and not one.is_sparse for one in tensors):
        raise CorpusError(f"{shown(path)}: must hold {len(kinds)} plain tensor{'s' * (len(kinds) > 1)}")
    if sum(one.numel() * one.element_size() for one in tensors) > size:  # a few numbers, repeated by strides
        raise CorpusError(f"{shown(path)}: its tensors claim more bytes than it has")
    if any(one.dtype == torch.bfloat16 for one in tensors):
        tensors = [one.float() if one.dtype == torch.bfloat16 else one for one in tensors]
    arrays = [one.detach().numpy() for one in tensors]
    return [_checked(one, path, *kind) for one, kind in zip(arrays, kinds, strict=True)]


def _check_unpacked(path: Path, size: int) -> None:
    """Raises ValueError for an archive whose parts would be larger than it: torch packs nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > size:
                raise ValueError("its parts claim more bytes than it has")


def _checked(found: Array, path: Path, kinds: str, dimensions: int) -> Array:
    if found.dtype.kind not in kinds or found.ndim != dimensions:
        names = {"f": "real numbers", "iu": "whole numbers", "u": "bytes", "fu": "numbers"}
        wanted = f"{names.get(kinds, kinds)} in {dimensions} dimension{'s' * (dimensions > 1)}"
        raise CorpusError(f"{shown(path)}: is {found.dtype} {list(found.shape)}; it must be {wanted}")
    return found


def checked_lengths(found: Any, name: str) -> npt.NDArray[np.int64]:
    """Tokens of documents, from a list or an array. Raises `CorpusError`."""
    is_list = isinstance(found, list) and all(type(one) is int for one in found)
    if not is_list and not isinstance(found, np.ndarray):
        raise CorpusError(f"{name}: must be a list of how many tokens each document has")
    wrong = [one for one in (min(found), max(found)) if not 0 <= one < MOST] if len(found) else []
    if wrong:
        raise CorpusError(f"{name}: a document cannot have {wrong[0]} tokens")
    return np.asarray(found, np.int64)
