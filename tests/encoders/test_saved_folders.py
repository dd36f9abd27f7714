"""Folders that anyone may have altered, in lsr's layout or with an lsr.json: one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.encoders import load_encoder
from lsr.errors import EncoderError
from tests.encoders import families
from tests.encoders.forms import HEADS, encoder_of, side_of, table_of

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("saved") / "source")


@pytest.fixture(scope="module")
def saved(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("saved") / "model"
    encoder_of(table_of(folder), side_of(folder, HEADS["EPIC"], top_terms=9)).save(output)
    return output


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "damaged"))


def refusal(folder: Path) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(folder).encode_documents(["text"])
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def edit(path: Path, side: str, changes: dict[str, Any]) -> None:
    said = json.loads(path.read_text(encoding="utf-8"))
    said[side] |= changes
    path.write_text(json.dumps(said), encoding="utf-8")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"format_version": true}', b"[" * 10**5]
)
def test_a_description_that_is_none_is_refused(content: bytes, damaged: Path) -> None:
    (damaged / "lsr_head.json").write_bytes(content)
    assert "lsr_head.json" in refusal(damaged)


def test_a_newer_description_asks_for_an_upgrade(damaged: Path) -> None:
    (damaged / "lsr_head.json").write_text('{"format_version": 2}')
    assert "written by a newer lsr (format 2); upgrade lsr" in refusal(damaged)


HEAD_CHANGES: list[dict[str, Any]] = [
    {"kind": "dense"},
    {"kind": ["vocabulary"]},
    {"kind": "tokens"},
    {"kind": "latents"},
    {"pooling": "mean"},
    {"pooling": None},
    {"activation": "relu6"},
    {"activation": 3},
    {"prune_ratio": 1},
    {"prune_ratio": float("nan")},
    {"prune_ratio": True},
    {"importance": "softplus"},
    {"importance": ["exec"]},
    {"importance": [["relu"]]},
    {"importance": ["softplus"] * 3},
    {"quality": None},
]


@pytest.mark.parametrize("changes", HEAD_CHANGES, ids=str)
def test_heads_with_wrong_values_are_refused(changes: dict[str, Any], damaged: Path) -> None:
    path = damaged / "lsr_head.json"
    head = json.loads(path.read_text(encoding="utf-8"))["document"]["head"]
    edit(path, "document", {"head": head | changes})
    assert "lsr_head.json" in refusal(damaged)


SIDE_CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("document", {"head": None}),
    ("document", {"prompt": 3}),
    ("document", {"dropped": [-1]}),
    ("document", {"dropped": [10**9]}),
    ("document", {"dropped": [True]}),
    ("document", {"dropped": "all"}),
    ("document", {"top_terms": 0}),
    ("document", {"top_terms": "9"}),
    ("document", {"lexical": 1}),
    ("document", {"lexical": True}),  # there is no such table
    ("query", {"from": "../other"}),
    ("query", {"from": None}),
    ("query", {"special": "keep"}),
    ("query", {"repeated": 2}),
    ("query", {"adapts": "yes"}),
    ("query", {"max_length": -1}),
    ("query", {"prompt": None}),
]


@pytest.mark.parametrize(("side", "changes"), SIDE_CHANGES, ids=str)
def test_sides_with_wrong_values_are_refused(side: str, changes: dict[str, Any], damaged: Path) -> None:
    edit(damaged / "lsr_head.json", side, changes)
    assert "lsr_head.json" in refusal(damaged)


@pytest.mark.parametrize("limit", [None, 2, 41, 10**12, "9", True])
def test_limits_that_the_network_has_not_are_refused(limit: Any, damaged: Path) -> None:
    edit(damaged / "lsr_head.json", "document", {"max_length": limit})
    assert "the network takes 3 to 40 tokens" in refusal(damaged)


def test_queries_need_the_network_that_they_name(damaged: Path) -> None:
    head = json.loads((damaged / "lsr_head.json").read_text(encoding="utf-8"))["document"]
    edit(damaged / "lsr_head.json", "query", head | {"from": "network"})
    assert "query" in refusal(damaged)


def tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.numpy import load_file, save_file

    found = load_file(folder / "lsr_head.safetensors")
    change(found)
    save_file(found, folder / "lsr_head.safetensors")


WEIGHT, TABLE = "document.importance.0.weight", "query.weights"
TENSOR_CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a layer is missing": lambda t: t.pop(WEIGHT),
    "the table is missing": lambda t: t.pop(TABLE),
    "too wide": lambda t: t.update({WEIGHT: np.zeros((1, families.HIDDEN + 1), np.float32)}),
    "two outputs": lambda t: t.update({WEIGHT: np.zeros((2, families.HIDDEN), np.float32)}),
    "no matrix": lambda t: t.update({WEIGHT: np.zeros(families.HIDDEN, np.float32)}),
    "whole numbers": lambda t: t.update({WEIGHT: np.zeros((1, families.HIDDEN), np.int64)}),
    "a short table": lambda t: t.update({TABLE: t[TABLE][:-1].copy()}),
    "NaN in a layer": lambda t: t.update({WEIGHT: np.full((1, families.HIDDEN), np.nan, np.float32)}),
    "infinity in the table": lambda t: t.update({TABLE: np.full_like(t[TABLE], np.inf)}),
}


@pytest.mark.parametrize("change", TENSOR_CHANGES)
def test_layers_and_tables_are_checked(change: str, damaged: Path) -> None:
    tensors(damaged, TENSOR_CHANGES[change])
    refusal(damaged)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"\xff" * 64, b"\x08" + b"\x00" * 7 + b"{}      "])
def test_tensors_that_are_none_are_refused(content: bytes | None, damaged: Path) -> None:
    path = damaged / "lsr_head.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert "lsr_head" in refusal(damaged)


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "{}",
        '{"format_version": 9}',
        '{"format_version": 1, "documents": {}}',
        '{"format_version": 1, "document": 3}',
        '{"format_version": 1, "document": {"top_term": 9}}',
        '{"format_version": 1, "document": {"top_terms": -9}}',
        '{"format_version": 1, "document": {"dropped": [9999]}}',
        '{"format_version": 1, "document": {"prune_ratio": 7}}',
        '{"format_version": 1, "document": {"max_length": 1}}',
        '{"format_version": 1, "query": {"special": "keep"}}',
        '{"format_version": 1, "query": {"repeated": "count"}}',
        '{"format_version": 1, "query": {"adapts": 1}}',
        '{"format_version": 1, "query": {"max_length": 0}}',
        '{"format_version": 1, "query": {"top_terms": 3}}',
    ],
)
def test_an_lsr_json_that_cannot_be_followed_is_refused(said: str, tmp_path: Path) -> None:
    folder = families.router5(tmp_path / "model")
    (folder / "lsr.json").write_text(said, encoding="utf-8")
    assert "lsr.json" in refusal(folder)


def test_pruning_goes_with_a_vocabulary_head_alone(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = families.saved6(tmp_path / "model", "csr", tmp_path)
    (folder / "lsr.json").write_text('{"format_version": 1, "document": {"prune_ratio": 0.1}}', encoding="utf-8")
    assert "prune_ratio goes with a vocabulary head" in refusal(folder)
