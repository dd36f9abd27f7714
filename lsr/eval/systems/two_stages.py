"""An index with a second stage, and that second stage alone: what each stage gives, and what it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.corpus import Query
from lsr.eval.systems.indexes import IndexSystem
from lsr.eval.systems.system import System, UnderTest
from lsr.eval.timing import Stage
from lsr.hits import Hits
from lsr.index import Index
from lsr.rerank import (
    CrossEncoderReranker,
    FlashRankReranker,
    MaxSimReranker,
    Policy,
    load_multivector_encoder,
    text_reranker,
)
from lsr.rerank.living import open_tokens
from lsr.rerank.stage import content_of
from lsr.run_file import Ranking

__all__ = ["EXHAUSTIVE", "ExhaustiveSystem", "TwoStageSystem", "with_second_stage"]

EXHAUSTIVE = 50_000  # documents of which all are scored for a query, at most
_K = 10  # hits that pruning goes by, as in a search that says nothing else
_CANDIDATES = 50

Tokens = npt.NDArray[np.float32]
Settings = Mapping[str, str | float | bool | None]


def with_second_stage(
    first: IndexSystem, rerank: str, candidates: int | None = None, *, local_files_only: bool = False
) -> list[System]:
    """The stages of a search apart, for the rows of a report: the index alone; the second stage alone, over all documents
    (with "maxsim" and at most `EXHAUSTIVE` of them); and both.

    rerank: "maxsim", or a cross-encoder, by folder or hub id, or "flashrank:NAME". candidates: as `lsr search --candidates`.
    With `local_files_only` nothing is fetched from the hub.

    Raises as opening the second stage does.
    """
    index = first.index
    if rerank != "maxsim":
        if len(index):
            content_of(index, 0)  # an index without texts is told before anything is run
        wanted = _CANDIDATES if candidates is None else candidates
        model = text_reranker(rerank, wanted, local_files_only=local_files_only)
        return [first, TwoStageSystem(first.name, index.path, _TextStage(model))]
    stage = _maxsim(index, candidates, local_files_only)
    found: list[System] = [first]
    if len(stage.store) <= EXHAUSTIVE:
        found.append(ExhaustiveSystem(first.name, stage))
    return [*found, TwoStageSystem(first.name, index.path, _MaxSim(stage))]


def _maxsim(index: Index, candidates: int | None, local_files_only: bool) -> _Parts:
    policy = None if candidates is None else Policy(kappa=candidates)
    made = open_tokens(index).manifest.encoder
    encoder = None if made is None else load_multivector_encoder(made.source, local_files_only=local_files_only)
    return _Parts.of(index, policy, encoder=encoder)


class _Parts(MaxSimReranker):
    """MaxSim with its parts one by one."""

    def encoded(self, text: str) -> Tokens:
        return self.encoder.encode_queries([text]).of(0)

    def ordered(self, hits: Hits, tokens: Tokens, k: int) -> Hits:
        return self._reranked(hits, tokens, k)

    def identity(self) -> list[Any]:
        # The manifest holds the checksums of all files.
        return [xxhash.xxh3_128_hexdigest(self.store.manifest.to_json()), self.encoder.fingerprint]

    def models(self) -> Sequence[Mapping[str, str | None]]:
        return [{"name": self.encoder.name, "hash": self.encoder.fingerprint}]

    def bytes(self) -> int:
        size: int = self.store.info()["bytes"]
        return size


class _SecondStage(Protocol):
    """What a two-stage system asks of its second stage. depth: hits of it that count, the others follow as they came."""

    name: str
    candidates: int
    depth: int
    timed: int
    settings: Settings

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]: ...

    def bytes(self) -> int:
        """What it keeps of the documents."""
        ...

    def identity(self) -> list[Any]: ...

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]: ...

    def stages(self, k: int) -> Sequence[Stage]:
        """From the hits of the first stage, which know their text."""
        ...


class _MaxSim:
    name, timed = "maxsim", 200

    def __init__(self, parts: _Parts) -> None:
        self._parts, policy = parts, parts.policy
        self.candidates = policy.kappa
        # Pruning goes by the k that is asked for; without it the order of all candidates is one.
        pruned = policy.alpha is not None or policy.beta is not None
        self.depth = min(_K, policy.kappa) if pruned else policy.kappa
        self.settings: Settings = {
            "rerank": "maxsim",
            "candidates": policy.kappa,
            "alpha": policy.alpha,
            "beta": policy.beta,
            "weight": policy.weight,
            "codec": parts.store.codec.name,
        }

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return self._parts.models()

    def bytes(self) -> int:
        return self._parts.bytes()

    def identity(self) -> list[Any]:
        return self._parts.identity()

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]:
        return self._parts.rerank(hits, k)

    def stages(self, k: int) -> Sequence[Stage]:
        parts = self._parts

        def encode(hits: Hits) -> tuple[Hits, Tokens]:
            assert hits.query is not None
            return hits, parts.encoded(hits.query)

        def order(asked: tuple[Hits, Tokens]) -> list[str]:
            return parts.ordered(*asked, k).ids

        return [("encode tokens", encode), ("rerank", order)]


class _TextStage:
    timed = 20  # each reads as many pairs as there are candidates

    def __init__(self, model: CrossEncoderReranker | FlashRankReranker) -> None:
        self._model, self.name = model, model.name
        self.candidates = self.depth = model.candidates
        self.settings: Settings = {"rerank": model.name, "candidates": model.candidates}

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return [{"name": self._model.name, "hash": self._model.fingerprint}]

    def bytes(self) -> int:
        return 0  # it reads the texts of the index

    def identity(self) -> list[Any]:
        return [self._model.fingerprint]

    def rerank(self, hits: Sequence[Hits], k: int) -> list[Hits]:
        return self._model.rerank(hits, k)

    def stages(self, k: int) -> Sequence[Stage]:
        return [("rerank", lambda hits: self._model.rerank([hits], k)[0].ids)]


class TwoStageSystem:
    """An index, and what orders its candidates anew.

    A run is deeper than a second stage looks: its hits come first, and then the others of the index as they were.
    """

    kind = "two-stage"
    threads: Sequence[int] = ()

    def __init__(self, name: str, path: Path, second: _SecondStage) -> None:
        self._first, self._second = IndexSystem(name, path), second
        self.name, self.timed = f"{name} + {second.name}", second.timed
        self.description = (
            f"{self._first.description}, whose first {second.candidates} hits are ordered by {second.name}"
            f" (its first {second.depth}; then the others as the index has them)"
        )

    @property
    def settings(self) -> Settings:
        return {**self._first.settings, **self._second.settings}

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return [*self._first.models, *self._second.models]

    def fingerprint(self) -> str:
        return json.dumps([self._first.fingerprint(), dict(self._second.settings), *self._second.identity()])

    def prepare(self, test: UnderTest) -> None:
        self._first.prepare(test)

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        second = self._second
        found = self._first.index.search([query.text for query in queries], k=max(k, second.candidates))
        ordered = second.rerank([hits[: second.candidates] for hits in found], second.depth)
        return {query.id: _followed(head, hits, k) for query, head, hits in zip(queries, ordered, found, strict=True)}

    def stages(self, k: int) -> Sequence[Stage]:
        (_, encode), (_, search) = self._first.stages(max(k, self._second.candidates))

        def found(asked: tuple[str, Any]) -> Hits:
            hits: Hits = search(asked[1])
            hits.query = asked[0]
            return hits

        return [("encode", lambda text: (text, encode(text))), ("search", found), *self._second.stages(k)]

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        raise AssertionError("how many threads a second stage takes is its own affair")

    def costs(self, test: UnderTest) -> dict[str, Any]:
        index = self._first.index
        return {"index": _sizes(index.info()["bytes"], self._second.bytes(), len(index))}

    def close(self) -> None:
        self._first.close()


class ExhaustiveSystem:
    """MaxSim over all documents, without a first stage: what the second stage could do if the first lost nothing."""

    kind = "exhaustive"
    threads: Sequence[int] = ()
    timed = 50

    def __init__(self, name: str, parts: _Parts) -> None:
        self.name, self._parts = f"maxsim over all of {name}", parts
        self.description = f"MaxSim over all {len(parts.store):,} documents, without a first stage (exhaustive)"
        self._ids: list[str] = []
        self._rows = np.zeros(0, np.int64)

    @property
    def settings(self) -> Settings:
        return {"rerank": "maxsim", "candidates": "all", "codec": self._parts.store.codec.name}

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return self._parts.models()

    def fingerprint(self) -> str:
        return json.dumps(["exhaustive", *self._parts.identity()])

    def prepare(self, test: UnderTest) -> None:
        ids = list(self._parts.store.ids())
        rows = self._parts.store.rows(ids)
        filled = np.flatnonzero(self._parts.store.tokens(rows) > 0)
        self._ids, self._rows = [ids[at] for at in filled.tolist()], rows[filled]

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        tokens = self._parts.encoder.encode_queries([query.text for query in queries])
        return {query.id: self._best(tokens.of(i), k) for i, query in enumerate(queries)}

    def stages(self, k: int) -> Sequence[Stage]:
        return [("encode tokens", self._parts.encoded), ("rerank", lambda tokens: self._best(tokens, k))]

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        raise AssertionError("how many threads a second stage takes is its own affair")

    def costs(self, test: UnderTest) -> dict[str, Any]:
        return {"index": _sizes({}, self._parts.bytes(), len(self._rows))}

    def close(self) -> None:
        self._ids, self._rows = [], np.zeros(0, np.int64)

    def _best(self, tokens: Tokens, k: int) -> Ranking:
        """Equal scores stand in the order of the documents."""
        scores = self._parts.store.scorer(tokens)(self._rows)
        best = np.argsort(-scores, kind="stable")[:k]
        return Ranking(tuple(self._ids[at] for at in best.tolist()), tuple(scores[best].tolist()))


def _sizes(index: Mapping[str, int], tokens: int, documents: int) -> dict[str, Any]:
    sizes = {**index, "token_vectors": tokens, "total": index.get("total", 0) + tokens}
    searched = sizes["total"] - index.get("texts", 0) - index.get("fields", 0)
    return {"bytes": sizes, "bytes_per_document": searched / max(1, documents)}


def _followed(head: Hits, found: Hits, k: int) -> Ranking:
    """The hits of the second stage, and then those of the first that it did not give. Their scores are of another kind:
    the order counts, and a run's scores are made to follow it."""
    given = set(head.rows.tolist())
    rest = [hit for hit in found if hit.row not in given][: max(0, k - len(head))]
    ids = [*head.ids[:k], *(hit.id for hit in rest)]
    return Ranking(tuple(ids), (*head.scores[:k].tolist(), *(hit.score for hit in rest)))
