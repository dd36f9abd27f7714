"""The token vectors of an index follow what becomes of its documents, and are never those of an earlier text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lsr
from lsr.errors import CorruptIndex, InvalidInput
from lsr.index.storage.repair import repair
from lsr.rerank import (
    MaxSimReranker,
    MultiVectorEncoder,
    TokenStore,
    TokenVectors,
    check_tokens,
    living,
    sync_tokens,
)
from lsr.rerank.store import IndexIdentity, StoreEncoder
from tests.cli import commands
from tests.rerank.living_index import NEW, QUERY, TEXTS, encoded, lines, maxsim, search, stored, written


def test_documents_come_change_and_go(index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    index.add(lines({"f": NEW}))
    index.upsert(lines({"a": "night"}))
    index.delete(["b", "e"])
    report = sync_tokens(index, encoder)
    assert (report.encoded, report.replaced, report.deleted, report.missing) == (2, 1, 2, 0)
    texts = {**TEXTS, "a": "night", "f": NEW}
    del texts["b"], texts["e"]
    assert stored(index) == encoded(encoder, texts)
    again = sync_tokens(index)
    assert (again.encoded, again.replaced, again.deleted, again.missing) == (0, 0, 0, 0)
    assert living.open_tokens(index).unseen == 0
    stage = MaxSimReranker.of(index)
    assert search(index, stage) == pytest.approx(maxsim(encoder, {n: texts[n] for n in index.search(QUERY, 50).ids}))
    assert stage.missing == 0
    index.compact()
    assert sync_tokens(index).encoded == 0, "what only moved is not encoded again"


def test_only_what_changed_is_encoded_and_the_model_only_loaded_for_it(
    index: lsr.Index, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []

    def encode(self: MultiVectorEncoder, given: Sequence[str], batch_size: int | None = None) -> TokenVectors:
        texts.extend(given)
        return self._encode("document", given, batch_size)

    monkeypatch.setattr(MultiVectorEncoder, "encode_documents", encode)
    index.upsert(lines({"c": TEXTS["c"], "d": "the river"}))
    sync_tokens(index)
    assert texts == ["D the river"], "c has the text that it had"
    loads = []
    monkeypatch.setattr(living, "encoder_of", lambda *_: loads.append(1))
    index.delete("d")
    assert sync_tokens(index).deleted == 1
    assert loads == []


@pytest.mark.parametrize("way", ["new stage", "old stage", "compacted", "one segment more", "repaired", "added again"])
def test_vectors_of_an_earlier_text_are_never_used(way: str, index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    """Between the commit of the index and that of its token vectors, or where the second never came."""
    stage = MaxSimReranker.of(index)
    before = search(index, stage)
    assert {"a", "c"} < set(before)
    assert stage.missing == 0
    if way == "one segment more":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lsr.index.policy.SMALL", 0)
            index.upsert(lines({"a": NEW}))
        assert len(index.manifest.segments) == 2
    elif way == "added again":
        index.delete("a")
        index.add(lines({"a": NEW}))
    elif way == "repaired":  # the numbers of an index that went back are those of two different additions
        index.upsert(lines({"a": "night"}))
        sync_tokens(index)
        repair(index.path, 1)
        index.refresh()
        index.upsert(lines({"a": NEW}))
    else:
        index.upsert(lines({"a": NEW}))
    if way == "compacted":
        index.compact()
    if way != "old stage":
        stage = MaxSimReranker.of(index)
    stage.missing = 0
    after = search(index, stage)
    assert stage.missing == 1
    first = index.search(QUERY, k=50).ids
    assert list(after).index("a") == first.index("a"), "it keeps the place that the index gave it"
    wanted = maxsim(encoder, {name: TEXTS[name] for name in after if name != "a"})
    assert {name: score for name, score in after.items() if name != "a"} == pytest.approx(wanted)
    sync_tokens(index)
    assert search(index, MaxSimReranker.of(index))["a"] == pytest.approx(maxsim(encoder, {"a": NEW})["a"])


def test_hits_of_an_earlier_generation_are_not_scored_by_the_vectors_of_a_later_text(index: lsr.Index) -> None:
    reader = lsr.Index.open(index.path)
    index.upsert(lines({"a": NEW}))
    sync_tokens(index)
    stage = MaxSimReranker.of(reader)
    assert "a" in search(reader, stage)
    assert stage.missing == 1


def test_a_query_is_answered_by_one_generation_of_the_store(
    index: lsr.Index, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a server brings the store of its stage up to another one in the midst of a query, and rows move."""
    stage = MaxSimReranker.of(index, encoder=encoder)
    before = search(index, stage)
    real = living.located

    def located(*arguments: Any) -> Any:
        rows = real(*arguments)
        other = living.open_tokens(index)
        other.delete("b")
        other.compact()
        stage.store.refresh()
        return rows

    monkeypatch.setattr("lsr.rerank.two_stages.located", located)
    hits = index.search(QUERY, k=50, rerank=stage)
    assert dict(zip(hits.ids, hits.scores.tolist(), strict=True)) == before
    for hit in hits:
        found = hit.explain().matches
        assert found is not None
        assert found.stored == pytest.approx(hit.score)


