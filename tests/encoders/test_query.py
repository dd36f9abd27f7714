"""Inference-free queries: the distinct wordpieces of the text, each with its weight."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lsr.encoders import Encoder, QueryEncoder
from lsr.encoders.tokenizer import load_tokenizer
from lsr.errors import EncoderError, InvalidInput
from tests.encoders.conftest import SPECIAL, TOKENS

TABLE = np.linspace(1, 2, len(TOKENS), dtype=np.float32)
# Any text that Python can hold, lone surrogates included.
texts = st.text(st.characters(codec=None), max_size=60) | st.lists(st.sampled_from(TOKENS)).map(" ".join)


@pytest.fixture(scope="module")
def small(tokenizer_json: str) -> QueryEncoder:
    return QueryEncoder(tokenizer_json, TABLE)


def terms(encoder: QueryEncoder, text: str) -> dict[str, float]:
    ids, weights = encoder.encode(text)
    return {encoder.token(i): float(w) for i, w in zip(ids.tolist(), weights, strict=True)}


def test_the_bundled_weights_are_the_published_ones(encoder: Encoder) -> None:
    """Values that OpenSearch publishes for its doc-v3 models, which share this table."""
    found = terms(encoder.query, "What's the weather in ny now?")
    published = {"ny": 5.7729, "weather": 4.5684, "now": 3.5895, "?": 3.3313, "what": 2.7699, "in": 0.4989}
    assert {token: round(found[token], 4) for token in published} == published


def test_a_term_counts_once_however_often_it_occurs(small: QueryEncoder) -> None:
    assert terms(small, "ba be ba ba") == terms(small, "be ba")


def test_ids_rise_and_have_the_small_type(small: QueryEncoder) -> None:
    ids, weights = small.encode("pu ba mi ! be")
    assert ids.tolist() == sorted(TOKENS.index(t) for t in ["pu", "ba", "mi", "!", "be"])
    assert [ids.dtype, weights.dtype] == [np.uint16, np.float32]
    np.testing.assert_array_equal(weights, TABLE[ids])


def test_a_vocabulary_above_65536_has_the_wide_type() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {f"t{i}": i for i in range(70_000)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids, _ = QueryEncoder(tokenizer.to_str(), np.ones(70_000)).encode("t69999 t5 unknown")
    assert ids.dtype == np.uint32
    assert ids.tolist() == [5, 69_999]


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
phrases = st.lists(st.sampled_from([*TOKENS, "What's", "in-between", "x" * 101, "ZZ9", "_", "[cls]", "tab\tbed", "é"]))


@pytest.fixture(scope="module")
def spelled_out(encoder: Encoder, small: QueryEncoder) -> list[tuple[Tokenizer, QueryEncoder, int | None]]:
    """Tokenizers with encoders that keep every token, all of a text and its first 5."""
    found: list[tuple[Tokenizer, QueryEncoder, int | None]] = []
    for tokenizer_json in (encoder.query.tokenizer_json, small.tokenizer_json):
        tokenizer = load_tokenizer(tokenizer_json)
        weights = np.ones(tokenizer.get_vocab_size())
        for limit in (None, 5):
            keeps_all = QueryEncoder(tokenizer_json, weights, special="table", unknown="table", max_length=limit)
            found.append((tokenizer, keeps_all, limit))
    return found


@given(printable | phrases.map(" ".join))
def test_words_that_are_looked_up_are_the_tokens_of_the_tokenizer(
    spelled_out: list[tuple[Tokenizer, QueryEncoder, int | None]], text: str
) -> None:
    """Texts of plain words do not go through the tokenizers library, and nobody can tell."""
    for tokenizer, keeps_all, limit in spelled_out:
        expected = tokenizer.encode(text, add_special_tokens=False).ids[:limit]
        assert keeps_all.encode(text)[0].tolist() == sorted(set(expected))


def test_words_are_cut_into_pieces(small: QueryEncoder) -> None:
    assert set(terms(small, "Bas, being")) == {"ba", "##s", "be", "##ing"}


@pytest.mark.parametrize("text", [*SPECIAL, "unknown", "", " \n", "\u200b"])
def test_special_tokens_and_unknown_words_have_no_weight(small: QueryEncoder, text: str) -> None:
    ids, weights = small.encode(text)
    assert len(ids) == len(weights) == 0
    assert [ids.dtype, weights.dtype] == [np.uint16, np.float32]


def test_terms_with_a_weight_of_zero_or_below_leave_the_query(tokenizer_json: str) -> None:
    table = TABLE.copy()
    table[[TOKENS.index("ba"), TOKENS.index("be")]] = 0, -1
    encoder = QueryEncoder(tokenizer_json, table)
    assert set(terms(encoder, "ba be bi")) == {"bi"}
    assert encoder.weights.min() == 0


def test_truncation_and_padding_of_the_tokenizer_are_off(small: QueryEncoder) -> None:
    assert len(terms(small, "ba be bi bo bu ca ce")) == 7
    assert len(small.spans("ba be bi bo bu ca ce")) == 7


@given(batch=st.lists(texts, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_batch_holds_each_query_in_order(encoder: Encoder, batch: list[str]) -> None:
    vectors = encoder.query.encode_batch(batch)
    assert len(vectors) == len(batch)
    for text, (ids, weights) in zip(batch, vectors, strict=True):
        alone = encoder.query.encode(text)
        np.testing.assert_array_equal(ids, alone[0])
        np.testing.assert_array_equal(weights, alone[1])
        assert not set(ids.tolist()) & {0, 100, 101, 102, 103}


def test_lone_surrogates_are_replaced_and_pairs_joined(small: QueryEncoder) -> None:
    assert set(terms(small, "ba \ud800 be")) == {"ba", "be"}
    assert small.spans("\udc00 ba") == [(TOKENS.index("ba"), 2, 4)]


@pytest.mark.parametrize("text", [3, None, b"ba", ["ba"], ("ba", "be")])
def test_what_is_not_a_text_is_refused(small: QueryEncoder, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"is a {type(text).__name__}: it must be a str"):
        small.encode(text)


def test_spans_point_at_the_words_of_the_text(encoder: Encoder) -> None:
    text = "Rotating the naïve [SEP] LOGFILE ☃"
    found = [(encoder.query.token(term), text[start:end]) for term, start, end in encoder.query.spans(text)]
    assert found == [
        ("rotating", "Rotating"),
        ("the", "the"),
        ("naive", "naïve"),
        ("log", "LOG"),
        ("##fi", "FI"),
        ("##le", "LE"),
    ]


def test_the_vocabulary_hash_depends_on_the_order_of_the_tokens(small: QueryEncoder, tokenizer_json: str) -> None:
    import xxhash

    assert small.vocabulary.hash == xxhash.xxh3_128_hexdigest("".join(t + "\0" for t in TOKENS).encode())
    swapped = tokenizer_json.replace('"ba":5', '"ba":6').replace('"be":6', '"be":5')
    assert QueryEncoder(swapped, TABLE).vocabulary.hash != small.vocabulary.hash


def test_the_table_cannot_be_changed_from_outside(tokenizer_json: str) -> None:
    table = TABLE.copy()
    encoder = QueryEncoder(tokenizer_json, table)
    table[:] = 9
    assert encoder.weights.max() == 2
    with pytest.raises(ValueError, match="read-only"):
        encoder.weights[7] = 1


def test_a_table_of_another_length_is_refused(tokenizer_json: str) -> None:
    with pytest.raises(EncoderError, match=f"shape \\(7,\\): the tokenizer has {len(TOKENS)} tokens"):
        QueryEncoder(tokenizer_json, np.ones(7))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused(tokenizer_json: str, value: float) -> None:
    table = TABLE.copy()
    table[11] = value
    with pytest.raises(EncoderError, match="token 11 is not a finite number"):
        QueryEncoder(tokenizer_json, table)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": {"type": "unheard of"}}'])
def test_a_tokenizer_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(EncoderError, match=r"^the tokenizer cannot be read .* tokenizer\.json$"):
        QueryEncoder(text, TABLE)


def test_ids_that_the_tokenizer_leaves_out_are_terms_without_a_name(tokenizer_json: str) -> None:
    encoder = QueryEncoder(tokenizer_json.replace('"!":67', '"!":90'), np.arange(91.0))
    assert encoder.encode("!")[0].tolist() == [90]
    assert [encoder.token(i) for i in (66, 67, 89, 90)] == ["##ing", "[67]", "[89]", "!"]


def test_threads_share_one_encoder(encoder: Encoder) -> None:
    queries = [f"how to rotate log file {i} of {i * 7}" for i in range(300)]
    expected = encoder.query.encode_batch(queries)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(encoder.query.encode_batch, [queries] * 8))


def test_a_query_of_seven_words_takes_at_most_40_microseconds(encoder: Encoder) -> None:
    def typical() -> float:
        times = []
        for _ in range(200):
            started = time.perf_counter()
            encoder.query.encode("how do i rotate a log file")
            times.append(time.perf_counter() - started)
        return median(times)

    assert min(typical() for _ in range(5)) <= 40e-6  # the best of five: other work may share the machine


def test_sentence_transformers_agrees_but_for_unknown_words(encoder: Encoder) -> None:
    """Its SparseStaticEmbedding gives [UNK] its entry in the table; lsr, like OpenSearch, gives it nothing."""
    pytest.importorskip("sentence_transformers", "6")
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=encoder.query._tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
    )
    table = encoder.query.weights.copy()
    table[100] = 1.0
    static = SparseStaticEmbedding(tokenizer, weight=torch.tensor(table))
    oracle = SparseEncoder(modules=[static], device="cpu")
    queries = ["What's the weather in ny now?", "how to rotate rotate LOG files", "snowman ☃ émigré", "[SEP] x", "a"]
    theirs = oracle.encode_query(queries, convert_to_sparse_tensor=False).numpy()
    assert theirs[2, 100] == 1.0  # the snowman
    theirs[:, 100] = 0
    np.testing.assert_allclose(encoder.encode_query(queries).to_scipy().toarray(), theirs, atol=1e-6)
