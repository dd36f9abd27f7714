"""Parity: every family and layout gives the numbers of sentence-transformers, or of the formula of its paper."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsr.encoders import Encoder, load_encoder
from lsr.errors import EncoderError
from lsr.sparse import SparseVectors
from tests.encoders import families
from tests.encoders.families import MASKED, TEXTS, TORCH_ONLY

pytest.importorskip("sentence_transformers")

Dense = npt.NDArray[np.float32]
ENGINES = ("onnx", "torch")
TOLERANCE = 1e-4

LAYOUTS: dict[str, Callable[[Path, Path], Path]] = {
    "sharded": lambda folder, work: families.sharded(folder),
    "pytorch_model.bin": lambda folder, work: families.pickled(folder),
    "5-splade": lambda folder, work: families.splade5(folder),
    "5-splade-double-log": lambda folder, work: families.splade5(folder, "log1p_relu"),
    "5-router": lambda folder, work: families.router5(folder),
    "5-router-double-log": lambda folder, work: families.router5(folder, activation="log1p_relu"),
    "5-router-IDF": lambda folder, work: families.router5(folder, "IDF"),
    "5-router-folder": lambda folder, work: families.router5(folder, document="document_0_MLMTransformer"),
    **{
        f"6-{kind}": lambda folder, work, kind=kind: families.saved6(folder, kind, work)  # type: ignore[misc]
        for kind in ("splade", "sum", "double", "static", "two", "lexical", "csr")
    },
}


def dense(vectors: SparseVectors) -> Dense:
    return np.asarray(vectors.to_scipy().toarray(), np.float32)


def reference(folder: Path) -> Any:
    from sentence_transformers import SparseEncoder

    with families.quiet():
        return SparseEncoder(str(folder), device="cpu")


def reference_vectors(oracle: Any, texts: list[str]) -> tuple[Dense, Dense]:
    """Queries and documents, as sentence-transformers encodes them."""
    with families.quiet():
        found = [
            encode(texts, convert_to_sparse_tensor=False) for encode in (oracle.encode_query, oracle.encode_document)
        ]
    return found[0].numpy(), found[1].numpy()


def assert_same(encoder: Encoder, folder: Path, texts: list[str] = TEXTS) -> None:
    queries, documents = reference_vectors(reference(folder), texts)
    share = (documents > 0).mean()
    assert 0.02 < share < 0.5, f"the test shows little: {share:.0%} of the weights are above 0"
    assert np.abs(dense(encoder.encode_documents(texts)) - documents).max() < TOLERANCE
    assert np.abs(dense(encoder.encode_query(texts)) - queries).max() < TOLERANCE


@pytest.mark.parametrize("family", MASKED)
def test_families(family: str, tmp_path: Path) -> None:
    folder = families.plain(tmp_path / family, family)
    for engine in ENGINES:
        assert_same(load_encoder(folder, engine=engine), folder)


@pytest.mark.parametrize("family", TORCH_ONLY)
def test_families_without_an_onnx_graph_go_through_torch(family: str, tmp_path: Path) -> None:
    folder = families.plain(tmp_path / family, family)
    assert_same(load_encoder(folder), folder)
    with pytest.raises(EncoderError, match=family):
        load_encoder(folder, engine="onnx").encode_documents(["text"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](tmp_path / "model", tmp_path)
    for engine in ENGINES:
        assert_same(load_encoder(folder, engine=engine), folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_saved_opens_in_sentence_transformers(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = LAYOUTS[layout](tmp_path / "model", tmp_path)
    queries, documents = reference_vectors(reference(folder), TEXTS)
    load_encoder(folder).save(tmp_path / "saved")
    from sentence_transformers import SparseEncoder

    caplog.clear()
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        oracle = SparseEncoder(str(tmp_path / "saved"), device="cpu")
    logged = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert not logged
    assert not [str(w.message) for w in warned if "sentence_transformers" in str(w.message)]
    again = reference_vectors(oracle, TEXTS)
    assert np.abs(again[0] - queries).max() < TOLERANCE
    assert np.abs(again[1] - documents).max() < TOLERANCE
    assert load_encoder(tmp_path / "saved").encode_documents(TEXTS) == load_encoder(folder).encode_documents(TEXTS)


@pytest.mark.parametrize("table", ["idf.json", "query_token_weights.txt"])
def test_opensearch(table: str, tmp_path: Path) -> None:
    """The model card's formula: special tokens weigh nothing on either side, a token that the file lacks 1."""
    import torch
    from transformers import AutoModelForMaskedLM

    folder = families.opensearch(tmp_path / "model", table)
    with families.quiet():
        network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    dim, gone = len(vocabulary), families.special(folder)
    queries, documents = np.zeros((len(TEXTS), dim), np.float32), np.zeros((len(TEXTS), dim), np.float32)
    weights = np.zeros(dim, np.float32)
    for i in vocabulary.values():
        weights[i] = round(0.5 + i / 50, 4)
    weights[vocabulary["the"]] = 1
    for row, text in enumerate(TEXTS):
        read = torch.tensor([families.ids(folder, text)])
        with torch.inference_mode():
            documents[row] = torch.log1p(torch.relu(network(read).logits[0].amax(0))).numpy()
        present = families.ids(folder, text, 10_000)
        queries[row, present] = weights[present]
    queries[:, gone] = documents[:, gone] = 0
    for engine in ENGINES:
        encoder = load_encoder(folder, engine=engine)
        assert encoder.inference_free
        assert np.abs(dense(encoder.encode_documents(TEXTS)) - documents).max() < TOLERANCE
        assert np.abs(dense(encoder.encode_query(TEXTS)) - queries).max() < TOLERANCE


