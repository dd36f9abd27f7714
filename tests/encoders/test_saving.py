"""Saving: every form that training can make comes back with the same vectors, and a saved folder of anyone is checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.encoders import Encoder, load_encoder
from lsr.encoders.loading import BUNDLED
from lsr.encoders.model import AutoencoderHead, DenseLayer, Model, Side, TableSide, VocabularyHead
from lsr.errors import EncoderError, InvalidInput, OutputExists
from tests.encoders import families, forms
from tests.encoders.families import TEXTS
from tests.encoders.forms import HEADS, dense, encoder_of, side_of, table_of

pytest.importorskip("transformers")

TOLERANCE = 1e-6
QUERIES = [*TEXTS, "the the the river river", "[SEP] river [UNK]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("saving") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("saving") / "other", seed=9)


def assert_saved(encoder: Encoder, output: Path, form: str, **saving: Any) -> Encoder:
    """Saves, and reads back from the layout `form`: the same vectors of both sides."""
    encoder.save(output, **saving)
    assert (output / ("modules.json" if form == "sentence-transformers" else "lsr_head.json")).is_file()
    again = load_encoder(output)
    np.testing.assert_allclose(
        dense(again.encode_documents(TEXTS)), dense(encoder.encode_documents(TEXTS)), atol=TOLERANCE
    )
    np.testing.assert_allclose(dense(again.encode_query(QUERIES)), dense(encoder.encode_query(QUERIES)), atol=TOLERANCE)
    assert (again.inference_free, again.adapts) == (encoder.inference_free, encoder.adapts)
    assert again.max_length == encoder.max_length
    return again


def network(side: Side) -> dict[str, Any]:
    """What is said of a side but for where its files are."""
    return {name: value for name, value in vars(side).items() if name not in ("folder", "head", "table", "weights")}


# -- lsr's layout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_every_head_comes_back(name: str, folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, HEADS[name], top_terms=25, dropped=(0, 5), prompt="the ", max_length=20)
    encoder = encoder_of(side, side)
    form = "sentence-transformers" if name == "sum log1p_log1p_relu" else "lsr"
    again = assert_saved(encoder, tmp_path / "saved", form)
    assert again.hash == encoder.hash
    assert again.model.query is again.model.document, "one network for both sides"
    assert network(again.document_side) == network(side)
    # The layout holds all, so also what the other one could.
    assert assert_saved(encoder, tmp_path / "own", "lsr", layout="lsr").hash == encoder.hash


def test_an_autoencoder_comes_back(folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return random.standard_normal(shape).astype(np.float32)

    before = (DenseLayer(weight=normal(24, families.HIDDEN) / 5, bias=normal(24), activation="log1p_relu"),)
    head = AutoencoderHead(
        weight=normal(96, 24),
        pre_bias=normal(24),
        latent_bias=normal(96),
        top=9,
        normalize=True,
        unit=True,
        before=before,
    )
    side = side_of(folder, head, top_terms=5)
    assert assert_saved(encoder_of(side, side), tmp_path / "saved", "lsr").hash == encoder_of(side, side).hash


def test_token_queries_share_the_network_of_documents(folder: Path, tmp_path: Path) -> None:
    """EPIC as it was published: queries by one weight a token, documents by the vocabulary head, one transformer."""
    query = side_of(folder, HEADS["tokens softplus"], max_length=12, prompt="x ")
    encoder = encoder_of(query, side_of(folder, HEADS["EPIC"], top_terms=40))
    again = assert_saved(encoder, tmp_path / "saved", "lsr")
    assert again.hash == encoder.hash
    assert not (tmp_path / "saved" / "query").exists(), "the weights are there once"


def test_queries_with_a_network_of_their_own_come_back(folder: Path, other: Path, tmp_path: Path) -> None:
    query = side_of(other, HEADS["cls"], max_length=12, top_terms=7)
    encoder = encoder_of(query, side_of(folder, HEADS["quality"]))
    assert assert_saved(encoder, tmp_path / "saved", "lsr").hash == encoder.hash


def test_a_table_after_a_network_comes_back(folder: Path, tmp_path: Path) -> None:
    document = side_of(folder, HEADS["max softplus"])
    encoder = encoder_of(replace(document, table=table_of(folder).weights), document)
    assert assert_saved(encoder, tmp_path / "saved", "lsr").hash == encoder.hash


@pytest.mark.parametrize(
    "settings",
    [
        {"special": "drop", "unknown": "drop", "adapts": True},
        {"special": "table", "unknown": "drop", "repeated": "count", "max_length": 4, "prompt": "the "},
    ],
)
def test_tables_come_back_with_their_policies(settings: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    encoder = encoder_of(table_of(folder, **settings), side_of(folder, HEADS["max softplus"], top_terms=9))
    assert assert_saved(encoder, tmp_path / "saved", "lsr").hash == encoder.hash


def test_a_table_with_a_tokenizer_of_its_own_comes_back(folder: Path, tmp_path: Path) -> None:
    table = table_of(folder)
    tokenizer = json.loads(table.tokenizer_json)
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "river"}, "content": "fox"}
    own = replace(table, tokenizer_json=json.dumps(tokenizer))
    encoder = encoder_of(own, side_of(folder, HEADS["max relu"]))
    again = assert_saved(encoder, tmp_path / "saved", "lsr")
    assert dense(again.encode_query("river")).tolist() == dense(again.encode_query("fox")).tolist()


@pytest.mark.parametrize("made", [families.sharded, families.pickled])
def test_weights_in_parts_and_of_torch_come_back(made: Callable[[Path], Path], tmp_path: Path) -> None:
    side = side_of(made(tmp_path / "model"), HEADS["cls"])
    assert_saved(encoder_of(side, side), tmp_path / "saved", "lsr")
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_a_model_that_was_saved_is_saved_again(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, HEADS["EPIC"], top_terms=9)
    first = assert_saved(encoder_of(table_of(folder), side), tmp_path / "first", "lsr")
    second = assert_saved(first, tmp_path / "second", "lsr")
    assert second.hash == first.hash
    for name in ("lsr_head.json", "lsr_head.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


# -- the layout of sentence-transformers, and lsr.json beside it -------------------------------------------------------


def oracle(folder: Path) -> tuple[forms.Dense, forms.Dense]:
    """Queries and documents as sentence-transformers encodes them."""
    found = pytest.importorskip("sentence_transformers")
    with families.quiet():
        encoder = found.SparseEncoder(str(folder), device="cpu")
        return tuple(
            encode(QUERIES, convert_to_sparse_tensor=False).numpy()
            for encode in (encoder.encode_query, encoder.encode_document)
        )


def test_policies_are_for_lsr_and_the_rest_for_both(folder: Path, tmp_path: Path) -> None:
    """sentence-transformers opens the folder, and gives the terms that lsr leaves out too."""
    table = table_of(folder, special="drop", unknown="drop", adapts=True)
    gone = (0, 1, 2, 3, 4, 40)
    side = side_of(folder, VocabularyHead(prune_ratio=0.3), top_terms=8, dropped=gone)
    again = assert_saved(encoder_of(table, side), tmp_path / "saved", "sentence-transformers")
    assert isinstance(again.model.query, TableSide)
    assert (again.model.query.special, again.model.query.unknown, again.model.query.max_length) == (
        "drop",
        "drop",
        None,
    )
    queries, documents = oracle(tmp_path / "saved")
    short = [i for i, text in enumerate(QUERIES) if text is not families.LONG]  # of which lsr reads all
    np.testing.assert_allclose(dense(again.encode_query(QUERIES))[short], queries[short], atol=1e-4)
    found = dense(again.encode_documents(QUERIES))
    expected = documents.copy()
    expected[:, gone] = 0
    expected = forms.heaviest(expected, 8)
    expected[expected < 0.3 * expected.max(1, keepdims=True)] = 0
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (documents > 0).sum() > (found > 0).sum()


def test_policies_differ_between_the_sides_of_one_network(folder: Path, tmp_path: Path) -> None:
    document = side_of(folder, VocabularyHead(prune_ratio=0.2), top_terms=20)
    query = replace(document, head=VocabularyHead(), top_terms=4, max_length=7)
    encoder = encoder_of(query, document)
    again = assert_saved(encoder, tmp_path / "saved", "sentence-transformers")
    assert again.hash == encoder.hash
    assert len(list((tmp_path / "saved").rglob("model.safetensors"))) == 1
    assert json.loads((tmp_path / "saved" / "lsr.json").read_text()) == {
        "format_version": 1,
        "document": {"top_terms": 20, "prune_ratio": 0.2},
        "query": {"top_terms": 4, "max_length": 7},
    }


def test_long_queries_are_read_whole_by_lsr(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, VocabularyHead(), max_length=10)
    again = assert_saved(encoder_of(table_of(folder), side), tmp_path / "saved", "sentence-transformers")
    assert json.loads((tmp_path / "saved" / "lsr.json").read_text())["query"] == {"max_length": None}
    assert dense(again.encode_query("x " * 30 + "river"))[0, again.vocabulary.id_of("river")] > 0


def test_special_tokens_of_opensearch_stay_away(tmp_path: Path) -> None:
    folder = families.opensearch(tmp_path / "model", "idf.json")
    assert_saved(load_encoder(folder), tmp_path / "saved", "sentence-transformers")


def test_a_model_without_policies_has_no_lsr_json(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, VocabularyHead())
    assert_saved(encoder_of(side, side), tmp_path / "saved", "sentence-transformers")
    assert not (tmp_path / "saved" / "lsr.json").exists()


def test_one_transformer_with_two_heads_keeps_both(folder: Path, tmp_path: Path) -> None:
    query = side_of(folder, VocabularyHead(activation="log1p_log1p_relu"))
    encoder = encoder_of(query, side_of(folder, VocabularyHead()))
    assert_saved(encoder, tmp_path / "saved", "sentence-transformers")
    queries, documents = oracle(tmp_path / "saved")
    np.testing.assert_allclose(dense(encoder.encode_query(QUERIES)), queries, atol=1e-4)
    np.testing.assert_allclose(dense(encoder.encode_documents(QUERIES)), documents, atol=1e-4)


def test_two_poolings_over_one_folder_are_two_heads(folder: Path, tmp_path: Path) -> None:
    """A Router may name the transformer once and pool what it gives in two ways."""
    families.router5(tmp_path / "model")
    path = tmp_path / "model" / "router_config.json"
    router = json.loads(path.read_text(encoding="utf-8"))
    shutil.copytree(tmp_path / "model" / "document_1_SpladePooling", tmp_path / "model" / "query_1_SpladePooling")
    settings = tmp_path / "model" / "query_1_SpladePooling" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"activation_function": "log1p_relu"}))
    router["types"]["query_1_SpladePooling"] = router["types"]["document_1_SpladePooling"]
    router["structure"]["query"] = ["", "query_1_SpladePooling"]
    path.write_text(json.dumps(router), encoding="utf-8")
    queries, documents = oracle(tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    np.testing.assert_allclose(dense(encoder.encode_query(QUERIES)), queries, atol=1e-4)
    np.testing.assert_allclose(dense(encoder.encode_documents(QUERIES)), documents, atol=1e-4)


# -- how it is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max relu", "EPIC", "tokens sum", "cls", "max softplus"])
def test_what_sentence_transformers_cannot_hold_is_refused_when_asked_for(
    name: str, folder: Path, tmp_path: Path
) -> None:
    side = side_of(folder, HEADS[name])
    with pytest.raises(EncoderError, match="sentence-transformers has no module for"):
        encoder_of(side, side).save(tmp_path / "saved", layout="sentence-transformers")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["sentence-transformers", "lsr"])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "F32"), ("fp16", "F16")])
def test_weights_are_written_in_the_precision_asked_for(
    layout: str, precision: str, dtype: str, folder: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    head = VocabularyHead() if layout == "sentence-transformers" else HEADS["importance"]
    side = side_of(folder, head)
    encoder = encoder_of(side, side)
    encoder.save(tmp_path / "saved", precision=precision)
    files = list((tmp_path / "saved").glob("*.safetensors"))
    assert len(files) == (1 if layout == "sentence-transformers" else 2)
    for path in files:
        with safe_open(path, "np") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {dtype}  # noqa: SIM118
    found, expected = (dense(e.encode_documents(TEXTS)) for e in (load_encoder(tmp_path / "saved"), encoder))
    np.testing.assert_allclose(found, expected, atol=1e-6 if precision == "fp32" else 0.05)


def test_weights_that_float16_cannot_hold_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"cls.predictions.bias": tensors["cls.predictions.bias"] + 1e5}, path)
    with pytest.raises(EncoderError, match=r"cls\.predictions.*bias holds numbers that fp16 has no room for"):
        load_encoder(tmp_path / "model").save(tmp_path / "saved", precision="fp16")


def test_other_layouts_and_precisions_are_refused(folder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(folder)
    with pytest.raises(InvalidInput, match="layout is 'keras': it must be one of sentence-transformers, lsr"):
        encoder.save(tmp_path / "saved", layout="keras")
    with pytest.raises(InvalidInput, match="precision is 'int8': it must be one of fp32, fp16"):
        encoder.save(tmp_path / "saved", precision="int8")
    with pytest.raises(OutputExists):
        encoder.save(tmp_path, layout="lsr")


@pytest.mark.parametrize("layout", ["sentence-transformers", "lsr"])
def test_an_export_has_no_weights_to_save(layout: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="weights") as caught:
        load_encoder(next(iter(BUNDLED))).save(tmp_path / "saved", layout=layout)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_network_of_queries_beside_an_export_is_not_lost_silently(
    folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    model: Model = encoder.model
    query = replace(side_of(folder, VocabularyHead()), dim=encoder.dim)
    mixed = Encoder(replace(model, query=query), load_encoder()._settings)
    with pytest.raises(EncoderError, match="a network of queries beside an ONNX export"):
        mixed.save(tmp_path / "saved")


def test_terms_that_training_drops_stay_away_with_another_table(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, VocabularyHead(), dropped=(40, 41))
    encoder_of(side, side).save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved", query="binary").document_side
    special = families.special(folder)
    assert sorted(vars(again)["dropped"]) == sorted({40, 41, *special})
