"""Folders that are no multivector model, or a damaged one: one line that says what is wrong. No code of them is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr.errors import EncoderError, EncoderNotFound, LsrError
from lsr.rerank import load_multivector_encoder
from tests.encoders import families
from tests.rerank.encoders import forms

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers", minversion="6")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("hostile")
    return {layout: forms.colbert(work / layout, layout, work / f"{layout}-work") for layout in forms.LAYOUTS}


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def module(folder: Path, at: int, **values: Any) -> None:
    listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    listed[at] |= values
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")


def without(folder: Path, kind: str) -> None:
    listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kept = [entry for entry in listed if not entry["type"].endswith(kind)]
    (folder / "modules.json").write_text(json.dumps(kept), encoding="utf-8")


def weights(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.numpy import load_file, save_file

    save_file(change(load_file(path)), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def nan(path: Path, name: str) -> None:
    weights(path, lambda found: found | {name: np.full_like(found[name], np.nan)})


def unmarked(folder: Path) -> None:
    """A tokenizer without the tokens that mark texts."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "[Q] "]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def bare(folder: Path) -> None:
    (folder / METADATA).unlink()
    change(folder / "config.json", architectures=["BertModel"])


def reordered(folder: Path) -> None:
    module(folder, 1, type="x.Normalize")
    module(folder, 3, type="x.Dense")