def test_an_interrupted_run_is_gone_on_with(
    index: lsr.Index, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.upsert(lines({name: f"{text}, {NEW}" for name, text in TEXTS.items()}))
    index.delete("e")
    monkeypatch.setattr(living, "ROUND", 2)
    real, calls = MultiVectorEncoder.encode_documents, list[str]()

    def encode(self: MultiVectorEncoder, texts: Sequence[str], batch_size: int | None = None) -> TokenVectors:
        calls.extend(texts)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, texts, batch_size)

    monkeypatch.setattr(MultiVectorEncoder, "encode_documents", encode)
    with pytest.raises(KeyboardInterrupt):
        sync_tokens(index, encoder)
    stage = MaxSimReranker.of(index, encoder=encoder)
    assert len(search(index, stage)) == 4
    assert stage.missing == 2
    told: list[tuple[str, int, int | None]] = []
    report = sync_tokens(index, encoder, progress=lambda *said: told.append(said))
    assert (report.encoded, report.missing) == (2, 0)
    assert len(calls) == 6, "the two of the first round are not encoded again"
    assert ("encoding token vectors", 2, 2) in told
    assert stored(index) == encoded(encoder, {name: f"{TEXTS[name]}, {NEW}" for name in "abcd"})


def test_taking_away_needs_no_model_and_leaves_the_rest_to_the_next(index: lsr.Index) -> None:
    index.add(lines({"f": NEW}))
    index.delete("b")
    report = sync_tokens(index, encode=False)
    assert (report.encoded, report.deleted, report.missing) == (0, 1, 1)
    assert sorted(stored(index)) == ["a", "c", "d", "e"]
    assert sync_tokens(index).encoded == 1


def test_the_last_to_bring_token_vectors_up_sees_all_that_the_index_has(
    index: lsr.Index, encoder: MultiVectorEncoder
) -> None:
    late = lsr.Index.open(index.path)
    index.add(lines({"f": NEW}))
    sync_tokens(index, encoder)
    sync_tokens(late, encoder)
    assert "f" in stored(index)
    assert late.row_of("f") is not None


def test_a_store_that_knows_no_texts_is_trusted_for_the_documents_that_were_there(
    index: lsr.Index, encoder: MultiVectorEncoder
) -> None:
    path = living.store_of(index)
    shutil.rmtree(path)
    vectors = encoder.encode_documents([f"{name.upper()} {text}" for name, text in TEXTS.items()])
    TokenStore.build(path, [(list(TEXTS), vectors)], codec="f32", index=IndexIdentity.of(index))
    stage = MaxSimReranker.of(index, encoder=encoder)
    assert search(index, stage) == pytest.approx(maxsim(encoder, {n: TEXTS[n] for n in index.search(QUERY, 50).ids}))
    assert stage.missing == 0
    index.upsert(lines({"a": NEW}))
    stage = MaxSimReranker.of(index, encoder=encoder)
    search(index, stage)
    assert stage.missing == 1
    with pytest.raises(InvalidInput, match="does not say which model made it"):
        sync_tokens(index)
    assert sync_tokens(index, encoder).encoded == 1
    assert stored(index) == encoded(encoder, {**TEXTS, "a": NEW})


