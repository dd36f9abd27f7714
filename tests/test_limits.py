"""Every limit, at it and one above it, through the public face; and how limits are set."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import lsr
from lsr import Index, Limits, SparseVectors, read_documents, read_queries
from lsr.errors import CorpusError, InvalidInput, LsrError
from lsr.index.blocked.parameters import SearchSettings
from lsr.index.formats import open_vectors, write_vectors

# Does something with a size, under limits.
Use = Callable[[Path, int, Limits | None], object]


def ones(terms: int, name: str = "a") -> SparseVectors:
    """One vector of so many terms."""
    return SparseVectors(indptr=[0, terms], indices=np.arange(terms), values=np.ones(terms), dim=70_000, ids=[name])


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def line_in_jsonl(folder: Path, size: int, limits: Limits | None) -> object:
    text = json.dumps({"id": "a", "text": "b"}).ljust(size) + "\n"
    return list(read_documents(put(folder / "d.jsonl", text), limits=limits))


def line_of_queries(folder: Path, size: int, limits: Limits | None) -> object:
    return list(read_queries(put(folder / "q.txt", "a" * size + "\n"), limits=limits))


def row_of_a_table(folder: Path, size: int, limits: Limits | None) -> object:
    text = 'id,text\na,"' + "\n" * (size - 5) + '"\n'  # a row of many short lines
    return list(read_documents(put(folder / "d.csv", text), limits=limits))


def text_in_jsonl(folder: Path, size: int, limits: Limits | None) -> object:
    record = json.dumps({"id": "a", "text": "é" * (size // 2) + "a" * (size % 2)}, ensure_ascii=False)
    return Index.build(put(folder / "d.jsonl", record), folder / "my.idx", limits=limits)


def text_of_a_query(folder: Path, size: int, limits: Limits | None) -> object:
    return list(read_queries(put(folder / "q.tsv", "q1\t" + "a" * size + "\n"), limits=limits))


def id_in_jsonl(folder: Path, size: int, limits: Limits | None) -> object:
    record = json.dumps({"id": "é" * (size // 2) + "a" * (size % 2), "text": "b"}, ensure_ascii=False)
    return list(read_documents(put(folder / "d.jsonl", record), limits=limits))


def id_of_a_page(folder: Path, size: int, limits: Limits | None) -> object:
    name = "p" * (size - 15) + ".md"  # ids are NAME#NUMBER, for which 12 are set aside
    return list(read_documents(put(folder / name, "a page"), limits=limits))


def terms_of_a_document(folder: Path, size: int, limits: Limits | None) -> object:
    return Index.build(ones(size), folder / "my.idx", limits=limits)


def terms_of_an_added_document(folder: Path, size: int, limits: Limits | None) -> object:
    index = Index.build(ones(1), folder / "my.idx", limits=limits)
    return index.upsert(ones(size))


def terms_of_a_query(folder: Path, size: int, limits: Limits | None) -> object:
    Index.build(ones(3), folder / "my.idx")
    return Index.open(folder / "my.idx", limits=limits).search(ones(size))


def hits_asked_for(folder: Path, size: int, limits: Limits | None) -> object:
    Index.build(ones(3), folder / "my.idx")
    return Index.open(folder / "my.idx", limits=limits).search(ones(1), k=size)


def archive(folder: Path) -> tuple[Path, int]:
    """A zip whose corpus is more than 10 MB, and how many times its size, rounded up, that is."""
    line = json.dumps({"text": " " * 4_000}) + "\n"
    with zipfile.ZipFile(folder / "beir.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("corpus.jsonl", line * 3_000)
        info = made.getinfo("corpus.jsonl")
    return folder / "beir.zip", -(-info.file_size // info.compress_size)


class Case(NamedTuple):
    use: Use
    name: str
    at: int
    says: str
    error: type[LsrError] = CorpusError


CASES = [
    Case(line_in_jsonl, "line", 16 << 20, "d.jsonl:1: the line is longer than 16,777,216 bytes"),
    Case(line_in_jsonl, "line", 100, "d.jsonl:1: the line is longer than 100 bytes"),
    Case(line_of_queries, "line", 100, "q.txt:1: the line is longer than 100 bytes"),
    Case(row_of_a_table, "line", 100, "d.csv:2: the row that starts here is longer than 100 characters"),
    Case(text_in_jsonl, "text", 1 << 20, "d.jsonl:1: the field 'text' is longer than 1,048,576 bytes"),
    Case(text_in_jsonl, "text", 101, "d.jsonl:1: the field 'text' is longer than 101 bytes"),
    Case(text_of_a_query, "text", 100, "q.tsv:1: the field 'text' is longer than 100 bytes"),
    Case(id_in_jsonl, "id", 512, "is longer than 512 bytes"),
    Case(id_in_jsonl, "id", 33, "d.jsonl:1: the id 'ééééééééééééééééé'... is longer than 33 bytes"),
    Case(id_of_a_page, "id", 100, "the path makes ids of more than 100 bytes"),
    Case(terms_of_a_document, "document_terms", 65_535, "document 'a' has 65,536 terms", InvalidInput),
    Case(terms_of_a_document, "document_terms", 100, "document 'a' has 101 terms: the limit is 100", InvalidInput),
    Case(
        terms_of_an_added_document, "document_terms", 100, "document 'a' has 101 terms: the limit is 100", InvalidInput
    ),
    Case(terms_of_a_query, "query_terms", 4_096, "a query has 4,097 terms: at most 4,096 are searched", InvalidInput),
    Case(terms_of_a_query, "query_terms", 5_000, "a query has 5,001 terms: at most 5,000 are searched", InvalidInput),
    Case(hits_asked_for, "k", 10_000, "k is 10001: it must be a whole number from 1 to 10,000", InvalidInput),
    Case(hits_asked_for, "k", 20_000, "k is 20001: it must be a whole number from 1 to 20,000", InvalidInput),
]
DEFAULTS = Limits()


def ids_of(case: Case) -> str:
    return f"{case.use.__name__}-{case.at}"


# A default holds when nothing is said.
HOWS = [
    pytest.param(case, how, id=f"{ids_of(case)}-{how}")
    for case in CASES
    for how in (["default"] if getattr(DEFAULTS, case.name) == case.at else ["given", "LSR_LIMITS"])
]


@pytest.mark.parametrize(("case", "how"), HOWS)
def test_what_is_at_a_limit_is_taken_and_what_is_one_above_it_refused(
    case: Case, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(**{case.name: case.at}) if how == "given" else None
    if how == "LSR_LIMITS":
        monkeypatch.setenv("LSR_LIMITS", f"{case.name}={case.at}")
    for folder in ("at", "above"):
        (tmp_path / folder).mkdir()
    case.use(tmp_path / "at", case.at, limits)
    with pytest.raises(case.error, match=re.escape(case.says)) as caught:
        case.use(tmp_path / "above", case.at + 1, limits)
    message = str(caught.value)
    assert "\n" not in message
    if case.at != 65_535:  # which cannot be raised
        assert f"Limits({case.name}=...) or LSR_LIMITS" in message


def test_an_archive_may_grow_so_many_times_and_no_more(tmp_path: Path) -> None:
    path, ratio = archive(tmp_path)
    assert sum(1 for _ in read_documents(path, limits=Limits(archive_ratio=ratio))) == 3_000
    says = f"corpus.jsonl would grow to .* bytes, more than {ratio - 1} times its size"
    with pytest.raises(CorpusError, match=says) as caught:
        read_documents(path, limits=Limits(archive_ratio=ratio - 1))
    assert "Limits(archive_ratio=...) or LSR_LIMITS" in str(caught.value)
    with pytest.raises(CorpusError, match="more than 200 times its size"):
        read_documents(path)


def test_so_may_a_compressed_file(tmp_path: Path) -> None:
    """How much of it was read is known to a buffer, so the ratio is not sharp."""
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps({"text": " " * 4_000}) + "\n").encode() * 3_000))
    assert sum(1 for _ in read_documents(path, limits=Limits(archive_ratio=2_000))) == 3_000
    with pytest.raises(CorpusError, match=r"d.jsonl.gz:\d+: one compressed byte has become more than 200 bytes"):
        list(read_documents(path))


# -- how limits are set ------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Limits() == Limits(
        line=16 << 20,
        text=1 << 20,
        id=512,
        document_terms=65_535,
        query_terms=4_096,
        k=10_000,
        archive_ratio=200,
    )
    assert lsr.Limits is Limits
    page = (Path(__file__).resolve().parent.parent / "docs" / "limits.md").read_text(encoding="utf-8")
    for row in ("`line` | 16 MiB", "`text` | 1 MiB", "`id` | 512 bytes", "`document_terms` | 65,535"):
        assert f"| {row} |" in page
    for row in ("`query_terms` | 4,096", "`k` | 10,000", "`archive_ratio` | 200"):
        assert f"| {row} |" in page


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        (" , ", {}),
        ("k=50000", {"k": 50_000}),
        ("line=64MiB, k = 50_000,", {"line": 64 << 20, "k": 50_000}),
        ("text=2 gib,id=1KiB", {"text": 2 << 30, "id": 1 << 10}),
        ("line=100B", {"line": 100}),
    ],
)
def test_the_environment_says_what_limits_are(
    text: str, wanted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSR_LIMITS", text)
    assert Limits.default() == Limits(**wanted)
    assert Limits() == DEFAULTS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("size=3", "'size=3' sets no limit; write NAME=NUMBER, with commas between, of line, text, id, document_terms"),
        ("k", "'k' sets no limit"),
        ("=3", "'=3' sets no limit"),
        ("k=", "k is ''; write a whole number"),
        ("k=many", "k is 'many'; write a whole number"),
        ("k=1e4", "k is '1e4'; write a whole number"),
        ("k=-1", "k is '-1'; write a whole number"),
        ("k=4KiB", "k is '4KiB'; write a whole number"),
        ("line=4MB", "line is '4MB'; write a whole number, KiB, MiB or GiB after it if need be"),
        ("k=3, k=4", "k is set twice"),
        ("k=0", "Limits: k is 0: it must be at least 1"),
        ("document_terms=70000", "document_terms is 70,000: it must be at most 65,535, for an index holds no more"),
        ("line=" + "9" * 5_000, "line is '999"),
    ],
)
def test_what_it_cannot_mean_is_an_error_that_names_the_variable(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.build(ones(2), tmp_path / "my.idx")
    monkeypatch.setenv("LSR_LIMITS", text)
    path = put(tmp_path / "d.txt", "a\n")
    for use in (lambda: read_documents(path), lambda: read_queries(path), lambda: Index.open(index.path)):
        with pytest.raises(InvalidInput, match=re.escape(says)) as caught:
            use()
        assert str(caught.value).startswith("LSR_LIMITS: ")
        assert len(str(caught.value)) < 300
    assert len(Index.open(index.path, limits=Limits())) == 1  # those that are given need no variable


@pytest.mark.parametrize("name", ["line", "text", "id", "document_terms", "query_terms", "k", "archive_ratio"])
def test_a_limit_is_a_whole_number_above_0_that_is_possible(name: str) -> None:
    Limits(**{name: 1})
    for value, says in [
        (0, "is 0: it must be at least 1"),
        (1 << 63, "it must be at most"),
        (True, "is True: it must"),
    ]:
        with pytest.raises(InvalidInput, match=f"^Limits: {name} .*{says}"):
            Limits(**{name: value})
    for wrong in (1.5, "10", None):
        with pytest.raises(InvalidInput, match=f"Limits: {name} is .*: it must be a whole number"):
            Limits(**{name: wrong})  # type: ignore[arg-type]


def test_an_index_keeps_the_limits_that_it_was_opened_with(tmp_path: Path) -> None:
    few = Limits(document_terms=2, k=3, text=5)
    index = Index.build(ones(2), tmp_path / "my.idx", limits=few)
    assert index.limits == few
    assert Index.open(index.path).limits == DEFAULTS
    for add in (index.add, index.upsert):
        with pytest.raises(InvalidInput, match="has 3 terms: the limit is 2"):
            add(ones(3, "b"))
    assert index.add(ones(3, "b"), limits=Limits()).documents == 1
    index.compact(refresh=True)  # what is there may stay
    assert index.nnz == 5
    with pytest.raises(InvalidInput, match="k is 4"):
        index.search(ones(1), k=4)


def test_added_files_are_read_under_the_limits_of_the_index(tmp_path: Path) -> None:
    index = Index.build(["one", "two"], tmp_path / "my.idx", limits=Limits(text=5))
    path = put(tmp_path / "d.jsonl", '{"id": "a", "text": "sixsix"}\n')
    for add in (index.add, index.upsert):
        with pytest.raises(CorpusError, match=r"d.jsonl:1: the field 'text' is longer than 5 bytes"):
            add(path)
    assert index.add(path, limits=Limits()).documents == 1


def test_sizes_of_python_objects_are_for_their_owner_to_limit(tmp_path: Path) -> None:
    """They are in memory already; what UTF-8, JSON and C cannot say is refused of them, too."""
    few = Limits(line=10, text=10, id=10)
    index = Index.build([{"id": "a" * 600, "text": "b" * (2 << 20)}], tmp_path / "my.idx", limits=few)
    assert index.id_of(0) == "a" * 600
    for document, says in [
        ({"id": "a\0", "text": ""}, "document 0: the id 'a.x00' has a NUL character"),
        ({"id": "a", "text": "b\0"}, "document 0: character 2 of the field 'text' is NUL"),
        ({"id": "\ud800", "text": ""}, "document 0: the id .* half a surrogate pair"),
        ({"id": "a", "text": "\ud800"}, "document 0: the text .* half a surrogate pair"),
        ({"id": "", "text": ""}, "document 0: the id .* is empty"),
    ]:
        with pytest.raises(CorpusError, match=says):
            index.add([document])
    assert len(index) == 1


# -- beyond the defaults -----------------------------------------------------------------------------------------------


def truth(documents: SparseVectors, query: SparseVectors, k: int) -> list[tuple[int, float]]:
    """(row, score) of the k best, in float64: weights are whole numbers, so all sums are exact."""
    scores = (documents.to_scipy().astype(np.float64) @ query.to_scipy().astype(np.float64).T).toarray().ravel()
    order = np.lexsort((np.arange(len(scores)), -scores))[:k]
    return [(int(row), float(scores[row])) for row in order if scores[row] > 0]


@pytest.mark.parametrize("engine", ["exact", "blocked"])
def test_larger_settings_give_the_answers_of_brute_force(engine: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    documents = SparseVectors(
        indptr=np.arange(0, 600_001, 20),
        indices=generator.integers(1, 401, (30_000, 20)).cumsum(axis=1).ravel() - 1,
        values=generator.integers(1, 10, 600_000).astype(float),
        dim=8_000,
    )
    terms = np.sort(generator.choice(8_000, 5_000, replace=False))
    weights = generator.integers(1, 4, 5_000).astype(float)
    long = SparseVectors(indptr=[0, 5_000], indices=terms, values=weights, dim=8_000)
    limits = Limits(k=30_000, query_terms=5_000)
    index = Index.build(documents, tmp_path / "my.idx", engine=engine, limits=limits)
    for k in (10, 20_000, 30_000):
        expected = truth(documents, long, k)
        assert len(expected) >= min(k, 20_000)
        (hits,) = index.search(long, k, recall=1)
        assert list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == expected
        (hits,) = index.search(long, k)  # as fast as it may be
        found = list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))
        assert len(set(found) & set(expected)) >= 0.98 * len(expected)
    index.delete([str(row) for row in range(0, 30_000, 7)])
    (hits,) = index.search(long, 20_000, recall=1)
    left = [(row, score) for row, score in truth(documents, long, 30_000) if row % 7]
    assert [(int(hit.id), hit.score) for hit in hits] == left[:20_000]


@pytest.mark.slow
def test_as_many_candidates_as_are_asked_for_are_told_apart(tmp_path: Path) -> None:
    """200,000 documents that all have the one term: the k best of them, not the first that are stored."""
    weights = np.random.default_rng(3).integers(1, 256, 200_000).astype(float)
    rows = np.arange(200_001)
    documents = SparseVectors(indptr=rows, indices=np.zeros(200_000, int), values=weights, dim=4)
    query = SparseVectors(indptr=[0, 1], indices=[0], values=[1.0], dim=4)
    index = Index.build(documents, tmp_path / "my.idx", engine="blocked", limits=Limits(k=200_000))
    for k in (10_000, 17_000, 20_000, 60_000, 100_000):
        (exact,) = index.search(query, k, recall=1)
        assert exact.rows.tolist() == np.argsort(-weights, kind="stable")[:k].tolist()
        (hits,) = index.search(query, k, settings=SearchSettings(query_cut=1.0, n_blocks=1 << 20))
        assert len(set(hits.rows.tolist()) & set(exact.rows.tolist())) > 0.99 * k


# -- what is refused whatever its size ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "-Infinity", "-1", "1e39"])
def test_weights_that_are_none_are_refused_where_they_stand(weight: str, tmp_path: Path) -> None:
    vectors = ({"x": "1"}, {"x": "1", "y": weight})
    lines = (", ".join(f'"{term}": {value}' for term, value in vector.items()) for vector in vectors)
    path = put(tmp_path / "v.jsonl", "".join(f'{{"vector": {{{line}}}}}\n' for line in lines))
    with pytest.raises(CorpusError, match=r"v.jsonl:2: .*(weights are finite|is no JSON)"):
        Index.build(open_vectors(path), tmp_path / "my.idx")
    with pytest.raises(InvalidInput, match=r"row 0 has weight .*: weights are finite and above 0"):
        SparseVectors(indptr=[0, 1], indices=[0], values=[float(weight)], dim=3)
    assert not (tmp_path / "my.idx").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"id": "a", "text": "x\\u0000"}\n', "d.jsonl:1: character 2 of the field 'text' is NUL"),
        (b'{"id": "a\\u0000", "text": "x"}\n', "d.jsonl:1: the id .* has a NUL character"),
        (b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}\n', "d.jsonl:2: byte 22 .0xff. is not valid UTF-8"),
        (b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "d.jsonl:2: the id 'a' is also that of document 1"),
    ],
)
def test_texts_that_are_none_and_ids_given_twice_are_refused_where_they_stand(
    content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(CorpusError, match=says):
        Index.build(tmp_path / "d.jsonl", tmp_path / "my.idx")
    assert not (tmp_path / "my.idx").exists()


REPEATED = [{"id": name, "text": f"{name} says {number}"} for number, name in enumerate("abacbad")]


@pytest.mark.parametrize("long", ["truncate", "passages"])
@pytest.mark.parametrize("recent", [1, 1 << 16])  # ids that are not yet in a sorted run
def test_of_documents_with_one_id_the_first_may_be_kept(
    long: str, recent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is, byte for byte, that of the documents without the others: neither are they encoded, nor counted."""
    monkeypatch.setattr("lsr.index.storage.records._RECENT", recent)
    monkeypatch.setattr("lsr.index.new_segment._TOGETHER", 2)
    path = put(tmp_path / "d.jsonl", "".join(json.dumps(one) + "\n" for one in REPEATED))
    index = Index.build(path, tmp_path / "my.idx", duplicates="first", long=long, batch_size=3)
    firsts = [
        one for number, one in enumerate(REPEATED) if one["id"] not in [other["id"] for other in REPEATED[:number]]
    ]
    put(tmp_path / "d.jsonl", "".join(json.dumps(one) + "\n" for one in firsts))
    plain = Index.build(path, tmp_path / "plain.idx", long=long)
    assert index.build_report is not None
    assert (index.build_report.documents, index.build_report.skipped) == (4, 3)
    assert [file.xxh3_128 for file in index.manifest.files()] == [file.xxh3_128 for file in plain.manifest.files()]


