"""Tables of query weights: from a corpus, from a trained model, from files; and how an encoder takes another one."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tokenizers import Tokenizer

from lsr.encoders import QueryEncoder, Vocabulary, binary, corpus_idf, li_lsr, load_encoder
from lsr.encoders.tables import idf_json_text, read_idf_json, read_token_weights_txt, token_weights_text
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput, LsrError
from lsr.sparse import SparseVectors
from tests.encoders import families
from tests.encoders.conftest import SPECIAL, TOKENS, WORDS
from tests.encoders.families import TEXTS

DIM = len(TOKENS)
UNKNOWN = TOKENS.index("[UNK]")
phrases = st.lists(st.sampled_from([*WORDS, "bas", "ca!", "ca being", "unknown", "[SEP]"]), max_size=9).map(" ".join)
tables = arrays(np.float32, DIM, elements=st.floats(-100, 100, width=32))
READERS: dict[str, Any] = {"idf.json": read_idf_json, "query_token_weights.txt": read_token_weights_txt}
WRITERS = {"idf.json": idf_json_text, "query_token_weights.txt": token_weights_text}


@pytest.fixture(scope="module")
def vocabulary(tokenizer_json: str) -> Vocabulary:
    return Vocabulary(tokenizer_json)


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model alone, whose queries go through it."""
    return families.plain(tmp_path_factory.mktemp("tables") / "splade", "roberta")


