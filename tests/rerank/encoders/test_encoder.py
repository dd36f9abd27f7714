"""What a multivector encoder promises: order, independence of a text's company, lengths, fingerprints, what it refuses."""

from __future__ import annotations

import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import EncoderError, EncoderNotFound, InvalidInput, LsrError, OutputExists
from lsr.rerank import MultiVectorEncoder, load_multivector_encoder
from tests.encoders import families
from tests.rerank.encoders import forms

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return forms.pylate(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> MultiVectorEncoder:
    return load_multivector_encoder(folder)


def tokens(encoder: MultiVectorEncoder, found: Any, i: int = 0) -> list[str]:
    return [encoder.token(token) for token in found.tokens_of(i).tolist()]


# -- how texts are read ------------------------------------------------------------------------------------------------


def test_a_query_is_marked_and_filled_up_with_the_mask(encoder: MultiVectorEncoder) -> None:
    read = tokens(encoder, encoder.encode_queries(["The fox, x"]))
    assert read == ["[CLS]", "[Q] ", "the", "fox", ",", "x", "[SEP]", *["[MASK]"] * (forms.QUERY_LENGTH - 7)]


def test_a_document_is_marked_and_its_punctuation_has_no_vector(encoder: MultiVectorEncoder) -> None:
    assert tokens(encoder, encoder.encode_documents(["The fox, x!"])) == ["[CLS]", "[D] ", "the", "fox", "x", "[SEP]"]


def test_a_text_over_the_limit_ends_with_the_last_token_that_fits(encoder: MultiVectorEncoder) -> None:
    long = "the fox " * 4000
    query, document = encoder.encode_queries([long]), encoder.encode_documents([long])
    assert tokens(encoder, query)[-3:] == ["fox", "the", "[SEP]"]
    assert (len(query.of(0)), len(document.of(0))) == (forms.QUERY_LENGTH, forms.DOCUMENT_LENGTH)
    unbroken = encoder.encode_documents(["x" + " " * 5000 + "fox"])  # few tokens in many characters
    assert tokens(encoder, unbroken) == ["[CLS]", "[D] ", "x", "fox", "[SEP]"]


def test_an_empty_text_has_its_special_tokens_alone(encoder: MultiVectorEncoder) -> None:
    assert tokens(encoder, encoder.encode_documents([""])) == ["[CLS]", "[D] ", "[SEP]"]


def test_no_text_gives_no_vector(encoder: MultiVectorEncoder) -> None:
    found = encoder.encode_documents([])
    assert (len(found), found.vectors.shape) == (0, (0, forms.DIM))


def test_a_document_may_lose_all_its_vectors(tmp_path: Path) -> None:
    words = [*string.punctuation, "[CLS]", "[SEP]", "[D] "]
    found = load_multivector_encoder(forms.pylate(tmp_path / "model", skiplist_words=words)).encode_documents(
        ["!", "fox"]
    )
    assert found.lengths.tolist() == [0, 1]


def test_vectors_have_unit_length(encoder: MultiVectorEncoder) -> None:
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_documents(forms.TEXTS).vectors, axis=1), 1, atol=1e-6)


# -- batches -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(st.integers(0, len(forms.TEXTS) - 1), min_size=1, max_size=25),
    batch_size=st.sampled_from([None, 1, 3]),
)
def test_vectors_of_a_text_do_not_depend_on_its_company(
    chosen: list[int], batch_size: int | None, encoder: MultiVectorEncoder
) -> None:
    for encode in (encoder.encode_queries, encoder.encode_documents):
        found = encode([forms.TEXTS[i] for i in chosen], batch_size)
        for place, i in enumerate(chosen):
            assert np.array_equal(found.of(place), encode([forms.TEXTS[i]]).of(0))


def test_order_is_kept_on_torch(folder: Path, encoder: MultiVectorEncoder) -> None:
    on_torch = load_multivector_encoder(folder, engine="torch")
    for a, b in (
        (on_torch.encode_queries, encoder.encode_queries),
        (on_torch.encode_documents, encoder.encode_documents),
    ):
        found, expected = a(forms.TEXTS, batch_size=2), b(forms.TEXTS)
        assert np.array_equal(found.offsets, expected.offsets)
        assert found.tokens_of(3).tolist() == expected.tokens_of(3).tolist()
        np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)


def test_bfloat16_is_near(folder: Path, encoder: MultiVectorEncoder) -> None:
    found = load_multivector_encoder(folder, engine="torch", precision="bf16").encode_documents(forms.TEXTS)
    products = (found.vectors * encoder.encode_documents(forms.TEXTS).vectors).sum(axis=1)
    assert products.min() > 0.99


# -- what it is --------------------------------------------------------------------------------------------------------


