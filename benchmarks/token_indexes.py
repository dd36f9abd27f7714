"""lsr's two stages beside indexes of token vectors (PLAID): the same token vectors, on the CPU, a query at a time.

    python -m benchmarks.token_indexes prepare PASSAGES.jsonl FOLDER --model COLBERT [--device cuda] [--known-item 500]
    python -m benchmarks.token_indexes run FOLDER [--threads 1] [--build-threads N] [--site SITE] [--system NAME ...]
    python -m benchmarks.token_indexes report FOLDER

`prepare` encodes passages and queries once, and finds the truth: the exhaustive top 100 by MaxSim. Queries are those of a
file, with `--qrels`; or known items: the title, or else the first sentence, of passages that are found without it. Sparse
vectors are those of an encoder of lsr, or of two files.

`run` builds and searches with each system in processes of its own, on one thread unless told otherwise, and goes on where
an earlier run was stopped (`--seconds`): FOLDER/results has a file for each system and number of threads. Systems that cannot
be loaded are listed with the reason. `--site` is a folder of packages for the peers: `pip install --target SITE --no-deps
fast-plaid==1.4.6.2110 fastkmeans==0.5.0 joblib usearch numkong cloudpickle pylate==1.6.0 ujson==5.12.0 ninja`. The last
digits of fast-plaid's version are those of the torch that it is compiled for: with another it ends the process.
PyLate's copy of Stanford's library is compiled when it is first used, by g++, for some minutes.

Times are of searching alone: query vectors are given to all, the sparse ones to lsr. lsr's time includes its first stage, and
its bytes the sparse index. Memory is the most that was resident: when building, peers hold all vectors as float32, as
their faces ask for; when searching, it is what the dearest setting came to. Agreement is the share of the exhaustive top 10
that is found (what scores as high as the tenth counts as well). At equal quality: the fastest setting of lsr, by the median,
that is at least as good, over the same queries; lsr uses one thread for one query, however many peers are given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.token_systems import SYSTEMS, Data, K, exhaustive
from lsr import Index, SparseVectors
from lsr.corpus import Document, read_documents, read_queries
from lsr.eval.machine import describe
from lsr.eval.measures import Measure, evaluate, mean
from lsr.eval.qrels import read_qrels
from lsr.processors import available_cores
from lsr.rerank import TokenVectors, load_multivector_encoder

CANDIDATES = 100
TRUTH = 100
BATCH = 4096
LEVEL = 1e-4  # scores this near to the tenth are level with it: float16 in some systems' arithmetic, and ties
SECONDS = 540
PACKAGES = ("torch", "fast-plaid", "pylate", "transformers", "sentence-transformers")
SENTENCE = re.compile(r"^(.{20,200}?[.?!:])\s+(.{80,})$", re.DOTALL)
THREADS = ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA", "VECLIB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    preparing = tasks.add_parser("prepare")
    preparing.add_argument(
        "passages", help="a file of documents that lsr reads: .jsonl with _id, text, title; .txt; ..."
    )
    preparing.add_argument("folder", type=Path)
    preparing.add_argument("--model", required=True, help="a multivector model")
    preparing.add_argument("--device", default="cpu")
    preparing.add_argument("--documents", type=int, help="the first N")
    preparing.add_argument("--known-item", type=int, default=500, metavar="N", help="make so many queries")
    preparing.add_argument("--queries", type=Path, metavar="FILE", help="take these instead")
    preparing.add_argument("--qrels", type=Path, metavar="FILE")
    preparing.add_argument("--sparse", default="lsr-tiny", metavar="ENCODER")
    preparing.add_argument(
        "--sparse-vectors", type=Path, nargs=2, metavar="FILE", help=".npz of the documents and of the queries, instead"
    )
    running = tasks.add_parser("run")
    running.add_argument("folder", type=Path)
    running.add_argument("--system", action="append", choices=SYSTEMS, help="may be repeated; all by default")
    running.add_argument("--threads", type=int, default=1)
    running.add_argument("--build-threads", type=int, default=available_cores())
    running.add_argument("--build-device", default="cpu", help="where fast-plaid builds; all search on the CPU")
    running.add_argument("--queries", type=int, metavar="N", help="the first N")
    running.add_argument("--repeats", type=int, default=2)
    running.add_argument("--site", type=Path, help="packages of the peers")
    running.add_argument("--work", type=Path, help="where indexes are made and kept (default: FOLDER/indexes)")
    running.add_argument(
        "--seconds", type=int, default=SECONDS, help="a build or a search that takes longer is stopped"
    )
    reporting = tasks.add_parser("report")
    reporting.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.task == "prepare":
        prepare(given)
        return
    if given.task == "run":
        for name in given.system or SYSTEMS:
            run_system(name, given)
    print(report(given.folder))


# -- what all get ------------------------------------------------------------------------------------------------------


def prepare(given: argparse.Namespace) -> None:
    folder: Path = given.folder
    folder.mkdir(parents=True)
    documents = list(islice(read_documents(given.passages), given.documents))
    if given.queries is None:
        documents, queries, qrels = known_items(documents, given.known_item)
    else:
        asked = list(read_queries(given.queries))
        queries = [query.text for query in asked]
        qrels = rows_of(read_qrels(given.qrels), [query.id for query in asked], documents) if given.qrels else {}
    texts = [document.content for document in documents]
    print(f"{len(texts):,} passages, {len(queries):,} queries, {len(qrels):,} of them with judgments", flush=True)
    write_json(folder / "qrels.json", qrels)
    write_sparse(folder, texts, queries, given)
    encoder = load_multivector_encoder(given.model, device=given.device)
    write_tokens(
        folder, "queries", (encoder.encode_queries(queries[i : i + BATCH]) for i in range(0, len(queries), BATCH))
    )
    write_tokens(
        folder, "documents", (encoder.encode_documents(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH))
    )
    data = Data(folder)
    rows, scores = exhaustive(data, data.queries, min(TRUTH, len(data)), given.device)
    np.save(folder / "truth.rows.npy", rows)
    np.save(folder / "truth.scores.npy", scores)
    candidates = write_candidates(folder, len(queries))
    said = {
        "documents": len(data),
        "tokens": int(data.offsets[-1]),
        "dim": data.dim,
        "queries": len(queries),
        "query_tokens": float(data.queries.lengths.mean()),
        "model": encoder.name,
        "sparse": given.sparse if given.sparse_vectors is None else "given",
        "top 10 among 100 candidates": float(
            np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(candidates, rows[:, :K], strict=True)])
        ),
    }
    write_json(folder / "prepared.json", said)
    print(json.dumps(said), flush=True)


def known_items(documents: list[Document], count: int) -> tuple[list[Document], list[str], dict[str, dict[str, int]]]:
    """Passages, of which some gave up their title or first sentence; those, as queries; which passage each is of."""
    split = {row: parts for row, document in enumerate(documents) if (parts := parted(document)) is not None}
    texts = [query for query, _ in split.values()]
    once = {text for text in texts if texts.count(text) == 1} if len(texts) < 5000 else singles(texts)
    rows = [row for row, (query, _) in split.items() if query in once]
    chosen = [rows[i] for i in np.linspace(0, len(rows), min(count, len(rows)), endpoint=False).astype(int)]
    changed = {row: split[row][1] for row in chosen}
    kept = [changed.get(row, document) for row, document in enumerate(documents)]
    qrels = {str(number): {str(row): 1} for number, row in enumerate(chosen)}
    return kept, [split[row][0] for row in chosen], qrels


def singles(texts: list[str]) -> set[str]:
    distinct, counts = np.unique(np.array(texts, object), return_counts=True)
    return set(distinct[counts == 1].tolist())


def parted(document: Document) -> tuple[str, Document] | None:
    """Title and the rest, or first sentence and the rest; None where there is no such thing."""
    if document.title:
        return (document.title, Document(document.id, document.text)) if len(document.text) >= 80 else None
    found = SENTENCE.match(document.text)
    return None if found is None else (found[1], Document(document.id, found[2]))


def rows_of(qrels: Any, ids: list[str], documents: list[Document]) -> dict[str, dict[str, int]]:
    """Judgments by the numbers of queries and documents."""
    rows = {document.id: str(row) for row, document in enumerate(documents)}
    found = {}
    for number, query in enumerate(ids):
        judged = {rows[name]: grade for name, grade in qrels.get(query, {}).items() if name in rows}
        if judged:
            found[str(number)] = judged
    return found


def write_sparse(folder: Path, texts: list[str], queries: list[str], given: argparse.Namespace) -> None:
    if given.sparse_vectors is not None:
        documents, asked = (SparseVectors.load(path) for path in given.sparse_vectors)
        documents = documents[: len(texts)]
    else:
        from lsr.encoders import load_encoder

        encoder = load_encoder(given.sparse, device=given.device if given.device != "cpu" else None)
        documents, asked = encoder.encode_documents(texts), encoder.encode_query(queries)
    if (len(documents), len(asked)) != (len(texts), len(queries)):
        sys.exit(f"sparse vectors of {len(documents)} passages and {len(asked)} queries: give those of all")
    documents.save(folder / "sparse.documents.npz")
    asked.save(folder / "sparse.queries.npz")


def write_tokens(folder: Path, name: str, batches: Iterable[TokenVectors]) -> None:
    lengths, parts = [], []
    for batch in batches:
        lengths.append(batch.lengths)
        parts.append(batch.vectors.astype(np.float16))
        print(f"{name}: {sum(map(len, lengths)):,}", file=sys.stderr, flush=True)
    np.save(folder / f"{name}.offsets.npy", np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64))
    np.save(folder / f"{name}.vectors.npy", np.concatenate(parts))


def write_candidates(folder: Path, queries: int) -> npt.NDArray[np.int64]:
    """The first stage's best documents of each query, by exact search; -1 where there are fewer."""
    rows, scores = np.full((queries, CANDIDATES), -1, np.int64), np.zeros((queries, CANDIDATES), np.float32)
    with tempfile.TemporaryDirectory() as work:
        index = Index.build(SparseVectors.load(folder / "sparse.documents.npz"), Path(work) / "my.idx", engine="exact")
        found = index.search(SparseVectors.load(folder / "sparse.queries.npz"), CANDIDATES)
    for number, hits in enumerate(found):
        rows[number, : len(hits)], scores[number, : len(hits)] = [int(row) for row in hits.ids], hits.scores
    np.save(folder / "candidates.rows.npy", rows)
    np.save(folder / "candidates.scores.npy", scores)
    return rows


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


