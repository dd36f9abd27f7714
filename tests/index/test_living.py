"""An index that changes: what is added, replaced, deleted and compacted, what readers see of it, and what is refused."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsr import Index, SparseVectors, disk, write_vectors
from lsr.errors import CorruptIndex, DuplicateId, IndexLocked, InvalidInput, StorageError
from lsr.index import policy, segments
from lsr.index.query_side import term_weights
from lsr.index.storage import locks
from lsr.index.storage.check import check_index
from tests.conftest import random_vectors
from tests.reliability.collections import Doc, expected, source, vectors_of

MANY = [Doc(f"d{n}", {n % 5: 1 + n % 7, 5 + n % 11: 2, 20: 1}, {"year": 2000 + n % 30}) for n in range(200)]
TEXTS = [
    {"_id": "gzip", "text": "Open a gzip-compressed file in binary or text mode."},
    {"_id": "atexit", "text": "Register a function to be executed at termination."},
    {"_id": "rotate", "text": "Handler for logging that rotates the log file by size.", "lang": "en"},
    {"_id": "sort", "text": "Return a new list with all items in ascending order.", "lang": "en"},
]


@pytest.fixture(params=["exact", "blocked"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Index:
    return Index.build(source(MANY[:150]), tmp_path / "my.idx", engine=request.param)


@pytest.fixture
def in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Additions are not merged with what was added before."""
    monkeypatch.setattr(policy, "SMALL", 0)
    monkeypatch.setattr(policy, "MOST", 0)