def test_what_becomes_of_ids_given_twice_is_said_in_words_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="document 2: the id 'a' is also that of document 0"):
        Index.build(REPEATED, tmp_path / "my.idx")
    with pytest.raises(
        InvalidInput, match=r"duplicates is 'last': it must be one of error, first; .* upsert the others"
    ):
        Index.build(REPEATED, tmp_path / "my.idx", duplicates="last")
    with pytest.raises(InvalidInput, match="vectors whose ids came before are an error"):
        Index.build(ones(2), tmp_path / "my.idx", duplicates="first")
    assert list(tmp_path.iterdir()) == []


def test_empty_documents_and_queries_are_legal_and_find_nothing(tmp_path: Path) -> None:
    index = Index.build([{"id": "empty", "text": ""}, {"id": "log", "text": "a log file"}], tmp_path / "my.idx")
    assert len(index) == 2
    assert index.search("").ids == []
    assert index.search("log").ids == ["log"]
    assert [hits.ids for hits in index.search(["", "log"])] == [[], ["log"]]


def test_terms_of_others_are_sorted_and_those_given_twice_summed(tmp_path: Path) -> None:
    from scipy.sparse import csr_array, save_npz

    unsorted = csr_array(([1.0, 2.0, 4.0, 0.0], [3, 1, 3, 0], [0, 4]), shape=(1, 5))
    wanted = SparseVectors(indptr=[0, 2], indices=[1, 3], values=[2.0, 5.0], dim=5)
    assert SparseVectors.from_scipy(unsorted) == wanted
    save_npz(tmp_path / "v.npz", unsorted)
    assert SparseVectors.load(tmp_path / "v.npz") == wanted
    assert open_vectors(tmp_path / "v.npz").vectors() == wanted
    write_vectors(wanted, tmp_path / "v.csr")
    sparse = (tmp_path / "v.csr").read_bytes()
    # BigANN: three sizes, two offsets, then terms of 4 bytes and weights of 4.
    terms, weights = np.array([3, 1], "<i4").tobytes(), np.array([5, 2], "<f4").tobytes()
    (tmp_path / "w.csr").write_bytes(sparse[:40] + terms + weights)
    assert open_vectors(tmp_path / "w.csr").vectors() == wanted