# -- running -----------------------------------------------------------------------------------------------------------


def run_system(name: str, given: argparse.Namespace) -> None:
    """Builds its index, unless it is there, and measures what is not measured yet; a file in results says what came of it."""
    folder: Path = given.folder
    work = given.work or folder / "indexes"
    work.mkdir(parents=True, exist_ok=True)
    (folder / "results").mkdir(exist_ok=True)
    index, built = work / plain(name), work / f"{plain(name)}.json"
    result = folder / "results" / f"{plain(name)}.{given.threads}.json"
    said: dict[str, Any] = {"system": name, "threads": given.threads, "queries": given.queries}
    said["machine"] = describe(PACKAGES)
    if not built.exists():
        print(f"{name}: building", file=sys.stderr, flush=True)
        lines, reason = in_process("build", name, index, given.build_threads, given)
        if reason is None:
            write_json(built, lines[-1])
        else:
            shutil.rmtree(index, ignore_errors=True)
            said["skipped"] = reason
    if built.exists():
        said["build"] = json.loads(built.read_text(encoding="utf-8"))
        earlier = json.loads(result.read_text(encoding="utf-8")) if result.exists() else said
        if earlier["queries"] != given.queries:
            sys.exit(f"{result}: was measured with --queries {earlier['queries']}; remove it, or ask as many")
        before = earlier.get("settings", [])
        print(f"{name}: searching, {len(before)} settings were measured", file=sys.stderr, flush=True)
        lines, reason = in_process("search", name, index, given.threads, given, skip=len(before))
        if lines:
            said |= {"opened": lines[0], "settings": before + lines[1:]}
        if reason is not None:
            said["stopped" if lines else "skipped"] = reason
    write_json(result, said)


