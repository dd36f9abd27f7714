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

from lsr.encoders import Encoder, load_encoder
from lsr.errors import EncoderError, InvalidInput, LsrError, OutputExists
from tests.encoders.conftest import HIDDEN, SPECIAL, TOKENS, bert_tensors, write_model
from tests.encoders.test_document import words

pytest.importorskip("onnx")

from lsr.encoders.export import export, main, read_idf

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


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "log1p_relu": splade,
    "log1p_log1p_relu": lambda logits: logits.relu().log1p().log1p(),
    "relu": lambda logits: logits.relu(),
}


def exported_to(output: Path, folder: Path, **options: Any) -> Encoder:
    export(folder, output, folder / "idf.json", **options)
    return load_encoder(output)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_equals_torch(tmp_path: Path, model_folder: Path, activation: str) -> None:
    encoder = exported_to(tmp_path / "out", model_folder, precision="fp32", activation=activation, max_length=30)
    expected = torch_vectors(model_folder, TEXTS, ACTIVATIONS[activation], 30)
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
    assert exported_to(tmp_path / "out", folder).hash == load_encoder(exported).hash


def test_the_same_model_gives_the_same_files(tmp_path: Path, model_folder: Path, exported: Path) -> None:
    again = exported_to(tmp_path / "again", model_folder, max_length=24)
    assert again.hash == load_encoder(exported).hash
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (exported / "model.onnx").read_bytes()


def test_a_vocabulary_that_ends_inside_a_slice_loses_no_term(model_folder: Path, exported: Path) -> None:
    from lsr.encoders.checkpoint import read_checkpoint
    from lsr.encoders.document import DocumentEncoder
    from lsr.encoders.graph import build_graph

    tokenizer_json = (exported / "tokenizer.json").read_text()
    checkpoint, special = read_checkpoint(model_folder), np.arange(5)
    whole, cut = (
        DocumentEncoder(
            build_graph(checkpoint, special, chunk=chunk).SerializeToString(), tokenizer_json, max_length=30
        ).encode(TEXTS)
        for chunk in (1000, 16)
    )
    np.testing.assert_allclose(whole.to_scipy().toarray(), cut.to_scipy().toarray(), atol=1e-5)


def test_the_bundled_encoder_is_near_the_model_it_was_made_from(encoder: Encoder, splade_tiny: Path) -> None:
    expected = torch_vectors(splade_tiny, REAL_TEXTS, splade, 256)
    found = encoder.encode_documents(REAL_TEXTS).to_scipy().toarray()
    kept = (expected > 0.05) & (found > 0)  # the graph keeps the 256 heaviest
    assert np.abs(found - expected)[kept].mean() < 0.02
    assert np.abs(found - expected)[kept].max() < 0.3
    for row, truth in zip(found, expected, strict=True):
        heavy = np.argsort(-truth)[:50]
        assert (row[heavy[truth[heavy] > 0.1]] > 0).all()


def test_float32_of_the_real_model_equals_torch(tmp_path: Path, splade_tiny: Path, shared: Path) -> None:
    export(splade_tiny, tmp_path / "out", shared / "data" / "idf" / "idf.json", precision="fp32", top_terms=30_522)
    found = load_encoder(tmp_path / "out").encode_documents(REAL_TEXTS).to_scipy().toarray()
    np.testing.assert_allclose(found, torch_vectors(splade_tiny, REAL_TEXTS, splade, 256), atol=1e-4)


def test_the_bundled_weights_are_the_shared_table(encoder: Encoder, shared: Path) -> None:
    table = json.loads((shared / "data" / "idf" / "idf.json").read_text(encoding="utf-8"))
    expected = np.array([table[encoder.query.token(i)] for i in range(encoder.dim)], np.float32)
    expected[[0, 100, 101, 102, 103]] = 0
    np.testing.assert_array_equal(encoder.query.weights, expected)


def test_a_token_that_the_table_lacks_counts_1(tmp_path: Path) -> None:
    path = tmp_path / "idf.json"
    path.write_text('{"ba": 2.5, "be": 0}')
    assert read_idf(path, ["be", "bo", "ba"]).tolist() == [0, 1, 2.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must be a JSON object"),
        ("{", "not JSON"),
        ('{"ba": "x"}', "weight of 'ba' is 'x'"),
        ('{"ba": NaN}', "finite"),
        ('{"ba": true}', "finite"),
        ('{"bonjour": 1}', "only 0 of its 1 tokens"),
        ("{}", "only 0 of its 0 tokens"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "idf.json"
    path.write_text(content)
    with pytest.raises(EncoderError, match=message):
        read_idf(path, TOKENS)


def without(name: str) -> dict[str, np.ndarray]:
    return {key: tensor for key, tensor in bert_tensors().items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (bert_tensors(), {"model_type": "distilbert"}, "model_type is 'distilbert'"),
        (bert_tensors(), {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        (bert_tensors(), {"vocab_size": 9}, "embeddings have shape"),
        (bert_tensors(), {"hidden_size": None}, "not the configuration"),
        (without("cls.predictions.bias"), {}, "no tensor 'cls.predictions.bias'"),
    ],
)
def test_another_network_is_refused(
    tmp_path: Path, tokenizer_json: str, tensors: dict[str, np.ndarray], config: dict[str, object], message: str
) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, tensors, **config)
    with pytest.raises(EncoderError, match=message):
        export(folder, tmp_path / "out", folder / "idf.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "idf.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00"])
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, tokenizer_json: str, name: str, content: bytes | None
) -> None:
    folder = write_model(tmp_path / "model", tokenizer_json, bert_tensors())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(EncoderError) as caught:
        export(folder, tmp_path / "out", folder / "idf.json")
    assert "\n" not in str(caught.value)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model"]


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, tokenizer_json: str, encoder: Encoder) -> None:
    folder = write_model(tmp_path / "model", encoder.query.tokenizer_json, bert_tensors())
    with pytest.raises(EncoderError, match=f"the tokenizer has 30522 tokens, the model {len(TOKENS)}"):
        export(folder, tmp_path / "out", folder / "idf.json")


@pytest.mark.parametrize("options", [{"max_length": 41}, {"max_length": 2}, {"top_terms": 0}, {"precision": "int4"}])
def test_settings_out_of_range_are_refused(tmp_path: Path, model_folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        export(model_folder, tmp_path / "out", model_folder / "idf.json", **options)


def test_files_that_are_no_encoder_are_never_replaced(tmp_path: Path, model_folder: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="already exists"):
            export(model_folder, output, model_folder / "idf.json", overwrite=overwrite)
        assert [f.name for f in output.iterdir()] == ["mine.txt"]


def test_an_encoder_is_replaced_when_told_so(tmp_path: Path, model_folder: Path) -> None:
    first = exported_to(tmp_path / "out", model_folder)
    with pytest.raises(OutputExists):
        export(model_folder, tmp_path / "out", model_folder / "idf.json")
    second = exported_to(tmp_path / "out", model_folder, precision="fp32", overwrite=True)
    assert first.hash != second.hash
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_the_command_exports_without_torch(tmp_path: Path, model_folder: Path) -> None:
    code = (
        "import sys; from lsr.encoders.export import main; status = main(sys.argv[1:]);"
        "assert not {'torch', 'transformers'} & set(sys.modules); sys.exit(status)"
    )
    arguments = [str(model_folder), "-o", str(tmp_path / "out"), "--idf", str(model_folder / "idf.json")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert load_encoder(tmp_path / "out").dim == len(TOKENS)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "-o", str(tmp_path / "out"), "--idf", "idf.json"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert issubclass(EncoderError, LsrError)
