"""Exporting a BertForMaskedLM: the ONNX graph says what torch says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.encoders import DocumentEncoder, Encoder, load_encoder
from lsr.encoders.export import export_onnx
from lsr.encoders.model import NetworkSide
from lsr.encoders.network import build_graph, read_network
from lsr.encoders.onnx_engine import OnnxEngine
from lsr.encoders.rows import selection
from lsr.errors import EncoderError, InvalidInput, OutputExists
from tests.encoders.conftest import HIDDEN, SPECIAL, TOKENS, bert_tensors, write_model
from tests.encoders.test_document import words

TEXTS = [*(words(count, count) for count in (1, 2, 7, 8, 15, 22, 35)), "ba unknown bas!", "[MASK] ba"]
REAL_TEXTS = [
    "Currently New York is rainy.",
    "gzip.open(filename, mode='rb') opens a gzip-compressed file in binary or text mode, returning a file object.",
    "Alterations of the architecture of cerebral white matter in the developing human brain can affect cortical "
    "development and result in functional disabilities. " * 12,
    "x",
]


def torch_vectors(folder: Path, texts: list[str], activation: Callable[[Any], Any], max_length: int) -> np.ndarray:
    """The oracle: BertForMaskedLM of transformers, one text at a time; dense [N, V], special tokens set to 0."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    rows = []
    with torch.no_grad():
        for text in texts:
            logits = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).logits
            rows.append(activation(logits).max(1).values[0].numpy())
    vectors: np.ndarray = np.stack(rows)
    for token in SPECIAL:
        vectors[:, tokenizer.token_to_id(token)] = 0
    return vectors


def splade(logits: Any) -> Any:
    return logits.relu().log1p()


def exported_to(output: Path, folder: Path, max_length: int = 30, query: Path | None = None, **options: Any) -> Encoder:
    export_onnx(load_encoder(folder, max_length=max_length, query=query), output, samples=TEXTS, **options)
    return load_encoder(output)


def test_float32_equals_torch(tmp_path: Path, model_folder: Path) -> None:
    encoder = exported_to(tmp_path / "out", model_folder)
    expected = torch_vectors(model_folder, TEXTS, splade, 30)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).to_scipy().toarray(), expected, atol=1e-4)


def test_8_bit_is_near_torch(exported: Path, model_folder: Path) -> None:
    """Random layers amplify every error; logits have a spread of 3 here, and the mean error is .057 after log1p."""
    found = load_encoder(exported).encode_documents(TEXTS).to_scipy().toarray()
    expected = torch_vectors(model_folder, TEXTS, splade, 24)
    error = np.abs(found - expected)
    assert error.mean() < 0.08
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_decoder_of_its_own_is_used(tmp_path: Path, tokenizer_json: str, precision: str) -> None:
    decoder = np.random.default_rng(7).standard_normal((len(TOKENS), HIDDEN)).astype(np.float32) * 0.3
    tensors = bert_tensors() | {"cls.predictions.decoder.weight": decoder}
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    folder = write_model(tmp_path / "untied", tokenizer_json, tensors)
    found = exported_to(tmp_path / "out", folder, precision=precision, max_length=30).encode_documents(TEXTS)
    expected = torch_vectors(folder, TEXTS, splade, 30)
    error = np.abs(found.to_scipy().toarray() - expected)
    assert error.mean() < (1e-5 if precision == "fp32" else 0.1)
    assert error.max() < (1e-4 if precision == "fp32" else 0.8)


def test_the_old_names_of_norms_are_read(tmp_path: Path, tokenizer_json: str, exported: Path) -> None:
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in bert_tensors().items()
    }
    folder = write_model(tmp_path / "old", tokenizer_json, tensors)
    assert exported_to(tmp_path / "out", folder, 24, precision="int8").hash == load_encoder(exported).hash


def test_the_same_model_gives_the_same_files(tmp_path: Path, model_folder: Path, exported: Path) -> None:
    again = exported_to(tmp_path / "again", model_folder, max_length=24, precision="int8")
    assert again.hash == load_encoder(exported).hash
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (exported / "model.onnx").read_bytes()


def test_a_vocabulary_that_ends_inside_a_slice_loses_no_term(model_folder: Path) -> None:
    side = load_encoder(model_folder, max_length=30).document_side
    assert isinstance(side, NetworkSide)
    network = read_network(model_folder, head=True)
    whole, cut = (
        DocumentEncoder(
            OnnxEngine(build_graph(network, side.head, chunk=chunk).SerializeToString(), selection(side)),
            side.tokenizer_json,
            max_length=30,
        ).encode(TEXTS)
        for chunk in (1000, 16)
    )
    np.testing.assert_allclose(whole.to_scipy().toarray(), cut.to_scipy().toarray(), atol=1e-5)


def test_8_bits_of_a_real_model_are_near_it(tmp_path: Path, splade_tiny: Path, shared: Path) -> None:
    idf = shared / "data" / "idf" / "idf.json"  # drops special tokens
    encoder = exported_to(tmp_path / "out", splade_tiny, 256, idf, precision="int8", top_terms=256)
    expected = torch_vectors(splade_tiny, REAL_TEXTS, splade, 256)
    found = encoder.encode_documents(REAL_TEXTS).to_scipy().toarray()
    kept = (expected > 0.05) & (found > 0)  # the graph keeps the 256 heaviest
    assert np.abs(found - expected)[kept].mean() < 0.02
    assert np.abs(found - expected)[kept].max() < 0.3
    for row, truth in zip(found, expected, strict=True):
        heavy = np.argsort(-truth)[:50]
        assert (row[heavy[truth[heavy] > 0.1]] > 0).all()


