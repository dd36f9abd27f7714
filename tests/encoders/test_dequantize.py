"""Weights back from an ONNX export: exact from float32, within what 8 bits say from 8 bits."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsr.encoders import Encoder, load_encoder
from lsr.encoders.encoder import Settings
from lsr.encoders.export import export_onnx
from lsr.encoders.layouts import model_of
from lsr.encoders.layouts.hugging_face_writing import write_hugging_face
from lsr.encoders.model import NetworkSide, OnnxSide, VocabularyHead
from lsr.encoders.network import build_graph, read_network
from lsr.encoders.network.checkpoint import Checkpoint
from lsr.encoders.network.dequantize import weights_of_export
from lsr.encoders.onnx_engine import onnx_bytes
from lsr.errors import EncoderError, OutputExists
from tests.encoders import families, forms
from tests.encoders.conftest import HIDDEN, TOKENS, bert_tensors, write_model
from tests.encoders.test_document import words
from tests.encoders.test_export import REAL_TEXTS

pytest.importorskip("transformers")

TEXTS = [*(words(count, count) for count in (1, 2, 7, 8, 15, 22, 35)), "ba unknown bas!"]
POSITIONS = "bert.embeddings.position_embeddings.weight"
TYPES = "bert.embeddings.token_type_embeddings.weight"


def dense(encoder: Encoder, texts: list[str] = TEXTS) -> npt.NDArray[np.float32]:
    return np.asarray(encoder.encode_documents(texts).to_scipy().toarray(), np.float32)


def with_torch(side: NetworkSide) -> Encoder:
    return Encoder(model_of(side, side, name="recovered", source=str(side.folder)), Settings(engine="torch"))


def model_bytes(folder: Path, precision: str, head: VocabularyHead | None = None) -> bytes:
    return onnx_bytes(forms.side_of(folder, head or VocabularyHead()), precision)


def own_decoder() -> dict[str, np.ndarray]:
    decoder = np.random.default_rng(7).standard_normal((len(TOKENS), HIDDEN)).astype(np.float32) * 0.3
    tensors = bert_tensors() | {"cls.predictions.decoder.weight": decoder}
    return tensors | {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"]}


# -- float32 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [bert_tensors, own_decoder], ids=["tied", "untied"])
def test_float32_comes_back_exactly(
    made: Callable[[], dict[str, np.ndarray]], tmp_path: Path, tokenizer_json: str
) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, made())
    found = weights_of_export(model_bytes(folder, "fp32"))
    expected = Checkpoint(folder).tensors
    expected[POSITIONS] = expected[POSITIONS] + expected[TYPES][0]
    expected[TYPES] = np.zeros_like(expected[TYPES])
    assert found.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found.weights[name], tensor, atol=1e-5, err_msg=name)
        assert found.weights[name].dtype == np.float32
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert found.config == config
    assert found.pooling == "max"


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations_are_recognised(activation: str, tmp_path: Path, tokenizer_json: str) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, bert_tensors(), hidden_act=activation)
    assert weights_of_export(model_bytes(folder, "fp32")).config["hidden_act"] == activation


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["max", "cls"])
def test_what_is_built_like_a_bert_becomes_one(family: str, pooling: str, tmp_path: Path) -> None:
    """Exported, recovered, run by transformers: the vectors of the model."""
    folder = families.plain(tmp_path / family, family)
    side = forms.side_of(folder, VocabularyHead(pooling=pooling, prune_ratio=0.1), top_terms=30, dropped=(5, 6))
    original = forms.encoder_of(side, side)
    export_onnx(original, tmp_path / "export", samples=families.TEXTS)
    found = write_hugging_face(load_encoder(tmp_path / "export").model, tmp_path / "recovered")
    assert found == replace(side, folder=tmp_path / "recovered")
    np.testing.assert_allclose(
        dense(with_torch(found), families.TEXTS), dense(original, families.TEXTS), atol=2e-5, err_msg=family
    )


# -- 8 bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [bert_tensors, own_decoder], ids=["tied", "untied"])
def test_8_bits_come_back_as_the_export_has_them(
    made: Callable[[], dict[str, np.ndarray]], tmp_path: Path, tokenizer_json: str
) -> None:
    """Left is the rounding of what goes into the vocabulary product, which the recovered weights do without.

    Measured: the vectors of torch differ from the export's by .029 in the mean where logits have a spread of 3.
    """
    folder = write_model(tmp_path / "model", tokenizer_json, made())
    export_onnx(load_encoder(folder), tmp_path / "export", precision="int8", samples=TEXTS)
    exported = load_encoder(tmp_path / "export")
    side = write_hugging_face(exported.model, tmp_path / "recovered")
    error = np.abs(dense(with_torch(side)) - dense(exported))
    assert error.mean() < 0.04
    words = "bert.embeddings.word_embeddings.weight"
    expected = made()
    found = Checkpoint(tmp_path / "recovered").tensors
    assert np.corrcoef(found[words].ravel(), expected[words].ravel())[0, 1] > 0.995
    for name, tensor in found.items():
        if "encoder.layer" in name:
            np.testing.assert_allclose(tensor, expected[name], atol=2e-3, err_msg=name)  # float16


def test_recovered_weights_export_to_the_same_codes(exported: Path, tmp_path: Path) -> None:
    """What was 8-bit once loses next to nothing when it is again."""
    first = load_encoder(exported)
    side = write_hugging_face(first.model, tmp_path / "recovered")
    document = forms.encoder_of(side, side)
    export_onnx(document, tmp_path / "again", precision="int8", samples=TEXTS)
    error = np.abs(dense(load_encoder(tmp_path / "again")) - dense(first))
    assert error.mean() < 0.06


def test_the_bundled_encoder_comes_back(encoder: Encoder, tmp_path: Path) -> None:
    side = write_hugging_face(encoder.model, tmp_path / "recovered")
    assert isinstance(encoder.document_side, OnnxSide)
    assert (side.dropped, side.top_terms) == (
        encoder.document_side.chosen.dropped,
        encoder.document_side.chosen.top_terms,
    )
    found, expected = dense(with_torch(side), REAL_TEXTS), dense(encoder, REAL_TEXTS)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.985  # .9889 for a text of four words, above .999 for longer ones
    assert np.abs(found - expected)[(found > 0) & (expected > 0)].mean() < 0.02


def test_a_real_model_comes_back_nearer_to_itself_than_its_export_is(splade_tiny: Path, tmp_path: Path) -> None:
    """For the rounding of activations is gone."""
    origin = load_encoder(splade_tiny, max_length=256)
    export_onnx(origin, tmp_path / "export", precision="int8", top_terms=256, samples=REAL_TEXTS)
    encoder = load_encoder(tmp_path / "export")
    side = write_hugging_face(encoder.model, tmp_path / "recovered")
    original = load_encoder(splade_tiny).document_side
    assert isinstance(original, NetworkSide)
    original = replace(original, top_terms=256, max_length=256, dropped=side.dropped)
    expected = dense(with_torch(original), REAL_TEXTS)
    distances = [np.abs(dense(e, REAL_TEXTS) - expected).sum() for e in (with_torch(side), encoder)]
    assert distances[0] < 0.8 * distances[1]


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_folder_is_one_of_transformers(exported: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = tmp_path / "recovered"
    write_hugging_face(load_encoder(exported).model, folder)
    with families.quiet():
        model, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(model).__name__ == "BertForMaskedLM"
    assert tokenizer("ba be")["input_ids"] == [2, TOKENS.index("ba"), TOKENS.index("be"), 3]


def test_a_model_with_weights_is_written_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(model_folder, max_length=24)
    side = write_hugging_face(replace(encoder.model, document=encoder.document_side), tmp_path / "copy")
    assert isinstance(encoder.document_side, NetworkSide)
    assert side == replace(encoder.document_side, folder=tmp_path / "copy")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (model_folder / name).read_bytes()
    assert not (tmp_path / "copy" / "idf.json").exists(), "the table is the other side's"


def test_nothing_is_replaced(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExists):
        write_hugging_face(load_encoder(exported).model, tmp_path)


# -- other files -------------------------------------------------------------------------------------------------------


def others(tmp_path: Path) -> dict[str, Callable[[], bytes]]:
    def masked(family: str, pooling: str = "max") -> bytes:
        return model_bytes(families.plain(tmp_path / family, family), "fp32", VocabularyHead(pooling=pooling))

    def tokens() -> bytes:
        folder = families.token_weights(tmp_path / "tokens", "uniCOIL")
        return onnx_bytes(forms.side_of(folder, forms.HEADS["tokens sum"]), "fp32")

    return {
        "nothing": lambda: b"",
        "no model": lambda: b"not an ONNX model",
        "relative positions": lambda: masked("mpnet"),
        "a projection": lambda: masked("electra"),
        "norms before the layers": lambda: masked("modernbert"),
        "sum": lambda: masked("bert", "sum"),
        "token weights": tokens,
    }


@pytest.mark.parametrize("name", others(Path()))
def test_other_networks_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no weights of a BERT can be recovered") as caught:
        weights_of_export(others(tmp_path)[name]())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_altered_graphs_give_weights_or_an_error(seed: int, model_folder: Path, exported: Path) -> None:
    """Nodes and tensors that were exchanged, renamed or left out, also so that the graph goes in circles."""
    import onnx

    random = np.random.default_rng(seed)
    content = (exported / "model.onnx").read_bytes() if seed % 2 else model_bytes(model_folder, "fp32")
    proto = onnx.load_from_string(content)
    nodes = proto.graph.node
    for _ in range(3):
        a, b = (nodes[int(i)] for i in random.integers(0, len(nodes), 2))
        match random.integers(0, 5):
            case 0:
                a.op_type = b.op_type
            case 1 if a.input and b.output:
                a.input[0] = b.output[0]
            case 2 if b.input:
                del b.input[-1]
            case 3:
                proto.graph.initializer[int(random.integers(0, 40))].dims.append(2)
            case _:
                proto.graph.initializer[int(random.integers(0, 40))].ClearField("raw_data")
    with contextlib.suppress(EncoderError):
        assert weights_of_export(proto.SerializeToString()).weights


def test_a_graph_that_goes_in_circles_is_refused(model_folder: Path) -> None:
    """The first layer reads what the last one gives."""
    import onnx

    proto = onnx.load_from_string(model_bytes(model_folder, "fp32"))
    norms = [node for node in proto.graph.node if node.op_type == "LayerNormalization"]
    first, last = norms[0].output[0], norms[-2].output[0]
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            if name == first:
                node.input[i] = last
    with pytest.raises(EncoderError, match="is in two places"):
        weights_of_export(proto.SerializeToString())


def test_weights_in_other_files_are_never_read(model_folder: Path, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load_from_string(model_bytes(model_folder, "fp32"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 10_000)
    tensor: Any = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    with pytest.raises(EncoderError, match="its weights are in other files"):
        weights_of_export(proto.SerializeToString())


def test_an_export_that_is_no_bert_is_named(tmp_path: Path) -> None:
    folder = families.plain(tmp_path / "mpnet", "mpnet")
    export_onnx(load_encoder(folder), tmp_path / "export", samples=families.TEXTS)
    with pytest.raises(EncoderError, match=r"export/model\.onnx: no weights of a BERT"):
        write_hugging_face(load_encoder(tmp_path / "export").model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_slices_of_any_size_are_followed(model_folder: Path) -> None:
    network = read_network(model_folder, head=True)
    found = [
        weights_of_export(build_graph(network, VocabularyHead(), chunk=chunk).SerializeToString()).weights
        for chunk in (1000, 16)
    ]
    for name, tensor in found[0].items():
        np.testing.assert_array_equal(tensor, found[1][name])
