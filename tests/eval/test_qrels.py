"""Judgments in every form that people have them, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import EvaluationError
from lsr.eval.qrels import read_qrels

TWO = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -2}}


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t-2\n",
        "q1\td1\t1\nq1\td2\t0\nq2\td1\t-2\n",
        "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 -2\n",
        "q1\t0\td1\t1\nq1\t0\td2\t0\nq2\t0\td1\t-2\n",
        "q1 0  d1\t1\nq1 Q0 d2 0\nq2 1 d1 -2",
        "qid\titer\tdocno\trel\nq1\t0\td1\t1\nq1\t0\td2\t0\nq2\t0\td1\t-2\n",
        "topic\tdoc_key\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t-2\n",
        "corpus-id\tscore\tquery-id\tjudge\nd1\t1\tq1\tx\nd2\t0\tq1\ty\nd1\t-2\tq2\tx\n",
        '"query-id"\t"corpus-id"\t"score"\nq1\td1\t1\nq1\td2\t0\nq2\td1\t-2\n',
        "\nq1\td1\t+1\n\nq1\td2\t0.0\nq2\td1\t-2\n\n",
        '{"query-id": "q1", "corpus-id": "d1", "score": 1}\n{"query-id": "q1", "corpus-id": "d2", "score": 0}\n'
        '{"query-id": "q2", "corpus-id": "d1", "score": -2}',
        '{"query_id": "q1", "doc_id": "d1", "relevance": 1.0}\n{"qid": "q1", "docid": "d2", "grade": "0"}\n\n'
        '{"qid": "q2", "doc_id": "d1", "relevance": -2}\n',
    ],
    ids=lambda text: text.split("\n")[0] or "blank lines",
)
@pytest.mark.parametrize("packing", ["plain", "gz", "crlf", "bom"])
def test_the_forms_of_judgments(text: str, packing: str, tmp_path: Path) -> None:
    data = text.replace("\n", "\r\n").encode() if packing == "crlf" else text.encode()
    if packing == "gz":
        path = put(tmp_path / "qrels.gz", gzip.compress(data))
    else:
        path = put(tmp_path / "qrels", b"\xef\xbb\xbf" + data if packing == "bom" else data)
    found = read_qrels(path)
    assert found == TWO
    assert list(found) == ["q1", "q2"]


def test_the_first_line_of_a_file_without_a_header_is_a_judgment(tmp_path: Path) -> None:
    assert read_qrels(put(tmp_path / "q.tsv", "301\tFT911-3\t0\n")) == {"301": {"FT911-3": 0}}


def test_ids_may_hold_blanks_between_tabs_and_numbers_are_texts(tmp_path: Path) -> None:
    assert read_qrels(put(tmp_path / "a", "q 1\tdoc one\t1\n")) == {"q 1": {"doc one": 1}}
    assert read_qrels(put(tmp_path / "b", '{"qid": 7, "docid": 8, "score": 2}\n')) == {"7": {"8": 2}}


def test_the_same_judgment_twice_is_one(tmp_path: Path) -> None:
    assert read_qrels(put(tmp_path / "q", "q\td\t1\nq\td\t1\n")) == {"q": {"d": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"q: no judgments"),
        ("\n\n", r"q: no judgments"),
        ("query-id\tcorpus-id\tscore\n", r"q: no judgments"),
        ("q1\td1\n", r"q:1: 2 columns"),
        ("q1 0 d1 1 more\n", r"q:1: 5 columns"),
        ("q1\td1\t1\nq1\td2\n", r"q:2: 2 columns, the first line has 3"),
        ("q1\td1\t1\nq1\t0\td2\t1\n", r"q:2: 4 columns, the first line has 3"),
        ("q1\td1\t0.5\n", r"q:1: the grade '0\.5' is no whole number"),
        ("q1\td1\thigh\n", r"q:1: the grade 'high' is no whole number; if the line is a header"),
        ("q1\td1\tnan\n", r"q:1: the grade 'nan' is no whole number"),
        ("q1\td1\t1\nq1\td2\t\n", r"q:2: the grade '' is no whole number"),
        ("q1\td1\t1\nq1\td2\t1_0\n", r"q:2: the grade '1_0' is no whole number"),
        ("q1\td1\t1\nq1\td2\t1e0\n", r"q:2: the grade '1e0' is no whole number"),
        ("q1\td1\t1\nq1\t\t1\n", r"q:2: an id is ''"),
        ("docid\tqid\tx\nd\tq\t1\n", r"q:1: the order of the columns is not clear"),
        ("q1\td1\t1\nq2\td1\t1\nq1\td1\t0\n", r"q:3: the document 'd1' has grade 0 for the query 'q1', and 1 before"),
        ('{"qid": "1", "docid": "2"}\n', r"q:1: no field 'score' or 'relevance'"),
        ('{"qid": "1", "docid": "2", "score": true}\n', r"q:1: the grade 'True' is no whole number"),
        ('{"qid": "1", "docid": "2", "score": 0.5}\n', r"q:1: the grade '0\.5' is no whole number"),
        ('{"qid": "1", "docid": null, "score": 1}\n', r"q:1: an id is None"),
        ('{"qid": "1", "docid": "2", "score": 1}\n{"qid"\n', r"q:2: malformed JSON"),
        ('{"qid": "1", "docid": "2", "score": 1}\nq d 1\n', r"q:2: malformed JSON"),
        (b"q1\td1\t1\nq1\t\xff\t1\n", r"q:2: byte 4 \(0xff\) is not valid UTF-8"),
    ],
)
def test_what_is_no_judgment_is_refused_with_its_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=message) as caught:
        read_qrels(put(tmp_path / "q", text))
    assert "\n" not in str(caught.value)


def test_judgments_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such file of judgments"):
        read_qrels(tmp_path / "missing.tsv")
    with pytest.raises(EvaluationError, match="no such file of judgments"):
        read_qrels(tmp_path)
    with pytest.raises(EvaluationError, match=r"cut\.gz:\d+: cannot be read"):
        read_qrels(put(tmp_path / "cut.gz", gzip.compress(b"q\td\t1\n" * 9000)[:-9]))


ids = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@given(st.dictionaries(ids, st.dictionaries(ids, st.integers(-3, 4), min_size=1, max_size=4), min_size=1, max_size=4))
def test_all_forms_say_the_same(tmp_path_factory: pytest.TempPathFactory, qrels: dict[str, dict[str, int]]) -> None:
    rows = [(query, document, grade) for query, judged in qrels.items() for document, grade in judged.items()]
    folder = tmp_path_factory.mktemp("qrels")
    forms = [
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows),
        "qid\titeration\tdocid\trel\n" + "".join(f"{q}\t0\t{d}\t{g}\n" for q, d, g in rows),
        "".join(json.dumps({"query_id": q, "doc_id": d, "relevance": g}) + "\n" for q, d, g in rows),
    ]
    if not rows[0][0].startswith("{"):  # would be taken for json
        forms.append("".join(f"{q} 0 {d} {g}\n" for q, d, g in rows))
        forms.append("".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows))
    for form in forms:
        assert read_qrels(put(folder / "q", form)) == qrels