def test_documents_of_the_same_text_keep_the_vectors_that_came_with_their_ids(
    index: lsr.Index, encoder: MultiVectorEncoder, tmp_path: Path
) -> None:
    """Vectors from elsewhere may say more than the stored text: equal texts are no proof of equal vectors."""
    alike = lsr.Index.build([{"_id": name, "text": QUERY} for name in TEXTS], tmp_path / "alike.idx")
    vectors = encoder.encode_documents([f"{name.upper()} {text}" for name, text in TEXTS.items()])
    made = StoreEncoder(encoder.name, encoder.source, encoder.fingerprint)
    TokenStore.build(
        living.store_of(alike),
        [(list(TEXTS), vectors, alike.text_hashes(range(5)))],
        codec="f32",
        encoder=made,
        index=IndexIdentity.of(alike),
    )
    alike.delete("b")
    stage = MaxSimReranker.of(alike, encoder=encoder)
    wanted = maxsim(encoder, {name: text for name, text in TEXTS.items() if name != "b"})
    assert search(alike, stage) == pytest.approx(wanted)
    assert stage.missing == 0


def test_without_texts_documents_that_came_later_have_no_vectors_whatever_went(
    encoder: MultiVectorEncoder, tmp_path: Path
) -> None:
    bare = lsr.Index.build(lines(TEXTS), tmp_path / "bare.idx", keep_text=False)
    vectors = encoder.encode_documents([f"{name.upper()} {text}" for name, text in TEXTS.items()])
    TokenStore.build(living.store_of(bare), [(list(TEXTS), vectors)], codec="f32", index=IndexIdentity.of(bare))
    stage = MaxSimReranker.of(bare, encoder=encoder)
    assert search(bare, stage) == pytest.approx(maxsim(encoder, {n: TEXTS[n] for n in bare.search(QUERY, 50).ids}))
    explained = bare.search(QUERY, 1, rerank=stage)[0].explain()
    assert explained.terms
    assert explained.matches is None, "there is no text to encode"
    bare.upsert(lines({"a": NEW}))
    bare.delete("b")
    report = sync_tokens(bare, encode=False)
    assert (report.deleted, report.missing) == (1, 1)
    assert list(check_tokens(bare, full=False))[-1] == "token vectors: 3 of 4 documents have those of their text"
    stage = MaxSimReranker.of(bare, encoder=encoder)
    search(bare, stage)
    assert stage.missing == 1, "the vectors of a are those of its earlier text"