def named(folder: Path, start: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(start))


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 10, 60])
@pytest.mark.parametrize("more", [0, 8])
@pytest.mark.usefixtures("in_segments")
def test_what_was_deleted_is_no_hit_however_good(
    index: Index, k: int, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MORE", more)
    index.add(source(MANY[150:]))
    queries = [{0: 3, 6: 1}, {1: 2}, {20: 1, 4: 9}, {}, {3: 1, 9: 4}]
    best = {hit.id for hits in index.search(vectors_of(queries), 5, recall=1) for hit in hits}
    index.delete(sorted(best))
    left = [one for one in MANY if one.id not in best]
    for asked in (queries, queries[:1], queries[3:4]):
        answers = index.search(vectors_of(asked), k, recall=1)
        found = [[(hit.id, hit.score) for hit in hits] for hits in answers]
        assert found == [expected(left, query, k) for query in asked]


def test_compacting_and_refreshing_gives_the_bytes_of_a_new_index(index: Index, tmp_path: Path) -> None:
    index.add(source(MANY[150:]))
    index.delete([one.id for one in MANY[::3]])
    left = [one for one in MANY if MANY.index(one) % 3]
    fresh = Index.build(source(left), tmp_path / "fresh.idx", engine=index.manifest.engine)
    index.compact(refresh=True)
    (made,) = index.manifest.segments
    for entry in fresh.manifest.segments[0].files:
        name = entry.name.partition("/")[2]
        assert (index.path / made.name / name).read_bytes() == (fresh.path / entry.name).read_bytes(), name
    assert index.compact().done is False


@pytest.mark.usefixtures("in_segments")
def test_weights_out_of_range_of_the_step_are_not_cut(tmp_path: Path) -> None:
    index = Index.build(vectors_of([{0: 1, 1: 200}]), tmp_path / "my.idx")
    index.add(vectors_of([{0: 1, 1: 300}]))  # beyond 8 bits
    index.add(vectors_of([{0: 70_000, 1: 2}]))  # beyond 16 bits
    tiny = SparseVectors(indptr=[0, 2], indices=[0, 1], values=[0.25, 0.5], dim=24)  # lost below the step of 1
    index.add(tiny)
    assert [entry.scale for entry in index.manifest.segments[:3]] == [1, 1, 2]
    assert index.info()["weight_bits"] == 16
    assert index.vectors(range(4)).to_scipy()[:, :2].toarray().tolist() == [
        [1, 200],
        [1, 300],
        [70_000, 2],
        [0.25, 0.5],
    ]
    query = vectors_of([{0: 1, 1: 1}])
    (before,) = index.search(query)
    assert before.scores.tolist() == [70_002, 301, 201, 0.75]
    assert index.compact().done
    (after,) = index.search(query)
    assert (after.ids, after.scores.tolist()) == (before.ids, before.scores.tolist())
    assert len(index.manifest.segments) == 3  # of different scales
    index.compact(refresh=True)
    assert len(index.manifest.segments) == 1


def test_many_small_additions_make_few_segments(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "SMALL", 4)
    monkeypatch.setattr(policy, "MOST", 16)
    for one in MANY[150:]:
        index.add(source([one]))
    sizes = [entry.live for entry in index.manifest.segments]
    assert sum(sizes) == 200
    assert len(sizes) <= 1 + 2 + 50 // 16 + 1
    assert [index.id_of(row) for row in range(200)] == [one.id for one in MANY]


def test_filters_know_the_fields_of_all_segments(tmp_path: Path, in_segments: None) -> None:
    index = Index.build(source([Doc("a", {0: 1}, {"year": 2000, "lang": "en"})]), tmp_path / "my.idx")
    index.add(source([Doc("b", {0: 1}, {"year": "unknown", "draft": True})]))
    index.add(source([Doc("c", {0: 1})]))

    def found(filter: str) -> list[str]:
        return index.search(vectors_of([{0: 1}]), filter=filter)[0].ids

    assert found("year >= 1999") == ["a"]
    assert found('year == "unknown"') == ["b"]
    assert found("draft") == ["b"]
    assert found("year == null") == ["c"]
    assert found("lang == null") == ["b", "c"]
    assert found('lang != "en"') == ["b", "c"]
    assert index.info()["fields"]["year"] == {"type": "int or string", "documents": 2, "lists": False}
    with pytest.raises(InvalidInput, match="'lang' is of type string"):
        found("lang > 3")
    with pytest.raises(InvalidInput, match=r"no field 'size'; the fields are draft \(bool\), lang \(string\), year"):
        found("size > 3")
    index.delete("b")
    assert sorted(index.info()["fields"]) == ["lang", "year"]


def test_fields_of_an_index_without_texts_survive_merging(tmp_path: Path) -> None:
    metadata = {"year": 2001, "tags": ["x", "y", 3], "author": {"name": "Ada"}, "note": "n" * 2000}
    index = Index.build(source([Doc("a", {0: 1}, metadata)]), tmp_path / "my.idx", keep_text=False)
    index.add(source([Doc("b", {0: 1}, {"year": 2002}), Doc("c", {0: 1}, {"tags": [3], "ok": True})]))
    assert len(index.manifest.segments) == 1
    asked = vectors_of([{0: 1}])
    for filter, ids in (("year < 2002", "a"), ("tags == 3", "ac"), ('author.name == "Ada"', "a"), ("ok", "c")):
        assert index.search(asked, filter=filter)[0].ids == list(ids), filter
    with pytest.raises(InvalidInput, match="cannot be filtered on"):
        index.search(asked, filter='note == "n"')
    assert index.info()["fields"]["tags"]["lists"]


@pytest.mark.usefixtures("in_segments")
def test_an_index_of_several_segments_is_exported_as_one_collection(index: Index, tmp_path: Path) -> None:
    index.add(source(MANY[150:]))
    index.delete(["d0", "d160"])
    write_vectors(index, tmp_path / "out.csr", "bigann")
    write_vectors(Index.build(next(index.batches()), tmp_path / "fresh.idx"), tmp_path / "fresh.csr", "bigann")
    assert (tmp_path / "out.csr").read_bytes() == (tmp_path / "fresh.csr").read_bytes()


# -- texts -------------------------------------------------------------------------------------------------------------


def test_texts_are_encoded_as_those_of_the_index_were(tmp_path: Path) -> None:
    whole = Index.build(TEXTS, tmp_path / "whole.idx", corpus_idf=False)
    index = Index.build(TEXTS[:2], tmp_path / "my.idx", corpus_idf=False)
    report = Index.open(index.path).add(TEXTS[2:])
    assert (report.documents, report.replaced, report.truncated) == (2, 0, 0)
    assert index.refresh()
    query = "rotate the log file"
    assert index.search(query).ids == whole.search(query).ids
    assert index.search(query).scores == pytest.approx(whole.search(query).scores, rel=0.02)  # another step
    assert "rotate" in {term.token for hit in index.search(query) for term in hit.explain().terms}
    assert index.search(query, filter={"lang": "en"})[0].id == "rotate"


def test_term_weights_stay_until_they_are_refreshed(tmp_path: Path) -> None:
    whole = Index.build(TEXTS, tmp_path / "whole.idx")
    index = Index.build([*TEXTS[:2], {"_id": "other", "text": "rotate rotate the list"}], tmp_path / "my.idx")

    def table(one: Index) -> list[float]:
        weights = term_weights(one.path, one.manifest.encoder, one.dim)
        assert weights is not None
        return [float(weight) for weight in weights]

    before = table(index)
    index.add(TEXTS[2:])
    index.delete("other")
    index.compact()
    assert table(index) == before
    opened = Index.open(index.path)
    opened.compact(refresh=True)
    assert table(opened) == table(whole)
    assert opened.search("rotate the log file").ids == whole.search("rotate the log file").ids
    list(check_index(index.path, full=True))
    assert index.search("rotate the log file")  # the older generation is still read


def test_refreshing_needs_texts(tmp_path: Path) -> None:
    index = Index.build(TEXTS, tmp_path / "my.idx", keep_text=False)
    with pytest.raises(InvalidInput, match="keeps no texts"):
        index.compact(refresh=True)


def test_documents_without_ids_are_numbered_on(tmp_path: Path) -> None:
    texts = [one["text"] for one in TEXTS]
    index = Index.build(texts[:2], tmp_path / "my.idx")
    index.delete("1")
    (tmp_path / "more.txt").write_text(texts[2] + "\n")
    index.add(tmp_path / "more.txt")
    index.add([{"text": texts[3]}])
    assert [index.id_of(row) for row in range(3)] == ["0", "2", "3"]
    with pytest.raises(InvalidInput, match="has no id"):
        index.upsert(texts)
    bare = Index.build(vectors_of([{0: 1}, {1: 1}]), tmp_path / "bare.idx")
    bare.add(vectors_of([{0: 2}]))
    assert bare.search(vectors_of([{0: 1}]))[0].ids == ["2", "0"]
    with pytest.raises(InvalidInput, match="no ids"):
        bare.upsert(vectors_of([{0: 2}]))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda index: index.add(source([MANY[0]])), DuplicateId, "the id 'd0' is in the index already"),
        (lambda index: index.add(source([MANY[190], *MANY[150:158], MANY[190]])), DuplicateId, "'d190'"),
        (lambda index: index.upsert(source([MANY[0], *MANY[150:158], MANY[0]])), DuplicateId, "'d0'"),
        (lambda index: index.delete(["d0", "x", "y"]), InvalidInput, "no document 'x', 'y'; nothing was deleted"),
        (lambda index: index.delete([3]), InvalidInput, "ids are strings"),
        (lambda index: index.add(["a text"]), InvalidInput, "made of vectors"),
        (lambda index: index.add(random_vectors(3, 25, 2)), InvalidInput, "25 dimensions"),
        (lambda index: index.add(vectors_of([{0: 1}], ["z"])), InvalidInput, "keeps the texts"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    index: Index, change: Callable[[Index], object], kind: type[Exception], message: str
) -> None:
    before = sorted(path.name for path in index.path.iterdir())
    with pytest.raises(kind, match=message):
        change(index)
    assert (len(index), index.generation) == (150, 1)
    assert sorted(path.name for path in index.path.iterdir()) == sorted({*before, "LOCK"})


