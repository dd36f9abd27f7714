"""lsr beside other engines for sparse vectors: recall against time, and what their indexes cost, in one run.

    documents, queries ──truth──▶ what belongs in the top k
          └──indexes──▶ sweep of every grid ──grid──▶ rounds, engines taking turns ──assemble──▶ report.json ──report──▶ pages

Each engine is a `Peer` (`peers/peer.py`), one small file each, and lives in a process of its own (`worker.py`).
"""

from __future__ import annotations

from lsr.eval.bench.peers import PEERS
from lsr.eval.bench.run import Benchmark, Outcome, bench

__all__ = ["PEERS", "Benchmark", "Outcome", "bench"]