def plain(name: str) -> str:
    """A name as that of a file."""
    return re.sub(r"\W+", "-", name)


def in_process(
    task: str, name: str, index: Path, threads: int, given: argparse.Namespace, skip: int = 0
) -> tuple[list[dict[str, Any]], str | None]:
    """What a system said, and why it stopped, if it did before its end."""
    environment = os.environ | {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    if task == "search" or given.build_device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if given.site is not None and not name.startswith("lsr"):
        paths = [str(given.site.resolve()), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment["PATH"] = f"{given.site.resolve() / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory() as scratch:
        output, errors = Path(scratch) / "said", Path(scratch) / "errors"
        output.touch()
        command = [sys.executable, "-m", "benchmarks.token_systems", task, str(given.folder), name, str(index)]
        command += [str(output), "--threads", str(threads), "--repeats", str(given.repeats), "--skip", str(skip)]
        command += ["--device", given.build_device]
        command += [] if given.queries is None else ["--queries", str(given.queries)]
        reason: str | None = None
        with errors.open("wb") as stream:
            try:
                done = subprocess.run(
                    command, env=environment, stdout=stream, stderr=stream, timeout=given.seconds, check=False
                )
            except subprocess.TimeoutExpired:
                reason = f"{task} took longer than {given.seconds} s"
            else:
                if done.returncode:
                    last = errors.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                    reason = f"{task} ended with status {done.returncode}: {last[:300]}"
        lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    if lines and "skipped" in lines[0]:
        return [], str(lines[0]["skipped"])
    if reason is not None:
        print(f"{name}: {reason}", file=sys.stderr, flush=True)
    return lines, reason


# -- the report --------------------------------------------------------------------------------------------------------


def report(folder: Path) -> str:
    """Writes report.json and report.md from what all runs found, and returns the latter."""
    data = Data(folder)
    qrels = json.loads((folder / "qrels.json").read_text(encoding="utf-8"))
    truth = np.load(folder / "truth.scores.npy")
    best = np.load(folder / "truth.rows.npy")[:, :K].tolist()
    systems = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "results").glob("*.json")]
    systems.sort(key=lambda system: (system["threads"], list(SYSTEMS).index(system["system"])))
    for system in systems:
        for point in system.get("settings", ()):
            asked, hits = point.pop("asked"), point.pop("hits")
            if system["system"] == "exhaustive":
                asked = list(range(len(best)))[: system["queries"]]
                hits = best[: len(asked)]
            point["agreement"] = mean([agreement(data, truth, *one) for one in zip(asked, hits, strict=True)])
            judged = {str(number): qrels[str(number)] for number in asked if str(number) in qrels}
            rankings = {str(number): list(map(str, rows)) for number, rows in zip(asked, hits, strict=True)}
            if judged:
                measure = Measure("nDCG", cutoff=K)
                point["ndcg"] = mean(evaluate([measure], judged, rankings)[str(measure)])
    prepared = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    write_json(folder / "report.json", {"prepared": prepared, "systems": systems})
    page = "\n".join(page_lines(prepared, systems)) + "\n"
    (folder / "report.md").write_text(page, encoding="utf-8")
    return page


