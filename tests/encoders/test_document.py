"""Documents: a model's vector for each text, the same whatever its company."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.encoders import Encoder, TokenCounts, load_encoder
from lsr.encoders.export import export_onnx
from lsr.encoders.onnx_engine import OnnxEngine
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors
from tests.encoders.conftest import TOKENS, WORDS

SPECIAL_IDS = {0, 100, 101, 102, 103}
sentences = st.lists(st.sampled_from([*WORDS, "bas", "ca!", "unknown", "[SEP]"]), max_size=40).map(" ".join)


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


@pytest.fixture(scope="module")
def small(exported: Path) -> Encoder:
    """A random model that reads 24 tokens."""
    return load_encoder(exported)


def test_a_document_is_found_by_what_it_is_about(encoder: Encoder) -> None:
    texts = [
        "Paris is the capital of France and its largest city, on the river Seine.",
        "The heart pumps blood through the arteries; high blood pressure strains it.",
        "logrotate rotates, compresses and mails system log files.",
    ]
    scores = encoder.encode_query(
        ["which city is the french capital", "cardiac blood vessels", "how to rotate a log file"]
    )
    found = (scores.to_scipy() @ encoder.encode_documents(texts).to_scipy().T).toarray()
    assert found.argmax(1).tolist() == [0, 1, 2]


def test_vectors_come_in_the_order_of_the_texts(small: Encoder) -> None:
    texts = [words(count, seed) for seed, count in enumerate([20, 1, 9, 30, 2, 2, 17, 9, 9])]
    together = small.encode_documents(texts)
    assert len(together) == len(texts)
    assert len({bytes(weights) for _, weights in together}) == len(texts)
    for i, text in enumerate(texts):
        assert small.encode_documents([text]) == together[i : i + 1]


@given(batch=st.lists(sentences, max_size=30), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_text_has_the_same_vector_in_any_company(small: Encoder, batch: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(batch))))
    straight, mixed = small.encode_documents(batch), small.encode_documents([batch[i] for i in order])
    for place, i in enumerate(order):
        assert mixed[place : place + 1] == straight[i : i + 1]


def test_the_bundled_encoder_gives_the_same_vector_in_any_company(encoder: Encoder) -> None:
    texts = [f"{words(count, count)} log files and hearts" for count in (3, 3, 5, 8, 40, 41, 42, 120, 300)]
    together = encoder.encode_documents(texts * 3)
    for i, text in enumerate(texts):
        assert encoder.encode_documents([text]) == together[i : i + 1] == together[i + 9 : i + 10]


def test_the_number_of_threads_changes_nothing(exported: Path) -> None:
    texts = [words(count % 25, count) for count in range(300)]
    one, three = (load_encoder(exported, threads=threads).encode_documents(texts) for threads in (1, 3))
    assert one == three


def test_threads_share_one_encoder(exported: Path) -> None:
    fresh = load_encoder(exported)
    texts = [words(count % 25, count) for count in range(100)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fresh.encode_documents, [texts] * 4))
    assert all(vectors == found[0] for vectors in found)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b", "\u00ad"])
def test_a_text_without_words_has_an_empty_vector(encoder: Encoder, text: str) -> None:
    vectors = encoder.encode_documents(["heart", text, "log file"])
    assert len(vectors) == 3
    assert [len(ids) > 0 for ids, _ in vectors] == [True, False, True]


def test_no_texts_give_an_empty_batch(encoder: Encoder) -> None:
    assert encoder.encode_documents([]).shape == (0, 30_522)


def test_special_tokens_never_appear(encoder: Encoder, small: Encoder) -> None:
    texts = ["[MASK] [PAD] [CLS]", "[SEP]", "[UNK] ☃ ☃", "a file [SEP] [SEP] log"]
    assert not SPECIAL_IDS & set(encoder.encode_documents(texts).indices.tolist())
    assert not set(range(5)) & set(small.encode_documents([*texts, *(words(9, i) for i in range(30))]).indices.tolist())


def test_ids_rise_and_weights_are_positive_with_the_small_type(encoder: Encoder) -> None:
    ids, weights = encoder.encode_documents(["a file of the log"]).row(0)
    assert [ids.dtype, weights.dtype] == [np.uint16, np.float32]
    assert (np.diff(ids.astype(int)) > 0).all()
    assert (weights > 0).all()


def test_a_text_is_read_up_to_max_length(exported: Path) -> None:
    """Of 24 tokens [CLS] and [SEP] are two."""
    reader = load_encoder(exported)
    text = words(40, 1)
    read, unread = " ".join(text.split()[:22]), " ".join(text.split()[:21])
    vector = reader.encode_documents([text])
    assert vector == reader.encode_documents([read])
    assert vector != reader.encode_documents([unread])
    assert load_encoder(exported, max_length=12).encode_documents([text]) == load_encoder(
        exported, max_length=12
    ).encode_documents([" ".join(text.split()[:10])])


@pytest.mark.parametrize("gap", [" ", "\n", " " * 50, "\n" * 2000, " ".join(["\u00ad" * 500] * 4) + " "])
def test_a_very_long_text_is_cut_before_it_is_tokenised_without_changing_it(small: Encoder, gap: str) -> None:
    text = words(30, 3).replace(" ", gap) + gap + "x" * 3000
    counts = TokenCounts(small.dim)
    assert small.encode_documents([text], counts) == small.encode_documents([words(30, 3)])
    assert counts.truncated == 1


def test_long_text_that_holds_few_tokens_is_read_to_its_end(small: Encoder) -> None:
    counts = TokenCounts(small.dim)
    assert small.encode_documents([" " * 5000 + "ba" + " " * 5000 + "be"], counts) == small.encode_documents(["ba be"])
    assert counts.truncated == 0


def test_what_is_read_is_counted(small: Encoder) -> None:
    counts = TokenCounts(small.dim)
    small.encode_documents(["ba ba be", "", "bas [SEP] unknown", words(22, 1), words(23, 2), words(50, 3)], counts)
    assert (counts.documents, counts.truncated) == (6, 2)
    assert counts.tokens == 3 + 0 + 2 + 22 + 22 + 22
    assert counts.df[:5].tolist() == [0] * 5
    expected = [set(words(n, seed).split()[:22]) for n, seed in ((22, 1), (23, 2), (50, 3))]
    for word in ("ba", "be", "##s", "ku"):
        found = sum(word in document for document in [{"ba", "be"}, {"ba", "##s"}, *expected])
        assert counts.df[TOKENS.index(word)] == found


def test_only_the_top_terms_are_kept(tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "few"
    whole = load_encoder(model_folder, max_length=24)
    export_onnx(whole, folder, top_terms=5, samples=WORDS)
    texts = [words(20, seed) for seed in range(20)]
    pairs = zip(load_encoder(folder).encode_documents(texts), whole.encode_documents(texts), strict=True)
    for (ids, weights), (all_ids, all_weights) in pairs:
        best = np.sort(np.argsort(-all_weights, kind="stable")[:5])
        np.testing.assert_array_equal(ids, all_ids[best])
        np.testing.assert_array_equal(weights, all_weights[best])


# -- long texts --------------------------------------------------------------------------------------------------------


def windows(text: str, room: int, stride: int) -> list[str]:
    """The windows by hand: `room` words each, beginning `stride` words apart, until the end is read."""
    found, start = text.split(), 0
    read: list[str] = []
    while not read or start - stride + room < len(found):
        read.append(" ".join(found[start : start + room]))
        start += stride
    return read


@given(count=st.integers(0, 120), stride=st.integers(1, 22), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_windows_keep_the_largest_weight_of_each_term(exported: Path, count: int, stride: int, seed: int) -> None:
    reader = load_encoder(exported, long="windows", stride=stride)
    text, counts = words(count, seed), TokenCounts(reader.dim)
    found = reader.encode_documents([text, "ba"], counts).to_scipy().toarray()[0]
    parts = load_encoder(exported).encode_documents(windows(text, 22, stride)).to_scipy().toarray()
    np.testing.assert_array_equal(found, parts.max(0))
    assert (counts.documents, counts.tokens) == (2, count + 1)


def test_windows_begin_three_quarters_apart_when_nobody_says(exported: Path) -> None:
    text = words(60, 1)
    chosen, given_ = (load_encoder(exported, long="windows", **stride) for stride in ({}, {"stride": 16}))  # type: ignore[arg-type]
    assert chosen.encode_documents([text]) == given_.encode_documents([text])


def test_parts_of_a_stream_are_what_their_texts_are(small: Encoder) -> None:
    texts = [words(count % 25, count) for count in range(50)]
    counts, whole = TokenCounts(small.dim), TokenCounts(small.dim)
    parts = list(small.encode_parts((texts[i : i + 7] for i in range(0, 50, 7)), counts))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert SparseVectors.concat(parts) == small.encode_documents(texts, whole)
    assert (counts.tokens, counts.df.tolist()) == (whole.tokens, whole.df.tolist())
    assert list(small.encode_parts([])) == []


def test_one_text_instead_of_a_list_is_refused(small: Encoder) -> None:
    with pytest.raises(InvalidInput, match="put it in a list"):
        small.encode_documents("ba be")


def test_what_is_not_a_text_is_refused(small: Encoder) -> None:
    with pytest.raises(InvalidInput, match="is a int"):
        small.encode_documents(["ba", 7])  # type: ignore[list-item]


def test_lone_surrogates_do_not_stop_a_corpus(small: Encoder) -> None:
    assert small.encode_documents(["ba \ud800 be"]) == small.encode_documents(["ba be"])


def test_a_failure_in_one_batch_ends_the_work(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = load_encoder(exported, threads=2)
    texts = [words(count % 20 + 1, count) for count in range(5000)]
    runs = []
    encode = OnnxEngine.encode

    def first_fails(self: OnnxEngine, ids: np.ndarray, lengths: np.ndarray) -> object:
        runs.append(len(ids))
        if len(runs) == 1:
            raise KeyboardInterrupt
        return encode(self, ids, lengths)

    monkeypatch.setattr(OnnxEngine, "encode", first_fails)
    with pytest.raises(KeyboardInterrupt):
        fresh.encode_documents(texts)
    assert sum(runs) < 2500  # some batches had started; the rest were dropped
