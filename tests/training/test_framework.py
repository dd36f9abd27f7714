"""Every method of the framework: its recipe on a small model and collection becomes an encoder; new heads and layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsr import load_encoder
from lsr.encoders.model import NetworkSide, Side, TableSide, TokenHead, VocabularyHead
from lsr.errors import EncoderError, InvalidInput
from lsr.rerank import load_multivector_encoder
from lsr.training import Recipe, read_recipe, train
from lsr.training.recipe import MULTIVECTOR, Data, Evaluate, QuerySource
from tests.encoders import families
from tests.training import kit
from tests.training.test_recipe import RECIPES

# What the sides of each recipe's model are.
SIDES = {
    "deepct": ("mlp", "mlp"),
    "deepimpact": ("table", "mlp"),
    "distilsplade-max": ("mlm", "mlm"),
    "epic": ("mlp", "mlm"),
    "idf-distilled": ("table", "mlm"),
    "li-lsr": ("table", "mlm"),
    "lsr-mini": ("table", "mlm"),
    "lsr-tiny": ("table", "mlm"),
    "sparta": ("table", "mlm"),
    "splade-doc": ("table", "mlm"),
    "splade-max": ("mlm", "mlm"),
    "tildev2": ("table", "mlp"),
    "unicoil": ("mlp", "mlp"),
}
TEXT = "the quick brown fox and the lazy dog"


def kind_of(side: Side) -> str:
    if isinstance(side, TableSide):
        return "table"
    assert isinstance(side, NetworkSide)
    return {TokenHead: "mlp", VocabularyHead: "mlm"}[type(side.head)]


def on_small(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the collection and the models of `folder`, and three steps."""
    swapped = {"dense": "teacher", "sparse": "teacher", "scores": "scores.tsv"}
    teachers = tuple(
        replace(teacher, kind="sparse" if teacher.kind == "dense" else teacher.kind, name=f"t{i}",
                model=swapped.get(teacher.kind))
        for i, teacher in enumerate(recipe.teachers)
    )  # fmt: skip
    length = min(recipe.document.max_length, kit.LONGEST)
    imitated = [f"t{i}" for i, teacher in enumerate(recipe.teachers) if teacher.called == recipe.start.imitate]
    return replace(
        recipe,
        folder=folder,
        start=replace(
            recipe.start,
            model="start",
            mlm_steps=recipe.start.mlm_steps and 2,
            imitate=imitated[0] if imitated else None,
            imitate_steps=2,
        ),
        query=replace(recipe.query, max_length=16, idf="corpus"),
        document=replace(recipe.document, max_length=length),
        data=Data(documents=("docs.jsonl",), queries=(QuerySource(file="queries.jsonl"),), held_out=5),
        teachers=teachers,
        candidates=replace(recipe.candidates, miners=()),
        run=replace(recipe.run, steps=3, batch=4, learning_rate=1e-3),
        evaluate=Evaluate(every=3, log=1),
    )


SPARSE = [path for path in RECIPES if read_recipe(path).document.kind != MULTIVECTOR]


@pytest.mark.parametrize("path", SPARSE, ids=lambda path: path.stem)
def test_a_recipe_becomes_an_encoder_of_its_kind(path: Path, small: Path, tmp_path: Path) -> None:
    recipe = on_small(read_recipe(path), small)
    train(recipe, tmp_path / "model")
    steps = kit.steps_of(tmp_path / "model")
    assert len(steps) == 3
    assert all(line["loss"] > 0 and line["norm"] > 0 for line in steps)
    encoder = load_encoder(tmp_path / "model")
    assert (kind_of(encoder.model.query), kind_of(encoder.model.document)) == SIDES[path.stem]
    query, document = encoder.encode_query(TEXT), encoder.encode_documents([TEXT])
    assert query.nnz > 0
    assert document.nnz > 0
    assert query.dim == document.dim == encoder.dim
    own = tokens_of_text(small)
    for side, found in ((encoder.model.query, query), (encoder.model.document, document)):
        words = {encoder.token(int(term)) for term in found.row(0)[0]}
        assert (words <= own) == (kind_of(side) != "mlm")  # only a vocabulary head expands
    if recipe.document.top_terms is not None:
        assert document.nnz <= recipe.document.top_terms
    assert (tmp_path / "model" / "training.json").is_file()


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in SPARSE], ids=lambda path: path.stem)
def test_a_recipe_becomes_a_multivector_encoder(path: Path, small: Path, tmp_path: Path) -> None:
    recipe = on_small(read_recipe(path), small)
    train(recipe, tmp_path / "model")
    assert all(line["loss"] > 0 and line["norm"] > 0 for line in kit.steps_of(tmp_path / "model"))
    encoder = load_multivector_encoder(tmp_path / "model")
    assert encoder.dim == recipe.document.dim
    assert len(encoder.encode_documents([TEXT]).vectors) >= len(TEXT.split())


