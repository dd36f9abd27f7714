"""`lsr train`: from documents to an encoder that an index uses, and how each mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsr import load_encoder
from lsr.training import recipe_for, train, working_folder
from tests.cli.commands import lsr, one_line
from tests.training import kit

THINGS = ["bicycle", "kettle", "lantern", "violin", "anchor", "compass", "ladder", "mirror"]
PARTS = ["handle", "wheel", "frame", "string", "lid", "chain", "hinge", "bolt"]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short prose that queries can be made of."""
    texts = [
        f"The {thing} has a broken {part} since winter. Clean the {part} of every {thing} with warm water and soap."
        for thing in THINGS
        for part in PARTS
    ]
    records = [{"_id": f"d{i}", "title": f"Repair {i}", "text": text} for i, text in enumerate(texts)]
    return kit.lines(tmp_path_factory.mktemp("corpus") / "docs.jsonl", records)


@pytest.fixture
def recipe(small: Path, tmp_path: Path) -> Path:
    """The common recipe as a file, beside the collection."""
    for path in small.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return written(tmp_path, kit.COMMON)


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_documents_alone_become_an_encoder_that_an_index_uses(documents: Path, tmp_path: Path) -> None:
    model, index = tmp_path / "model", tmp_path / "docs.idx"
    done = lsr("train", "--corpus", documents, "-o", model, "--steps", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "2 steps in " in done.stderr
    assert "nDCG@10 " in done.stderr
    assert " terms a document, FLOPS " in done.stderr
    assert f"Next: lsr index SOURCE -o INDEX --encoder {model}" in done.stderr
    assert "it/s" not in done.stderr  # bars of transformers
    assert not working_folder(model).exists()
    card = json.loads((model / "training.json").read_text(encoding="utf-8"))
    assert card["recipe"]["start"]["model"] == "lsr-tiny"
    assert card["name"] == "model"
    assert set(card["data"]["kinds"]) == {"sentences", "keywords", "titles", "spans"}

    encoder = load_encoder(model)
    assert encoder.inference_free
    built = lsr("index", documents, "-o", index, "--encoder", model)
    assert built.returncode == 0, built.stderr
    found = lsr("search", index, "the chain of a bicycle", "-k", 1)
    assert found.returncode == 0, found.stderr
    wanted = THINGS.index("bicycle") * len(PARTS) + PARTS.index("chain")
    assert f"d{wanted}" in found.stdout


def test_a_recipe_is_trained_and_its_warnings_are_said_once(recipe: Path) -> None:
    output = recipe.parent / "model"
    done = lsr("train", recipe, "-o", output, "--steps", 2)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(set(said))
    assert json.loads((output / "training.json").read_text(encoding="utf-8"))["steps"] == 2


def test_start_and_cache_are_taken(recipe: Path, tmp_path: Path) -> None:
    cache = tmp_path / "kept"
    done = lsr(
        "train", recipe, "-o", tmp_path / "m", "--start", recipe.parent / "teacher", "--steps", 1, "--cache", cache
    )
    assert done.returncode == 0, done.stderr
    assert list(cache.glob("*.npy"))
    card = json.loads((tmp_path / "m" / "training.json").read_text(encoding="utf-8"))
    assert card["recipe"]["start"]["model"].endswith("teacher")


def test_an_interrupted_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    with pytest.raises(kit.Interrupted):
        train(recipe_for(recipe, name="model"), output, progress=kit.interrupting(3))
    message = one_line(lsr("train", recipe, "-o", output))
    assert "go on with --resume, or give --overwrite" in message
    done = lsr("train", recipe, "-o", output, "--resume")
    assert done.returncode == 0, done.stderr
    assert "went on after step 2" in done.stderr
    assert load_encoder(output).dim > 0


def test_an_output_is_not_replaced_unasked(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    assert lsr("train", recipe, "-o", output).returncode == 0
    before = kit.weights_of(output)
    assert "is there already; choose another name, or give --overwrite" in one_line(lsr("train", recipe, "-o", output))
    assert kit.largest_difference(before, kit.weights_of(output)) == 0
    assert lsr("train", recipe, "-o", output, "--overwrite", "--steps", 1).returncode == 0
    assert kit.largest_difference(before, kit.weights_of(output)) > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either a recipe, or --corpus"),
        (["recipe.yaml", "--corpus", "docs.jsonl"], "give either a recipe, or --corpus"),
        (["none.yaml"], "none.yaml: the recipe cannot be read"),
        (["--corpus", "none.jsonl"], "none.jsonl"),
        (["recipe.yaml", "--steps", "0"], "steps is 0"),
        (["recipe.yaml", "--start", "nowhere"], "no model 'nowhere'"),
        (["recipe.yaml", "--device", "tpu9"], "device is 'tpu9': torch finds no such device"),
        (["recipe.yaml", "--device", "cuda:77"], "device is 'cuda:77': torch finds no such device"),
        (["wrong.yaml"], "wrong.yaml: run: unknown key 'step'; did you mean steps?"),
        (["broken.yaml"], "broken.yaml:2: not YAML"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], words: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    Path("wrong.yaml").write_text("run: {step: 3}\n", encoding="utf-8")
    Path("broken.yaml").write_text("name: a\nrun: }\n", encoding="utf-8")
    assert words in one_line(lsr("train", *arguments, "-o", "model"))
    assert kit.nothing_left(Path("model"))


def test_bad_lines_are_named_or_counted(recipe: Path, tmp_path: Path) -> None:
    values = kit.merged(kit.COMMON, {"data": {"queries": [{"file": "bad.jsonl"}]}})
    good = (recipe.parent / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    bad = [*good[:4], '{"query": 3}', *good[4:], "{", '{"query": "fox", "positive_ids": ["unknown"]}']
    (recipe.parent / "bad.jsonl").write_text("\n".join(bad) + "\n", encoding="utf-8")
    path = written(recipe.parent, values)
    message = one_line(lsr("train", path, "-o", tmp_path / "model"))
    assert "bad.jsonl:5: " in message
    assert kit.nothing_left(tmp_path / "model")
    done = lsr("train", path, "-o", tmp_path / "model", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "bad.jsonl: 3 lines were skipped" in done.stderr
    card = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert list(card["data"]["skipped"].values()) == [3]


def test_a_loss_that_is_no_number_is_one_line(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsr.training.losses.kl_divergence", lambda student, *_: student.sum() * float("nan"))
    done = lsr("train", recipe, "-o", tmp_path / "model")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lsr: the loss is no number any more (before step 1)")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


def test_vectors_that_became_empty_are_said(recipe: Path, tmp_path: Path) -> None:
    harsh = {"learning_rate": 1, "warmup": 0, "steps": 20}
    path = written(recipe.parent, kit.merged(kit.COMMON, {"run": harsh}))
    done = lsr("train", path, "-o", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "vectors are empty" in done.stderr
