"""Recipes: what is read, and how each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsr.errors import InvalidInput
from lsr.training import Recipe, read_recipe, recipe_for
from lsr.training.recipe import recipe_from
from tests.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
BM25 = "teachers: [{kind: bm25}]\n"
ALONE = {"loss": {"kl": 0, "block_kl": 0, "contrastive": 1}}  # needs no teachers


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(values: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        recipe_from(values)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_reads(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.folder == path.parent


def test_a_file_says_what_differs_from_the_defaults(tmp_path: Path) -> None:
    read = read_recipe(written(tmp_path, f"{BM25}run: {{steps: 7, betas: [0, 0.5]}}\n"))
    assert read.run.steps == 7
    assert read.run.betas == (0.0, 0.5)
    assert read.run.batch == Recipe(loss=recipe_from(ALONE).loss).run.batch
    assert read.document == Recipe(loss=recipe_from(ALONE).loss).document


def test_all_kinds_of_values_are_read() -> None:
    read = recipe_from(
        {
            **ALONE,
            "name": "all",
            "seed": 3,
            "document": {"drop": ["special", "stopwords"], "top_terms": None, "importance": True},
            "candidates": {"strata": [[1, 5, 2], [6, 10, 1]], "depth": 10},
            "data": {"documents": ["a", "b"], "queries": [{"file": "q.tsv", "share": 1}]},
            "regularizers": [],
        }
    )
    assert read.document.drop == ("special", "stopwords")
    assert read.document.top_terms is None
    assert read.document.importance is True
    assert read.candidates.strata == ((1, 5, 2), (6, 10, 1))
    assert read.data.queries[0].share == 1.0
    assert isinstance(read.data.queries[0].share, float)
    assert read.regularizers == ()


def test_yaml_reads_1e_minus_4_as_a_text_and_it_is_a_number_all_the_same(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path, f"{BM25}run: {{learning_rate: 1e-4}}\n")).run.learning_rate == 1e-4


def test_paths_are_relative_to_the_file_and_models_that_are_not_there_are_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "here").mkdir()
    read = read_recipe(written(tmp_path / "sub", f"{BM25}start: {{model: here}}\n"))
    assert read.path("docs.jsonl") == tmp_path / "sub" / "docs.jsonl"
    assert read.path("/elsewhere/docs.jsonl") == Path("/elsewhere/docs.jsonl")
    assert read.model("here") == str(tmp_path / "sub" / "here")
    assert read.model("owner/name") == "owner/name"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"regularisers": []}, ["unknown key 'regularisers'", "did you mean regularizers?"]),
        ({"run": {"lerning_rate": 1}}, ["recipe: run", "'lerning_rate'", "did you mean learning_rate?"]),
        ({"evaluate": {"zzz": 1}}, ["evaluate", "'zzz'", "there are every, checkpoint, log, documents"]),
        ({"folder": "x"}, ["unknown key 'folder'"]),
        ({1: 2}, ["unknown key 1"]),
        ({"run": {"steps": 2.5}}, ["run.steps is 2.5", "a whole number"]),
        ({"run": {"steps": True}}, ["run.steps is True", "a whole number"]),
        ({"run": {"learning_rate": "fast"}}, ["run.learning_rate is 'fast'", "a number"]),
        ({"run": {"learning_rate": 10**400}}, ["run.learning_rate is", "a number"]),
        ({"run": {"learning_rate": "nan"}}, ["run.learning_rate is nan", "between 0 and 1"]),
        ({"run": {"recompute": "yes"}}, ["run.recompute is 'yes'", "true or false"]),
        ({"run": {"betas": [0.9]}}, ["run.betas has 1 values", "must have 2"]),
        ({"run": {"betas": [0.9, 1.0]}}, ["run.betas is [0.9, 1.0]", "below 1"]),
        ({"run": 3}, ["recipe: run", "a mapping of names and values, not 3"]),
        ({"run": {"steps": 0}}, ["run.steps is 0", "between 1 and 100,000,000"]),
        ({"run": {"dropout": 1.5}}, ["run.dropout is 1.5", "between 0 and 0.9"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"name": 3}, ["name is 3", "a text"]),
        ({"data": {"documents": "docs.jsonl"}}, ["data.documents is 'docs.jsonl'", "a list"]),
        ({"data": {"queries": [{"kind": "x"}]}}, ["data.queries[0]", "needs file"]),
        ({"data": {"made": [{"kind": "titles"}, {}]}}, ["data.made[1]", "needs kind"]),
        ({"query": {"kind": "binnary"}}, ["query.kind is 'binnary'", "one of idf", "did you mean binary?"]),
        ({"document": {"drop": ["numbers"]}}, ["document.drop: 'numbers'", "special, punctuation, stopwords"]),
        ({"teachers": [{"kind": "dense"}]}, ["the dense teacher needs a model"]),
        ({"teachers": [{"kind": "bm25"}, {"kind": "bm25"}]}, ["two are called 'bm25'", "a name"]),
        (
            {"teachers": [{"kind": "dense", "model": "a/m"}, {"kind": "sparse", "model": "b/m"}]},
            ["two are called 'm'"],
        ),
        ({"candidates": {"miners": ["x"]}}, ["no teacher is called 'x'", "there are: bm25"]),
        ({"candidates": {"strata": [[1, 101, 2]]}}, ["[1, 101, 2]", "ranks 1 to 100"]),
        ({"candidates": {"strata": [[3, 4, 3]]}}, ["[3, 4, 3]", "how many"]),
        ({"candidates": {"strata": [[0, 4, 1]]}}, ["[0, 4, 1]"]),
        ({"candidates": {"strata": [[1, 9, 1]], "random": 0}}, ["loss.kl", "gives 1 (with the positive)"]),
        ({"candidates": {"strata": [[1, 4]]}}, ["candidates.strata[0] has 2 values", "must have 3"]),
        ({"teachers": [{"kind": "scores", "model": "a.tsv"}]}, ["loss.block_kl", "dense, sparse, bm25"]),
        ({"loss": {"kl": 0, "block_kl": 0}}, ["all weights are 0"]),
        ([1], ["a mapping of names and values, not [1]"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_is_told_by_the_place_it_stands_at(values: Any, words: list[str]) -> None:
    if isinstance(values, dict):
        values = {"teachers": [{"kind": "bm25"}], **values}
    message = refused(values)
    for word in words:
        assert word in message


def test_losses_that_teachers_give_need_teachers() -> None:
    assert "need teachers" in refused({})
    assert recipe_from(ALONE).teachers == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nrun: {steps: 3\nseed: 1\n", [":3: not YAML"]),
        ("name: 'a\n", ["not YAML"]),
        ("name: !!python/object/apply:os.system [true]\n", [":1: not YAML"]),
        ("? [a]\n: 1\n", [":1: not YAML"]),
        ("{" * 5000, ["not YAML"]),
        ("", ["need teachers"]),
    ],
    ids=["braces", "quote", "object", "key", "depth", "empty"],
)
def test_what_is_not_yaml_is_told_by_file_and_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInput) as error:
        read_recipe(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.yaml: the recipe cannot be read \(No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(InvalidInput, match=r"cannot be read \(not UTF-8\)"):
        read_recipe(tmp_path / "recipe.yaml")


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, f"{BM25}run: {{step: 3}}\n")
    with pytest.raises(InvalidInput) as error:
        read_recipe(path)
    assert str(error.value) == f"{path}: run: unknown key 'step'; did you mean steps?"


# -- from the command line ---------------------------------------------------------------------------------------------


def test_start_and_steps_replace_what_the_file_says(tmp_path: Path) -> None:
    path = written(tmp_path, f"{BM25}start: {{model: a, layers: 3}}\nrun: {{steps: 9, batch: 5}}\n")
    read = recipe_for(path, start="b", steps=2)
    assert (read.start.model, read.start.layers) == ("b", 3)
    assert (read.run.steps, read.run.batch) == (2, 5)


def test_a_corpus_alone_is_a_recipe_that_makes_its_queries(tmp_path: Path) -> None:
    read = recipe_for(corpus=("a.jsonl", "b.jsonl"), steps=3, name="mine")
    assert read.name == "mine"
    assert read.data.documents == ("a.jsonl", "b.jsonl")
    assert read.data.made
    assert read.start.model == "lsr-tiny"
    assert [teacher.called for teacher in read.teachers] == ["start", "bm25"]
    assert read.run.steps == 3


def test_dense_models_teach_beside_the_start(tmp_path: Path) -> None:
    read = recipe_for(corpus=("a.jsonl",), teachers=("models/mpnet", "org/minilm"))
    assert [(teacher.kind, teacher.called) for teacher in read.teachers] == [
        ("dense", "mpnet"),
        ("dense", "minilm"),
        ("sparse", "start"),
        ("bm25", "bm25"),
    ]
    with pytest.raises(InvalidInput, match="--teacher goes with --corpus"):
        recipe_for(written(tmp_path, BM25), teachers=("models/mpnet",))


def test_neither_or_both_are_refused(tmp_path: Path) -> None:
    for arguments in ({}, {"path": "recipe.yaml", "corpus": ("docs.jsonl",)}):
        with pytest.raises(InvalidInput, match="give either a recipe, or --corpus"):
            recipe_for(**arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="steps is 0"):
        recipe_for(corpus=("a",), steps=0)
