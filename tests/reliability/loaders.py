"""What reads bytes of anyone: each public loader, valid files for it, and what using it means.

A loader's `make` writes valid files or folders into a folder; its `load` reads one of them to the end. `repair` makes what
lsr itself checks right again (the hashes of encoder.json), so that what stands behind the check is reached too.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import xxhash

import lsr
from lsr import SparseVectors, load_encoder, open_vectors, read_documents, read_queries, read_vectors, write_vectors
from lsr.index.filters.expression import as_expression
from tests.conftest import random_vectors
from tests.eval.conftest import write_collection
from tests.index.formats.collections import with_ids
from tests.reliability import collections, models

__all__ = ["LOADERS", "Loader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """`slow`: needs libraries that take seconds to import."""

    make: Callable[[Path], object]
    load: Callable[[Path], object]
    repair: Callable[[Path, str, Random], None] | None = None
    slow: bool = False


# -- documents and queries ---------------------------------------------------------------------------------------------

RECORDS = [
    {"_id": "d1", "title": "Log files", "text": "Rotate a log file, by size or by time.", "metadata": {"year": 2020}},
    {"_id": "d2", "title": "", "text": "The cat sat on the mat. Über café 漢字.", "tags": ["a", "b"], "score": 1.5},
    {
        "_id": "d3",
        "title": 'A "quoted" title',
        "text": "First line\nsecond line, \\ and more",
        "draft": True,
        "n": None,
    },
]
COLUMNS = ("_id", "title", "text", "year")
ROWS = [
    ("1", "Log files", "Rotate a log file", "2020"),
    ("2", 'say "x"', "two, with a comma", "1999"),
    ("3", "", "ü", ""),
]
PAGES = {
    "guide.md": "---\ntitle: Guide\n---\n# Logs\n\nSome text about `logs`.\n\n```py\ncode()\n```\n\nUnder\n-----\n\n- a\n",
    "sub/page.rst": "=====\nTitle\n=====\n\nText with :func:`gzip.open`::\n\n    literal()\n\n.. note:: A\n\nSub\n---\n\nb\n",
    "notes.txt": "One paragraph\nof two lines.\n\nAnother one. With sentences! And more?\n",
}


def make_records(folder: Path) -> None:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()
    (folder / "documents.jsonl").write_bytes(lines)
    (folder / "array.json").write_bytes(json.dumps(RECORDS, indent=1, ensure_ascii=False).encode())
    (folder / "lines.json").write_bytes(lines)
    (folder / "unnamed").write_bytes(lines)


def make_tables(folder: Path) -> None:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (COLUMNS, *ROWS)]
    (folder / "table.csv").write_bytes("\r\n".join(quoted).encode())
    plain = ["\t".join(cell.replace('"', "'") for cell in row) for row in (COLUMNS, *ROWS)]
    (folder / "table.tsv").write_bytes("\n".join(plain).encode() + b"\n")
    (folder / "bare.tsv").write_bytes(b"1\tsome text\n2\tmore of it\n")


def make_packed(folder: Path) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    (folder / "documents.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    (folder / "documents.json.xz").write_bytes(lzma.compress(json.dumps(RECORDS).encode()))
    (folder / "documents.tsv.bz2").write_bytes(bz2.compress(b"1\tsome text\n2\tmore\n"))
    (folder / "documents.txt.gz").write_bytes(gzip.compress(b"some text\nmore\n", mtime=0))


def make_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "_id": ["a", "b", "c"], "text": ["some text", "more", None], "bytes": [b"x", b"y", b"\xff"], "year": [1, None, 3],
        "tags": [["a"], [], None], "inner": [{"a": 1.5}, {"a": None}, None],
    }  # fmt: skip
    for name, options in (("plain", {"compression": "none"}), ("packed", {"compression": "zstd"})):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", **options)
    words = {"id": [1, 2, 3, 4] * 50, "contents": pa.array(["x", "y", "x", "z"] * 50).dictionary_encode()}
    pq.write_table(pa.table(words), folder / "snappy.parquet", data_page_version="2.0", row_group_size=90)


def make_pages(folder: Path) -> None:
    for name, text in PAGES.items():
        for path in (folder / "pages" / name, folder / Path(name).name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def make_beir(folder: Path) -> None:
    path = write_collection(folder)
    with zipfile.ZipFile(folder / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
            archive.writestr(zipfile.ZipInfo(f"small/{name}"), (path / name).read_bytes())


def make_queries(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a log"}\n{"_id": "q2", "text": "the moon"}\n')
    (folder / "queries.tsv").write_text("q1\ta log\nq2\tthe moon\n")
    (folder / "queries.csv").write_text('qid,query\nq1,"a ""log"""\nq2,the moon\n')
    (folder / "queries.json").write_text('[{"qid": 1, "query": "a log"}, {"qid": 2, "query": "the moon"}]')
    (folder / "queries.txt").write_text("a log\nthe moon\n")
    (folder / "queries").write_text("a log\nthe moon\n")
    make_beir(folder)


