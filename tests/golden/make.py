"""Makes the golden files of the format that the code writes: python -m tests.golden.make

They are made once, when the version of the format changes (see CONTRIBUTING.md), and never again: what they are for is to
show that code which came later reads what earlier code wrote.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from lsr import Index, SparseVectors
from lsr.index.storage.manifest import FORMAT_VERSION
from tests.conftest import random_vectors
from tests.index.archives import small_segments

FOLDER = Path(__file__).parent
VERSION = ".".join(map(str, FORMAT_VERSION))

DOCUMENTS: list[dict[str, Any]] = [
    {
        "id": "gzip",
        "title": "gzip",
        "text": "Compress a file, as the program gzip does.",
        "year": 1997,
        "tags": ["files"],
    },
    {"id": "atexit", "text": "Run a function when the interpreter exits.", "year": 2000, "draft": False},
    {
        "id": "logging",
        "text": "Rotate a log file every night, and keep seven.",
        "year": 2002,
        "tags": ["files", "logs"],
    },
    {"id": "sort", "text": "Sort the items of a list in order.", "year": 2002, "score": 0.5},
    {"id": "old", "text": "Open a socket and send bytes to a server.", "year": 1991, "draft": True},
    {"id": "ä€𝄞", "title": "Straße", "text": "Characters beyond ASCII: naïve café, 漢字.", "year": -5, "score": 2.25},
    {"id": "empty", "text": ""},
    {"id": "json", "text": "Read a document of JSON from a file.", "year": 2008, "tags": []},
]
MORE: list[dict[str, Any]] = [
    {"id": "http", "text": "Send a request to a server and read what it answers.", "year": "unknown", "draft": True},
    {"id": "zip", "text": "Compress several files into one archive.", "year": 2003, "tags": ["files"]},
    {"id": "heap", "text": "A queue whose smallest item comes first.", "year": 2004, "score": -1.0},
]
TEXTS: list[tuple[str, str | None]] = [
    ("compress a file", None),
    ("send something to a server", None),
    ("rotate logs", "year >= 2000"),
    ("files", 'tags = "files" and year < 2003'),
    ("the order of items", None),
    ("naïve café", "not draft"),
]


def documents(path: Path) -> tuple[Index, list[dict[str, Any]]]:
    """Texts with metadata in two segments, of both of which something is deleted; exact."""
    index = Index.build(DOCUMENTS, path, engine="exact")
    with small_segments():
        index.add(MORE)
    index.delete(["old", "heap"])
    assert [segment.deleted for segment in index.manifest.segments] == [1, 1]
    assert index.query_encoder is not None
    encoded = index.query_encoder.encode_batch([text for text, _ in TEXTS])
    return index, [
        asked(index, encoded[row : row + 1], filter) | {"text": text} for row, (text, filter) in enumerate(TEXTS)
    ]


def vectors(path: Path) -> tuple[Index, list[dict[str, Any]]]:
    """Vectors with ids and the arrays of the blocked engine."""
    made = random_vectors(300, 64, 10, seed=4)
    named = SparseVectors(
        indptr=made.indptr,
        indices=made.indices,
        values=made.values,
        dim=made.dim,
        ids=[f"doc-{row:03}" for row in range(300)],
    )
    index = Index.build(named, path, engine="blocked", block_size=32)
    index.delete(["doc-007", "doc-100"])
    queries = random_vectors(8, 64, 5, seed=5)
    return index, [asked(index, queries[row : row + 1], None) for row in range(len(queries))]


def asked(index: Index, query: SparseVectors, filter: str | None) -> dict[str, Any]:
    """A query, and its exact answer. The floats of JSON are those of float32 to the last bit."""
    hits = index.search(query, 10, recall=1, filter=filter)[0]
    return {
        "terms": query.indices.tolist(),
        "weights": query.values.tolist(),
        "filter": filter,
        "hits": [[hit.id, hit.score] for hit in hits],
    }


def main() -> None:
    if found := sorted(FOLDER.glob(f"{VERSION}-*")):
        raise SystemExit(f"{found[0]}: is there already, and golden files are never made anew")
    for name, make in {"documents": documents, "vectors": vectors}.items():
        file = FOLDER / f"{VERSION}-{name}.tar.zst"
        with tempfile.TemporaryDirectory() as work:
            index, queries = make(Path(work) / "my.idx")
            records = {}
            for row in range(len(index)):
                record = index.record_of(row)
                records[index.id_of(row)] = None if record is None else [*record[:2], dict(record.metadata)]
            body = {"format_version": VERSION, "dim": index.dim, "records": records, "queries": queries}
            file.with_name(f"{VERSION}-{name}.json").write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n")
            index.save_snapshot(file)


if __name__ == "__main__":
    main()
