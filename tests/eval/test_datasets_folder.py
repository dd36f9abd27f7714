"""Collections in folders and zips: every form, the split that is meant, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lsr.corpus import Document, Query
from lsr.errors import CorpusError, DatasetNotFound, EvaluationError, InvalidInput
from lsr.eval.datasets import Dataset, open_dataset, survey

DOCUMENTS = [Document("d1", "first text", "One"), Document("d2", "second text", "")]
CORPUS = '{"_id": "d1", "title": "One", "text": "first text"}\n{"_id": "d2", "title": "", "text": "second text"}\n'
QUERIES = '{"_id": "q1", "text": "first?"}\n{"_id": "q2", "text": "second?"}\n{"_id": "q3", "text": "none?"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq2\td2\t2\nq1\td1\t1\nq1\td2\t0\n"
FILES = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}


def folder_of(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        (path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def zip_of(path: Path, files: dict[str, str], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(top + name, text)
    return path


def contents(dataset: Dataset) -> Dataset:
    """Without what says where it came from."""
    return replace(dataset, name="", source="")


# Folders


def test_a_beir_folder(tmp_path: Path) -> None:
    dataset = open_dataset(str(folder_of(tmp_path / "tiny", FILES)))
    assert (dataset.name, dataset.split, dataset.source) == ("tiny", "test", "tiny (a BEIR folder)")
    assert dataset.queries == (Query("q1", "first?"), Query("q2", "second?"))
    assert dataset.qrels == {"q2": {"d2": 2}, "q1": {"d1": 1, "d2": 0}}
    assert (dataset.relevance_threshold, dataset.drop_self) == (1, False)
    assert dataset.notes == ("1 queries without judgments are left out.",)
    assert list(dataset.documents()) == DOCUMENTS
    assert list(dataset.documents()) == DOCUMENTS, "a second call starts again"


@pytest.mark.parametrize(
    "files",
    [
        {"corpus.jsonl.gz": CORPUS, "queries.jsonl.gz": QUERIES, "qrels/test.tsv.gz": QRELS},
        {
            "corpus.tsv": "id\ttitle\ttext\nd1\tOne\tfirst text\nd2\t\tsecond text\n",
            "queries.tsv": "q1\tfirst?\nq2\tsecond?\nq3\tnone?\n",
            "qrels.tsv": "q2\td2\t2\nq1\td1\t1\nq1\td2\t0\n",
        },
        {
            "corpus.csv": "id,title,text\nd1,One,first text\nd2,,second text\n",
            "queries.csv": "id,text\nq1,first?\nq2,second?\nq3,none?\n",
            "qrels.txt": "q2 0 d2 2\nq1 0 d1 1\nq1 0 d2 0\n",
        },
        {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.trec.gz": "q2 0 d2 2\nq1 0 d1 1\nq1 0 d2 0\n"},
        {
            "corpus.json": json.dumps([json.loads(line) for line in CORPUS.splitlines()]),
            "queries.ndjson": QUERIES,
            "qrels.jsonl": "".join(
                json.dumps({"qid": query, "docid": document, "score": grade}) + "\n"
                for query, document, grade in [("q2", "d2", 2), ("q1", "d1", 1), ("q1", "d2", 0)]
            ),
        },
        {**FILES, "corpus.tsv": "another form, that is not looked at"},
    ],
    ids=lambda files: " ".join(files),
)
def test_a_folder_in_other_forms_is_the_same_collection(files: dict[str, str], tmp_path: Path) -> None:
    beir = open_dataset(str(folder_of(tmp_path / "beir", FILES)))
    other = open_dataset(str(folder_of(tmp_path / "other", files)))
    assert contents(replace(other, split="test")) == contents(beir)
    assert list(other.documents()) == DOCUMENTS
    assert other.split == ("test" if any(name.startswith("qrels/") for name in files) else None)


def test_a_corpus_in_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder_of(tmp_path, {"queries.jsonl": QUERIES, "qrels.tsv": QRELS})
    table = pyarrow.table({"_id": ["d1", "d2"], "title": ["One", ""], "text": ["first text", "second text"]})
    parquet.write_table(table, tmp_path / "corpus.parquet")
    assert list(open_dataset(str(tmp_path)).documents()) == DOCUMENTS


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_split_is_the_one_asked_for_else_test_else_the_only_one(kind: str, tmp_path: Path) -> None:
    made = iter(range(10))

    def opened(splits: str, asked: str | None) -> Dataset:
        names = splits.split()
        files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES}
        files |= {f"qrels/{name}.tsv": f"q{at}\td1\t1\n" for at, name in enumerate(names, start=1)}
        path = tmp_path / f"{next(made)}.zip"
        return open_dataset(str(folder_of(path, files) if kind == "folder" else zip_of(path, files)), split=asked)

    assert opened("dev test", None).split == "test"
    assert list(opened("dev test", None).qrels) == ["q2"]
    assert list(opened("dev test", "dev").qrels) == ["q1"]
    assert opened("dev", None).split == "dev"
    with pytest.raises(EvaluationError, match=r"several splits, none of them 'test'; .*: dev, train$"):
        opened("train dev", None)
    with pytest.raises(EvaluationError, match=r"no split 'tst'; the splits are: dev, test$"):
        opened("dev test", "tst")


def test_judgments_without_splits_have_none_to_ask_for(tmp_path: Path) -> None:
    folder_of(tmp_path, {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.tsv": QRELS})
    with pytest.raises(EvaluationError, match=r"no split 'dev'; its judgments have no splits"):
        open_dataset(str(tmp_path), split="dev")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES}, ["no judgments", "qrels/SPLIT.tsv|.txt|.trec|.jsonl"]),
        ({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/readme.md": "no"}, ["no judgments"]),
        ({"corpus.jsonl": CORPUS, "qrels/test.tsv": QRELS}, ["no queries (looked for queries.jsonl|"]),
        ({"queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}, ["no corpus (looked for corpus.jsonl|"]),
        ({"notes.txt": "x"}, ["no corpus", "no queries", "no judgments"]),
        ({f"tiny/{name}": text for name, text in FILES.items()}, ["no corpus", "Collections below it: tiny"]),
        (
            {**FILES, "qrels.tsv": QRELS},
            ["qrels.tsv and qrels/test.tsv: only one of them can be meant"],
        ),
        ({**FILES, "qrels/test.txt": QRELS}, ["qrels/test.tsv and qrels/test.txt: only one"]),
        (
            {"corpus.csv": "x", "corpus.tsv": "y", "queries.jsonl": QUERIES, "qrels.tsv": QRELS},
            ["corpus.tsv and corpus.csv: only one"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_folder_without_a_part_says_which_files_were_looked_for(
    files: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError) as caught:
        open_dataset(str(folder_of(tmp_path / "there", files)))
    assert str(caught.value).startswith(f"{tmp_path / 'there'}: ")
    for part in said:
        assert part in str(caught.value)


def test_errors_of_a_part_name_its_file_and_line(tmp_path: Path) -> None:
    folder_of(tmp_path, {**FILES, "qrels/test.tsv": "q1\td1\t1\nq1\td2\tgood\n"})
    with pytest.raises(EvaluationError, match=re.escape(f"{tmp_path / 'qrels' / 'test.tsv'}:2: the grade 'good'")):
        open_dataset(str(tmp_path))
    folder_of(tmp_path, {**FILES, "corpus.jsonl": CORPUS + "{"})
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:3: malformed JSON"):
        list(open_dataset(str(tmp_path)).documents())


# Conventions


@pytest.mark.parametrize(
    ("name", "drops"),
    [("arguana", True), ("Quora", True), ("nfcorpus", False), ("quora-pairs", False), ("my-arguana", False)],
)
def test_self_retrieval_is_dropped_where_queries_are_documents(name: str, drops: bool, tmp_path: Path) -> None:
    dataset = open_dataset(str(folder_of(tmp_path / name, FILES)))
    assert dataset.drop_self is drops
    assert ("A document that has the id of the query is left out of its hits." in dataset.notes) is drops
    assert open_dataset(str(zip_of(tmp_path / f"{name}.zip", FILES))).drop_self is drops


def test_a_relevance_threshold_can_be_given(tmp_path: Path) -> None:
    path = str(folder_of(tmp_path, FILES))
    assert open_dataset(path).relevance_threshold == 1
    assert open_dataset(path, relevance_threshold=2).relevance_threshold == 2
    with pytest.raises(InvalidInput, match="relevance threshold of 0"):
        open_dataset(path, relevance_threshold=0)


# Zips


@pytest.mark.parametrize("top", ["", "tiny/"])
def test_a_zip_is_the_same_collection_as_its_folder(top: str, tmp_path: Path) -> None:
    folder = open_dataset(str(folder_of(tmp_path / "tiny", FILES)))
    files = {f"{top}{name}": text for name, text in FILES.items()} | {"__MACOSX/qrels/test.tsv": "rubbish"}
    zipped = open_dataset(str(zip_of(tmp_path / "tiny.zip", files)))
    assert contents(zipped) == contents(folder)
    assert (zipped.name, zipped.source) == ("tiny", "tiny (a BEIR zip)")
    assert list(zipped.documents()) == list(zipped.documents()) == DOCUMENTS
    assert survey(zipped).documents_hash == survey(folder).documents_hash


def test_what_is_no_beir_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no zip", encoding="utf-8")
    with pytest.raises(
        EvaluationError, match=r"a\.zip: not a zip file that can be read .*; give a folder or a BEIR zip"
    ):
        open_dataset(str(tmp_path / "a.zip"))
    (tmp_path / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"corpus\.jsonl: not a zip file"):
        open_dataset(str(tmp_path / "corpus.jsonl"))
    whole = zip_of(tmp_path / "b.zip", FILES)
    (tmp_path / "c.zip").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(EvaluationError, match=r"c\.zip: not a zip file"):
        open_dataset(str(tmp_path / "c.zip"))
    deep = {f"a/b/{name}": text for name, text in FILES.items()}
    with pytest.raises(EvaluationError, match=r"d\.zip: no qrels/SPLIT\.tsv"):
        open_dataset(str(zip_of(tmp_path / "d.zip", deep)))
    double = {f"{top}/{name}": text for top in "ab" for name, text in FILES.items()}
    with pytest.raises(
        EvaluationError, match=r"e\.zip: several judgments for the split 'test' \(a/qrels/test\.tsv, b/"
    ):
        open_dataset(str(zip_of(tmp_path / "e.zip", double)))
    with pytest.raises(CorpusError, match=r"f\.zip: no queries\.jsonl"):
        open_dataset(str(zip_of(tmp_path / "f.zip", {"corpus.jsonl": CORPUS, "qrels/test.tsv": QRELS})))


def test_judgments_in_a_zip_that_would_grow_too_much_are_refused(tmp_path: Path) -> None:
    bomb = {**FILES, "qrels/test.tsv": QRELS + " " * 11_000_000}
    with pytest.raises(
        EvaluationError, match=r"bomb\.zip/qrels/test\.tsv: would grow from [\d,]+ to 11,000,0\d\d bytes"
    ):
        open_dataset(str(zip_of(tmp_path / "bomb.zip", bomb)))


def test_errors_in_a_zip_name_member_and_line(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {**FILES, "qrels/test.tsv": "q1\td1\t1\nq1\n"}, "x/")
    with pytest.raises(EvaluationError, match=r"x\.zip/x/qrels/test\.tsv:2: 1 columns, the first line has 3"):
        open_dataset(str(path))


# Nothing there


@pytest.mark.parametrize("spec", ["", " ", "a\0b"])
def test_a_name_that_is_none(spec: str) -> None:
    with pytest.raises(InvalidInput, match="not the name of a collection"):
        open_dataset(spec)


def test_a_path_with_nothing_says_what_is_beside_it(tmp_path: Path) -> None:
    folder_of(tmp_path / "scifact", FILES)
    for name in ("scifact2", "x.zip"):
        with pytest.raises(DatasetNotFound, match="no such folder or zip; collections beside it: scifact") as caught:
            open_dataset(str(tmp_path / name))
        assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(DatasetNotFound, match="no such folder or zip; check the path"):
        open_dataset(str(tmp_path / "no" / "x"))


# As published

README = re.compile(
    r"Counts: (?P<documents>[\d,]+) documents, (?P<queries>[\d,]+) queries, (?P<judgments>[\d,]+) judgments "
    r"\((?P<relevant>[\d,]+) with score > 0; scores used: \[(?P<grades>[\d, ]+)\]\)"
)
REAL = [
    "scifact", "nfcorpus", "msmarco-5k", "cranfield", "cacm", "vaswani", "squad-dev",
    "multihop/hotpot-200", "multihop/2wiki-164", "multihop/musique-498", "multihop/musique-openie",
]  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_collections_have_the_counts_that_their_makers_state(name: str, shared: Path) -> None:
    folder = shared / "data" / name
    stated = README.search((folder / "README.md").read_text(encoding="utf-8"))
    assert stated is not None
    facts = survey(open_dataset(str(folder)))
    for count in ("documents", "queries", "judgments", "relevant"):
        assert getattr(facts, count) == int(stated[count].replace(",", "")), count
    assert list(facts.grades) == [int(grade) for grade in stated["grades"].split(",")]
    assert (facts.missing_documents, facts.queries_without_relevant) == (0, 0)
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    characters = [len(f"{record.get('title') or ''} {record['text']}".strip(" ")) for record in records]
    assert facts.mean_characters == pytest.approx(sum(characters) / len(records), abs=0.01)


def test_a_real_collection_zipped_is_the_same(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "cranfield"
    files = {
        "corpus.jsonl": gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).decode(),
        "queries.jsonl": (folder / "queries.jsonl").read_text(encoding="utf-8"),
        "qrels/test.tsv": (folder / "qrels" / "test.tsv").read_text(encoding="utf-8"),
    }
    zipped, plain = open_dataset(str(zip_of(tmp_path / "c.zip", files, "cranfield/"))), open_dataset(str(folder))
    assert contents(zipped) == contents(plain)
    assert list(zipped.documents()) == list(plain.documents())
    assert survey(zipped).as_json()["hashes"] == survey(plain).as_json()["hashes"]


def test_two_grades_of_msmarco_count_as_relevant_when_asked(shared: Path) -> None:
    dataset = open_dataset(str(shared / "data" / "msmarco-5k"), relevance_threshold=2)
    facts = survey(dataset).as_json()
    assert (facts["relevance_threshold"], facts["relevant"], facts["judgments"]) == (2, 4101, 4101)
    assert sum(facts["grades"].values()) == 4101