def load_documents(path: Path) -> object:
    return [(document.content, dict(document.metadata)) for document in read_documents(path)]


def load_fields(path: Path) -> object:
    return list(read_documents(path, id_field="_id", text_fields=["text", "title"]))


def load_queries(path: Path) -> object:
    return [query.text for query in read_queries(path)]


# -- vectors -----------------------------------------------------------------------------------------------------------

VECTORS = with_ids(random_vectors(12, 30, 4, seed=30, levels=9))


def make_npz(folder: Path) -> None:
    from scipy.sparse import save_npz

    VECTORS.save(folder / "own.npz")
    save_npz(folder / "scipy.npz", VECTORS.to_scipy())
    write_vectors(VECTORS, folder / "written.npz")


def written(form: str, *names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            write_vectors(VECTORS, folder / name, form)

    return make


def make_vector_lines(folder: Path) -> None:
    rows = [
        {"id": 1, "content": "some text", "vector": {"log": 1.5, "file": 2}, "year": 2020},
        {"id": 2, "content": "", "vector": {"moon": 0.25, "log": 3}},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "lines.jsonl").write_bytes(lines)
    (folder / "numbers.jsonl").write_bytes(b'{"id": "a", "vector": {"3": 1, "17": 2.5}}\n{"id": "b", "vector": {}}\n')
    (folder / "lines.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    (folder / "several").mkdir()
    for part in ("1", "2"):
        (folder / "several" / f"{part}.json").write_bytes(lines.replace(b'"id": ', f'"id": {part}'.encode()))


def make_safetensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    write_vectors(VECTORS, folder / "rows.safetensors")
    coo = VECTORS.to_scipy().tocoo()
    indices = np.stack([coo.row, coo.col]).astype(np.int64)
    size = np.array(VECTORS.shape, np.int64)
    save_file({"indices": indices, "values": coo.data, "size": size}, folder / "places.safetensors")


def make_torch(folder: Path) -> None:
    import torch

    tensor = VECTORS.to_torch()
    torch.save(tensor, folder / "coo.pt")
    torch.save(tensor.to_dense(), folder / "dense.pt")
    torch.save([row.to_dense() for row in tensor], folder / "list.pt")
    torch.save(tensor, folder / "old.pth", _use_new_zipfile_serialization=False)


def load_vectors(path: Path) -> object:
    opened = open_vectors(path)
    found = [(batch.vectors, batch.documents) for batch in opened.batches()]
    return found, read_vectors(path, dim=None, scale=0.5)


def load_in_vocabulary(path: Path) -> object:
    return read_vectors(path, vocabulary=["log", "moon", *(f"t{i}" for i in range(30))], drop_unknown=True)


# -- runs, judgments, collections, reports -----------------------------------------------------------------------------


def make_runs(folder: Path) -> None:
    lines = b"q1 Q0 d2 1 3.5 x\nq1 Q0 d1 2 3.25 x\nq2 Q0 d\xc3\xbc 1 1e-3 x\nq2 Q0 d5 2 1.0 x\n"
    (folder / "run.trec").write_bytes(lines)
    (folder / "run.trec.gz").write_bytes(gzip.compress(lines, mtime=0))


def make_qrels(folder: Path) -> None:
    (folder / "beir.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td5\t1\nq2\td2\t0\n")
    (folder / "trec.txt").write_text("q1 0 d1 2\nq2 0 d5 1\nq2 0 d2 -1\n")
    (folder / "lines.jsonl").write_text('{"query-id": "q1", "corpus-id": "d1", "score": 2}\n' * 2)
    (folder / "packed.tsv.gz").write_bytes(gzip.compress(b"q1\td1\t1\n", mtime=0))


def load_run(path: Path) -> object:
    from lsr.run_file import read_run

    return read_run(path)


def load_qrels(path: Path) -> object:
    from lsr.eval.qrels import read_qrels

    return read_qrels(path)


def load_dataset(path: Path) -> object:
    from lsr.eval.datasets import open_dataset, survey

    dataset = open_dataset(str(path))
    return list(dataset.documents()), survey(dataset, True, nothing)


def nothing(stage: str, done: int, total: int | None) -> None:
    pass


def make_reproductions(folder: Path) -> None:
    (folder / "one.yaml").write_text(
        "- name: tiny\n  dataset: beir/scifact\n  system: lsr-tiny\n  options: {max_length: 256}\n  documents: 5183\n"
        "  expect: {nDCG@10: 0.6449, 'AP(rel=2)@100': 0.5}\n  tolerance: 0.00005\n  source: measured\n"
    )


def load_reproductions(path: Path) -> object:
    from lsr.eval.reproduce import read_reproductions

    return read_reproductions(path)


def make_reports(folder: Path) -> None:
    from tests.eval.report.examples import example_report, example_summary

    for name, value in (("report", example_report()), ("summary", example_summary())):
        (folder / name).mkdir()
        (folder / name / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


def load_report(path: Path) -> object:
    from lsr.eval.evaluate import report_again

    (name,) = (entry for entry in path.iterdir() if entry.name in ("report.json", "summary.json"))
    with fresh(path.parent / "pages") as pages:
        return report_again(name, pages, latex=True)


def make_evaluations(folder: Path) -> None:
    """A collection, a run, and what an evaluation of it left for --resume."""
    path = folder / "work"
    write_collection(path)
    make_runs(path)
    evaluate(path, overwrite=True)


def evaluate(path: Path, **options: Any) -> object:
    from lsr.eval.evaluate import Evaluation, evaluate_collections

    evaluation = Evaluation(systems=[str(path / "run.trec")], timing=False, texts=False, **options)
    return evaluate_collections([str(path / "small")], path / "report", evaluation, nothing)


def load_evaluation(path: Path) -> object:
    with copied(path) as copy:
        return evaluate(copy, resume=True)


# -- filters and systems: a text is a file -----------------------------------------------------------------------------

FILTERS = {
    "1.filter": "year >= 2020 and lang in (\"en\", 'de') and not draft",
    "2.filter": '(year < 2010 or year = 2.5e3) and `odd ``name` != "a \\" b" or tags == null',
    "3.filter": 'id in ("d1", "d2") or id == "d3"',
    "4.json": '{"year": {">=": 2020, "<": 2030.5}, "lang": ["en", "de"], "not": {"draft": true}, "id": ["d1"]}',
    "5.json": '{"or": [{"year": 2020}, {"tags": null}, {"and": [{"lang": {"!=": "en"}}, {"year": {"in": [1, 2]}}]}]}',
}
SPECS = ("bm25", "bm25(k1=1.2, b=0.75)", "mine = bm25(k1=0.9)", "lsr-tiny", "tiny=lsr-tiny")


def make_filters(folder: Path) -> None:
    for name, text in FILTERS.items():
        (folder / name).write_text(text, encoding="utf-8")


def load_filter(path: Path) -> object:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    given: Any = text
    if path.suffix == ".json":
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(given, dict | list | str):
            return None
    as_expression(given)
    query = collections.vectors_of([{1: 1}])
    return [list(hits) for hits in filtered_index(path.parent.parent).search(query, 3, filter=given)]


@cache
def filtered_index(folder: Path) -> lsr.Index:
    """Some documents with fields of all types."""
    values: list[dict[str, Any]] = [
        {"year": 2020, "lang": "en", "draft": True}, {"year": 1999.5, "lang": "de", "tags": ["a", "b"]}, {"lang": 7},
        {"year": "2020", "odd `name": 'a " b', "draft": False}, {},
    ]  # fmt: skip
    documents = [collections.Doc(f"d{i}", {1: 1 + i, 2: 1}, found) for i, found in enumerate(values)]
    return lsr.Index.build(collections.source(documents), folder / "filtered.idx")


def make_specs(folder: Path) -> None:
    for i, spec in enumerate(SPECS):
        (folder / f"{i}.spec").write_text(spec)


def load_spec(path: Path) -> object:
    from lsr.eval.systems.spec import open_system

    return open_system(path.read_bytes().decode("utf-8", "surrogateescape"), local_files_only=True)


# -- encoders ----------------------------------------------------------------------------------------------------------


def encoders(*layouts: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for layout in layouts:
            models.LAYOUTS[layout](folder / layout)

    return make


def make_families(folder: Path) -> None:
    from tests.encoders import families

    for family in families.MASKED:
        families.plain(folder / family, family)
    families.pickled(folder / "pickled")


def load_model(path: Path, **options: Any) -> object:
    encoder = load_encoder(path, threads=1, **options)
    vectors = encoder.encode_documents([models.TEXT, ""])
    found = encoder.decode(vectors, 3), encoder.hash, encoder.name
    return encoder.encode_query([models.TEXT, "bi"]), encoder.explain(models.TEXT, 3), found


def load_without_torch(path: Path) -> object:
    return load_model(path, engine="onnx")


def load_with_torch(path: Path) -> object:
    return load_model(path, engine="torch")


def repair_encoder(folder: Path, name: str, random: Random) -> None:
    """encoder.json says of the changed file what is true."""
    description = folder / "encoder.json"
    if name == description.name or random.random() < 0.1:
        return
    found = json.loads(description.read_bytes())
    content = (folder / name).read_bytes()
    found["files"][name] = {"bytes": len(content), "xxh3_128": xxhash.xxh3_128_hexdigest(content)}
    description.unlink()
    description.write_text(json.dumps(found), encoding="utf-8")


@cache
def query_model(folder: Path) -> Path:
    return models.plain(folder / "model")


def make_query_files(folder: Path) -> None:
    models.write_json(folder / "idf.json", {token: 0.5 + i / 10 for i, token in enumerate(models.TOKENS)})


def load_query_file(path: Path) -> object:
    return load_encoder(query_model(path.parent.parent), query=path, threads=1).encode_query([models.TEXT])


# -- an interrupted build ----------------------------------------------------------------------------------------------


def make_interrupted(folder: Path) -> None:
    """What a build, and an encoding, left when they were interrupted after one batch."""
    for name in ("build", "encode"):
        path = folder / name
        path.mkdir()
        models.plain(path / "model")
        lines = [json.dumps({"_id": f"d{i}", "text": f"ba be {'bi ' * i}"}) + "\n" for i in range(6)]
        (path / "documents.jsonl").write_text("".join(lines))

        def stop(stage: str, done: int, total: int | None) -> None:
            if stage == "encoding" and done >= 4:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            resume(path, stop)
        assert list(path.rglob("checkpoint"))


def resume(path: Path, progress: Any = nothing) -> object:
    from lsr.index.reading import Reading
    from lsr.index.vectors_file import encode_to_file

    source, model = path / "documents.jsonl", path / "model"
    if path.name == "build":
        return lsr.Index.build(source, path / "my.idx", encoder=model, resume=True, batch_size=2, progress=progress)
    output = path / "vectors.npz"
    reading = Reading(batch_size=2)
    return encode_to_file(source, output, model, reading, resume=True, progress=progress), SparseVectors.load(output)


def load_interrupted(path: Path) -> object:
    with copied(path) as copy:
        return resume(copy)


# -- copies ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A folder that is not there before or after."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A copy of a folder for those who write into it; it has the same name."""
    with fresh(path.parent.parent / "copy") as copies:
        copies.mkdir()
        yield Path(shutil.copytree(path, copies / path.name))


LOADERS: dict[str, Loader] = {
    "documents-records": Loader(make=make_records, load=load_documents),
    "documents-fields": Loader(make=make_records, load=load_fields),
    "documents-tables": Loader(make=make_tables, load=load_documents),
    "documents-packed": Loader(make=make_packed, load=load_documents),
    "documents-parquet": Loader(make=make_parquet, load=load_documents),
    "documents-pages": Loader(make=make_pages, load=load_documents),
    "documents-beir": Loader(make=make_beir, load=load_documents),
    "queries": Loader(make=make_queries, load=load_queries),
    "vectors-npz": Loader(make=make_npz, load=SparseVectors.load),
    "vectors-scipy": Loader(make=make_npz, load=load_vectors),
    "vectors-bigann": Loader(make=written("bigann", "v.csr"), load=load_vectors),
    "vectors-seismic-bin": Loader(make=written("seismic-bin", "v.bin"), load=load_vectors),
    "vectors-seismic-jsonl": Loader(make=make_vector_lines, load=load_vectors),
    "vectors-vocabulary": Loader(make=make_vector_lines, load=load_in_vocabulary),
    "vectors-anserini": Loader(make=written("anserini", "v.jsonl", "v.jsonl.gz"), load=load_vectors),
    "vectors-ciff": Loader(make=written("ciff", "v.ciff"), load=load_vectors),
    "vectors-safetensors": Loader(make=make_safetensors, load=load_vectors),
    "vectors-torch": Loader(make=make_torch, load=load_vectors, slow=True),
    "runs": Loader(make=make_runs, load=load_run),
    "qrels": Loader(make=make_qrels, load=load_qrels),
    "datasets": Loader(make=make_beir, load=load_dataset),
    "reproductions": Loader(make=make_reproductions, load=load_reproductions),
    "reports": Loader(make=make_reports, load=load_report),
    "evaluation-resumed": Loader(make=make_evaluations, load=load_evaluation),
    "filters": Loader(make=make_filters, load=load_filter),
    "system-specs": Loader(make=make_specs, load=load_spec),
    "build-resumed": Loader(make=make_interrupted, load=load_interrupted),
    "encoder-hugging-face": Loader(
        make=encoders("plain", "opensearch-json", "opensearch-text", "sharded", "token-head"), load=load_without_torch
    ),
    "encoder-old-tokenizers": Loader(make=encoders("word-pieces", "byte-pairs"), load=load_without_torch),
    "encoder-sentence-transformers": Loader(
        make=encoders("splade", "router", "router-idf", "csr"), load=load_without_torch
    ),
    "encoder-lsr": Loader(make=encoders("policies", "lsr", "lsr-two"), load=load_without_torch),
    "encoder-exported": Loader(
        make=encoders("exported", "exported-network"), load=load_without_torch, repair=repair_encoder
    ),
    "encoder-query-file": Loader(make=make_query_files, load=load_query_file),
    "encoder-families": Loader(make=make_families, load=load_model, slow=True),
    "encoder-torch": Loader(make=encoders("plain", "splade", "csr"), load=load_with_torch, slow=True),
}
