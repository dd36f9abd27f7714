"""MaxSim over stored codes: what is checked before the kernel sees it, and how queries are spread over cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsr.errors import InvalidInput
from lsr.index.engines import in_pieces
from lsr.index.kernels import compile_once, compiled_form

__all__ = ["EVERY", "Exit", "Layout", "QueryScorer", "StoredTokens", "checked_vectors", "frozen"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """How the kernel reads codes: see `kernels.maxsim.score_rows`. table and numbers are read-only, of one dimension."""

    kind: int
    part: int
    table: Bytes
    numbers: Bytes
    integers: bool


class Exit(NamedTuple):
    """When scoring may stop: after `patience` documents in a row that are not among the k best of base + factor * MaxSim."""

    base: npt.NDArray[np.float64]
    factor: float
    k: int
    patience: int


EVERY = Exit(np.zeros(0), 1.0, 1, 0)


def frozen(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A read-only plain array in memory order: one type, so that one compiled form of a kernel serves all callers."""
    result = np.require(array, dtype, ["C", "A"]).view(np.ndarray)
    if result.flags.writeable:
        result = result.view()
        result.flags.writeable = False
    return result


def checked_vectors(vectors: npt.ArrayLike, dim: int | None, name: str) -> Floats:
    """float32 [n, dim], finite. Raises `InvalidInput`."""
    try:
        array = np.asarray(vectors)
    except ValueError:
        raise InvalidInput(f"{name} are no array: they must be numbers [n, dim]") from None
    if array.dtype.kind not in "biuf" or array.ndim != 2:
        raise InvalidInput(f"{name} are {array.dtype} {array.shape}: they must be numbers [n, dim]")
    if array.shape[1] == 0 or (dim is not None and array.shape[1] != dim):
        raise InvalidInput(f"{name} have {array.shape[1]} dimensions: they must have {dim or 'at least 1'}")
    with np.errstate(over="ignore"):  # what is above float32's range becomes inf, and is refused as such
        result = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(result).all():
        row = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
        raise InvalidInput(f"{name}: row {row} holds a number that is not finite in float32")
    return result