def test_names_sizes_and_fingerprint(folder: Path, encoder: MultiVectorEncoder) -> None:
    assert (encoder.name, encoder.source) == ("model", str(folder))
    assert (encoder.dim, encoder.max_length, encoder.query_length) == (
        forms.DIM,
        forms.DOCUMENT_LENGTH,
        forms.QUERY_LENGTH,
    )
    assert repr(encoder) == f"MultiVectorEncoder('model', dim {forms.DIM}, max_length {forms.DOCUMENT_LENGTH})"
    assert encoder.fingerprint == load_multivector_encoder(folder, max_length=9, query_length=8).fingerprint


@pytest.mark.parametrize(
    "settings",
    [
        {"skiplist_words": ["the"]},
        {"do_query_expansion": False},
        {"attend_to_expansion_tokens": True},
        {"query_prefix": "fox"},
        {"document_prefix": "fox"},
        {"layers": [{"bias": True}]},
    ],
)
def test_a_fingerprint_follows_what_vectors_depend_on(
    settings: dict[str, Any], encoder: MultiVectorEncoder, tmp_path: Path
) -> None:
    other = load_multivector_encoder(forms.pylate(tmp_path / "other", **settings))
    assert other.fingerprint != encoder.fingerprint


def test_a_fingerprint_follows_the_weights(folder: Path, encoder: MultiVectorEncoder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    for path in ("model.safetensors", "1_Dense/model.safetensors"):
        other = shutil.copytree(folder, tmp_path / path.replace("/", "-"))
        weights = load_file(other / path)
        name = sorted(weights)[0]
        weights[name] = weights[name] + np.float32(0.01)
        save_file(weights, other / path)
        assert load_multivector_encoder(other).fingerprint != encoder.fingerprint


def test_lengths_can_be_given(folder: Path) -> None:
    short = load_multivector_encoder(folder, max_length=7, query_length=9)
    assert short.encode_documents(["the fox " * 20]).lengths.tolist() == [7]
    assert short.encode_queries(["the fox " * 20, "x"]).lengths.tolist() == [9, 9]
    longest = load_multivector_encoder(folder, max_length=families.POSITIONS)
    assert longest.encode_documents(["the fox " * 40]).lengths.tolist() == [families.POSITIONS]


def test_saving_keeps_the_lengths_that_were_given(folder: Path, tmp_path: Path) -> None:
    short = load_multivector_encoder(folder, max_length=7, query_length=9)
    short.save(tmp_path / "saved")
    again = load_multivector_encoder(tmp_path / "saved")
    assert (again.max_length, again.query_length) == (7, 9)
    assert again.encode_queries(forms.TEXTS) == short.encode_queries(forms.TEXTS)
    with pytest.raises(OutputExists):
        short.save(tmp_path / "saved")


def test_no_torch_is_loaded(folder: Path) -> None:
    code = (
        "import sys; from lsr.rerank import load_multivector_encoder as load\n"
        f"encoder = load({str(folder)!r}); assert 'onnxruntime' not in sys.modules\n"
        "encoder.encode_queries(['the fox']); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, 3, b"text"])
def test_what_is_no_text_is_refused(bad: Any, encoder: MultiVectorEncoder) -> None:
    with pytest.raises(LsrError):
        encoder.encode_documents(["text", bad])


def test_one_text_is_no_list_of_texts(encoder: MultiVectorEncoder) -> None:
    with pytest.raises(InvalidInput, match="list of texts"):
        encoder.encode_queries("the fox")


def test_half_a_surrogate_pair_is_a_text(encoder: MultiVectorEncoder) -> None:
    assert len(encoder.encode_queries(["fox \ud800"])) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_length": 2}, "max_length"),
        ({"max_length": families.POSITIONS + 1}, "max_length"),
        ({"query_length": 0}, "query_length"),
        ({"max_length": "9"}, "max_length"),
        ({"precision": "int8"}, "int8"),
        ({"precision": "fp8"}, "precision"),
        ({"engine": "jax"}, "engine"),
        ({"engine": "onnx", "device": "cuda"}, "onnx engine runs on the CPU"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str, folder: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_multivector_encoder(folder, **options)


@pytest.mark.parametrize(("options", "says"), [({"threads": 0}, "threads"), ({"device": "nowhere:7"}, "device")])
def test_arguments_that_show_when_the_network_is_read(options: dict[str, Any], says: str, folder: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_multivector_encoder(folder, **options).encode_queries(["x"])
    with pytest.raises(InvalidInput, match="batch_size"):
        load_multivector_encoder(folder).encode_queries(["x"], batch_size=0)


@pytest.mark.parametrize("name", ["/no/such/folder", "no such name", "~nobody-here/x", "x" * 5000, ""])
def test_what_is_not_there(name: str) -> None:
    with pytest.raises((EncoderNotFound, EncoderError)) as raised:
        load_multivector_encoder(name)
    assert "\n" not in str(raised.value)
