"""The command line, end to end: what people type, what they see, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr import Index
from tests.cli.commands import lsr, lsr_process, one_line
from tests.conftest import REPOSITORY

DOCUMENTS = [
    {"_id": "gzip", "title": "gzip.open", "text": "Open a gzip-compressed file in binary or text mode."},
    {"_id": "atexit", "title": "atexit.register", "text": "Register a function to be executed at termination."},
    {"_id": "rotate", "title": "RotatingFileHandler", "text": "Handler for logging that rotates the log file by size."},
    {"_id": "sort", "title": "sorted", "text": "Return a new list with all items in ascending order."},
    {"_id": "empty", "title": "", "text": ""},
]


def write_lines(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("corpus") / "docs.jsonl", DOCUMENTS)


@pytest.fixture(scope="module")
def index(corpus: Path) -> Path:
    path = corpus.parent / "docs.idx"
    done = lsr_process("index", corpus, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "5 documents" in done.stderr
    assert f'lsr search {path} "' in done.stderr
    lsr_process("search", path, "kernels are compiled now, if they were not: it is said on stderr")
    return path


# -- answers -----------------------------------------------------------------------------------------------------------


def test_search_ranks_the_right_document_first(index: Path) -> None:
    done = lsr_process("search", index, "compress a file", "run a function at exit")
    assert done.returncode == 0
    assert done.stderr == ""
    first, second = done.stdout.split("\n\n")
    assert re.search(r"^ +1 +\d+\.\d+ +gzip +gzip\.open$", first, re.M)
    assert re.search(r"^ +1 +\d+\.\d+ +atexit +atexit\.register$", second, re.M)
    assert "«file»" in first  # without colours, matched words are marked


def test_explain_adds_up_to_the_score(index: Path) -> None:
    done = lsr("search", index, "rotate a log file", "-k", "1", "--explain")
    rows = re.findall(r"^ +(\S+) +(\d+\.\d+) +(\d+\.\d+) +(\d+\.\d+)$", done.stdout, re.M)
    score = float(re.search(r"^ +score +(\d+\.\d+) *$", done.stdout, re.M)[1])  # type: ignore[index]
    assert len(rows) >= 2
    assert sum(float(row[3]) for row in rows) == pytest.approx(score, abs=1e-3)
    for _, query, document, product in rows:
        assert float(query) * float(document) == pytest.approx(float(product), abs=1e-2)


def test_json_is_one_object_a_query_and_nothing_else(index: Path) -> None:
    done = lsr("search", index, "compress a file", "exit", "-k", "2", "--json", "--explain")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["query"] for line in lines] == ["compress a file", "exit"]
    assert [line["query_id"] for line in lines] == ["1", "2"]
    best = lines[0]["hits"][0]
    assert (best["rank"], best["id"], best["text"]) == (1, "gzip", DOCUMENTS[0]["text"])
    contributions = [term["query_weight"] * term["document_weight"] for term in best["explanation"]]
    assert sum(contributions) == pytest.approx(best["score"], rel=1e-5)
    assert done.stderr == ""


def test_a_file_of_queries_becomes_a_trec_run(index: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\tcompress a file\nq2\tfunction at exit\nq3\t\n", encoding="utf-8")
    done = lsr("search", index, "--queries", queries, "--run", tmp_path / "out.trec", "-k", "3")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in (tmp_path / "out.trec").read_text().splitlines()]
    assert lines[0][:4] == ["q1", "Q0", "gzip", "1"]
    assert {line[0] for line in lines} == {"q1", "q2"}
    for query in ("q1", "q2"):
        scores = [float(line[4]) for line in lines if line[0] == query]
        assert scores == sorted(set(scores), reverse=True)


def test_queries_and_documents_from_standard_input(tmp_path: Path) -> None:
    done = lsr("index", "-", "-o", tmp_path / "in.idx", stdin="to be or not to be\nthe rest is silence\n")
    assert done.returncode == 0, done.stderr
    done = lsr_process("search", tmp_path / "in.idx", "--queries", "-", "--json", stdin="silence\n")
    assert json.loads(done.stdout)["hits"][0]["text"] == "the rest is silence"


def test_no_hit_is_said_in_words(index: Path) -> None:
    assert "no word that the encoder knows" in lsr("search", index, "").stdout
    assert "No hits: no document shares a term" in lsr("search", index, "zygote").stdout


def test_texts_need_not_be_kept(corpus: Path, tmp_path: Path) -> None:
    assert lsr("index", corpus, "-o", tmp_path / "bare.idx", "--no-keep-text").returncode == 0
    hit = json.loads(lsr("search", tmp_path / "bare.idx", "compress a file", "--json").stdout)["hits"][0]
    assert hit["id"] == "gzip"
    assert "text" not in hit


def test_info_and_check(index: Path) -> None:
    facts = json.loads(lsr("info", index, "--json").stdout)
    assert (facts["documents"], facts["engine"], facts["encoder"]["name"]) == (5, "exact", "lsr-tiny")
    assert facts["bytes"]["total"] == sum(v for k, v in facts["bytes"].items() if k != "total")
    assert "lsr-tiny" in lsr("info", index).stdout
    done = lsr("check", index, "--full")
    assert done.returncode == 0
    assert done.stdout.count("ok  ") >= 5


def test_encode_writes_vectors_that_index_reads(corpus: Path, index: Path, tmp_path: Path) -> None:
    done = lsr("encode", corpus, "-o", tmp_path / "docs.npz")
    assert done.returncode == 0, done.stderr
    done = lsr("index", tmp_path / "docs.npz", "-o", tmp_path / "vectors.idx", "--encoder", "lsr-tiny")
    assert done.returncode == 0, done.stderr
    hits = json.loads(lsr("search", tmp_path / "vectors.idx", "compress a file", "--json").stdout)["hits"]
    assert hits[0]["id"] == "gzip"


def test_a_reader_that_goes_away_is_no_traceback(index: Path) -> None:
    command = f'"{sys.executable}" -m lsr search "{index}" ' + '"file" ' * 2000 + "| head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


# -- mistakes ----------------------------------------------------------------------------------------------------------


def mistakes() -> Iterator[tuple[str, str | None, list[str], str]]:
    """(name, content of docs.jsonl or None, arguments, what the line says). {d} is a folder, {i} an index."""
    good = '{"_id": "1", "text": "apple"}\n'
    build = ["index", "{d}/docs.jsonl", "-o", "{d}/new.idx"]
    yield "missing file", None, build, r"docs\.jsonl"
    yield "empty corpus", "", build, r"docs\.jsonl: empty: nothing to read"
    yield "malformed json", good + '{"_id": "2", "text"\n', build, r"docs\.jsonl:2: "
    yield "missing id", good + '{"text": "b"}\n', build, r"docs\.jsonl:2: .*_id.*text"
    yield "no text field", '{"_id": "1", "words": "a"}\n', build, r"docs\.jsonl:1: .*words.*--text-field"
    yield "duplicate ids", good + good, build, r"docs\.jsonl:2: the id '1' is also that of document 1; .*--id-field"
    yield "output exists", good, ["index", "{d}/docs.jsonl", "-o", "{i}"], r"docs\.idx: an index is there.*--overwrite"
    yield "output is a folder", good, ["index", "{d}/docs.jsonl", "-o", "{d}"], r"exists and is not an index"
    yield "unknown encoder", good, [*build, "--encoder", "lsr-tini"], r"lsr-tini.*lsr-tiny"
    yield "unknown engine", good, [*build, "--engine", "warp"], r"engine 'warp' is not known: .*auto, exact"
    yield "k of 0", None, ["search", "{i}", "word", "-k", "0"], r"k is 0: .*1 to 10,000"
    yield "no such index", None, ["search", "{d}/none.idx", "word"], r"none\.idx: no such index"
    yield "no index", None, ["info", "{d}"], r"holds no manifest"
    yield "bad vectors", good, ["index", "{d}/bad.npz", "-o", "{d}/new.idx"], r"bad\.npz"
    yield "encode to what is no npz", good, ["encode", "{d}/docs.jsonl", "-o", "{d}/x.txt"], r"\.npz"
    yield "missing queries", None, ["search", "{i}", "--queries", "{d}/none.tsv"], r"none\.tsv"


@pytest.mark.parametrize(("name", "content", "arguments", "says"), list(mistakes()), ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_line_and_leaves_nothing(
    index: Path, tmp_path: Path, name: str, content: str | None, arguments: list[str], says: str
) -> None:
    if content is not None:
        (tmp_path / "docs.jsonl").write_text(content)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    before = sorted(path.name for path in tmp_path.iterdir())
    line = one_line(lsr(*(a.replace("{d}", str(tmp_path)).replace("{i}", str(index)) for a in arguments)))
    assert re.search(says, line), line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_mistake_is_one_line_of_the_process_too(tmp_path: Path) -> None:
    assert re.search(r"none\.idx: no such index", one_line(lsr_process("search", tmp_path / "none.idx", "word")))


def test_invalid_utf8_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_bytes(b'{"_id": "1", "text": "apple"}\n{"_id": "2", "text": "\xff"}\n')
    assert "docs.jsonl:2: " in one_line(lsr("index", tmp_path / "docs.jsonl", "-o", tmp_path / "new.idx"))


@pytest.mark.parametrize(
    "arguments", [["search", "x.idx"], ["search", "x.idx", "q", "--queries", "f"], ["frobnicate"], ["index", "x"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = lsr(*arguments)
    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = lsr_process("info", tmp_path / "none.idx", LSR_DEBUG="1")
    assert "Traceback" in done.stderr
    assert "IndexNotFound" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_leaves_no_half_index(tmp_path: Path) -> None:
    """The documents come through a pipe that stays open, so that the build is surely under way."""
    (tmp_path / "out").mkdir()
    # A shell that started the tests in the background made them ignore SIGINT, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lsr.cli import main; main()"
    command = [sys.executable, "-c", code, "index", "-", "-o", str(tmp_path / "out" / "x.idx"), "--batch-size", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write((b"some text " * 2_000 + b"\n") * 40)  # more than a pipe holds: returns when most is read
        process.stdin.flush()
        assert len(list((tmp_path / "out").iterdir())) == 1, "the build is under way"
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(60)
        finally:
            process.kill()
        errors = process.stderr.read().decode()
        assert status == 130, errors
    assert errors == "lsr: interrupted\n"
    assert list((tmp_path / "out").iterdir()) == []


# -- start-up ----------------------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    done = lsr_process("--help")
    assert done.returncode == 0
    for command in ("demo", "index", "search", "add", "delete", "compact", "info", "check", "encode"):
        assert re.search(rf"\b{command}\b", done.stdout)
    assert lsr("-h").stdout == done.stdout
    assert lsr("--version").stdout == "lsr 0.1.0\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom lsr.cli import main\nsys.argv = ['lsr', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'numba', 'scipy', 'torch', 'onnxruntime', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_searching_needs_neither_onnxruntime_nor_torch(index: Path) -> None:
    code = (
        "import sys, lsr\n"
        f"assert lsr.Index.open({str(index)!r}).search('compress a file')[0].id == 'gzip'\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_the_index_is_what_the_api_opens(index: Path) -> None:
    opened = Index.open(index)
    assert opened.search("compress a file")[0].title == "gzip.open"


def test_documents_whose_ids_came_before_are_left_out_when_asked(tmp_path: Path) -> None:
    twice = write_lines(tmp_path / "docs.jsonl", [*DOCUMENTS[:3], DOCUMENTS[0]])
    refused = lsr("index", twice, "-o", tmp_path / "docs.idx")
    assert f"docs.jsonl:4: the id '{DOCUMENTS[0]['_id']}' is also that of document 1" in one_line(refused)
    done = lsr("index", twice, "-o", tmp_path / "docs.idx", "--duplicates", "first")
    assert done.returncode == 0, done.stderr
    assert "left out, for their ids came before: 1 documents\n3 documents in" in done.stderr


def test_limits_are_set_by_the_environment(tmp_path: Path) -> None:
    docs, index = write_lines(tmp_path / "docs.jsonl", DOCUMENTS[:3]), tmp_path / "docs.idx"
    refused = lsr("index", docs, "-o", index, LSR_LIMITS="text=10")
    assert "docs.jsonl:1: the field 'text' is longer than 10 bytes" in one_line(refused)
    assert lsr("index", docs, "-o", index).returncode == 0
    assert "k is 10001: it must be a whole number from 1 to 10,000" in one_line(
        lsr("search", index, "list", "-k", 10_001)
    )
    assert lsr("search", index, "list", "-k", 10_001, LSR_LIMITS="k=20_000").returncode == 0
    assert one_line(lsr("search", index, "list", LSR_LIMITS="k=many")).startswith("lsr: LSR_LIMITS: k is 'many'")
