"""Encoders by name and by folder: loading, saving, and refusing what is damaged."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xxhash import xxh3_128_hexdigest

from lsr.encoders import Encoder, load_encoder
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput, OutputExists
from tests.encoders.conftest import TOKENS


def test_the_bundled_encoder_is_the_default(encoder: Encoder) -> None:
    assert (encoder.name, encoder.dim, encoder.max_length) == ("lsr-tiny", 30_522, 512)
    assert encoder.hash == load_encoder("lsr-tiny").hash
    assert len(encoder.hash) == 32


def test_queries_need_neither_onnxruntime_nor_torch() -> None:
    code = (
        "import sys; from lsr.encoders import load_encoder; e = load_encoder();"
        "assert len(e.encode_query('a log file')) == 1;"
        "print([m for m in ('onnxruntime', 'onnx', 'torch', 'transformers', 'numba', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_query_is_a_batch_of_one(encoder: Encoder) -> None:
    assert encoder.encode_query("log file") == encoder.encode_query(["log file"])
    assert encoder.encode_query([]).shape == (0, encoder.dim)


def test_a_saved_encoder_is_the_same_encoder(tmp_path: Path, exported: Path) -> None:
    original = load_encoder(exported, max_length=10)
    original.save(tmp_path / "deep" / "copy")
    copy = load_encoder(tmp_path / "deep" / "copy")
    assert (copy.hash, copy.name, copy.max_length) == (original.hash, "random", 10)
    texts = ["ba be bi bo bu", "pu " * 30]
    assert copy.encode_documents(texts) == original.encode_documents(texts)
    assert copy.encode_query(texts) == original.encode_query(texts)


def test_saving_over_something_is_refused(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(OutputExists, match="already exists"):
        load_encoder(exported).save(tmp_path)


def test_the_hash_follows_the_files_and_nothing_else(tmp_path: Path, exported: Path) -> None:
    original = load_encoder(exported)
    shutil.copytree(exported, tmp_path / "moved")
    assert load_encoder(tmp_path / "moved", max_length=7).hash == original.hash
    weights = original.query.weights.copy()
    weights[9] += 1
    replace_file(tmp_path / "moved", "query_weights.npy", npy(weights))
    assert load_encoder(tmp_path / "moved").hash != original.hash


@pytest.mark.parametrize("max_length", [0, 2, 41, -5])
def test_a_max_length_that_the_model_cannot_read_is_refused(exported: Path, max_length: int) -> None:
    with pytest.raises(InvalidInput, match=f"max_length is {max_length}: random reads 3 to 40 tokens"):
        load_encoder(exported, max_length=max_length)


def test_an_onnx_export_runs_on_the_processor_as_it_was_exported() -> None:
    assert load_encoder(device="cpu").encode_documents(["log file"]).nnz
    for settings in ({"device": "cuda"}, {"engine": "torch"}, {"precision": "fp32"}):
        with pytest.raises(InvalidInput, match="lsr-tiny: exported to ONNX, it runs on the CPU"):
            load_encoder(**settings).encode_documents(["log file"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "tensorflow"}, "engine is 'tensorflow'"),
        ({"engine": "onnx", "device": "cuda"}, "the onnx engine runs on the CPU"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"engine": "torch", "precision": "int8"}, "precision is 'int8'"),
        ({"query_top_k": 0}, "query_top_k is 0"),
        ({"prune_ratio": 1.0}, "prune_ratio is 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(model_folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_encoder(model_folder, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"long": "split"}, "long is 'split'"),
        ({"stride": 5}, "stride is 5"),
        ({"long": "windows", "stride": 39}, "stride"),
    ],
)
def test_windows_that_cannot_be_are_refused(model_folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_encoder(model_folder, **settings).encode_documents(["ba"])


def test_threads_below_1_are_refused(exported: Path) -> None:
    with pytest.raises(InvalidInput, match="threads is 0"):
        load_encoder(exported, threads=0).encode_documents(["ba"])


# -- what is not there -------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_what_could_be_meant() -> None:
    with pytest.raises(EncoderNotFound, match=r"no encoder 'lsr_tinny' \(did you mean lsr-tiny\?\); bundled: lsr-tiny"):
        load_encoder("lsr_tinny")
    with pytest.raises(
        EncoderNotFound, match=r"^no encoder './org/other'; bundled: lsr-tiny; or give the path"
    ) as caught:
        load_encoder("./org/other")
    assert "\n" not in str(caught.value)


def test_a_mistyped_folder_lists_its_neighbours(tmp_path: Path, exported: Path) -> None:
    shutil.copytree(exported, tmp_path / "medical")
    with pytest.raises(EncoderNotFound, match=f"did you mean {tmp_path / 'medical'}"):
        load_encoder(tmp_path / "medicol")


def test_a_folder_or_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"holds no encoder\.json"):
        load_encoder(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(EncoderError, match="a file; an encoder is a folder"):
        load_encoder(tmp_path / "file")
    with pytest.raises(InvalidInput, match="has no name"):
        load_encoder("")


# -- what is damaged ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, exported: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "encoder"))


def describe(folder: Path, **changes: object) -> None:
    path = folder / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Puts another content in place, and the hash that belongs to it."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "encoder.json").read_text())["files"]
    describe(folder, files=files | {name: {"bytes": len(content), "xxh3_128": xxh3_128_hexdigest(content)}})


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def refusal(folder: Path) -> str:
    """The message with which the folder is refused, by loading it or by encoding a document."""
    with pytest.raises(EncoderError) as caught:
        load_encoder(folder).encode_documents(["ba be"])
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "query_weights.npy"])
def test_missing_short_and_altered_files_are_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"{name}: is not the file that encoder.json describes" in refusal(folder)
    (folder / name).write_bytes(content[:-1])
    assert f"{name}: has {len(content) - 1} bytes, encoder.json says {len(content)}" in refusal(folder)
    (folder / name).unlink()
    assert f"{name}: no such file" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_a_description_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "encoder.json").write_bytes(content)
    assert "encoder.json" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"format_version": None},
        {"name": 3},
        {"dim": "64"},
        {"dim": True},
        {"dim": 0},
        {"document": {}},
        {"query": None},
        {"files": []},
        {"files": {}},
        {"files": {"model.onnx": {"bytes": "1", "xxh3_128": ""}}},
    ],
)
def test_a_description_with_a_wrong_field_is_refused(folder: Path, changes: dict[str, object]) -> None:
    describe(folder, **changes)
    assert "encoder.json" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_length": 500},
        {"max_length": None},
        {"positions": "40"},
        {"top_terms": 0},
        {"largest": -1},
        {"dropped": [-1]},
        {"dropped": [10**6]},
        {"kind": "dense"},
        {"activation": "tanh"},
        {"prune_ratio": 2},
        {"prompt": 3},
        {"model": "other.onnx"},
        {"tokenizer": "../tokenizer.json"},
    ],
)
def test_a_side_with_a_wrong_field_is_refused(folder: Path, changes: dict[str, object]) -> None:
    document = json.loads((folder / "encoder.json").read_text())["document"]
    describe(folder, document=document | changes)
    assert "encoder.json" in refusal(folder)


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    describe(folder, format_version=99)
    assert "written by a newer lsr (format 99); upgrade lsr" in refusal(folder)


@pytest.mark.parametrize(
    "weights",
    [
        npy(np.full(len(TOKENS), np.nan, np.float32)),
        npy(np.full(len(TOKENS), np.inf, np.float32)),
        npy(np.ones(len(TOKENS) - 1, np.float32)),
        npy(np.ones(len(TOKENS))),
        npy(np.array([{}] * len(TOKENS)), allow_pickle=True),
        npy(np.ones(len(TOKENS), np.float32))[:-4],
        b"",
        b"PK\x03\x04 not an array",
    ],
)
def test_query_weights_that_are_none_are_refused(folder: Path, weights: bytes) -> None:
    replace_file(folder, "query_weights.npy", weights)
    assert "query_weights.npy" in refusal(folder)


def test_a_tokenizer_of_another_vocabulary_is_refused(folder: Path, encoder: Encoder) -> None:
    replace_file(folder, "tokenizer.json", encoder.query.tokenizer_json.encode())
    assert f"the tokenizer has 30522 tokens, but there are {len(TOKENS)} terms" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_tokenizer_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    replace_file(folder, "tokenizer.json", content)
    assert "tokenizer" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a" * 50])
def test_a_model_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    replace_file(folder, "model.onnx", content)
    assert "model.onnx: " in refusal(folder)


def test_a_truncated_model_is_refused(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    for share in (0.1, 0.5, 0.99):
        replace_file(folder, "model.onnx", content[: int(len(content) * share)])
        assert "model.onnx: " in refusal(folder)


def test_a_model_of_another_vocabulary_is_refused(folder: Path) -> None:
    import lsr.encoders

    bundled = Path(lsr.encoders.__file__).parent / "lsr_tiny" / "model.onnx"
    replace_file(folder, "model.onnx", bundled.read_bytes())
    assert f"has 30522 terms, its tokenizer {len(TOKENS)}" in refusal(folder)


def test_what_vectors_depend_on_says_the_precision_that_is_meant(model_folder: Path) -> None:
    """Several processors are no GPU."""
    found = [load_encoder(model_folder, device=device).reading for device in (None, "cpu", ["cpu"], ["cpu", "cpu"])]
    assert found == [{"max_length": 40, "long": "truncate", "precision": "fp32"}] * 4
    assert load_encoder(model_folder, device="cuda").reading["precision"] == "bf16"
    assert load_encoder(model_folder, engine="onnx", device=["cpu"]).engine.workers >= 1