def ids_of(tokenizer_json: str, text: str) -> list[int]:
    """All ids of a text, by the tokenizers library."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def rows(vectors: SparseVectors) -> list[dict[int, float]]:
    return [dict(zip(terms.tolist(), weights.tolist(), strict=True)) for terms, weights in vectors]


@given(texts=st.lists(phrases, max_size=8), batch_size=st.integers(1, 9))
@settings(deadline=None)
def test_corpus_idf_is_the_formula_of_bm25(vocabulary: Vocabulary, texts: list[str], batch_size: int) -> None:
    """Whatever the batches; of texts that come one after the other, too."""
    found = [set(ids_of(vocabulary.tokenizer_json, text)) for text in texts]
    expected = np.zeros(DIM)
    for term in range(len(SPECIAL), DIM):
        df = sum(term in ids for ids in found)
        expected[term] = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
    table = corpus_idf((text for text in texts), vocabulary, batch_size)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    np.testing.assert_array_equal(corpus_idf(texts, vocabulary), table)


def test_presence_alone_weighs_every_token_1_but_special_ones(vocabulary: Vocabulary) -> None:
    assert binary(vocabulary).tolist() == [0.0] * len(SPECIAL) + [1.0] * (DIM - len(SPECIAL))


@given(seed=st.integers(0, 999), dim=st.integers(1, 30), hidden=st.integers(1, 8), bias=st.floats(-3, 3))
@settings(deadline=None)
def test_li_lsr_is_the_logarithm_of_a_projected_embedding(seed: int, dim: int, hidden: int, bias: float) -> None:
    random = np.random.default_rng(seed)
    embeddings, weight = random.standard_normal((dim, hidden)), random.standard_normal(hidden)
    expected = [
        math.log(1 + max(0.0, sum(w * e for w, e in zip(weight, row, strict=True)) + bias)) for row in embeddings
    ]
    table = li_lsr(embeddings, weight, bias)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, expected, atol=1e-5)
    np.testing.assert_array_equal(li_lsr(embeddings, weight[None], bias), table)  # as a linear layer has it


def test_li_lsr_refuses_what_does_not_fit() -> None:
    for embeddings, weight in ((np.ones((5, 4)), np.ones(3)), (np.ones(4), np.ones(4))):
        with pytest.raises(InvalidInput, match="they do not fit"):
            li_lsr(embeddings, weight, 0)
    for numbers in ((math.nan, 1, 0), (1, math.inf, 0), (1, 1, math.nan)):
        with pytest.raises(InvalidInput, match="not finite"):
            li_lsr(np.full((5, 4), numbers[0]), np.full(4, numbers[1]), numbers[2])
    with pytest.raises(InvalidInput, match="not finite"):  # what the logarithm would hide
        li_lsr([[-math.inf, 1.0]], [1.0, 1.0], 0.0)


@pytest.mark.parametrize("name", READERS)
@given(table=tables)
@settings(deadline=None)
def test_tables_survive_the_round_trip(
    name: str, table: np.ndarray, vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_text(WRITERS[name](table, vocabulary), encoding="utf-8")
    np.testing.assert_array_equal(READERS[name](path, vocabulary, missing=7.0), table)


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_a_token_that_the_file_lacks_weighs_what_the_reader_says(
    missing: float, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    expected = np.full(DIM, missing, np.float32)
    expected[[TOKENS.index("be"), TOKENS.index("!")]] = 2.5, 3
    (tmp_path / "idf.json").write_text('{"be": 2.5, "!": 3, "nowhere": 9}')
    (tmp_path / "weights.txt").write_bytes(b"be\t2.5\r\n\n!\t3\nnowhere\t9\n")
    np.testing.assert_array_equal(read_idf_json(tmp_path / "idf.json", vocabulary, missing=missing), expected)
    found = read_token_weights_txt(tmp_path / "weights.txt", vocabulary, missing=missing)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("idf.json", b"{", ": not JSON"),
        ("idf.json", b'["ba"]', ": must be a JSON object"),
        ("idf.json", b'{"ba": "1"}', ": the weight of 'ba' is '1'"),
        ("idf.json", b'{"ba": NaN}', ": the weight of 'ba' is nan"),
        ("idf.json", b"{}", ": only 0 of its 0 tokens"),
        ("idf.json", b'{"ba": 1, "x": 1, "y": 1}', ": only 1 of its 3 tokens are in the vocabulary"),
        ("idf.json", b'{"\xff": 1}', ": cannot be read"),
        ("query_token_weights.txt", b"ba\t1\nbe 2\n", ":2: must be a token, a tab and a number"),
        ("query_token_weights.txt", b"ba\t1\n\nbe\theavy\n", ":3: must be a token, a tab and a number"),
        ("query_token_weights.txt", b"ba\tinf\n", ": the weight of 'ba' is inf"),
    ],
)
def test_a_malformed_file_is_refused_by_name(
    name: str, content: bytes, message: str, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EncoderError) as caught:
        READERS[name](tmp_path / name, vocabulary, missing=1.0)
    assert str(caught.value).startswith(f"{tmp_path / name}{message}")
    assert "\n" not in str(caught.value)


policies = {
    "special": st.sampled_from(["drop", "table"]),
    "unknown": st.sampled_from(["drop", "table"]),
    "repeated": st.sampled_from(["once", "count"]),
    "max_length": st.none() | st.integers(1, 12),
    "prompt": st.sampled_from(["", "bu ", "[CLS] ba, "]),
}


@pytest.mark.parametrize("weight", ["1" + "0" * 400, "1e300", "NaN", "-Infinity"])
def test_a_weight_too_large_for_a_float32_is_refused(weight: str, vocabulary: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "idf.json").write_text(f'{{"ba": {weight}}}')
    with pytest.raises(EncoderError, match="the weight of 'ba'"):
        read_idf_json(tmp_path / "idf.json", vocabulary, missing=1.0)


@pytest.mark.parametrize("query", [["a", "b"], [[1.0], [1.0, 2.0]], {"a": 1}, "none.json"])
def test_what_is_no_table_is_refused(query: Any, splade: Path) -> None:
    with pytest.raises(LsrError):
        load_encoder(splade, query=query)


@given(text=phrases, policy=st.fixed_dictionaries(policies), table=tables)
@settings(deadline=None, max_examples=200)
def test_policies_say_what_counts(tokenizer_json: str, text: str, policy: dict[str, Any], table: np.ndarray) -> None:
    expected = {}
    for term, count in Counter(ids_of(tokenizer_json, policy["prompt"] + text)[: policy["max_length"]]).items():
        dropped = policy["unknown" if term == UNKNOWN else "special"] == "drop" and term < len(SPECIAL)
        if not dropped and table[term] > 0:
            expected[term] = float(table[term] * np.float32(count if policy["repeated"] == "count" else 1))
    encoder = QueryEncoder(tokenizer_json, table, **policy)
    assert rows(encoder.encode_batch([text])) == [expected]


def test_an_unknown_policy_is_refused(tokenizer_json: str) -> None:
    for policy in ("special", "unknown", "repeated"):
        with pytest.raises(InvalidInput, match=f"{policy} is 'sometimes': it must be"):
            QueryEncoder(tokenizer_json, np.ones(DIM), **{policy: "sometimes"})  # type: ignore[arg-type]


def test_another_table_takes_the_place_of_the_query_side(splade: Path, tmp_path: Path) -> None:
    """Documents keep their weights, but for special tokens, which no query has any more."""
    plain, special = load_encoder(splade), set(families.special(splade))
    assert not plain.inference_free
    table = np.random.default_rng(0).uniform(0.1, 3, plain.dim).astype(np.float32)
    (tmp_path / "idf.json").write_text(idf_json_text(table, plain.vocabulary), encoding="utf-8")
    before = rows(plain.encode_documents(TEXTS))
    assert any(special & set(row) for row in before), "the test shows little"
    documents = [{term: weight for term, weight in row.items() if term not in special} for row in before]
    terms = [set(ids_of(plain.vocabulary.tokenizer_json, text)) - special for text in TEXTS]
    for query in ("binary", tmp_path / "idf.json", table, table.tolist()):
        weights = np.ones_like(table) if isinstance(query, str) else table
        encoder = load_encoder(splade, query=query)
        assert (encoder.inference_free, encoder.source) == (True, plain.source)
        assert rows(encoder.encode_documents(TEXTS)) == documents
        assert rows(encoder.encode_query(TEXTS)) == [{term: float(weights[term]) for term in row} for row in terms]


def test_another_model_lends_its_query_side(splade: Path, tmp_path: Path) -> None:
    """A network, or a table."""
    own, other = load_encoder(splade), load_encoder(families.plain(tmp_path / "other", "roberta", seed=9))
    mixed = load_encoder(splade, query=other.source)
    assert own.encode_query(TEXTS) != other.encode_query(TEXTS) == mixed.encode_query(TEXTS)
    assert mixed.encode_documents(TEXTS) == own.encode_documents(TEXTS)
    table = np.arange(own.dim, dtype=np.float32)
    (tmp_path / "other" / "idf.json").write_text(idf_json_text(table, own.vocabulary), encoding="utf-8")
    other, mixed = load_encoder(tmp_path / "other"), load_encoder(splade, query=tmp_path / "other")
    assert mixed.inference_free
    assert mixed.encode_query(TEXTS) == other.encode_query(TEXTS)


def test_a_query_side_of_another_size_is_refused(splade: Path) -> None:
    dim = load_encoder(splade).dim
    for query in (np.ones(dim + 1), np.ones((1, dim)), 1.0):
        with pytest.raises(InvalidInput, match=f"query has shape .* splade has {dim} terms"):
            load_encoder(splade, query=query)
    with pytest.raises(EncoderError, match=f"queries have 30522 terms, its documents {dim}"):
        load_encoder(splade, query="lsr-tiny")
    with pytest.raises(EncoderError, match="not a finite number"):
        load_encoder(splade, query=np.full(dim, np.nan))
    with pytest.raises(EncoderNotFound):
        load_encoder(splade, query="./nowhere")


@pytest.mark.parametrize("query", [None, "binary"])
@pytest.mark.parametrize("top", [1, 3, 1000])
def test_of_a_query_the_heaviest_terms_are_kept(query: str | None, top: int, splade: Path) -> None:
    """Through a network or by a table; of equals the first."""
    whole, encoder = load_encoder(splade, query=query), load_encoder(splade, query=query, query_top_k=top)
    expected = [
        dict(sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))[:top]) for row in rows(whole.encode_query(TEXTS))
    ]
    assert rows(encoder.encode_query(TEXTS)) == expected
    assert encoder.encode_documents(TEXTS) == whole.encode_documents(TEXTS)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_terms_of_documents_below_a_share_of_the_heaviest_go(engine: str, splade: Path) -> None:
    whole = load_encoder(splade, engine=engine)
    before = rows(whole.encode_documents(TEXTS))
    sizes = []
    for ratio in (0, 0.1, 0.5):
        pruned = load_encoder(splade, engine=engine, prune_ratio=ratio)
        found, share = rows(pruned.encode_documents(TEXTS)), np.float32(ratio)
        assert found == [{t: w for t, w in row.items() if w >= share * np.float32(max(row.values()))} for row in before]
        sizes.append(sum(map(len, found)))
        assert pruned.encode_query(TEXTS) == whole.encode_query(TEXTS)
    assert sizes[0] > sizes[1] > sizes[2], "the test shows little"


@pytest.mark.parametrize("ratio", [-0.1, 1.0, math.nan])
def test_a_ratio_out_of_range_or_without_a_masked_language_model_is_refused(ratio: float, splade: Path) -> None:
    with pytest.raises(InvalidInput, match=f"prune_ratio is {ratio}: it must be at least 0 and below 1"):
        load_encoder(splade, prune_ratio=ratio)
    with pytest.raises(InvalidInput, match="prune_ratio goes with the weights of a masked language model"):
        load_encoder("lsr-tiny", prune_ratio=0.1)
