"""Looking inside vectors: the piece of a text behind each term, terms by name, and how sparse a batch is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lsr.encoders import Encoder, Statistics, TermOrigin, flops, load_encoder, statistics
from lsr.errors import InvalidInput
from lsr.sparse import SparseVectors
from tests.conftest import random_vectors
from tests.encoders import families
from tests.encoders.conftest import TOKENS, WORDS
from tests.encoders.families import SENTENCES, TEXTS

pytest.importorskip("transformers")

ENGINES = ("onnx", "torch")
FAMILIES = ("bert", "roberta")
TOLERANCE = 1e-4
phrases = st.lists(st.sampled_from([*WORDS, "bas", "ca!", "unknown"]), max_size=40).map(" ".join)
sizes = st.tuples(st.integers(0, 12), st.integers(1, 20), st.floats(0, 10), st.integers(0, 999))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random masked language model of each family."""
    work = tmp_path_factory.mktemp("inspection")
    return {family: families.plain(work / family, family) for family in FAMILIES}


@pytest.fixture(scope="module", params=[(family, engine) for family in FAMILIES for engine in ENGINES], ids="-".join)
def reader(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Encoder:
    family, engine = request.param
    return load_encoder(folders[family], engine=engine)


@pytest.fixture(scope="module")
def small(exported: Path) -> Encoder:
    """A random model that reads 24 tokens."""
    return load_encoder(exported)


def assert_explained(origins: list[TermOrigin], vectors: SparseVectors) -> None:
    """The terms of the first vector, each once, with their weights but for the last digits."""
    found = np.zeros(vectors.dim)
    found[[origin.term for origin in origins]] = [origin.weight for origin in origins]
    assert np.count_nonzero(found) == len(origins)
    np.testing.assert_allclose(found, vectors.to_scipy().toarray()[0], atol=TOLERANCE)


# -- where a term came from --------------------------------------------------------------------------------------------


def test_a_term_names_the_position_that_gave_its_weight(reader: Encoder) -> None:
    """Of the logits that transformers computes, that of the position is the largest; its activation is the weight."""
    import torch
    from transformers import AutoModelForMaskedLM

    folder = Path(reader.source)
    with families.quiet():
        network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    seen = set()
    for text in TEXTS:
        with torch.inference_mode():
            logits = network(torch.tensor([families.ids(folder, text)])).logits[0].numpy()
        origins = reader.explain(text)
        assert origins
        for origin in origins:
            assert logits[origin.position, origin.term] >= logits[:, origin.term].max() - TOLERANCE
            assert origin.weight == pytest.approx(np.log1p(logits[:, origin.term].max()), abs=TOLERANCE)
        seen |= {origin.position for origin in origins}
    assert len(seen) > 10, "the test shows little: all terms came from a few positions"


def test_the_piece_is_what_the_token_at_that_position_stands_for(reader: Encoder) -> None:
    tokenizer = Tokenizer.from_file(str(Path(reader.source) / "tokenizer.json"))
    tokenizer.enable_truncation(families.POSITIONS)
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        for origin in reader.explain(text):
            assert origin.piece == text[origin.start : origin.end]
            assert (origin.start, origin.end) == encoding.offsets[origin.position]
            assert (origin.piece == "") == bool(encoding.special_tokens_mask[origin.position])
            assert origin.token == tokenizer.id_to_token(origin.term)


def test_with_a_prompt_pieces_are_still_those_of_the_text(tmp_path: Path) -> None:
    folder = families.splade5(tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"document": "text: "}}), encoding="utf-8")
    text = "the quick brown fox"
    pieces = {(origin.position, origin.piece) for origin in load_encoder(folder).explain(text)}
    assert any(piece for _, piece in pieces)
    assert all(piece in text for _, piece in pieces)


def test_all_terms_of_the_document_are_explained_heaviest_first(reader: Encoder) -> None:
    for text in TEXTS:
        origins = reader.explain(text)
        assert_explained(origins, reader.encode_documents([text]))
        weights = [origin.weight for origin in origins]
        assert weights == sorted(weights, reverse=True)


@given(text=phrases, k=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_top_terms_are_the_first_of_all_terms(small: Encoder, text: str, k: int) -> None:
    """Of texts longer than the encoder reads, too."""
    origins = small.explain(text)
    assert small.explain(text, top_k=k) == origins[:k]
    assert_explained(origins, small.encode_documents([text]))
    assert all(0 <= origin.position < small.max_length for origin in origins)


def test_a_text_without_words_has_nothing_to_explain(reader: Encoder, small: Encoder) -> None:
    assert [reader.explain(""), small.explain(""), small.explain("  \n")] == [[], [], []]
    with pytest.raises(InvalidInput, match="is a int"):
        small.explain(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ENGINES)
def test_with_sum_pooling_no_position_can_be_named(engine: str, tmp_path: Path) -> None:
    encoder = load_encoder(families.splade5(tmp_path / "model", pooling="sum"), engine=engine)
    with pytest.raises(InvalidInput, match="sum pooling"):
        encoder.explain("the quick brown fox")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["TILDEv2", "DeepImpact-2"])
