"""The graph of an index: kept in its folder, of its texts or not opened, and read only where texts are new."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsr
from lsr import disk
from lsr.encoders import Encoder
from lsr.errors import (
    CorruptIndex,
    GeneratorError,
    IndexLocked,
    InvalidInput,
    LsrError,
    OutputExists,
    StorageError,
    StoreMismatch,
)
from lsr.index.storage.folder import partial_of
from lsr.index.storage.graph_files import GRAPH
from lsr.index.storage.locks import claimed
from lsr.index.storage.repair import repair
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.pagerank import personalised
from lsr.rag.graph.store import Graph, check_graph, syncing
from lsr.rag.graph.store import graph as graph_module
from lsr.rag.graph.store.arrays import open_arrays, write_arrays
from lsr.rag.graph.store.manifest import ArraysEntry
from lsr.rag.graph.types import SYNONYM, Extracted, GraphArrays, Text
from tests.rag.graph.graph_index import (
    TEXTS,
    Hashed,
    Prefixes,
    Words,
    built,
    content,
    indexed,
    made_anew,
    source,
    synced,
)
from tests.rag.graph.graphs import random_graph

MORE = {"g": "Georg met Ada", "h": "Hedy met Georg"}


@pytest.fixture
def index(tmp_path: Path) -> lsr.Index:
    return indexed(tmp_path / "my.idx")


def left(folder: Path) -> list[str]:
    """What no graph needs."""
    return sorted(one.name for one in folder.iterdir() if one.name.startswith((f".{GRAPH}", "tmp-")))


# -- what there is ---------------------------------------------------------------------------------------------------------


def test_a_graph_holds_what_its_extractor_found_in_the_order_of_the_index(index: lsr.Index) -> None:
    graph = built(index)
    assert content(graph) == content(Graph.open(lsr.Index.open(index.path))) == made_anew(index)
    facts = graph.info()
    assert (facts["passages"], facts["phrases"], facts["without_phrases"], facts["failed"]) == (6, 6, 1, 0)
    assert facts["facts"] == 5
    assert facts["edges"] == {"relations": 10, "mentions": 22, "synonyms": 2}
    assert facts["extractor"]["identity"] == {"extractor": "words", "version": 1}
    files = [file for file in graph.path.rglob("*") if file.is_file() and "manifest" not in file.name]
    assert facts["bytes"]["total"] == sum(file.stat().st_size for file in files if file.name != "LOCK")
    assert left(index.path) == left(graph.path) == []


def test_its_arrays_are_mapped_and_what_walks_takes_them(index: lsr.Index) -> None:
    arrays = built(index).arrays
    assert not arrays.targets.flags.writeable
    nodes, scores = personalised(arrays, np.array([0]), np.array([1.0]))
    assert scores[nodes == len(arrays.phrases)][0] > 0, "the walk from Ada comes to the passage that says so"
    assert arrays.phrases[-1] == list(arrays.phrases)[-1]
    assert arrays.phrases[1:3] == list(arrays.phrases)[1:3]
    with pytest.raises(IndexError):
        arrays.phrases[len(arrays.phrases)]


def test_phrases_of_any_letters_are_kept(tmp_path: Path) -> None:
    texts = {"a": "Ünïcödé 😀 traf Łódź", "b": "\u2028Zeile Ümlaut"}
    index = indexed(tmp_path / "my.idx", texts)
    assert content(built(index)) == made_anew(index)


def test_an_empty_index_has_an_empty_graph(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx", {"a": "Ada wrote Notes"})
    built(index)
    index.delete(["a"])
    assert synced(index).deleted == 1
    graph = Graph.open(index)
    assert (graph.arrays.passages, list(graph.arrays.phrases)) == (0, [])
    index.add(source(MORE))
    synced(index)
    assert content(Graph.open(index)) == made_anew(index)


# -- keeping up ------------------------------------------------------------------------------------------------------------


def test_only_texts_that_are_new_are_read(index: lsr.Index) -> None:
    built(index)
    index.add(source(MORE))
    index.upsert(source({"a": "Ada left London", "b": TEXTS["b"]}))
    index.delete(["c", "d"])
    words = Words()
    report = synced(index, words)
    assert sorted(words.read) == ["a", "g", "h"], "b has the text that it had"
    assert (report.extracted, report.replaced, report.deleted, report.failed) == (3, 1, 2, 0)
    assert (report.without_phrases, report.rebuilt) == (0, True)
    assert content(Graph.open(index)) == made_anew(index)
    again = synced(index, words)
    assert (again.extracted, again.deleted, again.rebuilt) == (0, 0, False)
    assert len(words.read) == 3
    index.compact()
    assert content(Graph.open(index)) == made_anew(index), "what only moved needs nothing"


operation = st.one_of(
    st.tuples(
        st.just("upsert"), st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([*TEXTS.values(), "Eve"]))
    ),
    st.tuples(st.just("delete"), st.sets(st.sampled_from("abcdefgh"))),
    st.tuples(st.sampled_from(["compact", "compact graph", "sync"]), st.none()),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(operation, max_size=7))
def test_whatever_became_of_an_index_its_graph_is_the_one_that_a_new_build_gives(
    operations: list[tuple[str, object]],
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "ROUND", 3)
        index = indexed(Path(folder) / "my.idx")
        built(index)
        for what, argument in operations:
            if what == "upsert" and isinstance(argument, dict) and argument:
                index.upsert(source(argument))
            elif what == "delete" and isinstance(argument, set):
                index.delete(sorted(argument), missing_ok=True)
            elif what == "compact":
                index.compact()
            elif what == "compact graph":
                Graph.compact(index)
            elif what == "sync":
                synced(index)
        synced(index)
        assert content(Graph.open(index)) == made_anew(index)
        list(check_graph(index, full=True))


@pytest.mark.parametrize("way", ["added", "replaced", "deleted", "swapped", "repaired"])
def test_a_graph_of_other_texts_is_refused_with_the_command_to_update(way: str, index: lsr.Index) -> None:
    if way == "repaired":
        index.add(source(MORE))
    built(index)
    if way == "added":
        index.add(source(MORE))
    elif way == "replaced":
        index.upsert(source({"a": "Ada left London"}))
    elif way == "deleted":
        index.delete(["a"])
    elif way == "swapped":  # the same passages in another order: others are numbered as they were
        index.upsert(source({"a": TEXTS["a"]}))
    else:
        repair(index.path, 1)
        index.refresh()
    with pytest.raises(StoreMismatch, match=r"graph: behind its index \(.*Graph.sync\(index, extractor\)"):
        Graph.open(index)
    assert not Graph.facts(index)["current"]
    assert "it is behind the index" in list(check_graph(index, full=False))[-1]
    synced(index)
    assert content(Graph.open(index)) == made_anew(index)


def test_a_reader_of_an_earlier_generation_of_the_index_is_told_to_move_on(index: lsr.Index) -> None:
    built(index)
    reader = lsr.Index.open(index.path)
    before = Graph.open(reader)
    wanted = content(before)
    index.upsert(source({"a": "Ada left London"}))
    synced(index)
    with pytest.raises(StoreMismatch, match=r"changed since it was opened; refresh\(\) it"):
        Graph.open(reader)
    for name in "bcd":
        index.delete([name])
        synced(index)
    assert content(before) == wanted, "one that is open stays with its generation"
    reader.refresh()
    assert content(Graph.open(reader)) == made_anew(reader)


@pytest.mark.parametrize("way", ["overwritten", "brought up"])
def test_one_that_is_open_stays_as_it_is(way: str, index: lsr.Index) -> None:
    built(index)
    reader = lsr.Index.open(index.path)
    graph = Graph.open(reader)
    facts, wanted = graph.info(), made_anew(index)
    if way == "overwritten":
        built(index, Words(2), overwrite=True)  # its files have the names of those before
    else:
        index.upsert(source({"a": "Ada left London"}))
        synced(index)
    assert content(graph) == wanted
    assert graph.info() == facts


def test_a_graph_that_is_replaced_while_it_is_opened_is_opened_again(
    index: lsr.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(index)
    real, calls = open_arrays, list[Path]()

    def meanwhile(folder: Path, entry: ArraysEntry) -> GraphArrays:
        calls.append(folder)
        if len(calls) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(graph_module, "open_arrays", real)
                built(index, Words(2), overwrite=True)
        return real(folder, entry)

    monkeypatch.setattr(graph_module, "open_arrays", meanwhile)
    graph = Graph.open(index)
    assert len(calls) == 2
    assert graph.info()["extractor"]["identity"]["version"] == 2
    assert content(graph) == made_anew(index, 2)


def test_the_graph_of_another_index_is_refused(index: lsr.Index, tmp_path: Path) -> None:
    built(index)
    other = indexed(tmp_path / "other.idx", {**TEXTS, **MORE}, engine="exact")
    manifest = replace(other.manifest, created="2001-01-01T00:00:00Z")
    (other.path / "manifest-000001.json").write_bytes(manifest.to_json())
    other.refresh()
    shutil.copytree(index.path / GRAPH, other.path / GRAPH)
    for use in (Graph.open, Graph.facts, Graph.sync, Graph.compact):
        with pytest.raises(StoreMismatch, match=r"belongs to another index.*lsr graph build .* --overwrite"):
            use(other)
    assert content(built(other, overwrite=True)) == made_anew(other)


def test_a_copy_of_an_index_takes_its_graph_along(index: lsr.Index, tmp_path: Path) -> None:
    built(index)
    again = lsr.Index.open(shutil.copytree(index.path, tmp_path / "copy.idx"))
    assert content(Graph.open(again)) == made_anew(index)


def test_another_extractor_or_other_synonyms_are_refused(index: lsr.Index) -> None:
    built(index)
    index.add(source(MORE))
    with pytest.raises(StoreMismatch, match=r"made by words, and words is another, .* --overwrite"):
        synced(index, Words(2))
    with pytest.raises(InvalidInput, match="words made it, and must be given"):
        Graph.sync(index, synonyms=Prefixes())
    with pytest.raises(InvalidInput, match="what found its synonyms must be given"):
        Graph.sync(index, Words())

    class Others(Prefixes):
        def identity(self) -> dict[str, int]:
            return {"prefix": 5}

    with pytest.raises(StoreMismatch, match="its synonyms were found by another encoder, or otherwise"):
        Graph.sync(index, Words(), synonyms=Others())


def test_an_extractor_without_needs_and_the_encoder_of_the_index_are_found_again(tmp_path: Path) -> None:
    texts = ["Marie Curie discovered Radium.", "The airplane Concorde; Airplanes: Concordes."]
    index = lsr.Index.build(texts, tmp_path / "my.idx")
    graph = Graph.build(index, open_extractor("names"))
    assert graph.info()["synonyms"]["encoder"]["name"] == "lsr-tiny"
    index.add(["She met Albert Einstein there."])
    report = Graph.sync(index)
    assert report.extracted == 1
    phrases = list(Graph.open(index).arrays.phrases)
    assert "albert einstein" in phrases
    fresh = Graph.build(index, open_extractor("names"), overwrite=True)
    assert list(fresh.arrays.phrases) == phrases


def test_an_index_of_bare_vectors_takes_the_bundled_encoder_and_none_takes_none(index: lsr.Index) -> None:
    graph = Graph.build(index, Words(), synonyms=None)
    assert graph.info()["synonyms"] is None
    assert SYNONYM not in graph.arrays.kinds
    graph = Graph.build(index, Words(), overwrite=True)
    assert graph.info()["synonyms"]["encoder"]["name"] == "lsr-tiny"


# -- building, and being interrupted ---------------------------------------------------------------------------------------


def interrupted(index: lsr.Index, at: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A build in which Ctrl-C is typed when a passage is read."""

    def hook(identifier: str) -> None:
        if identifier == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(syncing, "ROUND", 2)
    with pytest.raises(KeyboardInterrupt):
        built(index, Words(hook=hook), **options)


