"""The indexes of a benchmark on disk: each built once, and used again by a later run when nothing that made it changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import xxhash

from lsr.disk import atomic_write
from lsr.eval.bench.peers import version_of
from lsr.eval.bench.peers.peer import Peer, Settings
from lsr.eval.bench.worker import SMALL, Worker
from lsr.sparse import SparseVectors

__all__ = ["Indexes"]

_RECORD = "built.json"


class Indexes:
    """Builds indexes of `documents` below a folder, each in a process of its own that uses so many threads.

    `inputs` is a folder for what the workers read; the query that is tried first is one of `queries`.
    """

    def __init__(
        self, folder: Path, inputs: Path, documents: SparseVectors, queries: SparseVectors, threads: int
    ) -> None:
        self._folder, self._threads = folder, threads
        self._documents = inputs / "documents.npz"
        documents.save(self._documents)
        self.small = {"documents": str(inputs / "first-documents.npz"), "queries": str(inputs / "first-query.npz")}
        documents[:SMALL].save(self.small["documents"])
        queries[:1].save(self.small["queries"])
        digest = xxhash.xxh3_128(str(documents.shape).encode())
        for array in (documents.indptr, documents.indices, documents.values):
            digest.update(array.data)
        self._hash = digest.hexdigest()
        folder.mkdir(parents=True, exist_ok=True)

    def build(self, peer: Peer, place: str, settings: Settings) -> tuple[Path, dict[str, Any]]:
        """(folder, {"seconds", "peak_mib", "disk_bytes"}) of an index. Raises `EvaluationError` when it cannot be built."""
        version = version_of(peer)
        made_of = json.dumps([place, dict(settings), version, self._hash, self._threads])
        folder = self._folder / f"{peer.name}-{xxhash.xxh3_64_hexdigest(made_of.encode())}"
        record = self._folder / f"{folder.name}.{_RECORD}"
        changes = version is None or peer.package is None  # lsr changes without a new version
        if not changes and record.exists() and folder.exists():
            known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            return folder, known
        record.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with Worker(self._threads) as worker:
            found: dict[str, Any] = worker.call(
                "build", peer=place, vectors=str(self._documents), folder=str(folder), settings=dict(settings)
            )
        found["disk_bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        with atomic_write(record) as file:
            file.write(json.dumps(found).encode())
        return folder, found
