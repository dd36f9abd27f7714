"""One system on one collection: its run, and what it costs. Kept on disk, so that nothing is done twice.

runs/NAME.trec       the hits, which all scores are computed from
systems/NAME.json    what is measured besides, and the fingerprint that tells whether both are still valid
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from lsr.disk import atomic_write
from lsr.eval.systems import System, UnderTest
from lsr.eval.timing import WARM_UPS, Stopwatch, throughput, time_stages
from lsr.run_file import Ranking, read_run, write_run

__all__ = ["Depth", "SystemRun", "checksum", "file_names", "kept_run", "new_run"]

LATENCY_K = 10
_BATCH = 256  # queries answered between two reports of progress


@dataclass(frozen=True, slots=True)
class Depth:
    """How many hits of a query are kept, and whether its own document is left out of them."""

    hits: int
    drop_self: bool

    @property
    def asked(self) -> int:
        return self.hits + self.drop_self


@dataclass(frozen=True, slots=True)
class SystemRun:
    """part: the part of the report on this system, without scores. run: its TREC file."""

    part: dict[str, Any]
    models: list[dict[str, str | None]]
    run: Path

    def rankings(self) -> dict[str, Ranking]:
        """The hits, read from the file: what anyone else measures is what is measured here."""
        return read_run(self.run) if self.run.stat().st_size else {}


def file_names(names: list[str]) -> dict[str, str]:
    """A name for files of each system: readable, and distinct also where letters have no case."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:80] or "system"
        if plain.casefold() in map(str.casefold, found.values()):
            plain += f"-{xxhash.xxh3_64_hexdigest(name.encode())[:8]}"
        found[name] = plain
    return found


def kept_run(
    system: System, test: UnderTest, folder: Path, file_name: str, depth: Depth, timing: bool
) -> SystemRun | None:
    """What an earlier evaluation found, when collection, system and depth are the same, and its files are whole."""
    run = folder / "runs" / f"{file_name}.trec"
    try:
        state = json.loads((folder / "systems" / f"{file_name}.json").read_bytes())
        if state["fingerprint"] != _fingerprint(system, test, depth) or state["run_hash"] != _hash(run):
            return None
        if (timing and not state["timed"]) or state.pop("checksum") != checksum(state):
            return None
        part, models = state["part"], state["models"]
        if not isinstance(part, dict) or not all(isinstance(model["name"], str) for model in models):
            return None
        return SystemRun(part, models, run)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def new_run(system: System, test: UnderTest, folder: Path, file_name: str, depth: Depth, timing: bool) -> SystemRun:
    """Prepares the system, answers all queries, measures, and keeps both. Raises what the system does."""
    run = folder / "runs" / f"{file_name}.trec"
    state = folder / "systems" / f"{file_name}.json"
    run.parent.mkdir(parents=True, exist_ok=True)
    state.parent.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(system, test, depth)
    with Stopwatch() as watch:
        system.prepare(test)
        answered = _Answers(system, test, depth)
        write_run(run, answered.rankings(), tag=file_name)
    part: dict[str, Any] = {
        "name": system.name,
        "kind": system.kind,
        "description": system.description,
        "settings": dict(system.settings),
        "queries_without_hits": answered.empty,
        "self_hits_dropped": answered.dropped,
        "run": os.fspath(run.relative_to(folder).as_posix()),
        "seconds": watch.seconds,
    }
    if timing:
        part |= _measured(system, test)
    models = [dict(model) for model in system.models]
    kept = {
        "fingerprint": fingerprint, "run_hash": _hash(run), "timed": timing, "part": part, "models": models,
    }  # fmt: skip
    with atomic_write(state) as file:
        file.write(json.dumps({**kept, "checksum": checksum(kept)}, indent=1).encode())
    return SystemRun(part, models, run)


def checksum(kept: dict[str, Any]) -> str:
    """Of what is kept beside a run."""
    return xxhash.xxh3_128_hexdigest(json.dumps(kept, sort_keys=True).encode())


class _Answers:
    """All queries of the collection answered, in its order; counts what is worth knowing on the way."""

    def __init__(self, system: System, test: UnderTest, depth: Depth) -> None:
        self._system, self._test, self._depth = system, test, depth
        self.empty = self.dropped = 0

    def rankings(self) -> Iterator[tuple[str, tuple[str, ...], tuple[float, ...]]]:
        queries = self._test.dataset.queries
        for first in range(0, len(queries), _BATCH):
            batch = queries[first : first + _BATCH]
            found = self._system.search(batch, self._depth.asked)
            for query in batch:
                ids, scores = self._kept(query.id, found[query.id])
                self.empty += not ids
                yield query.id, ids, scores
            self._test.progress(f"{self._system.name}: searching", first + len(batch), len(queries))

    def _kept(self, query: str, ranking: Ranking) -> Ranking:
        ids, scores = ranking
        if self._depth.drop_self and query in ids:
            at = ids.index(query)
            ids, scores = ids[:at] + ids[at + 1 :], scores[:at] + scores[at + 1 :]
            self.dropped += 1
        return Ranking(ids[: self._depth.hits], scores[: self._depth.hits])


def _measured(system: System, test: UnderTest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    texts = [query.text for query in test.dataset.queries[: system.timed]]
    test.progress(f"{system.name}: timing", 0, None)
    if stages := system.stages(LATENCY_K):
        times = time_stages(stages, texts, warm_ups=min(WARM_UPS, system.timed))
        found |= {"latency_ms": times.latency(), "stages_ms": times.by_stage()}
    if system.threads:
        found["throughput"] = throughput(
            lambda threads: system.answer(texts, LATENCY_K, threads), len(texts), system.threads
        )
    return found | system.costs(test)


def _fingerprint(system: System, test: UnderTest, depth: Depth) -> str:
    facts = test.facts
    parts = [
        system.kind, system.fingerprint(), facts.documents_hash, facts.queries_hash, depth.hits, depth.drop_self,
    ]  # fmt: skip
    return xxhash.xxh3_128_hexdigest(json.dumps(parts).encode())


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