def test_an_interrupted_build_is_gone_on_with(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(index, "e", monkeypatch)
    with pytest.raises(InvalidInput, match="has no graph; `lsr graph build"):
        Graph.open(index)
    with pytest.raises(OutputExists, match="an interrupted build is there; --resume"):
        built(index)
    with pytest.raises(StorageError, match="had another extractor or index"):
        built(index, Words(2), resume=True)
    words = Words()
    told: list[tuple[str, int, int | None]] = []
    graph = built(index, words, resume=True, progress=lambda *said: told.append(said))
    assert words.read == ["e", "f"], "the four of the first rounds are not read again"
    assert ("putting the graph together", 6, 6) in told
    assert content(graph) == made_anew(index)
    assert left(index.path) == []


def test_an_interrupted_build_follows_an_index_that_changed(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(index, "e", monkeypatch)
    index.upsert(source({"a": "Ada left London"}))
    index.delete(["b"])
    assert content(built(index, resume=True)) == made_anew(index)


def test_an_interrupted_build_can_be_begun_anew(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(index, "e", monkeypatch)
    words = Words(2)
    assert content(built(index, words, overwrite=True)) == made_anew(index, 2)
    assert len(words.read) == 6
    assert left(index.path) == []


def test_a_build_that_has_done_nothing_leaves_nothing(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(index, "a", monkeypatch)
    assert left(index.path) == []
    built(index)


def test_the_old_graph_is_there_until_the_new_one_is(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    built(index)
    interrupted(index, "e", monkeypatch, overwrite=True)
    assert content(Graph.open(index)) == made_anew(index)
    words = Words()
    built(index, words, overwrite=True, resume=True)
    assert words.read == ["e", "f"]


def test_what_was_whole_when_it_was_killed_is_not_read_again(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(step: str, path: Path, detail: disk.Detail) -> None:
        if step == "rename" and path == index.path / GRAPH:
            shutil.copytree(partial_of(path), index.path / "kept")
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(disk, "hook", die)
        with pytest.raises(Killed):
            built(index)
    shutil.rmtree(partial_of(index.path / GRAPH), ignore_errors=True)
    (index.path / "kept").rename(partial_of(index.path / GRAPH))
    words = Words()
    assert content(built(index, words, resume=True)) == made_anew(index)
    assert words.read == []


def test_a_graph_that_is_there_is_brought_up_or_replaced_when_somebody_says_so(index: lsr.Index) -> None:
    built(index)
    with pytest.raises(OutputExists, match=r"a graph is there already; --resume .* brings it up"):
        built(index)
    index.add(source(MORE))
    words = Words()
    assert content(built(index, words, resume=True)) == made_anew(index)
    assert words.read == ["g", "h"]
    with pytest.raises(StoreMismatch, match="made by words"):
        built(index, Words(2), resume=True)


def test_a_damaged_graph_is_replaced_when_somebody_says_so(index: lsr.Index) -> None:
    built(index)
    for manifest in (index.path / GRAPH).glob("manifest-*.json"):
        manifest.write_bytes(manifest.read_bytes()[:40])
    with pytest.raises(LsrError, match=r"lsr graph build .*--overwrite"):
        Graph.open(index)
    assert content(built(index, overwrite=True)) == made_anew(index)


def test_an_empty_folder_is_no_graph(index: lsr.Index, tmp_path: Path) -> None:
    (index.path / GRAPH).mkdir()
    with pytest.raises(InvalidInput, match="has no graph"):
        Graph.open(index)
    index.save_snapshot(tmp_path / "s.tar.zst")


def test_nothing_is_asked_of_the_extractor_where_passages_only_went(index: lsr.Index) -> None:
    built(index)
    index.delete(["a"])
    report = Graph.sync(index, synonyms=Prefixes(), encoder=cast(Encoder, Hashed()))
    assert (report.extracted, report.deleted) == (0, 1)
    assert content(Graph.open(index)) == made_anew(index)


def test_holes_that_a_graph_was_made_with_do_not_count_again_when_passages_go(tmp_path: Path) -> None:
    many = indexed(tmp_path / "many.idx", {f"p{at}": f"Ada met Person{at}" for at in range(20)})
    words = Words(failing=["p0", "p1"])
    built(many, words)
    many.delete([f"p{at}" for at in range(8, 20)])
    report = synced(many, words)
    assert (report.failed, report.deleted) == (2, 12)
    assert Graph.open(many).arrays.passages == 8
    many.add(source({f"n{at}": f"Ada met New{at}" for at in range(2)}))
    with pytest.raises(GeneratorError, match="failed on 2 of 10 passages"):
        synced(many, Words(failing=["p0", "p1", "n0", "n1"]))


def test_what_is_no_graph_is_left_alone(index: lsr.Index) -> None:
    (index.path / GRAPH).mkdir()
    (index.path / GRAPH / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists, match="is not a graph"):
        built(index, overwrite=True)
    assert (index.path / GRAPH / "mine.txt").read_text() == "mine"


def test_two_builds_do_not_meet(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(index, "e", monkeypatch)
    with claimed(partial_of(index.path / GRAPH)):
        changes: tuple[dict[str, Any], ...] = ({"resume": True}, {"overwrite": True}, {})
        for options in changes:
            with pytest.raises(IndexLocked, match="another process is building it"):
                built(index, **options)
    assert content(built(index, resume=True)) == made_anew(index)


# -- what goes wrong -------------------------------------------------------------------------------------------------------


def test_an_index_that_keeps_no_texts_has_no_graph(tmp_path: Path) -> None:
    index = indexed(tmp_path / "my.idx", keep_text=False)
    with pytest.raises(InvalidInput, match="keeps no texts, of which a graph is made"):
        built(index)
    assert left(index.path) == []


@pytest.mark.parametrize(
    ("passage", "message"),
    [
        ("a", r"found no phrase in any of 6 passages \(a, b, c, \.\.\.\)"),
        ("other", r"has none of the passages \(a, b, c, \.\.\.\), and others instead \(other, \.\.\.\)"),
    ],
)
def test_a_graph_without_any_phrase_is_refused(passage: str, message: str, index: lsr.Index, tmp_path: Path) -> None:
    file = tmp_path / "triples.jsonl"
    file.write_text(f'{{"passage_id": "{passage}", "triples": []}}')
    with pytest.raises(InvalidInput, match=message):
        Graph.build(index, GivenTriples(file))
    assert left(index.path) == []
    assert not (index.path / GRAPH).exists()


def test_given_triples_need_not_cover_the_first_passages(
    index: lsr.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "BATCH", 2)
    file = tmp_path / "triples.jsonl"
    file.write_text('{"passage_id": "f", "triples": [["Notes", "mention", "Engine"]]}')
    graph = Graph.build(index, GivenTriples(file), synonyms=None)
    assert (graph.info()["facts"], graph.info()["without_phrases"]) == (1, 5)


def test_failures_are_kept_as_such_said_and_tried_again(tmp_path: Path) -> None:
    texts = {f"p{number}": f"Person{number} met Ada" for number in range(20)}
    index = indexed(tmp_path / "my.idx", texts)
    graph = built(index, Words(failing=["p3"]))
    assert (graph.info()["failed"], graph.info()["without_phrases"]) == (1, 0)
    assert content(graph) == made_anew(index, failing=["p3"])
    assert list(check_graph(index, full=True))[-1] == "graph: 19 of 20 passages have phrases and facts of their text"
    words = Words(failing=["p3"])
    report = synced(index, words)
    assert words.read == ["p3"]
    assert (report.failed, report.failure) == (1, "cannot read p3")
    report = synced(index, Words())
    assert (report.failed, report.extracted) == (0, 1)
    assert content(Graph.open(index)) == made_anew(index)


def test_many_failures_end_a_build_and_the_rest_is_kept(index: lsr.Index) -> None:
    with pytest.raises(GeneratorError, match=r"words: failed on 2 of 6 passages, the first: cannot read b.*--resume"):
        built(index, Words(failing=["b", "c"]))
    assert not (index.path / GRAPH).exists()
    words = Words()
    assert content(built(index, words, resume=True)) == made_anew(index)
    assert sorted(words.read) == ["b", "c"]


def test_an_extractor_that_fails_on_all_is_not_asked_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "BATCH", 4)
    texts = {f"p{number}": "Ada met Ada" for number in range(90)}
    words = Words(failing=[f"p{number}" for number in range(4)])
    with pytest.raises(GeneratorError, match="failed on 4 of 90 passages"):
        built(indexed(tmp_path / "my.idx", texts), words)
    assert len(words.read) == 4


def test_an_extractor_that_loses_passages_is_told_so(index: lsr.Index) -> None:
    class Losing(Words):
        def extract(self, texts: list[Text]) -> list[Extracted]:  # type: ignore[override]
            return [Extracted(text.id, ()) for text in texts[1:]]

    with pytest.raises(InvalidInput, match="one result for each passage, in their order"):
        built(index, Losing())


# -- checks, damage, snapshots ---------------------------------------------------------------------------------------------


def test_every_byte_that_is_altered_is_found(index: lsr.Index) -> None:
    graph = built(index)
    assert list(check_graph(index, full=True))[-1] == "graph: 6 of 6 passages have phrases and facts of their text"
    for file in graph.manifest.files():
        path = graph.path / file.name
        data = path.read_bytes()
        if not data:
            continue
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(CorruptIndex, match=r"lsr graph build|lsr check --full"):
            list(check_graph(index, full=True))
        path.write_bytes(data[:-1])
        with pytest.raises(CorruptIndex, match="bytes where"):
            list(check_graph(index, full=False))
        path.write_bytes(data)
    list(check_graph(index, full=True))


@pytest.mark.parametrize("name", ["targets", "indptr", "subjects", "fact_passages"])
def test_numbers_that_are_of_no_node_never_come_to_a_kernel(name: str, tmp_path: Path) -> None:
    graph = random_graph(40, 100, 0)
    graph = replace(
        graph,
        subjects=np.zeros(1, np.uint32),
        objects=np.zeros(1, np.uint32),
        predicates=["is"],
        fact_indptr=np.array([0, 1], np.int64),
        fact_passages=np.zeros(1, np.uint32),
    )
    open_arrays(tmp_path, write_arrays(tmp_path, "sound", graph, records=1, documents="", index=""))
    bad = getattr(graph, name).copy()
    bad[0] = 1000
    entry = write_arrays(tmp_path, "bad", replace(graph, **{name: bad}), records=1, documents="", index="")
    with pytest.raises(CorruptIndex, match="makes the graph again"):
        open_arrays(tmp_path, entry)


def test_a_snapshot_takes_the_graph_along(index: lsr.Index, tmp_path: Path) -> None:
    built(index)
    file = tmp_path / "my.tar.zst"
    index.save_snapshot(file)
    again = lsr.Index.from_snapshot(file, tmp_path / "again.idx")
    assert content(Graph.open(again)) == made_anew(index)
    again.add(source(MORE))
    synced(again)
    list(check_graph(again, full=True))
    index.add(source(MORE))
    index.save_snapshot(tmp_path / "behind.tar.zst")
    behind = lsr.Index.from_snapshot(tmp_path / "behind.tar.zst", tmp_path / "behind.idx")
    with pytest.raises(StoreMismatch, match="behind its index"):
        Graph.open(behind)
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    (tmp_path / "bad.tar.zst").write_bytes(data)
    with pytest.raises(CorruptIndex):
        lsr.Index.from_snapshot(tmp_path / "bad.tar.zst", tmp_path / "bad.idx")
    assert not (tmp_path / "bad.idx").exists()
