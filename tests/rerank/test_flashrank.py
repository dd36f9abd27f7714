"""FlashRank's cross-encoders as a second stage: from a folder, without network, with its own scores."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lsr
from lsr.errors import EncoderError, EncoderNotFound, InvalidInput, MissingExtra
from lsr.rerank import FlashRankReranker
from tests.cli import commands
from tests.rerank.test_stage import QUERY, TEXTS

NAME = "ms-marco-TinyBERT-L-2-v2"
FILES = {NAME: "flashrank-TinyBERT-L-2-v2.onnx", "list": "list.gguf"}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for text in TEXTS.values() for word in text.split()})]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> lsr.Index:
    documents = [{"id": name, "title": name.upper(), "text": text} for name, text in TEXTS.items()]
    return lsr.Index.build(documents, tmp_path_factory.mktemp("flashrank") / "my.idx")


class Ranker:
    """As FlashRank's: it sorts what it is given, by a probability."""

    asked: list[tuple[str, list[str]]] = []  # noqa: RUF012 - of all that a test makes

    def __init__(self, model_name: str, cache_dir: str, max_length: int, log_level: str) -> None:
        logging.basicConfig(level=logging.INFO)
        self.folder = Path(cache_dir) / model_name
        if not self.folder.exists():
            raise ConnectionError("no network\nhere")
        if not (self.folder / FILES[model_name]).exists():
            raise RuntimeError("no file")

    def rerank(self, request: Any) -> list[dict[str, Any]]:
        self.asked.append((request.query, [passage["text"] for passage in request.passages]))
        for passage in request.passages:
            passage["score"] = np.float32(1 / len(passage["text"]))
        request.passages.sort(key=lambda passage: -passage["score"])
        found: list[dict[str, Any]] = request.passages
        return found


class Request:
    def __init__(self, query: str, passages: list[dict[str, Any]]) -> None:
        self.query, self.passages = query, passages


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package of that form, and a folder with a model."""
    package: Any = ModuleType("flashrank")
    config: Any = ModuleType("flashrank.Config")
    package.Ranker, package.RerankRequest = Ranker, Request
    config.model_file_map, config.listwise_rankers = FILES, {"list"}
    monkeypatch.setitem(sys.modules, "flashrank", package)
    monkeypatch.setitem(sys.modules, "flashrank.Config", config)
    monkeypatch.setattr(Ranker, "asked", [])
    (tmp_path / "cache" / NAME).mkdir(parents=True)
    (tmp_path / "cache" / NAME / FILES[NAME]).touch()
    return tmp_path / "cache"


def test_candidates_get_the_scores_of_the_package_in_batches(fake: Path, index: lsr.Index) -> None:
    hits = index.search(QUERY, k=3, rerank=FlashRankReranker(NAME, cache_dir=fake, batch=2))
    contents = {name: f"{name.upper()} {text}" for name, text in TEXTS.items()}
    first = index.search(QUERY, k=50).ids
    assert hits.ids == sorted(first, key=lambda name: len(contents[name]))[:3]
    assert hits.scores == pytest.approx([1 / len(contents[name]) for name in hits.ids])
    assert [query for query, _ in Ranker.asked] == [QUERY] * len(Ranker.asked)
    assert [len(texts) for _, texts in Ranker.asked] == [2] * (len(first) // 2) + [1] * (len(first) % 2)


def test_a_folder_is_a_model(fake: Path, index: lsr.Index) -> None:
    named = index.search(QUERY, k=3, rerank=FlashRankReranker(NAME, cache_dir=fake))
    done = commands.lsr("search", index.path, QUERY, "-k", 3, "--rerank", f"flashrank:{fake / NAME}", "--json")
    assert done.returncode == 0, done.stderr
    assert [hit["id"] for hit in json.loads(done.stdout)["hits"]] == named.ids


def test_logging_stays_as_it_was(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    FlashRankReranker(NAME, cache_dir=fake)
    assert (root.handlers, root.level) == ([], logging.WARNING)


def test_what_cannot_be_a_model_is_one_line(fake: Path) -> None:
    with pytest.raises(EncoderNotFound, match=rf"no FlashRank model 'tiny': there are {NAME}, or a folder named so"):
        FlashRankReranker("tiny", cache_dir=fake)
    with pytest.raises(EncoderError, match="list: orders a list and gives no scores"):
        FlashRankReranker("list", cache_dir=fake)
    with pytest.raises(EncoderNotFound, match=rf"{NAME}: cannot be downloaded \(no network here\); unpack its zip in"):
        FlashRankReranker(NAME, cache_dir=fake / "empty")
    (fake / NAME / FILES[NAME]).unlink()
    with pytest.raises(EncoderError, match=r"cannot be opened as a FlashRank model \(no file\)"):
        FlashRankReranker(NAME, cache_dir=fake)
    with pytest.raises(InvalidInput, match="batch is 0"):
        FlashRankReranker(NAME, cache_dir=fake, batch=0)


def test_it_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashrank", None)
    with pytest.raises(MissingExtra, match=r"lsr-engine\[flashrank\]"):
        FlashRankReranker(NAME)


# -- the package itself ------------------------------------------------------------------------------------------------


def write_model(folder: Path) -> npt.NDArray[np.float32]:
    """A model of FlashRank's form whose logit is the sum of a number for each token; returns the numbers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir()
    numbers = np.random.default_rng(0).standard_normal((len(WORDS), 1), np.float32) / np.float32(4)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    nodes = [
        helper.make_node("Gather", ["numbers", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["seen"]),
        helper.make_node("Mul", ["each", "seen"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["logits"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(numbers, "numbers"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "tokens"),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / FILES[NAME])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, "pad_token": "[PAD]"}))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return numbers


@pytest.mark.skipif(importlib.util.find_spec("flashrank") is None, reason="needs the package flashrank")
def test_a_model_of_the_package_from_a_folder(tmp_path: Path, index: lsr.Index) -> None:
    numbers = write_model(tmp_path / NAME)
    hits = index.search(QUERY, k=4, rerank=FlashRankReranker(tmp_path / NAME, batch=3))

    def ids(text: str) -> list[int]:
        words = text.lower().replace(",", " , ").split()
        return [WORDS.index(word) if word in WORDS else 1 for word in words]

    wanted = {}
    for name in hits.ids:
        pair = [2, *ids(QUERY), 3, *ids(f"{name.upper()} {TEXTS[name]}"), 3]
        wanted[name] = float(1 / (1 + np.exp(-numbers[pair].sum())))
    assert hits.scores == pytest.approx([wanted[name] for name in hits.ids], abs=1e-6)
    assert hits.ids == sorted(hits.ids, key=lambda name: -wanted[name])
    (tmp_path / NAME / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match="cannot be opened as a FlashRank model"):
        FlashRankReranker(tmp_path / NAME)