def test_nothing_to_do_makes_no_generation(index: Index) -> None:
    assert index.add(source([])).documents == 0
    assert index.delete([]) == 0
    assert index.delete(["x"], missing_ok=True) == 0
    assert index.compact().done is False
    assert index.generation == 1


def test_an_index_may_become_empty_and_grow_again(index: Index) -> None:
    assert index.delete([one.id for one in MANY[:150]]) == 150
    assert len(index) == 0
    assert [len(hits) for hits in index.search(vectors_of([{0: 1}, {1: 1}]))] == [0, 0]
    index.compact()
    list(check_index(index.path, full=True))
    assert [len(hits) for hits in Index.open(index.path).search(vectors_of([{0: 1}, {1: 1}]))] == [0, 0]
    index.add(source(MANY[:3]))
    assert index.search(vectors_of([{0: 1}]))[0].ids == ["d0"]


# -- readers and writers -----------------------------------------------------------------------------------------------


def test_a_reader_keeps_its_generation_until_it_is_refreshed(index: Index) -> None:
    reader = Index.open(index.path)
    asked = vectors_of([{20: 1}])
    (hits,) = reader.search(asked, 150)
    ids, texts = hits.ids, [hit.text for hit in hits]
    index.delete(ids[:50])
    index.add(source(MANY[150:]))
    index.compact()
    index.delete(ids[50:60])
    assert reader.search(asked, 150)[0].ids == ids
    assert "manifest-000001.json" in named(index.path, "manifest")
    assert reader.refresh()
    assert not reader.refresh()
    assert len(reader) == len(index) == 140
    assert set(reader.search(asked, 150)[0].ids).isdisjoint(ids[:60])
    # Hits that were given out name the documents that they were.
    assert [hit.text for hit in hits] == texts
    del reader, hits
    gc.collect()
    index.delete(ids[60:61])
    newest = index.generation
    assert named(index.path, "manifest") == [f"manifest-{newest - 1:06}.json", f"manifest-{newest:06}.json"]
    assert "segment-0001" not in named(index.path, "segment")


