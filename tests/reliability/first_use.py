"""Processes that use a kernel for the first time: `python -m tests.reliability.first_use CODES-TERMS,... ...`.

For each argument a process is forked, and when all are there they are let go at once. Each compiles the kernel for codes and
terms of these types (or loads what another compiled), and prints its number, how many it loaded, and what the kernel wrote.
The disk is slow: what Numba reads of the index of its cache is old when it writes it, as it may be on a busy machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
from numba.core.caching import IndexDataCacheFile

from lsr.index.kernels import compile_once
from lsr.index.kernels.inversion import fill_dense

DOCUMENTS, TERMS = 20, 4


def arrays(kind: str) -> tuple[Any, Any]:
    """Terms and codes [documents, 4] of these types; read as others they would be others."""
    codes, terms = kind.split("-")
    generator = np.random.default_rng(5)
    return (
        generator.integers(1, 9, (DOCUMENTS, TERMS)).cumsum(axis=1).astype(terms),
        generator.integers(1, 250, (DOCUMENTS, TERMS)).astype(codes),
    )


def written(kind: str) -> list[list[int]]:
    """Rows of codes by the kernel, compiled for these types."""
    terms, codes = arrays(kind)
    indptr, rows = np.arange(0, DOCUMENTS * TERMS + 1, TERMS), np.arange(40, dtype=np.int32)
    out = np.zeros((40, DOCUMENTS), codes.dtype)
    rest = (terms.ravel(), codes.ravel(), rows, 0, 40, out)
    compile_once(f"dense-{kind}", lambda: fill_dense(indptr[:1], *rest))
    fill_dense(indptr, *rest)
    return out.tolist()  # type: ignore[no-any-return]


def expected(kind: str) -> list[list[int]]:
    """The same by numpy."""
    terms, codes = arrays(kind)
    out = np.zeros((40, DOCUMENTS), codes.dtype)
    out[terms, np.arange(DOCUMENTS)[:, None]] = codes
    return out.tolist()  # type: ignore[no-any-return]


def slow_disk() -> None:
    save = IndexDataCacheFile._save_index

    def later(cache: Any, overloads: Any) -> None:
        time.sleep(0.3)
        save(cache, overloads)

    IndexDataCacheFile._save_index = later


def main(arguments: list[str]) -> int:
    """Forks, and waits for all. Returns how many failed."""
    slow_disk()
    gate, opened = os.pipe()
    children = []
    for number, kinds in enumerate(arguments):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.close(opened)
        os.read(gate, 1)  # until it is closed
        found = [written(kind) for kind in kinds.split(",")]
        line = json.dumps({"number": number, "loaded": sum(fill_dense.stats.cache_hits.values()), "written": found})
        os.write(1, f"{line}\n".encode())  # as a whole: others write, too
        os._exit(0)
    os.close(opened)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
