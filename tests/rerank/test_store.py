"""TokenStore: what is put in is scored as the codec has it, however it got there; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr import Index
from lsr.errors import (
    CorruptIndex,
    DuplicateId,
    IndexLocked,
    IndexNotFound,
    InvalidInput,
    LsrError,
    OutputExists,
    StorageError,
    StoreMismatch,
    UnsupportedVersion,
)
from lsr.index.storage.locks import writing
from lsr.rerank import CODECS, Policy, rerank
from lsr.rerank.store import IndexIdentity, TokenStore, codec_report
from lsr.rerank.token_vectors import TokenVectors
from tests.conftest import random_vectors
from tests.rerank.naive import collection, maxsim
from tests.rerank.store_changes import DIM, batch, document, names

ENCODER = {"name": "tiny", "source": "models/tiny", "fingerprint": "0123456789abcdef"}
QUERY = np.random.default_rng(7).integers(-8, 9, (5, DIM)).astype(np.float32) / 8


def oracle(documents: dict[str, npt.NDArray[np.float32]], ids: list[str]) -> list[float]:
    """The scores that a dict of arrays gives."""
    scores = []
    for name in ids:
        found = documents.get(name)
        if found is None:
            scores.append(np.nan)
        elif len(found) == 0:
            scores.append(-np.inf)
        else:
            scores.append(float(maxsim(QUERY, found, np.array([0, len(found)]))[0]))
    return scores


def tokens_of(documents: int, codec_seed: int = 0) -> tuple[list[str], TokenVectors]:
    vectors, offsets = collection(documents, 32, codec_seed)
    return [f"d{i}" for i in range(documents)], TokenVectors(offsets, vectors)


# -- what is put in ----------------------------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(names(0, 8)), max_size=5, unique=True)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "upsert", "delete", "compact", "open"]), NAMES, st.integers(0, 3)), max_size=8
)


@settings(max_examples=25, deadline=None)
@given(first=NAMES, steps=STEPS)
def test_after_any_changes_a_store_scores_as_a_dict_of_arrays(
    first: list[str], steps: list[tuple[str, list[str], int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        store = TokenStore.build(path, [batch(first)], codec="f32", dim=DIM)
        wanted = {name: document(name) for name in first}
        for step, ids, version in steps:
            if step == "add":
                new = [name for name in ids if name not in wanted]
                if len(new) < len(ids):
                    with pytest.raises(DuplicateId):
                        store.add([batch(ids, version)])
                store.add([batch(new, version)])
                wanted.update({name: document(name, version) for name in new})
            elif step == "upsert":
                report = store.upsert([batch(ids[:2], version), batch(ids[2:], version)])
                assert report.replaced == len(wanted.keys() & set(ids))
                for name in ids:
                    wanted.pop(name, None)
                wanted.update({name: document(name, version) for name in ids})
            elif step == "delete":
                assert store.delete(ids, missing_ok=True) == len(wanted.keys() & set(ids))
                for name in ids:
                    wanted.pop(name, None)
            elif step == "compact":
                store.compact()
                assert len(store.manifest.segments) == (1 if wanted else 0)
                assert store.info()["deleted"] == 0
            else:
                store = TokenStore.open(path)
            assert list(store.ids()) == list(wanted)
            asked = [*names(0, 9)[::-1], "d1"]
            np.testing.assert_allclose(store.score(QUERY, asked), oracle(wanted, asked), rtol=1e-6)
            assert len(store) == len(wanted)
        for _ in store.check(full=True):
            pass


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_store_scores_what_its_codec_makes_of_the_vectors(codec: str, tmp_path: Path) -> None:
    ids, vectors = tokens_of(60)
    store = TokenStore.build(tmp_path / "store", [(ids, vectors)], codec=codec)
    trained = CODECS[codec].train(vectors.vectors)
    query = vectors.vectors[3:20]
    wanted = trained.score(trained.encode(vectors.vectors), vectors.offsets, np.arange(1, 60), query)
    wanted[np.diff(vectors.offsets)[1:] == 0] = -np.inf
    np.testing.assert_array_equal(store.score(query, ids[1:]), wanted)
    assert store.score(query, ids[:1]).tolist() == [-np.inf], "a document without a token is below any other"
    assert store.info()["bytes_per_token"] == trained.bytes_per_token
    store.add([(["copy", "empty"], TokenVectors(np.array([0, 4, 4]), vectors.vectors[:4]))])
    assert store.decoded(["copy"])[1].tolist() == trained.decode(trained.encode(vectors.vectors[:4])).tolist()


def test_many_queries_score_as_each_alone_whatever_the_threads(tmp_path: Path) -> None:
    ids, vectors = tokens_of(60)
    store = TokenStore.build(tmp_path / "store", [(ids, vectors)])
    queries = [vectors.vectors[i : i + 4] for i in range(9)]
    asked = [[*ids[i::3], "missing"] for i in range(9)]
    for threads in (1, 3):
        for query, some, found in zip(queries, asked, store.score_many(queries, asked, threads), strict=True):
            np.testing.assert_array_equal(found, store.score(query, some))


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(beta=2), Policy(alpha=0.5, beta=1, weight=0.3), Policy(weight=0.5)]
)
def test_reranking_is_the_same_over_one_segment_and_over_several(policy: Policy, tmp_path: Path) -> None:
    ids, vectors = tokens_of(40)
    one = TokenStore.build(tmp_path / "one", [(ids, vectors)])
    cut = int(vectors.offsets[25])
    halves = [
        (ids[:25], TokenVectors(vectors.offsets[:26], vectors.vectors[:cut])),
        (ids[25:], TokenVectors(vectors.offsets[25:] - cut, vectors.vectors[cut:])),
    ]
    several = TokenStore.build(tmp_path / "several", halves[:1])
    several.add(halves[1:])
    first = np.sort(np.random.default_rng(0).random(39))[::-1]
    found = [
        rerank(store.scorer(vectors.vectors[:8]), store.rows(ids[:0:-1]), first, 5, policy) for store in (one, several)
    ]
    assert found[0].scored == found[1].scored
    np.testing.assert_array_equal(found[0].order, found[1].order)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_a_store_says_where_documents_are(tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "store", [batch(names(0, 4))], codec="f16")
    store.delete(["d1"])
    found = store.find(["d3", "d1", "nothing"])
    assert (found.segments.tolist(), found.rows.tolist()) == ([0, -1, -1], [3, -1, -1])
    rows = store.rows(names(0, 4))
    assert store.tokens(rows[rows >= 0]).tolist() == [len(document(name)) for name in ("d0", "d2", "d3")]
    store.read_ahead(rows[rows >= 0])
    assert "d3" in store
    assert "d1" not in store
    info = store.info()
    assert (info["documents"], info["deleted"], info["dim"], info["codec"]) == (3, 1, DIM, "f16")
    json.dumps(info)


def test_small_additions_become_one_segment(tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "store", [batch(["first"])], codec="f16")
    for number in range(5):
        store.add([batch([f"d{number}"])])
    assert len(store.manifest.segments) == 1
    assert list(store.ids()) == ["first", *names(0, 5)]


# -- building ----------------------------------------------------------------------------------------------------------


def test_batches_of_any_size_make_the_same_store(tmp_path: Path) -> None:
    ids, vectors = tokens_of(50)

    def batches(size: int) -> Iterator[tuple[list[str], TokenVectors]]:
        for i in range(0, 50, size):
            offsets = vectors.offsets[i : i + size + 1]
            yield ids[i : i + size], TokenVectors(offsets - offsets[0], vectors.vectors[offsets[0] : offsets[-1]])

    made = [TokenStore.build(tmp_path / str(size), batches(size), codec="pq", sample=10**6) for size in (3, 50)]
    files = [[file.xxh3_128 for file in store.manifest.files()] for store in made]
    assert files[0] == files[1]


def test_an_interrupted_build_goes_on_and_encodes_nothing_twice(tmp_path: Path) -> None:
    parts = [names(i, i + 5) for i in range(0, 40, 5)]
    encoded: list[str] = []

    def batches(fail_after: int, size: int = 1) -> Iterator[Any]:
        for number, some in enumerate(parts):
            if number == fail_after:
                raise RuntimeError("the power of the encoder failed")

            def encode(some: list[str] = some) -> TokenVectors:
                encoded.extend(some)
                return batch(some)[1]

            yield some, encode

    path = tmp_path / "store"
    settings: dict[str, Any] = {"codec": "residual2", "sample": 20, "encoder": ENCODER}
    for until in (4, 6):
        with pytest.raises(RuntimeError):
            TokenStore.build(path, batches(until), resume=True, **settings)
    assert not path.exists()
    with pytest.raises(
        StorageError, match="another codec, encoder, index, sample or pooling; delete that folder to start afresh"
    ):
        TokenStore.build(path, batches(9), resume=True, codec="int8")
    with pytest.raises(StorageError, match="other documents"):
        TokenStore.build(path, [batch(["other"]), *(batch(some) for some in parts)], resume=True, **settings)
    with pytest.raises(StorageError, match="more documents"):
        TokenStore.build(path, [batch(parts[0])], resume=True, **settings)
    store = TokenStore.build(path, batches(9), resume=True, **settings)
    assert encoded == names(0, 40)
    whole = TokenStore.build(tmp_path / "whole", [batch(some) for some in parts], **settings)
    assert [file.xxh3_128 for file in store.manifest.files()] == [file.xxh3_128 for file in whole.manifest.files()]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store", "whole"]


def test_what_an_interrupted_build_left_may_be_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store"

    def failing() -> Iterator[Any]:
        yield batch(names(0, 5))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        TokenStore.build(path, failing(), resume=True)
    flip(tmp_path / ".store.partial" / "scratch" / "segment-0001" / "codes")
    store = TokenStore.build(path, [batch(names(0, 6))], resume=True)
    assert "damaged; starting afresh" in caplog.text
    assert list(store.ids()) == names(0, 6)


@pytest.mark.parametrize(
    ("batches", "settings", "message"),
    [
        ([], {}, "there are no documents: give dim"),
        ([(["a"], batch([])[1])], {}, "a batch has 1 ids and token vectors of 0 documents"),
        ([(["a"], np.zeros((1, 2)))], {}, r"a batch is \(ids, TokenVectors\), not \(ids, ndarray\)"),
        ([batch(["a"]), (["b"], TokenVectors(np.array([0, 1]), np.ones((1, 3), np.float32)))], {}, "have 3 dimensions"),
        ([batch(["a"])], {"dim": 9}, "have 8 dimensions"),
        ([batch(["a"]), batch(["a"])], {}, "the id 'a' is also that of document 0"),
        ([(["a", ""], batch(["a", "b"])[1])], {}, "ids are non-empty strings"),
        ([batch(["a"])], {"codec": "zip"}, "there is no codec 'zip'"),
        (
            [(["a"], TokenVectors(np.zeros(2, np.int64), np.zeros((0, 4), np.float32)))],
            {"codec": "pq"},
            "have no token",
        ),
        ([batch(["a"])], {"encoder": {"name": "x"}}, "its name, source and fingerprint"),
        ([batch(["a"])], {"sample": 0}, "sample is 0"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    batches: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LsrError, match=message):
        TokenStore.build(tmp_path / "store", batches, **settings)
    assert list(tmp_path.iterdir()) == []


def test_only_a_store_is_overwritten_and_only_when_told(tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "store", [], dim=4)
    assert (len(store), store.score(np.ones((1, 4)), ["a"]).tolist()) == (0, pytest.approx([np.nan], nan_ok=True))
    with pytest.raises(OutputExists, match="a token store is there already"):
        TokenStore.build(store.path, [batch(["a"])])
    assert len(TokenStore.build(store.path, [batch(["a"])], overwrite=True)) == 1
    index = Index.build(random_vectors(5, 9, 3), tmp_path / "index")
    with pytest.raises(OutputExists, match="is not a token store, so it is left alone"):
        TokenStore.build(index.path, [batch(["a"])], overwrite=True)
    with pytest.raises(OutputExists, match="is not an index"):
        Index.build(random_vectors(5, 9, 3), store.path, overwrite=True)
    with pytest.raises(IndexNotFound, match=r"no such token store; TokenStore\.build makes one"):
        TokenStore.open(tmp_path / "nothing")


def test_the_report_says_what_a_codec_loses(tmp_path: Path) -> None:
    ids, vectors = tokens_of(80)
    reports = []
    for codec in ("f16", "int8", "int4"):
        report = TokenStore.build(tmp_path / codec, [(ids, vectors)], codec=codec).report
        assert report is not None
        assert report == codec_report(CODECS[codec].train(vectors.vectors), vectors)
        reports.append(report)
    f16, int8, int4 = reports
    assert (f16.max_error, f16.overlap, f16.bytes_per_token) == (0, 1, 64)
    assert 0 < int8.mean_error < int4.mean_error < 0.1 * int4.mean_score
    assert int8.mean_error < int8.max_error
    assert 0.9 < int8.overlap <= 1
    assert TokenStore.build(tmp_path / "few", [batch(["a"])]).report is None


# -- whose it is -------------------------------------------------------------------------------------------------------


def test_a_store_lives_in_the_folder_of_its_index(tmp_path: Path) -> None:
    index = Index.build(random_vectors(20, 50, 4), tmp_path / "index")
    path = index.path / "multivector"
    TokenStore.build(path, [batch(names(0, 20))], index=IndexIdentity.of(index))
    index.add(random_vectors(5, 50, 4, seed=1))
    index.delete(["0", "3"])
    index.compact()
    identity = IndexIdentity.of(index.path)
    store = TokenStore.open(path, index=identity)
    assert list(store.ids()) == names(0, 20)
    assert store.unseen == 5
    store.add([batch(names(20, 25))], index=identity)
    assert (store.unseen, TokenStore.open(path, index=identity).unseen) == (0, 0)
    Index.build(random_vectors(20, 60, 4), index.path, overwrite=True)
    assert not path.exists()


def test_a_store_of_another_index_or_encoder_is_refused(tmp_path: Path) -> None:
    index = IndexIdentity("2026-01-01T00:00:00Z", 100, "abc", 20)
    path = tmp_path / "store"
    store = TokenStore.build(path, [batch(["a"])], index=index, encoder=ENCODER)
    for other in (
        IndexIdentity("2026-01-01T00:00:01Z", 100, "abc", 20),
        IndexIdentity("2026-01-01T00:00:00Z", 101, "abc", 20),
        IndexIdentity("2026-01-01T00:00:00Z", 100, None, 20),
    ):
        with pytest.raises(StoreMismatch, match=r"belongs to another index.*build the token store again"):
            TokenStore.open(path, index=other)
        with pytest.raises(StoreMismatch, match="belongs to another index"):
            store.add([batch(["b"])], index=other)
    with pytest.raises(StoreMismatch, match=r"of the encoder 'tiny'.*load that one"):
        TokenStore.open(path, encoder_fingerprint="fedcba")
    opened = TokenStore.open(path, index=index, encoder_fingerprint=ENCODER["fingerprint"])
    assert opened.info()["encoder"] == ENCODER
    unknown = TokenStore.build(tmp_path / "unknown", [batch(["a"])])
    assert len(TokenStore.open(unknown.path, index=index, encoder_fingerprint="any")) == 1


# -- changing ----------------------------------------------------------------------------------------------------------


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = TokenStore.build(tmp_path / "store", [batch(names(0, 3))])
    before = sorted(one.name for one in store.path.iterdir())
    with pytest.raises(DuplicateId, match="the id 'd1' is in the token store already"):
        store.add([batch(["new"]), batch(["d1"])])
    with pytest.raises(InvalidInput, match="has no document 'x'"):
        store.delete(["d1", "x"])
    with pytest.raises(InvalidInput, match="ids are a list of strings"):
        store.score(np.ones((1, DIM)), [1])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="dimensions"):
        store.score(np.ones((1, DIM + 1)), ["d1"])
    assert (store.add([]).documents, store.delete([]), store.compact()) == (0, 0, False)
    with writing(store.path), pytest.raises(IndexLocked):
        store.delete(["d1"])
    after = sorted(one.name for one in store.path.iterdir())
    assert [name for name in after if name != "LOCK"] == before
    assert list(store.ids()) == names(0, 3)


# -- damage ------------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def forge(path: Path, **changes: Any) -> None:
    """Alters what the manifest says, checksum included."""
    from lsr.index.storage.generations import _checksum

    [manifest] = path.glob("manifest-*.json")
    body = json.loads(manifest.read_text())
    del body["checksum"]
    body.update(changes)
    body["checksum"] = _checksum(body)
    manifest.write_text(json.dumps(body))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    ids, vectors = tokens_of(60)
    store = TokenStore.build(tmp_path / "store", [(ids, vectors)], codec="residual2")
    store.delete(["d5"])
    store.compact()
    for manifest in sorted(store.path.glob("manifest-*.json"))[:-1]:
        manifest.unlink()
    return store.path


def test_every_byte_of_a_store_is_checked(stored: Path, tmp_path: Path) -> None:
    assert len(list(TokenStore.open(stored).check(full=True))) == 4
    for name in ["manifest-000003.json", *TokenStore.open(stored).manifest.names()]:
        copy = tmp_path / "copy"
        shutil.copytree(stored, copy)
        flip(copy / name, 3)
        with pytest.raises(CorruptIndex, match="restore a copy") as caught:
            for _ in TokenStore.open(copy).check(full=True):
                pass
        assert "lsr repair" not in str(caught.value)
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    "name", ["offsets", "codes", "ids_bytes", "ids_offsets", "ids_hashes", "ids_rows", "centroids"]
)
def test_a_file_that_is_cut_or_gone_is_named_when_a_store_is_opened(name: str, stored: Path) -> None:
    [file] = [stored / one for one in TokenStore.open(stored).manifest.names() if one.endswith(f"/{name}")]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptIndex, match=f"{name}: .* bytes where"):
        TokenStore.open(stored)
    file.unlink()
    with pytest.raises(CorruptIndex, match=f"{name}: missing"):
        TokenStore.open(stored)


@pytest.mark.parametrize(
    ("offsets", "message"), [([0, 9, 5], "does not rise"), ([1, 5, 9], "does not rise"), ([0, 5, 10], "does not rise")]
)
def test_offsets_that_do_not_rise_are_damage(offsets: list[int], message: str, tmp_path: Path) -> None:
    vectors = TokenVectors(np.array([0, 5, 9]), np.ones((9, 4), np.float32))
    store = TokenStore.build(tmp_path / "store", [(["a", "b"], vectors)])
    (store.path / "segment-0001" / "offsets").write_bytes(np.array(offsets, "<i8").tobytes())
    with pytest.raises(CorruptIndex, match=message):
        TokenStore.open(store.path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim": 31}, CorruptIndex, "centroids"),
        ({"dim": 0}, CorruptIndex, "centroids"),
        ({"dim": "32"}, CorruptIndex, "wrong or missing"),
        ({"bytes_per_token": 13}, CorruptIndex, "13 bytes a token"),
        ({"codec": "int8"}, CorruptIndex, "has no parameter"),
        ({"codec": "new"}, UnsupportedVersion, "codec 'new'"),
        ({"parameters": []}, CorruptIndex, "is missing"),
        ({"oldest_reader": [2, 0], "format_version": [2, 0]}, UnsupportedVersion, "written in token store format 2.0"),
        ({"magic": "lsr-index"}, CorruptIndex, "not a manifest of a token store"),
        ({"report": {"overlap": "x"}}, CorruptIndex, "wrong or missing"),
        ({"encoder": {"name": 1}}, CorruptIndex, "wrong or missing"),
    ],
)
def test_a_manifest_that_says_something_else_is_damage(
    changes: dict[str, Any], error: type[LsrError], message: str, stored: Path
) -> None:
    forge(stored, **changes)
    with pytest.raises(error, match=message):
        TokenStore.open(stored)


def test_codes_that_name_no_centroid_are_damage(stored: Path) -> None:
    codes = stored / "segment-0003" / "codes"
    codes.write_bytes(b"\xff" * codes.stat().st_size)
    store = TokenStore.open(stored)
    with pytest.raises(LsrError, match="damaged"):
        store.score(np.ones((3, 32)), names(1, 60))
    with pytest.raises(CorruptIndex):
        store.decoded(names(1, 60))