def test_one_writer_at_a_time(index: Index) -> None:
    other = Index.open(index.path)
    with locks.writing(index.path):
        with pytest.raises(IndexLocked, match=f"process {os.getpid()} .*is changing it") as caught:
            other.delete("d0")
        assert "\n" not in str(caught.value)
        assert len(Index.open(index.path)) == 150  # reading goes on
    assert other.delete("d0") == 1
    assert index.delete("d1") == 1  # on what the other has written
    assert len(index) == 148


def test_the_newest_generation_is_never_passed_over(index: Index) -> None:
    index.delete("d0")
    (index.path / "manifest-000002.json").write_text("{}")
    with pytest.raises(CorruptIndex, match=r"manifest-000002\.json"):
        Index.open(index.path)
    with pytest.raises(CorruptIndex):
        index.delete("d1")


@pytest.mark.parametrize("step", ["create", "write", "sync", "rename"])
def test_a_failing_disk_changes_nothing(index: Index, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = OSError(errno.EIO, os.strerror(errno.EIO))

    def fail(now: str, path: Path, detail: disk.Detail) -> None:
        if now == step:
            raise failing

    with monkeypatch.context() as patch:
        patch.setattr(disk, "hook", fail)
        for change in (lambda: index.delete("d0"), lambda: index.add(source(MANY[150:]))):
            with pytest.raises(StorageError, match=str(index.path)):
                change()
    assert len(Index.open(index.path)) == 150
    assert not named(index.path, "tmp-")
    if step == "sync":  # what the system did with the data is not known
        with pytest.raises(StorageError, match="an earlier change failed"):
            index.delete("d0")
    assert Index.open(index.path).delete("d0") == 1


def test_an_index_that_is_being_changed_is_not_overwritten(index: Index) -> None:
    with locks.writing(index.path), pytest.raises(IndexLocked):
        Index.build(source(MANY), index.path, overwrite=True)
    assert len(Index.build(source(MANY), index.path, overwrite=True)) == 200
    assert index.refresh()
    assert len(index) == 200


def test_an_index_is_overwritten_where_two_names_cannot_be_exchanged(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "exchange", lambda first, second: False)
    beside = sorted(one.name for one in index.path.parent.iterdir())
    assert len(Index.build(source(MANY), index.path, overwrite=True)) == 200
    assert sorted(one.name for one in index.path.parent.iterdir()) == beside

    def fails(old: Path, new: Path) -> None:
        if old.name == "target":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        old.rename(new)

    monkeypatch.setattr(disk, "rename", fails)
    with pytest.raises(StorageError, match="cannot be written"):
        Index.build(source(MANY[:10]), index.path, overwrite=True)
    assert len(Index.open(index.path)) == 200, "the old one is put back"


def test_deletions_that_contradict_the_manifest_are_refused(index: Index) -> None:
    index.delete(["d0", "d9"])
    (name,) = named(index.path, "deleted")
    content = bytearray((index.path / name).read_bytes())
    content[3] ^= 4
    (index.path / name).write_bytes(content)
    with pytest.raises(CorruptIndex, match=name):
        Index.open(index.path)


def test_rows_are_those_of_the_documents_that_are_left(index: Index) -> None:
    index.upsert(source([Doc("d0", {0: 1})]))
    assert (index.row_of("d1"), index.row_of("d0")) == (0, 149)
    assert index.id_of(149) == "d0"
    record = index.record_of(149)
    assert record is not None
    assert record.text == "the text of d0"
    with pytest.raises(InvalidInput, match="no document 150"):
        index.id_of(150)
    assert list(index.vectors(np.array([149])).ids or ()) == ["d0"]
