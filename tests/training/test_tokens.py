"""Texts as tokens, and batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lsr.encoders.idf import TokenCounts
from lsr.encoders.tokenizer import load_tokenizer
from lsr.errors import EncoderError, InvalidInput
from lsr.training.data import TokenStore

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{i}" for i in range(30)]
PAD, UNK, CLS, SEP = 2, 1, 0, 3  # not in the order of BERT: nothing may rest on it


@pytest.fixture(scope="module")
def tokenizer_json() -> str:
    ids = {"[CLS]": CLS, "[UNK]": UNK, "[PAD]": PAD, "[SEP]": SEP, "[MASK]": 4} | {
        w: i + 5 for i, w in enumerate(WORDS)
    }
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return str(tokenizer.to_str())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice([*WORDS, "?"], rng.integers(0, 25))) for _ in range(200)]


def expected(text: str, tokenizer_json: str, max_length: int) -> list[int]:
    ids = load_tokenizer(tokenizer_json).encode(text).ids
    return ids if len(ids) <= max_length else [*ids[: max_length - 1], SEP]


def test_a_batch_holds_the_tokens_of_its_texts(texts: list[str], tokenizer_json: str) -> None:
    store = TokenStore.of(texts, tokenizer_json, 18)
    whole = [expected(text, tokenizer_json, 18) for text in texts]
    assert len(store) == 200
    assert store.lengths.tolist() == list(map(len, whole))
    assert store.cut == sum(len(load_tokenizer(tokenizer_json).encode(text).ids) > 18 for text in texts) > 0
    rows = np.array([3, 199, 0, 3])
    for device in (None, store.to("cpu")):
        ids, lengths = (device or store).batch(rows)
        assert (str(ids.dtype).split(".")[-1], str(lengths.dtype).split(".")[-1]) == ("int64", "int64")
        assert lengths.tolist() == [len(whole[row]) for row in rows]
        for line, row in zip(ids.tolist(), rows, strict=True):
            assert line == whole[row] + [PAD] * (len(line) - len(whole[row]))


@pytest.mark.parametrize(("lengths", "width"), [((1, 3), 8), ((6,), 8), ((7,), 16), ((20,), 20)])
def test_batches_are_padded_to_eights_but_not_above_max_length(
    tokenizer_json: str, lengths: tuple[int, ...], width: int
) -> None:
    store = TokenStore.of([" ".join(["w1"] * n) for n in lengths], tokenizer_json, 20)  # two special tokens more
    rows = np.arange(len(lengths))
    assert store.batch(rows)[0].shape == (len(lengths), width)
    assert store.to("cpu").batch(rows)[0].shape == (len(lengths), width)


def test_rows_may_be_a_tensor_and_the_width_may_be_told(texts: list[str], tokenizer_json: str) -> None:
    store = TokenStore.of(texts, tokenizer_json, 64)
    rows = torch.arange(10)
    ids, lengths = store.to("cpu").batch(rows)
    wider, same = store.to("cpu").batch(rows, longest=40)
    assert wider.shape == (10, 40)
    assert torch.equal(wider[:, : ids.shape[1]], ids)
    assert (wider[:, ids.shape[1] :] == PAD).all()
    assert torch.equal(lengths, same)
    numpy_ids, numpy_lengths = store.batch(np.arange(10))
    assert np.array_equal(ids.numpy(), numpy_ids)
    assert np.array_equal(lengths.numpy(), numpy_lengths)


def test_document_frequencies_are_those_that_an_index_counts(texts: list[str], tokenizer_json: str) -> None:
    store = TokenStore.of(texts, tokenizer_json, 18)
    counts = TokenCounts(35)
    for text in texts:
        plain = [i for i in expected(text, tokenizer_json, 18) if i > 4]
        counts.add([np.array(plain, np.int64)])
    found = store.document_frequencies(35)
    assert found.dtype == np.int64
    assert found.tolist() == counts.df.tolist()
    with pytest.raises(InvalidInput, match="the vocabulary has 20 terms"):
        store.document_frequencies(20)


def test_a_store_comes_back_from_memory_maps(texts: list[str], tokenizer_json: str, tmp_path: Path) -> None:
    store = TokenStore.of(texts, tokenizer_json, 18)
    for name, array in store.to_arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.glob("*.npy")}
    again = TokenStore.from_arrays(arrays)
    assert (again.max_length, again.pad, again.cut) == (18, PAD, store.cut)
    rows = np.arange(200)
    assert np.array_equal(again.batch(rows)[0], store.batch(rows)[0])
    assert np.array_equal(again.to("cpu").batch(rows)[0].numpy(), store.batch(rows)[0])
    assert np.array_equal(again.document_frequencies(35), store.document_frequencies(35))


@pytest.mark.parametrize("name", ["ids", "starts", "special", "numbers"])
def test_damaged_arrays_are_refused(texts: list[str], tokenizer_json: str, name: str) -> None:
    arrays = TokenStore.of(texts, tokenizer_json, 18).to_arrays()
    missing = {key: array for key, array in arrays.items() if key != name}
    with pytest.raises(InvalidInput, match="have no array"):
        TokenStore.from_arrays(missing)
    for damaged in (arrays[name].astype(np.float32), arrays[name][:-1] if name != "special" else arrays[name][None]):
        with pytest.raises(InvalidInput, match="damaged"):
            TokenStore.from_arrays(arrays | {name: damaged})


def test_text_is_cut_by_tokens_not_by_characters(tokenizer_json: str) -> None:
    spaced = " " * 5000 + "w1 w2"  # few tokens in many characters
    long = " ".join(["w3"] * 5000)
    store = TokenStore.of([spaced, long, "\ud800 w1"], tokenizer_json, 8)
    assert store.batch(np.array([0]))[0][0, :4].tolist() == [CLS, 6, 7, SEP]
    assert store.batch(np.array([1]))[0][0].tolist() == [CLS, *[8] * 6, SEP]
    assert store.batch(np.array([2]))[0][0, :3].tolist() == [CLS, 6, SEP]
    assert store.cut == 1


def test_no_texts_and_no_room(tokenizer_json: str) -> None:
    empty = TokenStore.of([], tokenizer_json, 8)
    assert (len(empty), empty.document_frequencies(40).sum()) == (0, 0)
    with pytest.raises(InvalidInput, match="max_length is 2: it must be above 2"):
        TokenStore.of(["w1"], tokenizer_json, 2)
    with pytest.raises(EncoderError):
        TokenStore.of(["w1"], "{}", 8)
