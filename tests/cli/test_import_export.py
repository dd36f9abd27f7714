"""`lsr import` and `lsr export` of vectors: what people type, what they are told, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr import Index, load_encoder
from tests.cli.commands import lsr, one_line
from tests.cli.test_main_job import DOCUMENTS
from tests.index.formats.collections import COLLECTIONS, SUFFIXES, WITH_IDS, WRITTEN


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("import") / "docs.idx"
    Index.build(DOCUMENTS, path).search("kernels are compiled now")
    return path


def best(index: Path, *queries: str) -> list[tuple[str, str | None]]:
    """Id and text of the first hit of each query, from the command line."""
    done = lsr("search", index, *queries, "-k", "1", "--json")
    assert done.returncode == 0, done.stderr
    hits = [json.loads(line)["hits"][0] for line in done.stdout.splitlines()]
    return [(hit["id"], hit.get("text")) for hit in hits]


@pytest.mark.parametrize("form", ["anserini", "bigann"])
def test_an_index_goes_out_and_comes_in_again(index: Path, tmp_path: Path, form: str) -> None:
    file, again = tmp_path / f"docs{SUFFIXES[form]}", tmp_path / "again.idx"
    done = lsr("export", index, "-o", file, "--format", form)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert re.search(rf"^5 documents, \d+ weights, .*: {file}$", done.stderr, re.M)
    assert f"not in {form}: " in done.stderr
    stated = re.search(r"weight = number x (\S+) \(--scale\)", done.stderr)
    assert (stated is not None) == (form == "anserini")
    scale = ("--scale", stated[1]) if stated else ()
    done = lsr("import", file, "-o", again, "--encoder", "lsr-tiny", *scale)
    assert done.returncode == 0, done.stderr
    assert "5 documents" in done.stderr
    assert f'lsr search {again} "' in done.stderr
    queries = ["compress a file", "run a function at exit"]
    expected = [("gzip", DOCUMENTS[0]["text"]), ("atexit", DOCUMENTS[1]["text"])]
    assert best(again, *queries) == (expected if form in WITH_IDS else [("0", None), ("1", None)])


def test_words_of_a_file_are_kept_where_no_encoder_is_named(tmp_path: Path) -> None:
    lines = [{"id": "1", "contents": "", "vector": {"dog": 2, "cat": 1}}, {"id": "2", "vector": {"eel": 1}}]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = lsr("import", tmp_path / "v.jsonl", "-o", tmp_path / "my.idx", "--format", "anserini")
    assert done.returncode == 0, done.stderr
    assert "terms are the 3 tokens of the file, sorted; the index keeps them" in done.stderr
    assert "made without an encoder" in done.stderr
    assert Index.open(tmp_path / "my.idx").tokens == ("cat", "dog", "eel")
    assert "keeps no encoder" in one_line(lsr("search", tmp_path / "my.idx", "dog"))


def test_tokens_that_an_encoder_does_not_know_are_refused_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(json.dumps({"id": "1", "vector": {"dog": 2, "xyzzyx": 1}}))
    arguments: list[str | Path] = ["import", tmp_path / "v.jsonl", "-o", tmp_path / "my.idx", "--encoder", "lsr-tiny"]
    assert re.search(r"v\.jsonl:1: the token 'xyzzyx' is not in the vocabulary", one_line(lsr(*arguments)))
    done = lsr(*arguments, "--drop-unknown")
    assert done.returncode == 0, done.stderr
    assert "left out, for lsr-tiny does not know them: 1 tokens" in done.stderr
    assert best(tmp_path / "my.idx", "dog") == [("1", None)]


@pytest.mark.parametrize("options", [(), ("--encoder", "lsr-tiny")], ids=["numbers", "words"])
def test_files_of_vectors_are_exported_too_with_numbers_or_the_words_of_an_encoder(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    encoder = load_encoder()
    vectors = encoder.encode_documents(["rotate a log file"])
    vectors.save(tmp_path / "docs.npz")
    done = lsr("export", tmp_path / "docs.npz", "-o", tmp_path / "v.jsonl", "--format", "seismic-jsonl", *options)
    assert done.returncode == 0, done.stderr
    terms, _ = vectors.row(0)
    expected = [encoder.token(int(term)) if options else str(term) for term in terms]
    assert list(json.loads((tmp_path / "v.jsonl").read_text())["vector"]) == expected


def mistakes() -> Iterator[tuple[str, list[str], str]]:
    """(name, arguments, what the line says). {d} is a folder, {i} an index, {v} a file of vectors."""
    out = ["-o", "{d}/out"]
    yield (
        "model format of an index",
        ["export", "{i}", *out, "--format", "onnx"],
        "an index, and --format onnx is for models",
    )
    yield (
        "model format of vectors",
        ["export", "{v}", *out, "--format", "sentence-transformers"],
        "a file, and --format sentence-transformers is for models; vectors are exported as scipy, bigann, .*safetensors",
    )
    yield (
        "vector format of a model",
        ["export", "lsr-tiny", *out, "--format", "ciff"],
        "lsr-tiny: no index and no file of vectors, .* a model is exported as onnx or sentence-transformers",
    )
    yield (
        "option of a model",
        ["export", "{i}", *out, "--format", "ciff", "--adapts"],
        "--adapts: for a model, not with",
    )
    yield (
        "option of vectors",
        ["export", "lsr-tiny", *out, "--format", "onnx", "--scale", "2"],
        "--scale: for an index or",
    )
    yield "only read", ["export", "{i}", *out, "--format", "torch"], "torch is only read"
    yield (
        "unknown format",
        ["export", "{i}", *out, "--format", "x"],
        "format 'x' is not known: choose one of scipy, .*onnx",
    )
    yield "no such file", ["import", "{d}/none.ciff", *out], r"none\.ciff: no such file"
    yield "unknown format of a file", ["import", "{v}", *out, "--format", "x"], "format 'x' is not known: choose one of"
    yield (
        "another format",
        ["import", "{v}", *out, "--format", "ciff"],
        r"vectors\.npz: the header .*is it a CIFF file",
    )
    yield "another encoder", ["import", "{v}", *out, "--encoder", "none"], "no encoder 'none'"
    yield (
        "another dim",
        ["import", "{v}", *out, "--dim", "3"],
        "has 500 dimensions, more than the 3 that it should have",
    )
    yield "unknown engine", ["import", "{v}", *out, "--engine", "x"], "engine 'x' is not known"
    yield "over an index", ["import", "{v}", "-o", "{i}"], "an index is there already; --overwrite"
    yield "over a file", ["export", "{i}", "-o", "{v}", "--format", "scipy"], "a file is there already; --overwrite"


@pytest.mark.parametrize(("name", "arguments", "says"), list(mistakes()), ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_line_and_leaves_nothing(
    index: Path, tmp_path: Path, name: str, arguments: list[str], says: str
) -> None:
    vectors = tmp_path / "vectors.npz"
    COLLECTIONS["ordinary"].save(vectors)
    places = {"{d}": str(tmp_path), "{i}": str(index), "{v}": str(vectors)}
    for mark, place in places.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    assert re.search(says, line := one_line(lsr(*arguments))), line
    assert list(tmp_path.iterdir()) == [vectors]


def test_the_help_names_every_format() -> None:
    for command in ("import", "export"):
        text = lsr(command, "--help").stdout
        formats = WRITTEN if command == "export" else [*WRITTEN, "torch"]
        assert all(form in text for form in formats), text
