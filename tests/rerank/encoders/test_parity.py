"""The oracle: on the same folder sentence-transformers gives the same token vectors, and the same MaxSim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsr.rerank import MultiVectorEncoder, TokenVectors, load_multivector_encoder
from tests.encoders import families
from tests.rerank.encoders import forms

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers", minversion="6")

ENGINES = ("onnx", "torch")


def encoded(encoder: MultiVectorEncoder, task: str) -> TokenVectors:
    return (encoder.encode_queries if task == "query" else encoder.encode_documents)(forms.TEXTS)


def maxsim(queries: TokenVectors, documents: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
    """By its definition: for each vector of the query its largest product with one of the document, summed."""
    rows = [[(queries.of(i) @ document.T).max(axis=1).sum() for document in documents] for i in range(len(queries))]
    return np.array(rows, np.float64)


def check(folder: Path, engine: str, reference: Any, **options: Any) -> MultiVectorEncoder:
    """That an encoder of the folder gives what the model of sentence-transformers gives."""
    encoder = load_multivector_encoder(folder, engine=engine, **options)
    found, expected = {}, {}
    for task in ("query", "document"):
        found[task], expected[task] = encoded(encoder, task), forms.reference_vectors(reference, task, forms.TEXTS)
        assert found[task].lengths.tolist() == [len(vectors) for vectors in expected[task]]
        np.testing.assert_allclose(found[task].vectors, np.concatenate(expected[task]), rtol=1e-4, atol=2e-5)
    some = np.flatnonzero(found["document"].lengths)
    assert len(some) > 10
    scores = reference.similarity(expected["query"], [expected["document"][j] for j in some]).numpy()
    ours = maxsim(found["query"], [found["document"].of(j) for j in some.tolist()])
    if encoder.similarity == "meanmaxsim":
        ours /= found["query"].lengths[:, None]
    np.testing.assert_allclose(ours, scores, rtol=1e-4, atol=1e-4)
    return encoder


@pytest.mark.parametrize("layout", forms.LAYOUTS)
def test_each_layout_gives_what_sentence_transformers_gives(layout: str, tmp_path: Path) -> None:
    folder = forms.colbert(tmp_path / "model", layout, tmp_path / "work")
    reference = forms.reference(folder)
    for engine in ENGINES:
        encoder = check(folder, engine, reference)
        assert encoder.dim == forms.DIM
        assert (encoder.query_length, encoder.max_length) == (forms.QUERY_LENGTH, forms.DOCUMENT_LENGTH)


@pytest.mark.parametrize("layout", forms.LAYOUTS)
def test_what_is_saved_opens_in_sentence_transformers_and_here(layout: str, tmp_path: Path) -> None:
    encoder = load_multivector_encoder(forms.colbert(tmp_path / "model", layout, tmp_path / "work"))
    encoder.save(tmp_path / "saved")
    again = check(tmp_path / "saved", "onnx", forms.reference(tmp_path / "saved"))
    for task in ("query", "document"):
        assert encoded(again, task) == encoded(encoder, task)
    assert again.fingerprint == encoder.fingerprint


@pytest.mark.parametrize("family", families.MASKED)
def test_every_family_of_networks(family: str, tmp_path: Path) -> None:
    # Short queries are filled up beyond ModernBERT's window here: what is added has nothing to attend to in local layers.
    folder = forms.native(tmp_path / "model", tmp_path / "work", family)
    check(folder, "onnx", forms.reference(folder))


def test_a_family_without_a_graph_goes_through_torch(tmp_path: Path) -> None:
    folder = forms.native(tmp_path / "model", tmp_path / "work", "albert")
    check(folder, None, forms.reference(folder))  # type: ignore[arg-type]


FIXED, MIN = ({"strategy": name, "length": 14} for name in ("fixed", "min"))
NATIVE: dict[str, dict[str, Any]] = {
    "expansion attended to": {"transformer": {"query_expansion": FIXED | {"attend": True}}},
    "longer queries are whole": {"transformer": {"query_expansion": MIN}},
    "longer queries are cut": {"transformer": {"query_expansion": MIN, "query_length": 20}},
    "a token of one's own": {"transformer": {"query_expansion": FIXED | {"token": "river"}}},
    "no expansion": {"transformer": {"query_expansion": None, "query_length": 9}},
    "no lengths": {"transformer": {"query_expansion": None, "document_length": None}},
    "lower case": {"transformer": {"do_lower_case": True}},
    "no skiplist": {"mask": {"skiplist_words": []}},
    "skiplist of both sides": {
        "mask": {"skiplist_words": ["the", ",", "no such word"], "skiplist_tasks": ["query", "document"]}
    },
    "kept tokens": {"mask": {"keep_only_token_ids": [2, 3, *range(60, 140)]}},
    "no mask": {"skiplist": False},
    "no mask, attended to": {"skiplist": False, "transformer": {"query_expansion": FIXED | {"attend": True}}},
    "any length of vectors": {"unit": False},
    "mean": {"similarity": "meanmaxsim"},
    "no prompts": {"prompts": None},
    "two layers": {
        "layers": [
            {"out_features": 20, "activation_function": torch.nn.GELU()},
            {"activation_function": torch.nn.Tanh(), "bias": False},
        ]
    },
    "residuals": {"layers": [{"use_residual": True}, {"use_residual": True, "bias": False}]},
}


@pytest.mark.parametrize("kind", NATIVE)
def test_settings_of_sentence_transformers(kind: str, tmp_path: Path) -> None:
    folder = forms.native(tmp_path / "model", tmp_path / "work", **NATIVE[kind])
    reference = forms.reference(folder)
    for engine in ENGINES:
        encoder = check(folder, engine, reference)
    encoder.save(tmp_path / "saved")
    check(tmp_path / "saved", "onnx", forms.reference(tmp_path / "saved"))


PYLATE: dict[str, dict[str, Any]] = {
    "expansion attended to": {"attend_to_expansion_tokens": True},
    "no expansion": {"do_query_expansion": False},
    "no prefixes": {"query_prefix": "", "document_prefix": ""},
    "a word as a prefix": {"query_prefix": "river"},
    "prompts after the prefixes": {"prompts": {"query": "find ", "document": "[D] the "}},
    "words of the skiplist": {"skiplist_words": ["the", "river"]},
    "lengths that nobody names": {"query_length": None},
    "layers": {"layers": [{"bias": True, "use_residual": True}, {"use_residual": True}]},
}


@pytest.mark.parametrize("kind", PYLATE)
def test_settings_of_pylate(kind: str, tmp_path: Path) -> None:
    folder = forms.pylate(tmp_path / "model", **PYLATE[kind])
    check(folder, "onnx", forms.reference(folder))


def test_a_pylate_folder_of_before_model_type_is_one(tmp_path: Path) -> None:
    """sentence-transformers takes such a folder for a dense model, and makes up a projection."""
    named, bare = forms.pylate(tmp_path / "named"), forms.pylate(tmp_path / "bare", model_type=None)
    for task in ("query", "document"):
        assert encoded(load_multivector_encoder(bare), task) == encoded(load_multivector_encoder(named), task)


STANFORD: dict[str, dict[str, Any]] = {
    "mask tokens attended to": {"attend_to_mask_tokens": True},
    "punctuation kept": {"mask_punctuation": False},
    "other markers": {"query_token_id": "river", "doc_token_id": "fox"},
    "nothing said": {"query_token_id": None, "doc_token_id": None, "mask_punctuation": None, "query_maxlen": None},
}


@pytest.mark.parametrize("kind", STANFORD)
def test_settings_of_stanford(kind: str, tmp_path: Path) -> None:
    folder = forms.stanford(tmp_path / "model", **STANFORD[kind])
    if kind == "nothing said":  # 32 tokens
        assert load_multivector_encoder(folder).query_length == 32
    check(folder, "onnx", forms.reference(folder))


def test_other_lengths_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    folder = forms.colbert(tmp_path / "model", "native", tmp_path / "work")
    reference = forms.reference(folder)
    reference[0].document_length = 11
    reference[0].query_expansion = {"strategy": "fixed", "length": 8}
    check(folder, "onnx", reference, max_length=11, query_length=8)
