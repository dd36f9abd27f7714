"""The systems of benchmarks/token_indexes.py, each in a process of its own: `python -m benchmarks.token_systems ...`.

    python -m benchmarks.token_systems build|search FOLDER SYSTEM INDEX OUTPUT [--threads N] [--queries N] ...

Appends JSON lines to OUTPUT: one of the build, or one of opening and one a setting. FOLDER is what `prepare` wrote. All get
the same token vectors of documents and of one query at a time; all of lsr's systems get the query's sparse vector too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lsr import Index, SparseVectors
from lsr.eval.timing import Stopwatch, most_resident_mib, time_stages
from lsr.rerank import CODECS, Policy, TokenStore, TokenVectors, rerank

__all__ = ["SYSTEMS", "Data", "K", "exhaustive"]

K = 10
BATCH = 2048
WARM_UPS = 20
Rows = npt.NDArray[np.int64]
Search = Callable[[int], list[int]]  # number of a query -> rows of documents, best first
Setting = dict[str, Any]


class Data:
    """What `prepare` wrote: document vectors stay in the file until they are read."""

    def __init__(self, folder: Path, queries: int | None = None) -> None:
        self.folder = folder
        self.offsets: Rows = np.load(folder / "documents.offsets.npy")
        self.vectors: npt.NDArray[np.float16] = np.load(folder / "documents.vectors.npy", mmap_mode="r")
        offsets, vectors = np.load(folder / "queries.offsets.npy"), np.load(folder / "queries.vectors.npy")
        count = len(offsets) - 1 if queries is None else min(queries, len(offsets) - 1)
        self.queries = TokenVectors(offsets[: count + 1], vectors[: offsets[count]].astype(np.float32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def of(self, first: int, last: int) -> TokenVectors:
        """The vectors of documents `first` to `last`."""
        low, high = int(self.offsets[first]), int(self.offsets[last])
        return TokenVectors(self.offsets[first : last + 1] - low, self.vectors[low:high].astype(np.float32))

    def batches(self) -> Iterator[tuple[list[str], TokenVectors]]:
        for first in range(0, len(self), BATCH):
            last = min(first + BATCH, len(self))
            yield [str(row) for row in range(first, last)], self.of(first, last)

    def tensors(self) -> list[Any]:
        """A tensor a document, float32, as the peers want them."""
        import torch

        return [torch.from_numpy(vectors.of(i)) for _, vectors in self.batches() for i in range(len(vectors))]


class System(Protocol):
    device: str  # of peers that can use another than the CPU

    def build(self, data: Data, path: Path) -> dict[str, float]:
        """Makes an index at `path`, and says how many seconds its parts took; what is only for us is not counted."""

    def open(self, data: Data, path: Path) -> None: ...

    def settings(self) -> list[Setting]:
        """Cheap ones first."""

    def search(self, setting: Setting) -> Search:
        """Answers queries by their number, one at a time, until the next setting is asked for."""


# -- exhaustive search -------------------------------------------------------------------------------------------------


def exhaustive(data: Data, queries: TokenVectors, k: int, device: str = "cpu") -> tuple[Rows, npt.NDArray[np.float32]]:
    """The k best documents of each query by MaxSim in float32: rows int64 [queries, k], scores. With torch."""
    import torch

    given = torch.from_numpy(queries.vectors).to(device)
    owner = torch.from_numpy(np.repeat(np.arange(len(queries)), queries.lengths)).to(device)
    tokens = max(1 << 12, (1 << 27) // max(1, len(queries.vectors)))
    best: Any = torch.full((len(queries), k), -torch.inf, device=device)
    rows = torch.zeros((len(queries), k), dtype=torch.int64, device=device)
    first = 0
    while first < len(data):
        last = int(np.searchsorted(data.offsets, data.offsets[first] + tokens, side="right")) - 1
        last = min(max(last, first + 1), len(data))
        low, high = int(data.offsets[first]), int(data.offsets[last])
        vectors = torch.from_numpy(data.vectors[low:high].astype(np.float32)).to(device)
        lengths = torch.from_numpy(np.diff(data.offsets[first : last + 1])).to(device)
        largest = torch.segment_reduce(vectors @ given.T, "max", lengths=lengths, axis=0)  # [documents, query tokens]
        scores = torch.zeros((len(queries), last - first), device=device).index_add_(0, owner, largest.T.contiguous())
        scores = torch.cat([best, scores], dim=1)
        numbers = torch.arange(first, last, device=device).expand(len(queries), -1)
        best, places = torch.topk(scores, k, dim=1)
        rows = torch.gather(torch.cat([rows, numbers], dim=1), 1, places)
        first = last
    return rows.cpu().numpy(), best.cpu().numpy()


class Exhaustive:
    """MaxSim of all documents: a matrix product in float32 with torch."""

    device = "cpu"

    def build(self, data: Data, path: Path) -> dict[str, float]:
        path.mkdir()
        return {}

    def open(self, data: Data, path: Path) -> None:
        self._data = data
        data.vectors = np.array(data.vectors)

    def settings(self) -> list[Setting]:
        return [{}]

    def search(self, setting: Setting) -> Search:
        def search(number: int) -> list[int]:
            query = self._data.queries.of(number)
            asked = TokenVectors(np.array([0, len(query)]), query)
            found: list[int] = exhaustive(self._data, asked, K)[0][0].tolist()
            return found

        return search


# -- lsr ---------------------------------------------------------------------------------------------------------------


class Lsr:
    """A sparse index, and a token store with one codec."""

    device = "cpu"

    def __init__(self, codec: str) -> None:
        self._codec = codec

    def build(self, data: Data, path: Path) -> dict[str, float]:
        sparse = SparseVectors.load(data.folder / "sparse.documents.npz")
        with Stopwatch() as first:
            Index.build(sparse, path)
        with Stopwatch() as second:
            TokenStore.build(path / "multivector", data.batches(), codec=self._codec)
        return {"sparse": first.seconds, "tokens": second.seconds}

    def open(self, data: Data, path: Path) -> None:
        self._index, self._store = Index.open(path), TokenStore.open(path / "multivector")
        sparse = SparseVectors.load(data.folder / "sparse.queries.npz")
        self._sparse = [sparse[i : i + 1] for i in range(len(data.queries))]
        self._queries = data.queries

    def settings(self) -> list[Setting]:
        found: list[Setting] = []
        for kappa in (10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000):
            found.append({"kappa": kappa})
            if kappa in (20, 50, 100, 200):
                found.append({"kappa": kappa, "alpha": 0.05})
                found.append({"kappa": kappa, "beta": 4})
                found.append({"kappa": kappa, "weight": 0.2})
                found.append({"kappa": kappa, "recall": 1.0})
        return found

    def search(self, setting: Setting) -> Search:
        rules = dict(setting)
        recall = rules.pop("recall", None)
        policy, index, store = Policy(**rules), self._index, self._store

        def search(number: int) -> list[int]:
            hits = index.search(self._sparse[number], policy.kappa, recall=recall)[0]
            rows = store.rows(hits.ids)
            result = rerank(store.scorer(self._queries.of(number)), rows, hits.scores, K, policy)
            return [int(hits.ids[place]) for place in result.order[:K].tolist()]

        return search


# -- peers -------------------------------------------------------------------------------------------------------------


class FastPlaid:
    """fast-plaid by its own face: 2 or 4 bits a number (4 is its default)."""

    device = "cpu"

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def build(self, data: Data, path: Path) -> dict[str, float]:
        search = importlib.import_module("fast_plaid.search")
        documents = data.tensors()
        with Stopwatch() as watch:
            index = search.FastPlaid(index=str(path), device=self.device)
            index.create(documents_embeddings=documents, nbits=self._bits, use_triton_kmeans=False)
        return {"index": watch.seconds}

    def open(self, data: Data, path: Path) -> None:
        import torch

        search = importlib.import_module("fast_plaid.search")
        self._index = search.FastPlaid(index=str(path), device="cpu")
        self._queries = [torch.from_numpy(data.queries.of(i))[None] for i in range(len(data.queries))]

    def settings(self) -> list[Setting]:
        points = ((256, (1, 4, 8)), (1024, (1, 4, 8, 16)), (4096, (2, 8, 32)))  # by default 4096 and 8
        return [{"n_ivf_probe": probes, "n_full_scores": scored} for scored, each in points for probes in each]

    def search(self, setting: Setting) -> Search:
        def search(number: int) -> list[int]:
            found = self._index.search(self._queries[number], top_k=K, show_progress=False, n_processes=1, **setting)
            return [row for row, _ in found[0]]

        return search


class PyLate:
    """PyLate's index and retriever: over fast-plaid as by default, or over Stanford's library, which it has a copy of."""

    device = "cpu"

    def __init__(self, fast: bool) -> None:
        self._fast = fast

    def build(self, data: Data, path: Path) -> dict[str, float]:
        self._made(data, path, override=True)
        documents = data.tensors() if self._fast else [vectors.numpy() for vectors in data.tensors()]
        with Stopwatch() as watch:
            self._index.add_documents([str(row) for row in range(len(data))], documents)
        return {"index": watch.seconds}

    def open(self, data: Data, path: Path) -> None:
        self._made(data, path, override=False)
        self._retriever = importlib.import_module("pylate.retrieve").ColBERT(index=self._index)
        self._queries = data.queries

    def _made(self, data: Data, path: Path, override: bool) -> None:
        options: dict[str, Any] = {"use_triton": False}
        if self._fast:
            options |= {"device": self.device, "show_progress": False, "num_threads": 1}
        else:
            options |= {"nbits": 2, "embedding_size": data.dim}
        indexes = importlib.import_module("pylate.indexes")
        self._index = indexes.PLAID(str(path), "peer", override=override, use_fast=self._fast, **options)

    def settings(self) -> list[Setting]:
        if self._fast:
            return [{"n_ivf_probe": probes, "n_full_scores": 8192} for probes in (2, 8)]
        points = ((256, 0.5, (1, 2)), (1024, 0.45, (2, 4)), (4096, 0.4, (4,)), (8192, 0.35, (4, 8)))
        return [
            {"ncells": cells, "ndocs": documents, "centroid_score_threshold": threshold}
            for documents, threshold, each in points
            for cells in each
        ]

    def search(self, setting: Setting) -> Search:
        inner = self._index._index
        if self._fast:
            inner.n_ivf_probe, inner.n_full_scores = setting["n_ivf_probe"], setting["n_full_scores"]
        else:
            inner.searcher.configure(**setting)

        def search(number: int) -> list[int]:
            query = self._queries.of(number)
            found = self._retriever.retrieve(queries_embeddings=[query], k=K, device="cpu")
            return [int(hit["id"]) for hit in found[0]]

        return search


SYSTEMS: dict[str, Callable[[], System]] = {
    "exhaustive": Exhaustive,
    **{f"lsr {codec}": lambda codec=codec: Lsr(codec) for codec in CODECS if codec != "f32"},  # type: ignore[misc]
    "fast-plaid, 4 bits": lambda: FastPlaid(4),
    "fast-plaid, 2 bits": lambda: FastPlaid(2),
    "PyLate PLAID": lambda: PyLate(True),
    "PyLate PLAID, Stanford's": lambda: PyLate(False),
}


# -- one process -------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("build", "search"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("index", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--skip", type=int, default=0, help="settings that are measured already")
    parser.add_argument("--device", default="cpu", help="where fast-plaid builds")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with given.output.open("a", encoding="utf-8") as output:

        def say(**facts: Any) -> None:
            output.write(json.dumps(facts) + "\n")
            output.flush()

        try:
            prepare_imports(given.system, given.threads)
        except Exception as error:  # whatever a package says when it is loaded: a reason, not our error
            say(skipped=f"cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}")
            return
        system, data = SYSTEMS[given.system](), Data(given.folder, given.queries)
        system.device = given.device if given.task == "build" else "cpu"
        if given.task == "build":
            shutil.rmtree(given.index, ignore_errors=True)
            parts = system.build(data, given.index)
            size = sum(file.stat().st_size for file in given.index.rglob("*") if file.is_file())
            facts = {"seconds": sum(parts.values()), "parts": parts, "bytes": size, "peak_mib": most_resident_mib()}
            say(**facts, threads=given.threads, device=given.device)
            return
        with Stopwatch() as watch:
            system.open(data, given.index)
        say(open_seconds=watch.seconds, resident_mib=most_resident_mib())
        exact = isinstance(system, Exhaustive)
        for setting in system.settings()[given.skip :]:
            say(**measured(system.search(setting), len(data.queries), given.repeats, setting, exact))


def prepare_imports(system: str, threads: int) -> None:
    """Loads what a system is made of, and sets its threads; raises what a missing package raises."""
    if not system.startswith("lsr"):
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads)
        with suppress(RuntimeError):
            torch.set_num_interop_threads(1)
    if system.startswith("fast-plaid"):
        importlib.import_module("fast_plaid.search")
    if system.startswith("PyLate"):
        try:
            importlib.import_module("datasets")
        except ImportError:  # 60 MB with what it needs: PyLate's training reads it, its index does not
            sys.modules["datasets"] = types.ModuleType("datasets")
        if system == "PyLate PLAID":
            importlib.import_module("fast_plaid.search")
        else:
            importlib.import_module("pylate.indexes.stanford_plaid")
        importlib.import_module("pylate.indexes")
        importlib.import_module("pylate.retrieve")


def measured(search: Search, queries: int, repeats: int, setting: Setting, exact: bool) -> dict[str, Any]:
    found: dict[int, list[int]] = {}

    def answered(number: int) -> int:
        found[number] = search(number)
        return number

    with Stopwatch() as watch:
        answered(0)
    slow = watch.seconds > 1
    # Exhaustive search takes as long each time: a tenth of the queries will do. What it finds is known.
    asked = list(range(0, queries, 10 if slow and exact else 1))
    warm_ups, repeats = (0, 1) if slow else (min(WARM_UPS, queries), repeats)
    times = time_stages([("search", answered)], asked, warm_ups=warm_ups, repeats=repeats, seconds=0)
    facts = times.latency()
    latency = {name: facts[name] for name in ("p50", "p95", "mean", "queries", "repeats")}
    hits = [found[number] for number in asked]
    return {"setting": setting, "latency_ms": latency, "asked": asked, "hits": hits, "peak_mib": most_resident_mib()}


if __name__ == "__main__":
    main()