SETTINGS, METADATA = "config_sentence_transformers.json", "artifact.metadata"
WORDS = "embeddings.word_embeddings.weight"
DENSE = "1_Dense/model.safetensors"
Harm = Callable[[Path], object]
DAMAGES: dict[str, dict[str, tuple[Harm, str]]] = {
    "stanford": {
        "no metadata, another architecture": (
            bare,
            "no multivector model",
        ),
        "metadata not JSON": (lambda f: (f / METADATA).write_text("{"), "not JSON"),
        "metadata a list": (lambda f: (f / METADATA).write_text("[]"), "must be a JSON object"),
        "no projection": (
            lambda f: weights(f / "model.safetensors", lambda w: {k: w[k] for k in w if k != "linear.weight"}),
            "no projection",
        ),
        "another dim": (lambda f: change(f / METADATA, dim=forms.DIM + 1), "linear.weight has shape"),
        "projection too wide": (
            lambda f: weights(
                f / "model.safetensors", lambda w: w | {"linear.weight": np.ones((forms.DIM, 7), np.float32)}
            ),
            "takes vectors of 7 numbers, the transformer gives 32",
        ),
        "projection a vector": (
            lambda f: weights(f / "model.safetensors", lambda w: w | {"linear.weight": np.ones(5, np.float32)}),
            "linear.weight has shape",
        ),
        "projection damaged": (lambda f: nan(f / "model.safetensors", "linear.weight"), "NaN"),
        "length a text": (lambda f: change(f / METADATA, doc_maxlen="long"), "doc_maxlen is 'long'"),
        "length too long": (lambda f: change(f / METADATA, doc_maxlen=5000), "takes 3 to"),
        "queries too long": (lambda f: change(f / METADATA, query_maxlen=5000), "takes 3 to"),
        "marker unknown": (lambda f: change(f / METADATA, query_token_id="[Q]"), "no token '\\[Q\\] '"),
        "marker a number": (lambda f: change(f / METADATA, query_token_id=3), "query_token_id is 3"),
        "a flag that is none": (lambda f: change(f / METADATA, mask_punctuation="no"), "mask_punctuation is 'no'"),
        "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    },
    "pylate": {
        "no projection": (lambda f: without(f, "Dense"), "no projection"),
        "a file of the projection missing": (lambda f: (f / DENSE).unlink(), "no weights"),
        "settings of the projection missing": (lambda f: (f / "1_Dense/config.json").unlink(), "no such file"),
        "projection cut off": (lambda f: cut(f / DENSE), "not a safetensors file"),
        "another dim": (lambda f: change(f / "1_Dense/config.json", out_features=5), "linear.weight has shape"),
        "activation unknown": (
            lambda f: change(f / "1_Dense/config.json", activation_function="os.system"),
            "activation_function system",
        ),
        "a bias that is not there": (lambda f: change(f / "1_Dense/config.json", bias=True), "no tensor 'linear.bias'"),
        "a residual that is not there": (
            lambda f: change(f / "1_Dense/config.json", use_residual=True),
            "no tensor 'residual.weight'",
        ),
        "no settings": (lambda f: (f / SETTINGS).unlink(), "no multivector model"),
        "settings not JSON": (lambda f: (f / SETTINGS).write_bytes(b"\xff\xfe{"), "not JSON"),
        "a sparse model": (lambda f: change(f / SETTINGS, model_type="SparseEncoder"), "model_type 'SparseEncoder'"),
        "words a text": (lambda f: change(f / SETTINGS, skiplist_words="the"), "list of texts"),
        "a flag that is none": (lambda f: change(f / SETTINGS, do_query_expansion=1), "do_query_expansion is 1"),
        "prompts a list": (lambda f: change(f / SETTINGS, prompts=["x"]), "description"),
        "prefix unknown": (lambda f: change(f / SETTINGS, query_prefix="[Query] "), "no token '\\[Query\\] '"),
        "tokenizer without the prefix": (unmarked, "not of one model|no token"),
        "modules not a list": (lambda f: (f / "modules.json").write_text("3"), "not a list of modules"),
        "modules without a path": (lambda f: (f / "modules.json").write_text('[{"type": "x"}]'), "type and path"),
        "modules empty": (lambda f: (f / "modules.json").write_text("[]"), "begins with nothing"),
        "module unknown": (lambda f: module(f, 1, type="evil.Thing"), "Thing|no projection"),
        "module outside": (lambda f: module(f, 1, path="../other"), "leads out"),
        "module at the root": (lambda f: module(f, 1, path="/etc"), "leads out"),
        "module with an odd name": (lambda f: module(f, 1, path="a\nb"), "no name of a file"),
        "backbone damaged": (lambda f: nan(f / "model.safetensors", WORDS), "NaN"),
        "backbone of another size": (
            lambda f: change(f / "config.json", hidden_size=16),
            "32 numbers, the transformer gives 16",
        ),
    },
    "native": {
        "no projection": (lambda f: without(f, "Dense"), "no projection"),
        "pooling": (lambda f: module(f, 2, type="x.HierarchicalTokenPooling"), "HierarchicalTokenPooling module"),
        "norm before the projection": (
            reordered,
            "no order of modules",
        ),
        "sentences": (
            lambda f: change(f / "1_Dense/config.json", module_input_name="sentence_embedding"),
            "sentence_embedding",
        ),
        "strategy unknown": (
            lambda f: change(f / "sentence_bert_config.json", query_expansion={"strategy": "max", "length": 9}),
            "strategy is 'max'",
        ),
        "expansion without length": (
            lambda f: change(f / "sentence_bert_config.json", query_expansion={"strategy": "fixed", "length": None}),
            "no length",
        ),
        "expansion with more": (
            lambda f: change(f / "sentence_bert_config.json", query_expansion={"strategy": "min", "length": 9, "x": 1}),
            "x is not known",
        ),
        "token unknown": (
            lambda f: change(
                f / "sentence_bert_config.json", query_expansion={"strategy": "min", "length": 9, "token": "[ABC]"}
            ),
            r"'\[ABC\]', which is no token",
        ),
        "cut before it is filled": (lambda f: change(f / "sentence_bert_config.json", query_length=8), "filled up to"),
        "another task": (
            lambda f: change(f / "sentence_bert_config.json", transformer_task="retrieval"),
            "transformer_task",
        ),
        "images": (
            lambda f: change(f / "sentence_bert_config.json", modality_config={"image": {}}),
            "modality_config",
        ),
        "processing": (
            lambda f: change(f / "sentence_bert_config.json", processing_kwargs={"text": {"padding": "longest"}}),
            "processing_kwargs",
        ),
        "ids of other things": (
            lambda f: change(f / "2_MultiVectorMask/config.json", keep_only_token_ids=["a"]),
            "keep_only_token_ids",
        ),
        "no file of the mask": (lambda f: (f / "2_MultiVectorMask/config.json").unlink(), "no such file"),
        "similarity unknown": (lambda f: change(f / SETTINGS, similarity_fn_name="cosine"), "cosine"),
    },
}


@pytest.mark.parametrize(("layout", "damage"), [(layout, name) for layout, each in DAMAGES.items() for name in each])
def test_damaged_folders_say_what_is_wrong(layout: str, damage: str, models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models[layout], tmp_path / "damaged")
    harm, says = DAMAGES[layout][damage]
    harm(folder)
    with pytest.raises(EncoderError, match=says) as raised:
        load_multivector_encoder(folder).encode_queries(["the quick brown fox"])
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


def test_other_models_are_no_multivector_models(tmp_path: Path) -> None:
    for folder in (families.plain(tmp_path / "masked"), families.splade5(tmp_path / "sparse")):
        with pytest.raises(EncoderError, match="no multivector model"):
            load_multivector_encoder(folder)
    with pytest.raises(EncoderError, match=r"config\.json"):
        load_multivector_encoder(tmp_path)


def test_weights_that_run_code_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    """A pickle that would make a file when it is opened."""
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    for layout, path in (("stanford", "."), ("pylate", "1_Dense")):
        folder = shutil.copytree(models[layout], tmp_path / layout)
        (folder / path / "model.safetensors").unlink()
        torch.save({"linear.weight": Evil()}, folder / path / "pytorch_model.bin")
        with pytest.raises(EncoderError, match="weights alone"):
            load_multivector_encoder(folder).encode_queries(["x"])
    assert not (tmp_path / "ran").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
FILES = {
    "stanford": (METADATA, "config.json"),
    "pylate": (SETTINGS, "1_Dense/config.json", "modules.json", "sentence_bert_config.json"),
    "native": (SETTINGS, "sentence_bert_config.json", "2_MultiVectorMask/config.json", "3_Normalize/config.json"),
}


@pytest.mark.parametrize(("layout", "name"), [(layout, name) for layout, names in FILES.items() for name in names])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_a_setting_is_heeded_or_refused(
    layout: str, name: str, data: st.DataObject, models: dict[str, Path], tmp_path: Path
) -> None:
    """Nothing but an error of lsr comes out, and what opens can be used."""
    folder = tmp_path / "model"
    if not folder.exists():
        shutil.copytree(models[layout], folder)
    original = json.loads((models[layout] / name).read_text(encoding="utf-8"))
    if isinstance(original, list):
        place = data.draw(st.integers(0, len(original) - 1))
        original[place] = data.draw(JSON | st.fixed_dictionaries({"type": JSON, "path": JSON}))
    else:
        original[data.draw(st.sampled_from(sorted(original)))] = data.draw(JSON)
    (folder / name).write_text(json.dumps(original), encoding="utf-8")
    try:
        found = load_multivector_encoder(folder).encode_queries(["the fox"])
    except LsrError:
        return
    finally:
        shutil.copyfile(models[layout] / name, folder / name)
    assert len(found) == 1


def test_no_name_is_not_the_current_folder(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models["native"])
    assert load_multivector_encoder(".").dim == forms.DIM
    with pytest.raises(EncoderNotFound, match="no model ''"):
        load_multivector_encoder("")