def tokens_of_text(small: Path) -> set[str]:
    """The tokens of `TEXT`."""
    inside = families.ids(small / "start", TEXT)
    vocabulary = json.loads((small / "start" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return {token for token, i in vocabulary.items() if i in inside}


FORMS: dict[str, dict[str, Any]] = {
    "cls-mlm": {"document": {"kind": "cls-mlm"}},
    "cls-mlm on both sides": {"query": {"kind": "cls-mlm"}, "document": {"kind": "cls-mlm"}},
    "mlp with summed weights": {"document": {"kind": "mlp", "pooling": "sum"}},
    "mlm with summed activations": {"document": {"pooling": "sum"}},
    "two networks": {"query": {"kind": "mlm", "shared": False}},
    "another activation on the query side": {"query": {"kind": "mlm", "activation": "log1p_log1p_relu"}},
    "mlp on queries alone": {"query": {"kind": "mlp"}},
    "epic": {
        "document": {"importance": True, "quality": True, "activation": "log1p_softplus", "top_terms": 50},
    },
    "quality alone, relu": {"document": {"quality": True, "activation": "relu"}},
    "terms that are dropped": {"document": {"drop": ["special", "punctuation", "stopwords"]}},
    "trained idf": {"query": {"train": True}},
    "binary": {"query": {"kind": "binary"}},
    "learned table": {"query": {"kind": "table"}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_model_that_is_written_computes_what_was_trained(form: str, small: Path, tmp_path: Path) -> None:
    changes = kit.merged({"data": {"held_out": 0}, "document": {"top_terms": None}}, FORMS[form])
    changes |= {"teachers": [], "loss": kit.CONTRASTIVE, "candidates": {"strata": [[1, 8, 2]]}}
    recipe = kit.recipe(small, **changes)
    made = kit.trainer(recipe, tmp_path / "work")
    before = {name: p.detach().clone() for name, p in made.trainer.parameters.items()}
    made.trainer.run()
    moved = [name for name, p in made.trainer.parameters.items() if not torch.equal(p, before[name])]
    heads = ("token", "importance", "quality", "values", "project")
    for name in made.trainer.parameters:  # each head learns
        if any(f"{head}." in name or name.endswith(head) for head in heads):
            assert name in moved
    train(recipe, tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    documents = read_texts(small / "docs.jsonl", "text")[:12]
    queries = read_texts(small / "queries.jsonl", "query")[:12]
    store, asked = made.trainer.materials.documents, made.trainer.materials.queries
    with torch.no_grad():
        expected = made.student.documents(*store.batch(np.arange(12))).numpy()
        if recipe.document.top_terms is not None:
            least = np.sort(expected, axis=1)[:, -recipe.document.top_terms, None]
            expected = np.where(expected >= least, expected, 0)
        expected_queries = made.student.queries(*asked.batch(np.arange(12))).numpy()
    assert np.abs(encoder.encode_documents(documents).to_scipy().toarray() - expected).max() < 2e-4
    assert np.abs(encoder.encode_query(queries).to_scipy().toarray() - expected_queries).max() < 2e-4
    assert (expected > 0).any(1).all()
    assert (expected_queries > 0).any(1).all()


def read_texts(path: Path, field: str) -> list[str]:
    return [json.loads(line)[field] for line in path.read_text(encoding="utf-8").splitlines()]


def test_dropped_terms_never_leave_the_model(small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, document={"drop": ["special", "punctuation", "stopwords"], "top_terms": None})
    train(recipe, tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    found = encoder.encode_documents([*families.SENTENCES, "the of and . , ! what"])
    tokens = {encoder.token(int(term)) for term in found.indices}
    assert tokens
    assert not tokens & {"[CLS]", "[SEP]", "[PAD]", "the", "and", "of", ".", ",", "!"}


def test_queries_and_documents_of_one_network_have_their_own_lengths(small: Path, tmp_path: Path) -> None:
    """What a query's side says is the query's, though the network is shared."""
    recipe = kit.recipe(small, query={"kind": "mlm", "max_length": 8, "top_terms": 5}, document={"top_terms": 20})
    train(recipe, tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    assert encoder.encode_query(families.SENTENCES[0]).nnz == 5
    assert encoder.encode_documents([families.SENTENCES[0]]).nnz > 5
    long = "fox " * 6 + "river protein mice"
    assert encoder.encode_query(long) == encoder.encode_query("fox " * 6)
    assert encoder.encode_documents([long]) != encoder.encode_documents(["fox " * 6])


# -- new heads and layers ----------------------------------------------------------------------------------------------


def bare(folder: Path) -> Path:
    """A BERT without a vocabulary head."""
    from transformers import AutoModel

    config = families.config_of("bert", families.write_tokenizer(folder, "bert"))
    with families.quiet():
        families.randomized(AutoModel.from_config(config)).save_pretrained(folder)
    return folder


def test_a_model_without_a_vocabulary_head_gets_one_that_learns_its_words(small: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data": {"held_out": 0}, "run": {"steps": 2}}
    changes["start"] = {"model": str(bare(tmp_path / "bare")), "mlm_steps": 5}
    losses = []
    for steps in (5, 40):
        changes["start"]["mlm_steps"] = steps
        train(kit.recipe(small, **changes), tmp_path / f"model{steps}")
        card = json.loads((tmp_path / f"model{steps}" / "training.json").read_text(encoding="utf-8"))
        losses.append(card["data"]["mlm_loss"])
    assert losses[1] < 0.9 * losses[0]
    assert load_encoder(tmp_path / "model40").encode_documents([TEXT]).nnz > 0


def test_a_model_with_a_head_keeps_it_unless_asked(small: Path, tmp_path: Path) -> None:
    train(kit.recipe(small, run={"learning_rate": 0}), tmp_path / "model")
    expected = kit.weights_of(small / "start")
    found = kit.weights_of(tmp_path / "model")
    for name, value in found.items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "electra", "modernbert"])
def test_more_layers_change_hardly_anything_until_they_are_trained(family: str, small: Path, tmp_path: Path) -> None:
    start = str(families.plain(tmp_path / "start", family))
    vectors = []
    for layers in (None, families.LAYERS + 2, 1):
        changes: dict[str, Any] = {"start": {"model": start, "layers": layers}, "teachers": [{"kind": "bm25"}]}
        made = kit.trainer(kit.recipe(small, **changes), tmp_path / str(layers))
        with torch.no_grad():
            vectors.append(made.student.documents(*made.trainer.materials.documents.batch(np.arange(20))).flatten())
    same = float(torch.corrcoef(torch.stack(vectors[:2]))[0, 1])
    other = float(torch.corrcoef(torch.stack([vectors[0], vectors[2]]))[0, 1])
    assert same > 0.9
    assert other < same


def test_more_layers_are_trained_and_written(small: Path, tmp_path: Path) -> None:
    train(kit.recipe(small, start={"layers": 3}), tmp_path / "model")
    names = [name for name in kit.weights_of(tmp_path / "model") if ".layer.2." in name]
    assert names
    assert json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 3
    assert kit.weights_of(tmp_path / "model")["bert.encoder.layer.2.output.dense.weight"].abs().max() > 0
    assert load_encoder(tmp_path / "model").encode_documents([TEXT]).nnz > 0


def test_a_head_whose_logits_are_too_large_is_scaled(small: Path, tmp_path: Path) -> None:
    whole, half = (kit.trainer(kit.recipe(small, data={"held_out": 0}), tmp_path / name) for name in ("whole", "half"))
    half.recipe = replace(half.recipe, start=replace(half.recipe.start, rescale=0.5))
    half.student.recipe = half.recipe
    batch = whole.trainer.materials.documents.batch(np.arange(8))
    assert whole.student.rescale(*batch) == 1.0
    assert half.student.rescale(*batch) == 0.5
    with torch.no_grad():
        logits = [made.student.documents.transformer(*batch) for made in (whole, half)]
        torch.testing.assert_close(logits[1], logits[0] * 0.5)
        whole.student.documents.transformer.table.mul_(300)
    assert whole.student.rescale(*batch) == pytest.approx(families.HIDDEN**-0.25)


def test_a_new_head_starts_with_as_many_terms_as_asked(small: Path, tmp_path: Path) -> None:
    made = kit.trainer(kit.recipe(small, start={"terms": 9}, data={"held_out": 0}), tmp_path / "model")
    batch = made.trainer.materials.documents.batch(np.arange(8))
    before = made.student.documents(*batch)
    lowered = made.student.lower(*batch)
    after = made.student.documents(*batch)
    assert (after > 0).sum(1).float().mean() == pytest.approx(9, abs=0.2)
    assert lowered != 0
    assert made.student.lower(*batch) == pytest.approx(0, abs=1e-5)
    # The order of terms stays.
    row = (after[0] > 0).nonzero().flatten()
    assert torch.equal(before[0][row].argsort(), after[0][row].argsort())


def test_weights_that_are_not_a_head_may_not_be_missing(small: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = families.plain(tmp_path / "start")
    weights = kit.weights_of(folder)
    del weights["bert.encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"its weights lack bert\.encoder\.layer\.0\.output"):
        train(kit.recipe(small, start={"model": str(folder)}), tmp_path / "model")


def test_masked_language_modelling_needs_a_mask(small: Path, tmp_path: Path) -> None:
    folder = families.plain(tmp_path / "start")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("[MASK]", "[MUSK]"), encoding="utf-8")
    changes: dict[str, Any] = {"start": {"model": str(folder), "mlm_steps": 2}, "teachers": [{"kind": "bm25"}]}
    with pytest.raises(InvalidInput, match=r"has no \[MASK\]: set start.mlm_steps to 0"):
        train(kit.recipe(small, **changes), tmp_path / "model")


def test_a_file_of_scores_knows_each_positive_of_a_query(small: Path, tmp_path: Path) -> None:
    """A query with two positives has two rows; both have targets."""
    for path in small.iterdir():
        (tmp_path / path.name).symlink_to(path)
    kit.lines(
        tmp_path / "two.jsonl",
        [{"query": "the fox", "positive_ids": ["d1", "d2"], "negative_ids": [f"d{i}" for i in range(3, 9)]}],
    )
    text = "".join(f"the fox\td{i}\t{i * i}\n" for i in range(kit.DOCUMENTS))
    (tmp_path / "two.tsv").write_text(text, encoding="utf-8")
    changes: dict[str, Any] = {
        "data": {"queries": [{"file": "two.jsonl"}], "held_out": 0},
        "teachers": [{"kind": "scores", "model": "two.tsv"}],
        "loss": {"block_kl": 0},
        "run": {"batch": 2},
        "candidates": {"strata": [[1, 6, 4]]},
    }
    materials = kit.trainer(kit.recipe(tmp_path, **changes), tmp_path / "work").trainer.materials
    queries, candidates = materials.batches.at(0)
    assert sorted(queries) == [0, 1]
    assert materials.pair_scores is not None
    assert np.array_equal(materials.pair_scores(queries, candidates)[0].numpy(), candidates.astype(np.float32) ** 2)


def test_training_may_read_less_of_a_document_than_the_model(small: Path, tmp_path: Path) -> None:
    made = kit.trainer(kit.recipe(small, run={"max_length": 8}), tmp_path / "work")
    assert made.trainer.materials.documents.lengths.max() == 8
    train(made.recipe, tmp_path / "model")
    assert load_encoder(tmp_path / "model").max_length == kit.LONGEST