class StoredTokens:
    """The codes of a collection's tokens, ready to be scored. Holds views: of a memory map, only what is scored is read.

    codes: uint8 [tokens, bytes_per_token]; offsets: int64 [documents + 1], where each document's tokens begin, and the end.
    What is in them is checked where it is read, document by document. Raises `InvalidInput` for arrays of another form.
    """

    def __init__(self, layout: Layout, dim: int, width: int, codes: Bytes, offsets: npt.NDArray[np.int64]) -> None:
        codes, offsets = np.asanyarray(codes), np.asanyarray(offsets)
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != width:
            raise InvalidInput(f"codes are {codes.dtype} {codes.shape}: they must be uint8 [tokens, {width}]")
        if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) == 0:
            raise InvalidInput(f"offsets are {offsets.dtype} {offsets.shape}: they must be int64 [documents + 1]")
        self.layout, self.dim, self.width = layout, dim, width
        self._codes, self._offsets = frozen(codes, np.uint8).reshape(-1), frozen(offsets, np.int64)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def query(self, query: npt.ArrayLike) -> QueryScorer:
        """A query's token vectors, float32 [tokens, dim], ready to score documents."""
        return QueryScorer(self, frozen(checked_vectors(query, self.dim, "the query's vectors"), np.float32))

    def score(self, query: npt.ArrayLike, rows: npt.ArrayLike) -> Floats:
        """MaxSim of a query and each of the documents `rows`, float32 [len(rows)]; see `QueryScorer`."""
        return self.query(query)(rows)

    def score_many(
        self, queries: Sequence[npt.ArrayLike], rows: Sequence[npt.ArrayLike], threads: int = 1
    ) -> list[Floats]:
        """The same for query i and the documents rows[i], one query a thread at a time; the scores are the same."""
        if len(queries) != len(rows):
            raise InvalidInput(f"{len(queries)} queries and {len(rows)} lists of documents: there must be as many")
        scorers = [self.query(query) for query in queries]
        self._kernel()  # compiled before threads start
        results: list[Floats] = [np.zeros(0, np.float32)] * len(scorers)

        def run(first: int, last: int) -> None:
            for i in range(first, last):
                results[i] = scorers[i](rows[i])

        in_pieces(len(scorers), threads, run)
        return results

    def run(self, query: Floats, rows: npt.ArrayLike, exit: Exit) -> Floats:
        """Scores of the documents `rows` up to where `exit` lets it stop. query: as `frozen`."""
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and wanted.size):
            raise InvalidInput(f"rows are {wanted.dtype} {wanted.shape}: they must be integers of one dimension")
        wanted = frozen(wanted, np.int64)
        out = np.empty(len(wanted), np.float32)
        base = exit.base if exit.patience else EVERY.base
        arguments = self._arguments(query, wanted, exit._replace(base=frozen(base, np.float64)), out)
        scored = self._kernel()(*arguments)
        if scored < 0:
            raise InvalidInput(self._what_is_wrong(int(wanted[-1 - scored])))
        return out[:scored]

    def _arguments(self, query: Floats, rows: Rows, exit: Exit, out: Floats) -> tuple[Any, ...]:
        layout = self.layout
        kind = _packed_type(layout.integers)
        packed = np.zeros(_lanes(len(query)) * (-(-self.dim // 4) * 4), kind)
        stored = (self._codes, self._offsets, rows)
        return (
            *(query, *stored, *exit),
            *(layout.kind, self.width, layout.part, layout.table, layout.numbers),
            *(packed, out),
        )

    def _kernel(self) -> Callable[..., int]:
        return _compiled(str(np.dtype(_packed_type(self.layout.integers))))

    def _what_is_wrong(self, row: int) -> str:
        documents, tokens = len(self), len(self._codes) // self.width
        if not 0 <= row < documents:
            return f"there is no document {row}: the store has {documents:,}"
        first, last = self._offsets[row : row + 2].tolist()
        if not 0 <= first <= last <= tokens:
            return f"document {row} has the tokens {first} to {last} of {tokens:,}: the offsets are damaged"
        return (
            f"document {row} names a centroid that the codec does not have: its codes are damaged, or another codec's"
        )


class QueryScorer:
    """Scores documents for one query. Safe from several threads.

    A document without tokens scores 0, and so does every one for a query without tokens.
    """

    def __init__(self, store: StoredTokens, query: Floats) -> None:
        self._store, self._query = store, query

    def __len__(self) -> int:
        """Number of query tokens: the most that MaxSim of unit vectors can be."""
        return len(self._query)

    @property
    def dim(self) -> int:
        return self._store.dim

    def errors(self) -> tuple[float, float]:
        """Lengths of the query's vectors, and of what is lost of them when they become bytes, each summed over tokens."""
        query = self._query.astype(np.float64)
        lost = query - self._rounded() if self._store.layout.integers else np.zeros_like(query)
        lengths, losses = (float(np.sqrt(np.square(part).sum(axis=1)).sum()) for part in (query, lost))
        return lengths, losses

    def _rounded(self) -> npt.NDArray[np.float64]:
        """The query as the kernel multiplies it: see `kernels.maxsim`."""
        largest = np.abs(self._query).max(axis=1, initial=0, keepdims=True)
        factor = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > np.float32(1e-30))
        numbers = np.rint(self._query * factor).astype(np.float64)
        result: npt.NDArray[np.float64] = numbers * (largest / np.float32(127))
        return result

    def __call__(self, rows: npt.ArrayLike) -> Floats:
        """MaxSim of each document, float32 [len(rows)]. Raises `InvalidInput`: there is none, or its codes are damaged."""
        return self._store.run(self._query, rows, EVERY)

    def until(self, rows: npt.ArrayLike, exit: Exit) -> Floats:
        """The same, but it stops where `exit` says: scores of as many of the first documents as were scored."""
        if len(exit.base) != np.size(rows):
            raise ValueError(f"{len(exit.base)} first scores for {np.size(rows)} documents")
        return self._store.run(self._query, rows, exit)


def _lanes(tokens: int) -> int:
    """Places of so many query tokens in registers."""
    from lsr.rerank.kernels.tile import LANES

    return -(-tokens // LANES) * LANES


def _packed_type(integers: bool) -> type[np.generic]:
    """What queries are packed as: bytes where the processor multiplies them (VNNI), 16-bit integers elsewhere."""
    from lsr.rerank.kernels.tile import VNNI

    if not integers:
        return np.float32
    return np.int8 if VNNI else np.int16


@cache
def _compiled(kind: str) -> Callable[..., int]:
    """The kernel, compiled for queries packed as `kind`. It serves all codecs of floats, or all of integers."""
    from lsr.rerank.kernels.maxsim import FLOAT32, INT8, score_rows

    nothing = frozen(np.zeros(0), np.uint8)
    layout = Layout(
        FLOAT32 if kind == "float32" else INT8, 0, nothing, frozen(np.zeros(4), np.uint8), kind != "float32"
    )
    store = StoredTokens(layout, 1, 4, np.zeros((0, 4), np.uint8), np.zeros(1, np.int64))
    query, rows = frozen(np.zeros((0, 1)), np.float32), frozen(np.zeros(0), np.int64)
    exit = EVERY._replace(base=frozen(EVERY.base, np.float64))
    arguments = list(store._arguments(query, rows, exit, np.zeros(0, np.float32)))
    arguments[-2] = np.zeros(0, kind)
    compile_once(f"maxsim-{kind}", lambda: score_rows(*arguments))
    form: Callable[..., Any] = compiled_form(score_rows, arguments)
    return form
