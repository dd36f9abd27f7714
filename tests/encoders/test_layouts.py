"""Folders that are no model, or a damaged one: one line that says what is wrong. Texts at the edges."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsr.encoders import load_encoder
from lsr.errors import EncoderError, InvalidInput, LsrError
from tests.encoders import families

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("layouts") / "model")


@pytest.fixture
def damaged(model: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(model, tmp_path / "damaged")
    return tmp_path / "damaged"


def set_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def set_tensor(folder: Path, name: str, index: int, value: float) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[index] = value
    save_file(tensors, path)


def no_head(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    set_config(folder, architectures=["BertModel"])
    path = folder / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if not name.startswith("cls.")}, path)


def longer_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"##{i:09d}": len(vocabulary) + i for i in range(50)}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


WORDS = "bert.embeddings.word_embeddings.weight"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no weights|no file named model\.safetensors"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    "no head": (no_head, "no masked-language-model head"),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    "tokenizer not one": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
    "weights cut off": (lambda f: _cut(f / "model.safetensors"), "not a safetensors file|incomplete metadata"),
    "more layers": (lambda f: set_config(f, num_hidden_layers=3), "not the model that config.json names"),
    "wider": (lambda f: set_config(f, intermediate_size=50), "shape"),
    "another vocabulary": (longer_vocabulary, "not of one model"),
    "NaN": (lambda f: set_tensor(f, WORDS, 7, float("nan")), "NaN"),
    "infinity": (lambda f: set_tensor(f, "cls.predictions.bias", 7, float("inf")), "NaN or infinity"),
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_say_what_is_wrong(damage: str, engine: str, damaged: Path) -> None:
    harm, says = DAMAGES[damage]
    harm(damaged)
    with pytest.raises(EncoderError, match=says) as raised:
        load_encoder(damaged, engine=engine).encode_documents(["the quick brown fox"])
    assert "\n" not in str(raised.value)
    assert str(damaged) in str(raised.value)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"modules\.json or config\.json"):
        load_encoder(tmp_path)


def test_a_dense_model_has_no_terms(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = families.saved6(tmp_path / "csr", "csr", tmp_path)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    (folder / "modules.json").write_text(json.dumps(modules[:-1]), encoding="utf-8")
    with pytest.raises(EncoderError, match="dense"):
        load_encoder(folder)


@pytest.mark.parametrize("path", ["../other", "/etc"])
def test_modules_stay_inside_the_folder(path: str, tmp_path: Path) -> None:
    folder = families.splade5(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(EncoderError, match="leads out"):
        load_encoder(folder)


def test_weights_that_run_code_are_refused(damaged: Path, tmp_path: Path) -> None:
    """A pickle that would make a file when it is opened."""
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    (damaged / "model.safetensors").unlink()
    torch.save({WORDS: Evil()}, damaged / "pytorch_model.bin")
    for engine in ("onnx", "torch"):
        with pytest.raises(EncoderError, match=r"weights alone|Weights only") as raised:
            load_encoder(damaged, engine=engine).encode_documents(["text"])
        assert str(raised.value).isprintable(), "codes for colours are no part of a message"
    assert not (tmp_path / "ran").exists()


def test_a_hub_id_without_network_names_the_way_out() -> None:
    code = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'; from lsr.encoders import load_encoder\n"
        "from lsr.errors import LsrError\n"
        "try: load_encoder('nobody-there/no-such-model')\n"
        "except LsrError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert "nobody-there/no-such-model" in done.stdout
    assert "folder" in done.stdout


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_an_empty_text_has_an_empty_vector(engine: str, model: Path) -> None:
    encoder = load_encoder(model, engine=engine)
    for encode in (encoder.encode_documents, encoder.encode_query):
        vectors = encode(["", "  \n", "the fox"])
        assert np.diff(vectors.indptr)[:2].tolist() == [0, 0]
        assert vectors.nnz > 0


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_text_over_the_limit_is_cut(engine: str, model: Path) -> None:
    encoder = load_encoder(model, engine=engine, max_length=6)
    cut, whole = (
        encoder.encode_documents(["the quick brown fox"]),
        encoder.encode_documents(["the quick brown fox " * 50]),
    )
    assert cut == whole


@pytest.mark.parametrize("limit", [2, 0, -1, families.POSITIONS + 1])
def test_a_limit_that_the_network_has_not_is_refused(limit: int, model: Path) -> None:
    with pytest.raises(InvalidInput, match="max_length"):
        load_encoder(model, max_length=limit)


@pytest.mark.parametrize("bad", [None, 3, b"text"])
def test_what_is_no_text_is_refused(bad: object, model: Path) -> None:
    with pytest.raises(LsrError):
        load_encoder(model).encode_documents(["text", bad])  # type: ignore[list-item]
