"""lsr beside its peers on the real vectors, in one run: `lsr bench` on the documents and query sets of benchmarks/vectors.py.

    python -m benchmarks.peers -o REPORT_DIR [--documents 391934] [--queries 800] [--rounds 5] [--peer seismic --peer sindi]

Needs the shared folder (LSR_SHARED); peers that are not installed are skipped. How each is set up is in lsr/eval/bench/peers,
one file each, and in the report. On a machine that others use, give the whole run a low priority or, better, wait.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.vectors import QUERY_SETS, documents, queries
from lsr.errors import LsrError
from lsr.eval.bench import PEERS, Benchmark, bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT_DIR")
    parser.add_argument("--documents", type=int, default=391_934, metavar="N", help="the first N")
    parser.add_argument("--queries", type=int, default=800, metavar="N", help="of each set, spread evenly")
    parser.add_argument("--sets", nargs="+", choices=QUERY_SETS, default=list(QUERY_SETS))
    parser.add_argument("--k", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sweep-queries", type=int, default=100, metavar="N")
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be repeated; all by default")
    parser.add_argument("--build-threads", type=int, default=1, metavar="N")
    parser.add_argument(
        "--indexes", type=Path, metavar="FOLDER", help="keep the peers' indexes there and use them again"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write report.json there too")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    benchmark = Benchmark(
        name=f"{options.documents:,} passages of technical documentation",
        peers=options.peer,
        ks=options.k,
        rounds=options.rounds,
        sweep_queries=options.sweep_queries,
        build_threads=options.build_threads,
        indexes=options.indexes,
        overwrite=options.overwrite,
        command=["python", "-m", "benchmarks.peers", *sys.argv[1:]],
    )
    try:
        outcome = bench(
            documents(options.documents),
            {name: queries(name, options.queries) for name in options.sets},
            options.output,
            benchmark,
            lambda stage, done, total: print(f"{stage} {'' if total is None else f'{done}/{total}'}", file=sys.stderr),
        )
    except LsrError as error:
        raise SystemExit(str(error)) from None
    page = next(page for page in outcome.pages if page.suffix == ".md")
    print(page.read_text(encoding="utf-8").partition("\n## Settings\n")[0])
    if options.json is not None:
        options.json.write_bytes((options.output / "report.json").read_bytes())


if __name__ == "__main__":
    main()