def test_token_heads_name_the_occurrence_that_weighs_most(kind: str, engine: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import BertModel

    folder = families.token_weights(tmp_path / "model", kind)
    tensors = load_file(folder / "model.safetensors")
    tensors = {n: tensor if "bert" in n or "weight" in n else tensor + 3 for n, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")  # most tokens weigh more than 0 now
    with families.quiet():
        network = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    heads = sorted(name for name in tensors if "bert" not in name and name.endswith(".weight"))
    encoder, occurrences = load_encoder(folder, engine=engine), []
    for text in TEXTS:
        ids = np.array(families.ids(folder, text))
        with torch.inference_mode():
            hidden = network(torch.tensor([ids.tolist()])).last_hidden_state[0]
            for name in heads:
                hidden = torch.relu(hidden @ tensors[name].T + tensors[name.replace("weight", "bias")])
        weights = hidden[:, 0].numpy()
        for origin in encoder.explain(text):
            places = np.flatnonzero(ids == origin.term)
            assert weights[origin.position] == pytest.approx(weights[places].max(), abs=TOLERANCE)
            assert origin.weight == pytest.approx(weights[places].max(), abs=TOLERANCE)
            assert origin.piece == text[origin.start : origin.end]
            occurrences.append(places.tolist().index(origin.position))
    assert max(occurrences) > 0, "the test shows little: it was the first occurrence always"


@pytest.mark.parametrize("engine", ENGINES)
def test_latents_come_from_the_whole_text(engine: str, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    encoder = load_encoder(families.saved6(tmp_path / "csr", "csr", tmp_path), engine=engine)
    origins = encoder.explain("the quick brown fox")
    assert_explained(origins, encoder.encode_documents(["the quick brown fox"]))
    assert origins
    assert origins == [TermOrigin(o.term, f"[{o.term}]", o.weight, -1, "", 0, 0) for o in origins]


# -- terms by name -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), levels=st.integers(1, 4), k=st.none() | st.integers(0, 12))
@settings(deadline=None)
def test_decoded_terms_are_named_heaviest_first_and_of_equals_the_first(
    small: Encoder, seed: int, levels: int, k: int | None
) -> None:
    vectors = random_vectors(5, len(TOKENS), 8, seed, levels=levels)
    pairs = [zip(terms.tolist(), weights.tolist(), strict=True) for terms, weights in vectors]
    expected = [sorted(row, key=lambda pair: (-pair[1], pair[0]))[:k] for row in pairs]
    assert small.decode(vectors, k) == [[(TOKENS[term], weight) for term, weight in row] for row in expected]


def test_vectors_are_decoded_as_sentence_transformers_does(tmp_path: Path) -> None:
    import torch

    encoder = load_encoder(families.splade5(tmp_path / "model"))
    vectors = encoder.encode_documents(TEXTS)
    with families.quiet():
        oracle = pytest.importorskip("sentence_transformers").SparseEncoder(encoder.source, device="cpu")
        theirs = oracle.decode(torch.from_numpy(vectors.to_scipy().toarray()), top_k=8)
    assert encoder.decode(vectors, top_k=8) == theirs


def test_vectors_of_another_vocabulary_cannot_be_decoded(small: Encoder) -> None:
    with pytest.raises(InvalidInput, match=f"100 dimensions, the encoder random {len(TOKENS)}"):
        small.decode(random_vectors(2, 100, 5))


# -- how sparse a batch is ---------------------------------------------------------------------------------------------


def presence(vectors: SparseVectors) -> np.ndarray:
    return np.asarray(vectors.to_scipy().toarray() > 0, np.int64)


@given(size=sizes)
@settings(deadline=None)
def test_statistics_are_those_of_the_dense_batch(size: tuple[int, int, float, int]) -> None:
    vectors = random_vectors(*size)
    found, dense = statistics(vectors), presence(vectors)
    assert (found.vectors, found.dim) == dense.shape
    assert found.empty == sum(not row.any() for row in dense)
    assert found.used == sum(column.any() for column in dense.T)
    assert found.terms == pytest.approx(dense.sum(1).mean() if len(dense) else 0)
    assert found.flops == pytest.approx(products(dense, dense))


@given(first=sizes, second=sizes)
@settings(deadline=None)
def test_flops_are_the_mean_products_of_a_query_with_a_document(
    first: tuple[int, int, float, int], second: tuple[int, int, float, int]
) -> None:
    queries, documents = random_vectors(*first), random_vectors(second[0], first[1], *second[2:])
    assert flops(queries, documents) == pytest.approx(products(presence(queries), presence(documents)))
    with pytest.raises(InvalidInput, match=f"queries have {queries.dim} dimensions, documents 21"):
        flops(queries, random_vectors(2, 21, 2))


def products(queries: np.ndarray, documents: np.ndarray) -> float:
    """Shared terms of a pair, over all pairs."""
    return float((queries @ documents.T).mean()) if len(queries) and len(documents) else 0.0


def batch(lengths: list[int], dim: int) -> Statistics:
    indices = np.concatenate([np.arange(length) for length in lengths])
    indptr = np.cumsum([0, *lengths])
    return statistics(SparseVectors(indptr=indptr, indices=indices, values=np.ones(len(indices)), dim=dim))


def test_vectors_that_are_mostly_empty_are_dead() -> None:
    assert "3 of 5 vectors are empty" in str(batch([0, 4, 0, 4, 0], 100).collapse)
    assert [batch([0, 4, 0, 4], 100).collapse, statistics(random_vectors(0, 100, 5)).collapse] == [None, None]


def test_vectors_with_every_twentieth_term_are_dense() -> None:
    assert "1,501 terms a vector, of 30,000" in str(batch([1501, 1501], 30_000).collapse)
    assert batch([1500, 1500], 30_000).collapse is None
    assert batch([1000], 1000).collapse is None


def test_an_encoder_that_works_looks_sound(encoder: Encoder) -> None:
    assert statistics(encoder.encode_documents(SENTENCES[:9])).collapse is None
    assert statistics(encoder.encode_documents(["", " "])).collapse is not None