def test_an_index_that_changes_meanwhile_has_the_vectors_of_its_texts(
    index: lsr.Index, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(living, "DOCUMENTS", 2)

    def change(stage: str, done: int, total: int | None) -> None:
        if "a" in index.search(QUERY, 9).ids:
            index.delete("a")

    living.index_tokens(index, encoder, codec="f32", overwrite=True, progress=change)
    assert stored(index) == encoded(encoder, TEXTS)
    report = sync_tokens(index)
    assert (report.encoded, report.deleted) == (0, 1)


def test_an_index_without_token_vectors_has_none_to_bring_up(tmp_path: Path) -> None:
    bare = lsr.Index.build(lines(TEXTS), tmp_path / "bare.idx")
    with pytest.raises(InvalidInput, match="has no token vectors; lsr index SOURCE"):
        sync_tokens(bare)


# -- the command line --------------------------------------------------------------------------------------------------


def test_commands_keep_token_vectors_up(tmp_path: Path, index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    path = index.path
    done = commands.lsr("add", path, written(tmp_path / "f.jsonl", {"f": NEW, "a": "night"}), "--upsert")
    assert done.returncode == 0, done.stderr
    assert "2 documents encoded as token vectors" in done.stderr
    done = commands.lsr("add", path, written(tmp_path / "g.jsonl", {"g": NEW}), "--json")
    assert json.loads(done.stdout)["token_vectors"] == 1
    assert commands.lsr("delete", path, "b").returncode == 0
    texts = {**TEXTS, "a": "night", "f": NEW, "g": NEW}
    del texts["b"]
    index.refresh()
    assert stored(index) == encoded(encoder, texts)
    assert living.open_tokens(index).info()["deleted"] > 0
    assert commands.lsr("compact", path).returncode == 0
    assert living.open_tokens(index).info()["deleted"] == 0
    index.refresh()
    assert stored(index) == encoded(encoder, texts)

    done = commands.lsr("add", path, written(tmp_path / "h.jsonl", {"h": NEW}), "--no-multivector")
    assert done.returncode == 0, done.stderr
    assert "token vectors" not in done.stderr
    done = commands.lsr("check", path, "--full")
    assert "ok  token vectors: 6 of 7 documents have those of their text" in done.stdout
    told = commands.lsr("search", path, QUERY, "--rerank", "maxsim", "--json").stderr
    assert "1 candidate has no token vectors" in told
    codes = max(living.store_of(index).glob("segment-*/codes"))
    codes.write_bytes(bytes(codes.stat().st_size))
    done = commands.lsr("check", path, "--full")
    assert done.returncode == 1
    assert "altered since it was written" in done.stderr


def test_a_model_that_is_gone_is_told_before_anything_is_written(tmp_path: Path, colbert: Path) -> None:
    model = shutil.copytree(colbert, tmp_path / "model")
    path = tmp_path / "gone.idx"
    source = written(tmp_path / "docs.jsonl", TEXTS)
    assert commands.lsr("index", source, "-o", path, "--multivector", model).returncode == 0
    shutil.rmtree(model)
    more = written(tmp_path / "more.jsonl", {"f": NEW})
    line = commands.one_line(commands.lsr("add", path, more))
    assert "no model" in line
    assert "--no-multivector adds without token vectors" in line
    assert lsr.Index.open(path).generation == 1
    assert commands.lsr("add", path, more, "--no-multivector").returncode == 0
    assert commands.lsr("delete", path, "a").returncode == 0, "needs no model"
    assert lsr.Index.open(path).generation == 3


def test_token_vectors_of_an_index_without_texts_are_told_before_anything_is_written(
    tmp_path: Path, encoder: MultiVectorEncoder
) -> None:
    bare = lsr.Index.build(lines(TEXTS), tmp_path / "bare.idx", keep_text=False)
    vectors = encoder.encode_documents(list(TEXTS.values()))
    made = StoreEncoder(encoder.name, encoder.source, encoder.fingerprint)
    TokenStore.build(living.store_of(bare), [(list(TEXTS), vectors)], encoder=made, index=IndexIdentity.of(bare))
    more = written(tmp_path / "more.jsonl", {"f": NEW})
    line = commands.one_line(commands.lsr("add", bare.path, more))
    assert "bare.idx: keeps no texts, of which token vectors are made (--no-multivector adds without" in line
    assert lsr.Index.open(bare.path).generation == 1
    assert commands.lsr("add", bare.path, more, "--no-multivector").returncode == 0


def test_an_error_after_the_index_changed_says_so(
    tmp_path: Path, index: lsr.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: MultiVectorEncoder, texts: Sequence[str], batch_size: int | None = None) -> TokenVectors:
        raise CorruptIndex("the weights are damaged")

    with monkeypatch.context() as patch:
        patch.setattr(MultiVectorEncoder, "encode_documents", fails)
        line = commands.one_line(commands.lsr("add", index.path, written(tmp_path / "f.jsonl", {"f": NEW})))
    assert f"the documents are in {index.path}, but its token" in line
    assert "its token vectors are as they were (the weights are damaged); its next change brings them up" in line
    done = commands.lsr("add", index.path, written(tmp_path / "g.jsonl", {"g": NEW}))
    assert "2 documents encoded" in done.stderr
    assert sorted(stored(lsr.Index.open(index.path))) == list("abcdefg")


def test_checks_tell_what_is_of_whom(index: lsr.Index) -> None:
    assert list(check_tokens(index, full=False))[-1] == "token vectors: 5 of 5 documents have those of their text"
    assert len(list(check_tokens(index, full=True))) > 3


# -- going on with a build ---------------------------------------------------------------------------------------------


class Interrupting:
    """Encodes as often as it may, then the user presses Ctrl-C. Counts the texts that it encoded."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: Any, name: str) -> None:
        self.left, self.texts = 0, list[str]()
        real, me = getattr(kind, name), self

        def encode(self: Any, texts: Sequence[str], *arguments: Any, **options: Any) -> Any:
            if me.left == 0:
                raise KeyboardInterrupt
            me.left -= 1
            me.texts.extend(texts)
            return real(self, texts, *arguments, **options)

        patch.setattr(kind, name, encode)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_build_goes_on_with_both(
    overwrite: bool, tmp_path: Path, colbert: Path, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = tmp_path / "my.idx", written(tmp_path / "docs.jsonl", TEXTS)
    if overwrite:
        lsr.Index.build(lines({"old": NEW}), path)
    asked = ("index", source, "-o", path, "--multivector", colbert, "--resume", *(["--overwrite"] if overwrite else []))
    monkeypatch.setattr(living, "DOCUMENTS", 2)
    interrupting = Interrupting(monkeypatch, MultiVectorEncoder, "encode_documents")
    with monkeypatch.context() as patch:
        patch.setattr("lsr.index.build.write_encoder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert commands.lsr(*asked).returncode == 130
    assert path.exists() == overwrite
    for left in (0, 1, 1):
        interrupting.left = left
        done = commands.lsr(*asked)
        assert done.returncode == 130, done.stderr
        assert "the same command with --resume goes on with them" in done.stderr
        assert (path / "multivector").exists() is False
        assert lsr.Index.open(path).search(QUERY, 9).ids
    interrupting.left = 9
    done = commands.lsr(*asked)
    assert done.returncode == 0, done.stderr
    assert "going on with its token vectors" in done.stderr
    assert "token vectors of 5 documents" in done.stderr
    assert len(interrupting.texts) == 5, "nothing is encoded twice"
    index = lsr.Index.open(path)
    assert sorted(stored(index)) == sorted(TEXTS)
    assert sync_tokens(index).encoded == 0
    assert [one.name for one in path.iterdir() if one.name.startswith(".")] == []


def test_an_index_that_is_there_gets_its_token_vectors(
    tmp_path: Path, colbert: Path, encoder: MultiVectorEncoder
) -> None:
    path, source = tmp_path / "my.idx", written(tmp_path / "docs.jsonl", TEXTS)
    assert commands.lsr("index", source, "-o", path).returncode == 0
    assert commands.lsr("add", path, written(tmp_path / "more.jsonl", {"f": NEW})).returncode == 0
    asked = ("index", source, "-o", path, "--multivector", colbert)
    assert "an index is there already" in commands.one_line(commands.lsr(*asked))
    other = written(tmp_path / "other.jsonl", TEXTS)
    line = commands.one_line(commands.lsr("index", other, "-o", path, "--multivector", colbert, "--resume"))
    assert f"an index of {source} is there already" in line
    line = commands.one_line(commands.lsr(*asked, "--resume", "--encoder", "bm25"))
    assert "an index made with lsr-tiny is there already; give that --encoder" in line
    assert commands.lsr(*asked, "--resume", "--encoder", "lsr-tiny").returncode == 0
    index = lsr.Index.open(path)
    assert sorted(stored(index)) == [*TEXTS, "f"]
    index.upsert(lines({"a": NEW}))
    assert commands.lsr(*asked, "--resume").returncode == 0
    assert sync_tokens(index).encoded == 0, "with token vectors that are there, they are brought up"
    pooled = commands.lsr(*asked, "--resume", "--pool-tokens", 2)
    assert pooled.returncode == 1
    assert "has token vectors kept as int8, pooled by 1; give --codec int8 --pool-tokens 1" in pooled.stderr