def agreement(data: Data, truth: npt.NDArray[np.float32], number: int, hits: list[int]) -> float:
    """The share of the exhaustive top 10 that is among the first 10 hits."""
    query, wanted = data.queries.of(number), min(K, len(data))
    scores = [float((query @ one.T).max(axis=1).sum()) for row in hits[:K] if len(one := data.of(row, row + 1).of(0))]
    least = float(truth[number, wanted - 1]) - LEVEL
    return min(sum(score >= least for score in scores), wanted) / wanted


def page_lines(prepared: dict[str, Any], systems: list[dict[str, Any]]) -> Iterator[str]:
    machines = {json.dumps(system["machine"]) for system in systems}
    yield f"{json.dumps(prepared)}\n\n" + "\n".join(sorted(machines)) + "\n"
    yield "| system | threads | build, s | MB on disk | most memory building, MiB | opening, s | searching, MiB |"
    yield "|---|--:|---|--:|--:|--:|--:|"
    for system in systems:
        name = f"| {system['system']} | {system['threads']} |"
        if "settings" in system:
            built, opened = system["build"], system["opened"]
            most = max((point["peak_mib"] or 0 for point in system["settings"]), default=0)
            seconds = f"{built['seconds']:.1f} ({built['threads']} threads, {built['device']})"
            yield (
                f"{name} {seconds} | {built['bytes'] / 1e6:,.1f} | {built['peak_mib']:,.0f} |"
                f" {opened['open_seconds']:.2f} | {most:,.0f} |"
            )
        if "skipped" in system or "stopped" in system:
            yield f"{name} not all: {system.get('skipped') or system['stopped']} | | | | |"
    ours = [
        (system["system"], point)
        for system in systems
        if system["system"].startswith("lsr") and system["threads"] == systems[0]["threads"]
        for point in system.get("settings", ())
    ]
    yield "\nAt equal agreement, and at equal nDCG: lsr's fastest setting so good, its p50, and how many times faster.\n"
    columns = (
        "system, setting | threads | p50, ms | p95, ms | agreement@10 | nDCG@10 | as near | ms | times | as good | ms"
    )
    yield f"| {columns} | times |"
    yield "|---|--:|--:|--:|--:|--:|---|--:|--:|---|--:|--:|"
    for system in systems:
        for point in system.get("settings", ()):
            ndcg = f"{point['ndcg']:.4f}" if "ndcg" in point else ""
            times = point["latency_ms"]
            beside = " | | | | | "
            if not system["system"].startswith("lsr"):
                beside = "|".join(at_equal(point, ours, measure) for measure in ("agreement", "ndcg"))
            yield (
                f"| {said(system['system'], point)} | {system['threads']} | {times['p50']:.2f} | {times['p95']:.2f} |"
                f" {point['agreement']:.4f} | {ndcg} |{beside}|"
            )


def at_equal(point: dict[str, Any], ours: list[tuple[str, dict[str, Any]]], measure: str) -> str:
    """The fastest setting of lsr that is at least as good: three cells."""
    if measure not in point:
        return " | | "
    good = [one for one in ours if one[1].get(measure, -1) >= point[measure]]
    if not good:
        return " none | | "
    name, best = min(good, key=lambda one: one[1]["latency_ms"]["p50"])
    took = best["latency_ms"]["p50"]
    return f" {said(name, best)} | {took:.2f} | {point['latency_ms']['p50'] / took:.1f} "


def said(system: str, point: dict[str, Any]) -> str:
    return ", ".join([system, *(f"{name} {value}" for name, value in point["setting"].items())])


if __name__ == "__main__":
    main()
