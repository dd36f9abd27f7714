"""An index of lsr, and an encoder that one is built with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.corpus import Query
from lsr.errors import EvaluationError
from lsr.eval.systems.exactness import audit
from lsr.eval.systems.system import TIMED, UnderTest
from lsr.eval.timing import Stage, Stopwatch, fresh_process, peak_memory
from lsr.index import Index
from lsr.processors import available_cores
from lsr.run_file import Ranking
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.hits import Hits

__all__ = ["EncoderSystem", "IndexSystem"]

# What a user waits for in a process that just started. Prints milliseconds.
_START = """
import json, sys, time
at = time.perf_counter()
import lsr
index = lsr.Index.open(sys.argv[1])
opened = time.perf_counter()
index.search(sys.argv[2], k=10).ids
print(json.dumps({"open": 1e3 * (opened - at), "first_query": 1e3 * (time.perf_counter() - opened)}))
"""


class _Searching:
    """What both have in common once there is an index."""

    kind = "index"
    description = ""
    timed = TIMED

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: Index | None = None
        self._build: dict[str, Any] = {}

    @property
    def index(self) -> Index:
        assert self._opened is not None, "prepare comes first"
        return self._opened

    @property
    def threads(self) -> Sequence[int]:
        cores = available_cores()
        return [n for n in (1, 2, 4, 8, 16, 32, 64) if n < cores] + [cores]

    def search(self, queries: Sequence[Query], k: int) -> dict[str, Ranking]:
        answers = self.index.search([query.text for query in queries], k=k)
        return {
            query.id: Ranking(tuple(hits.ids), tuple(hits.scores.tolist()))
            for query, hits in zip(queries, answers, strict=True)
        }

    def stages(self, k: int) -> Sequence[Stage]:
        index, encoder = self.index, self.index.query_encoder
        assert encoder is not None

        def found(vectors: SparseVectors) -> Hits:
            hits = index.search(vectors, k=k, threads=1)[0]
            hits.ids  # noqa: B018  # hits without ids are of no use to anyone
            return hits

        return [("encode", lambda text: encoder.encode_batch([text])), ("search", found)]

    def answer(self, texts: Sequence[str], k: int, threads: int) -> None:
        for hits in self.index.search(texts, k=k, threads=threads):
            hits.ids  # noqa: B018

    def costs(self, test: UnderTest) -> dict[str, Any]:
        queries = test.dataset.queries
        index, encoder = self.index, self.index.query_encoder
        assert encoder is not None
        asked = encoder.encode_batch([query.text for query in queries])
        sizes = index.info()["bytes"]
        searched = sizes["total"] - sizes["texts"] - sizes["fields"]  # no query here has a filter
        lengths, frequencies = index.statistics()
        query_frequencies = np.bincount(asked.indices, minlength=index.dim)
        return {
            "index": {"bytes": sizes, "bytes_per_document": searched / len(index), **self._build},
            "sparsity": {
                "documents": _spread(lengths),
                "queries": _spread(np.diff(asked.indptr)),
                # Expected number of products a pair (Paria et al. 2020, section 3).
                "flops": float((query_frequencies / len(asked)) @ (frequencies / len(index))),
            },
            "start_ms": self._start(queries[0].text),
            "approximation": audit(index, asked, test.dataset),
        }

    def _start(self, text: str) -> dict[str, float]:
        path = str(self.index.path)
        fresh_process(_START, [path, text])  # files are in memory, kernels compiled
        warm = fresh_process(_START, [path, text])
        cold = fresh_process(_START, [path, text], empty_cache=True)
        return {**warm, "compile": max(0.0, cold["first_query"] - warm["first_query"])}

    def close(self) -> None:
        self._opened = None

    def _taken(self, index: Index) -> Mapping[str, str | float | bool | None]:
        encoder = index.manifest.encoder
        assert encoder is not None
        return {"engine": index.manifest.engine, "term weights": encoder.term_weights, **(encoder.reading or {})}


class IndexSystem(_Searching):
    """An index that was built before. It must be of the whole collection."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._opened = Index.open(path)
        encoder = self._opened.manifest.encoder
        if encoder is None:
            raise EvaluationError(
                f"{path}: keeps no encoder that could ask queries; build it with --encoder, or evaluate its TREC run"
            )
        self._encoder = encoder
        self.description = f"the index {path.name}, made with {encoder.name}"

    @property
    def settings(self) -> Mapping[str, str | float | bool | None]:
        return self._taken(self.index)

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return [{"name": self._encoder.name, "hash": self._encoder.hash}]

    def fingerprint(self) -> str:
        # The manifest holds the checksums of all files.
        return xxhash.xxh3_128_hexdigest(self.index.manifest.to_json())

    def prepare(self, test: UnderTest) -> None:
        index, facts = self.index, test.facts
        if len(index) != facts.documents:
            raise EvaluationError(
                f"{index.path}: holds {len(index):,} documents, {facts.name} {facts.documents:,}; build it from this "
                "collection, all of it"
            )
        judged = {document for grades in test.dataset.qrels.values() for document in grades}
        lacking = sorted(document for document in judged if index.row_of(document) is None)
        if len(lacking) > facts.missing_documents:
            raise EvaluationError(
                f"{index.path}: lacks {len(lacking):,} of the judged documents of {facts.name}, such as "
                f"{', '.join(map(repr, lacking[:5]))}; are the ids the same?"
            )


class EncoderSystem(_Searching):
    """An encoder, with the index that `lsr index` would build."""

    kind = "encoder"

    def __init__(self, name: str, encoder: Encoder) -> None:
        super().__init__(name)
        self._encoder = encoder
        self.description = f"the encoder {encoder.name}, and the index that lsr builds with it"

    @property
    def settings(self) -> Mapping[str, str | float | bool | None]:
        if self._opened is None:
            return self._encoder.reading
        return self._taken(self._opened)

    @property
    def models(self) -> Sequence[Mapping[str, str | None]]:
        return [{"name": self._encoder.name, "hash": self._encoder.hash}]

    def fingerprint(self) -> str:
        return json.dumps(["encoder", self._encoder.hash, self._encoder.reading])

    def prepare(self, test: UnderTest) -> None:
        identity = xxhash.xxh3_128_hexdigest(f"{self.fingerprint()} {test.facts.documents_hash}".encode())
        path = test.work / f"{identity[:16]}.idx"

        def progress(stage: str, done: int, total: int | None) -> None:
            test.progress(f"{self.name}: {stage}", done, total or test.facts.documents)

        with peak_memory() as memory, Stopwatch() as watch:
            # With `resume`, an interrupted evaluation goes on in the middle of a long encoding.
            self._opened = Index.build(
                test.dataset.documents(),
                path,
                encoder=self._encoder,
                keep_text=False,
                overwrite=True,
                resume=True,
                progress=progress,
            )
        report = self._opened.build_report
        assert report is not None
        resumed = bool(report.resumed)  # then the times are of a part only
        self._build = {
            "build_s": None if resumed else watch.seconds,
            "documents_per_s": None if resumed else report.documents / watch.seconds,
            "peak_mib": memory.peak_mib,
            "documents_cut": report.truncated,
        }


def _spread(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    p50, p99 = np.percentile(counts, [50, 99]).tolist()
    return {"mean": float(counts.mean()), "p50": p50, "p99": p99}