def test_float32_of_the_real_model_equals_torch(tmp_path: Path, splade_tiny: Path, shared: Path) -> None:
    idf = shared / "data" / "idf" / "idf.json"
    encoder = exported_to(tmp_path / "out", splade_tiny, max_length=256, query=idf)
    found = encoder.encode_documents(REAL_TEXTS).to_scipy().toarray()
    np.testing.assert_allclose(found, torch_vectors(splade_tiny, REAL_TEXTS, splade, 256), atol=1e-4)


def test_the_bundled_weights_are_the_shared_table(encoder: Encoder, shared: Path) -> None:
    table = json.loads((shared / "data" / "idf" / "idf.json").read_text(encoding="utf-8"))
    expected = np.array([table[encoder.query.token(i)] for i in range(encoder.dim)], np.float32)
    expected[[0, 100, 101, 102, 103]] = 0
    np.testing.assert_array_equal(encoder.query.weights, expected)


def without(name: str) -> dict[str, np.ndarray]:
    return {key: tensor for key, tensor in bert_tensors().items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (bert_tensors(), {"model_type": "distilbert"}, "has no hidden_dim"),
        (bert_tensors(), {"model_type": "albert"}, "model_type is 'albert'"),
        (bert_tensors(), {"hidden_act": "mish"}, "hidden_act is 'mish'"),
        (bert_tensors(), {"vocab_size": 9}, f"the tokenizer has {len(TOKENS)} tokens, but there are 9 terms"),
        (bert_tensors(), {"vocab_size": 70}, "has shape"),
        (bert_tensors(), {"num_hidden_layers": 3}, "no tensor 'bert.encoder.layer.2"),
        (bert_tensors(), {"hidden_size": None}, "has no hidden_size"),
        (bert_tensors(), {"hidden_size": "64"}, "hidden_size is '64'"),
        (bert_tensors(), {"num_attention_heads": 5}, "5 heads do not divide"),
        (without("cls.predictions.bias"), {}, "no tensor 'cls.predictions.bias'"),
        (bert_tensors() | {"cls.predictions.bias": np.full(len(TOKENS), np.nan, np.float32)}, {}, "NaN or infinity"),
    ],
)
def test_another_network_is_refused(
    tmp_path: Path, tokenizer_json: str, tensors: dict[str, np.ndarray], config: dict[str, object], message: str
) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, tensors, **config)
    with pytest.raises(EncoderError, match=message):
        load_encoder(folder, engine="onnx").encode_documents(["ba"])
    with pytest.raises(EncoderError, match=message):
        export_onnx(load_encoder(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "idf.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00"])
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, tokenizer_json: str, name: str, content: bytes | None
) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, bert_tensors())
    (folder / name).unlink()
    if content is None and name == "idf.json":
        assert not load_encoder(folder).inference_free  # a SPLADE model, both sides of which are the network
        return
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(EncoderError) as caught:
        load_encoder(folder).encode_documents(["ba"])
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, tokenizer_json: str, encoder: Encoder) -> None:
    folder = write_model(tmp_path / "model", encoder.query.tokenizer_json, bert_tensors())
    with pytest.raises(EncoderError, match=f"the tokenizer has 30522 tokens, but there are {len(TOKENS)} terms"):
        load_encoder(folder)


@pytest.mark.parametrize("options", [{"max_length": 41}, {"max_length": 2}, {"top_terms": 0}, {"precision": "int4"}])
def test_settings_out_of_range_are_refused(tmp_path: Path, model_folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        exported_to(tmp_path / "out", model_folder, **options)


def test_an_export_that_differs_is_not_written(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.encoders.export.LEAST_COSINE", 0.99999)
    with pytest.raises(EncoderError, match=r"in 8 bits its vectors have a cosine of 0\.\d+ with those of float32"):
        exported_to(tmp_path / "out", model_folder, precision="int8")
    monkeypatch.setattr("lsr.encoders.export.TOLERANCE", 0.0)
    with pytest.raises(EncoderError, match="the ONNX graph differs from torch by"):
        exported_to(tmp_path / "out", model_folder)
    assert not (tmp_path / "out").exists()


def test_an_export_is_not_exported_again(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="lsr-tiny: is an ONNX export already"):
        export_onnx(encoder, tmp_path / "out")


def test_files_that_are_no_encoder_are_never_replaced(tmp_path: Path, model_folder: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="already exists"):
            exported_to(output, model_folder, overwrite=overwrite)
        assert [f.name for f in output.iterdir()] == ["mine.txt"]


def test_an_encoder_is_replaced_when_told_so(tmp_path: Path, model_folder: Path) -> None:
    first = exported_to(tmp_path / "out", model_folder, precision="int8")
    with pytest.raises(OutputExists):
        exported_to(tmp_path / "out", model_folder)
    second = exported_to(tmp_path / "out", model_folder, overwrite=True)
    assert first.hash != second.hash
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_in_8_bits_the_command_exports_without_torch(tmp_path: Path, splade_tiny: Path) -> None:
    code = (
        "import sys; from lsr.cli import main\ntry: main()\n"
        "finally: assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    arguments = ["export", str(splade_tiny), "-o", str(tmp_path / "out"), "--format", "onnx", "--precision", "int8"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "64 texts, against fp32: largest difference" in done.stderr
    assert load_encoder(tmp_path / "out").dim == 30_522