@pytest.mark.parametrize("kind", ["uniCOIL", "TILDEv2", "DeepImpact", "DeepImpact-2"])
def test_token_weights(kind: str, tmp_path: Path) -> None:
    """relu(linear(hidden)) a token, of a repeated one the largest; special tokens are no words and are not compared."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertModel

    folder = families.token_weights(tmp_path / "model", kind)
    tensors = load_file(folder / "model.safetensors")
    with families.quiet():
        network = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    heads = sorted(name for name in tensors if "bert" not in name and name.endswith(".weight"))
    dim, gone = network.config.vocab_size, families.special(folder)
    expected = np.zeros((len(TEXTS), dim), np.float32)
    present = np.zeros((len(TEXTS), dim), np.float32)
    for row, text in enumerate(TEXTS):
        read = families.ids(folder, text)
        with torch.inference_mode():
            hidden = network(torch.tensor([read])).last_hidden_state[0]
            for name in heads:
                hidden = torch.relu(hidden @ tensors[name].T + tensors[name.replace("weight", "bias")])
        np.maximum.at(expected[row], read, hidden[:, 0].numpy())
        present[row, families.ids(folder, text, 10_000)] = 1
    expected[:, gone] = present[:, gone] = 0
    assert expected.any()
    for engine in ENGINES:
        encoder = load_encoder(folder, engine=engine)
        found = dense(encoder.encode_documents(TEXTS))
        found[:, gone] = 0
        assert np.abs(found - expected).max() < TOLERANCE
        assert encoder.inference_free == (kind != "uniCOIL")
        if kind != "uniCOIL":
            np.testing.assert_array_equal(dense(encoder.encode_query(TEXTS)), present)


def passages(shared: Path, count: int) -> list[str]:
    lines = (shared / "data" / "scifact" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines[:count]]


def test_real_weights(shared: Path, splade_tiny: Path) -> None:
    assert_real(splade_tiny, passages(shared, 16))


def test_real_weights_with_the_published_table(shared: Path, splade_tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shared / "data" / "idf" / "sentence_transformers_layout", folder)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(splade_tiny / name, folder / name)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(splade_tiny / name, folder / "query_0_SparseStaticEmbedding" / name)
    assert_real(folder, passages(shared, 16))


def assert_real(folder: Path, texts: list[str]) -> None:
    queries, documents = reference_vectors(reference(folder), texts)
    for engine in ENGINES:
        encoder = load_encoder(folder, engine=engine)
        assert np.abs(dense(encoder.encode_documents(texts)) - documents).max() < TOLERANCE
        assert np.abs(dense(encoder.encode_query(texts)) - queries).max() < TOLERANCE
