"""The loop: the same from a seed, resumed as if it had never stopped, stopped when the loss is no number; what it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lsr import load_encoder
from lsr.errors import CorpusError, EncoderError, InvalidInput, OutputExists
from lsr.training import Diverged, Report, train, working_folder
from lsr.training.recipe import Recipe
from tests.encoders import families
from tests.training import kit

EVERYTHING: dict[str, Any] = {
    "query": {"train": True},
    "regularizers": [
        {"kind": "flops", "strength": 0.3, "ramp": 0, "nnz": 20},
        {"kind": "df_flops", "strength": 0.1, "ramp": 0.5},
    ],
    "run": {"steps": 6, "average": 0.9, "dropout": 0.1},
    "evaluate": {"every": 3, "checkpoint": 2, "log": 3},
}


def same_models(first: Path, second: Path, tolerance: float = 0.0) -> bool:
    return kit.largest_difference(kit.weights_of(first), kit.weights_of(second)) <= tolerance


def table_of(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "idf.json").read_text(encoding="utf-8"))
    return found


def interrupted(recipe: Recipe, output: Path, at: int) -> None:
    with pytest.raises(kit.Interrupted):
        train(recipe, output, progress=kit.interrupting(at))
    assert not output.exists()
    assert working_folder(output).is_dir()


# -- the same again ----------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_model_whatever_was_cached(small: Path, tmp_path: Path) -> None:
    """Nor does it matter what drew random numbers while it was prepared, as models do that are loaded."""
    recipe = kit.recipe(small, **EVERYTHING)

    def drawing(stage: str, done: int, total: int | None) -> None:
        if stage != "training":
            torch.rand(3)

    train(recipe, tmp_path / "cold", cache=tmp_path / "cache", progress=drawing)
    train(recipe, tmp_path / "warm", cache=tmp_path / "cache")
    assert same_models(tmp_path / "cold", tmp_path / "warm")
    assert kit.steps_of(tmp_path / "cold") == kit.steps_of(tmp_path / "warm")
    train(kit.recipe(small, seed=2, **EVERYTHING), tmp_path / "other", cache=tmp_path / "cache")
    assert not same_models(tmp_path / "cold", tmp_path / "other", 1e-4)


@pytest.mark.parametrize("at", [1, 3, 4, 6], ids=["no checkpoint", "after one", "at one", "at the end"])
def test_a_resumed_training_is_as_if_it_had_never_stopped(at: int, small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, **EVERYTHING)
    whole = train(recipe, tmp_path / "whole")
    interrupted(recipe, tmp_path / "stopped", at)
    report = train(recipe, tmp_path / "stopped", resume=True)
    # At the progress of a step its checkpoint is not yet written.
    assert report.resumed == {1: 0, 3: 2, 4: 2, 6: 4}[at]
    assert same_models(tmp_path / "whole", tmp_path / "stopped")
    assert table_of(tmp_path / "whole") == table_of(tmp_path / "stopped")
    assert kit.steps_of(tmp_path / "whole") == kit.steps_of(tmp_path / "stopped")
    assert report.outcome.loss == whole.outcome.loss
    assert report.outcome.best == whole.outcome.best
    assert report.outcome.last == whole.outcome.last


def test_what_was_trained_to_the_end_and_not_written_is_written(small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, **EVERYTHING)
    whole = train(recipe, tmp_path / "whole")
    made = kit.trainer(recipe, working_folder(tmp_path / "late"))
    made.trainer.run()
    told = json.loads((tmp_path / "whole" / "training.json").read_text(encoding="utf-8"))["recipe"]
    (working_folder(tmp_path / "late") / "recipe.json").write_text(json.dumps(told), encoding="utf-8")
    report = train(recipe, tmp_path / "late", resume=True)
    assert report.resumed == recipe.run.steps
    assert report.outcome.last.keys() == whole.outcome.last.keys() != set()
    assert np.isfinite(report.outcome.loss)
    json.loads((tmp_path / "late" / "training.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("at", [1, 4], ids=["no checkpoint", "after one"])
def test_the_log_has_each_step_once_though_the_end_of_it_was_lost(at: int, small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, evaluate={"checkpoint": 2, "log": 1})
    interrupted(recipe, tmp_path / "model", at)
    with (working_folder(tmp_path / "model") / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "los')
    train(recipe, tmp_path / "model", resume=True)
    assert [line["step"] for line in kit.steps_of(tmp_path / "model")] == [1, 2, 3, 4]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_an_interrupted_training_is_not_lost_by_mistake(small: Path, tmp_path: Path) -> None:
    recipe, output = kit.recipe(small), tmp_path / "model"
    interrupted(recipe, output, 3)
    with pytest.raises(OutputExists, match="interrupted; go on with --resume, or give --overwrite"):
        train(recipe, output)
    with pytest.raises(InvalidInput, match="had another recipe"):
        train(kit.recipe(small, seed=2), output, resume=True)
    assert train(recipe, output, overwrite=True).resumed == 0
    assert not working_folder(output).exists()


def test_a_damaged_checkpoint_is_told(small: Path, tmp_path: Path) -> None:
    recipe, output = kit.recipe(small), tmp_path / "model"
    interrupted(recipe, output, 3)
    (place,) = working_folder(output).glob("checkpoint-*")
    state = place / "state.safetensors"
    whole = state.read_bytes()
    for damaged in (whole[:-100], b"", b"\xff" * 50):
        state.write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"checkpoint-000000002: the checkpoint is damaged \(.+without --resume"):
            train(recipe, output, resume=True)
    state.write_bytes(whole)
    facts = (place / "state.json").read_bytes()
    for text in (b"{", b"[]", b"{}", b'{"step": 2}'):
        (place / "state.json").write_bytes(text)
        with pytest.raises(InvalidInput, match="the checkpoint is damaged"):
            train(recipe, output, resume=True)
    (place / "state.json").write_bytes(facts)
    tensors = load_file(state)
    for name in ("parameter.documents.transformer.table", "random.cpu", "penalty.0.strength"):
        save_file({key: value for key, value in tensors.items() if key != name}, state)
        with pytest.raises(InvalidInput, match=r"checkpoint-000000002: (is of another model|the checkpoint is dam)"):
            train(recipe, output, resume=True)
    save_file(tensors, state)
    (working_folder(output) / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"recipe\.json: is damaged"):
        train(recipe, output, resume=True)


def test_what_is_there_is_not_replaced_unasked_and_never_by_mistake(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputExists, match="is there already"):
        train(kit.recipe(small), output)
    with pytest.raises(OutputExists, match="is no model, and is not replaced"):
        train(kit.recipe(small), output, overwrite=True)
    assert (output / "thesis.txt").is_file()
    beside = working_folder(tmp_path / "other")
    beside.mkdir()
    (beside / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputExists, match="is in the way, and not of a training"):
        train(kit.recipe(small), tmp_path / "other", overwrite=True)
    assert (beside / "thesis.txt").is_file()


def test_a_model_that_is_overwritten_stays_until_the_new_one_is_there(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    train(kit.recipe(small), output)
    before = kit.weights_of(output)
    with pytest.raises(kit.Interrupted):
        train(kit.recipe(small, seed=2), output, overwrite=True, progress=kit.interrupting(3))
    assert kit.largest_difference(before, kit.weights_of(output)) == 0
    train(kit.recipe(small, seed=2), output, overwrite=True)
    assert kit.largest_difference(before, kit.weights_of(output)) > 1e-4


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": {"documents": []}}, InvalidInput, "name the documents"),
        ({"data": {"documents": ["none.jsonl"]}}, Exception, "none.jsonl"),
        ({"data": {"documents": ["empty.jsonl"], "queries": []}}, CorpusError, "empty.jsonl: empty"),
        ({"data": {"queries": []}}, InvalidInput, "no queries to train on"),
        ({"data": {"queries": [{"file": "none.jsonl"}]}}, Exception, "none.jsonl"),
        (
            {"data": {"queries": [{"file": "alone.tsv"}]}, "teachers": [], "loss": kit.CONTRASTIVE},
            InvalidInput, "none of the queries has a candidate",
        ),
        ({"candidates": {"strata": [[1, 4, 2], [3, 6, 2]]}}, InvalidInput, "must not overlap"),
        ({"candidates": {"strata": [], "random": 0}}, InvalidInput, "gives 0 (with the positive)"),
        ({"start": {"model": "nowhere"}}, EncoderError, "no model 'nowhere'"),
        ({"start": {"model": "docs.jsonl"}}, EncoderError, "docs.jsonl"),
        ({"document": {"max_length": 64}}, EncoderError, "max_length is 64: the network takes 3 to 40"),
        ({"query": {"kind": "mlm", "max_length": 64}}, EncoderError, "max_length is 64"),
        ({"query": {"idf": "none.json"}}, InvalidInput, "none.json: no such file"),
        ({"query": {"idf": "start"}}, InvalidInput, "has no table of query weights"),
        ({"teachers": [{"kind": "scores", "model": "none.tsv"}], "loss": {"block_kl": 0}}, Exception, "none.tsv"),
        ({"teachers": [{"kind": "scores", "model": "scores.tsv"}], "loss": {"block_kl": 1}}, InvalidInput, "whole batches"),
        ({"run": {"batch": 3}, "candidates": {"miners": ["bm25"]}, "data": {"development": "none"}}, Exception, "none"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_trained_is_told_in_a_line_and_leaves_nothing(
    changes: dict[str, Any], error: type[Exception], words: str, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in small.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "empty.jsonl").write_text("", encoding="utf-8")
    (folder / "alone.tsv").write_text("q1\tthe quick fox\nq2\tlazy dogs\n", encoding="utf-8")
    with pytest.raises(error) as raised:
        train(kit.recipe(folder, **changes), tmp_path / "model")
    assert type(raised.value).__module__ == "lsr.errors"
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert kit.nothing_left(tmp_path / "model")


def test_a_name_that_is_none_is_told(small: Path) -> None:
    for name in (".", "/", "a\0b", ""):
        with pytest.raises(Exception, match="not the name of a file") as raised:
            train(kit.recipe(small), name)
        assert type(raised.value).__module__ == "lsr.errors"


# -- no number ---------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_and_the_last_good_checkpoint_is_kept(small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, run={"steps": 8}, evaluate={"every": 8, "checkpoint": 1, "log": 8})
    made = kit.trainer(recipe, tmp_path)

    def poison(stage: str, done: int, total: int | None) -> None:
        if done == 4:
            with torch.no_grad():
                made.student.documents.transformer.table[7] = torch.nan

    with pytest.raises(Diverged) as raised:
        made.trainer.run(poison)
    assert "\n" not in str(raised.value)
    assert "the checkpoint of step 3 is kept" in str(raised.value)
    (place,) = tmp_path.glob("checkpoint-*")
    tensors = load_file(place / "state.safetensors")
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())


def test_a_gradient_that_is_no_number_is_never_kept(small: Path, tmp_path: Path) -> None:
    """The loss is a number; the step after it would be none."""
    recipe = kit.recipe(small, run={"steps": 6}, evaluate={"every": 6, "checkpoint": 1, "log": 1})
    made = kit.trainer(recipe, tmp_path)
    name, parameter = next(iter(made.trainer.parameters.items()))

    def poisoned(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan if made.trainer.step == 3 else gradient

    parameter.register_hook(poisoned)  # type: ignore[no-untyped-call]
    with pytest.raises(Diverged, match="the checkpoint of step 3 is kept"):
        made.trainer.run()
    tensors = load_file(tmp_path / "checkpoint-000000003" / "state.safetensors")
    assert tensors[f"parameter.{name}"].isfinite().all()


def test_a_learning_rate_that_destroys_the_model_is_told(small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, run={"steps": 8, "learning_rate": 1.0, "warmup": 0}, evaluate={"log": 1})
    made = kit.trainer(recipe, tmp_path)
    for group in made.trainer.optimizer.param_groups:
        group["factor"] = 1e30
    with pytest.raises(
        Diverged, match=r"no number any more.+there is no checkpoint yet; try a lower run.learning_rate"
    ):
        made.trainer.run()
    assert not list(tmp_path.glob("checkpoint-*"))


# -- what is left ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report, Recipe]:
    output = tmp_path_factory.mktemp("trained") / "model"
    recipe = kit.recipe(small, run={"steps": 6}, evaluate={"every": 2, "checkpoint": 3, "log": 2}, licence="MIT")
    return output, train(recipe, output), recipe


def test_nothing_but_the_model_is_left(trained: tuple[Path, Report, Recipe]) -> None:
    output = trained[0]
    assert [path.name for path in output.parent.iterdir()] == ["model"]
    assert not [path for path in output.rglob("*") if "checkpoint" in path.name or "tmp" in path.name]


def test_the_card_says_what_it_was_made_of(trained: tuple[Path, Report, Recipe]) -> None:
    output, report, recipe = trained
    card = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert card == json.loads(json.dumps(report.card))
    assert card["recipe"]["run"]["steps"] == card["steps"] == 6
    assert card["recipe"]["teachers"][0]["model"] == "teacher"
    assert "folder" not in card["recipe"]
    assert len(card["recipe_sha256"]) == 64
    data = card["data"]
    assert (data["documents"], data["queries"]) == (kit.DOCUMENTS, kit.DOCUMENTS - 8)
    assert data["teachers"] == ["teacher", "bm25"]
    assert data["kinds"] == {"queries": {"queries": kit.DOCUMENTS - 8, "share": 1.0}}
    assert len(data["documents_hash"]) == len(data["queries_hash"]) == 32
    assert card["final_loss"] == kit.steps_of(output)[-1]["loss"]
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\nlicense: mit\n")
    assert f"{kit.DOCUMENTS} documents, {kit.DOCUMENTS - 8} queries, teachers: teacher, bm25." in readme
    assert recipe.name in readme


def test_the_log_is_json_lines_of_steps_and_evaluations(trained: tuple[Path, Report, Recipe]) -> None:
    lines = kit.log_of(trained[0])
    assert [line["step"] for line in lines if "evaluation" not in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "evaluation" in line] == [2, 4, 6]
    for line in lines:
        if "evaluation" in line:
            assert {"ndcg", "kinds", "nnz", "flops", "longest_list", "warnings"} <= line["evaluation"].keys()
        else:
            assert {"loss", "kl", "block_kl", "penalty_0", "nnz", "norm", "strength", "seconds"} <= line.keys()
            parts = line["kl"] + line["block_kl"] + line["penalty_0"]
            assert line["loss"] == pytest.approx(parts, rel=1e-4)


def test_the_best_evaluation_is_the_model(trained: tuple[Path, Report, Recipe], small: Path, tmp_path: Path) -> None:
    output, report, _ = trained
    found = [line["evaluation"] | {"step": line["step"]} for line in kit.log_of(output) if "evaluation" in line]
    best = max(found, key=lambda each: (each["ndcg"], -each["step"]))
    assert report.outcome.best["step"] == best["step"]
    assert report.outcome.last["step"] == 6
    # Trained again with one evaluation, at the step of the best: its weights are those.
    recipe = kit.recipe(small, run={"steps": 6}, evaluate={"every": 2, "checkpoint": 3, "log": 2}, licence="MIT")
    made = kit.trainer(recipe, tmp_path)
    kept = {}

    def keep(stage: str, done: int, total: int | None) -> None:
        kept[done] = {name: p.detach().clone() for name, p in made.trainer.parameters.items()}

    made.trainer.run(keep)
    made.trainer.take_best()
    for name, p in made.trainer.parameters.items():
        assert torch.equal(p, kept[best["step"]][name])
    table = kept[best["step"]]["documents.transformer.table"]
    assert torch.equal(kit.weights_of(output)["bert.embeddings.word_embeddings.weight"], table)


def test_a_cache_tells_tokenizers_of_one_vocabulary_apart(small: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(small / "start", tmp_path / "start"))
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["normalizer"]["lowercase"] = False
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    changes: dict[str, Any] = {"run": {"steps": 1}, "data": {"held_out": 0}}
    kept = tmp_path / "cache"
    train(kit.recipe(small, **changes), tmp_path / "first", cache=kept)
    recipe = kit.recipe(small, **changes, start={"model": str(other)})
    train(recipe, tmp_path / "cached", cache=kept)
    train(recipe, tmp_path / "anew")
    assert same_models(tmp_path / "cached", tmp_path / "anew")


def test_the_last_weights_are_kept_where_the_recipe_says_so(small: Path, tmp_path: Path) -> None:
    """Though an evaluation before was better: the learning rate sees to that."""
    changes: dict[str, Any] = {"run": {"steps": 6, "learning_rate": 0.3}}
    evaluate = {"every": 1, "checkpoint": 6, "keep": "last"}
    report = train(kit.recipe(small, **changes, evaluate=evaluate), tmp_path / "model")
    found = [line["evaluation"]["ndcg"] for line in kit.log_of(tmp_path / "model") if "evaluation" in line]
    assert max(found) > found[-1]
    assert report.outcome.best == report.outcome.last
    assert report.outcome.best["step"] == 6
    assert "The last weights on the development set at step 6" in (tmp_path / "model/README.md").read_text()
    once = kit.recipe(small, **changes, evaluate={"every": 6, "checkpoint": 6})
    train(once, tmp_path / "once")
    assert same_models(tmp_path / "model", tmp_path / "once")


def test_averaged_weights_are_evaluated_and_written(small: Path, tmp_path: Path) -> None:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(average, (1 + t) / (10 + t))."""
    recipe = kit.recipe(small, run={"steps": 5, "average": 0.3, "learning_rate": 0.05}, data={"held_out": 0})
    made = kit.trainer(recipe, tmp_path / "work")
    name = "documents.transformer.table"
    seen = [made.trainer.parameters[name].detach().clone()]
    made.trainer.run(lambda stage, done, total: seen.append(made.trainer.parameters[name].detach().clone()))
    expected = seen[0]
    for t, value in enumerate(seen[1:]):
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
    made.trainer.take_best()
    torch.testing.assert_close(made.trainer.parameters[name].detach(), expected, rtol=0, atol=1e-6)
    assert float((expected - seen[-1]).abs().max()) > 1e-5


@pytest.mark.parametrize("top_terms", [None, 12])
def test_evaluation_sees_what_the_model_will_do(top_terms: int | None, small: Path, tmp_path: Path) -> None:
    """The last line's figures are those of the model that is written: without dropout, with top terms and averages."""
    changes = {"run": {"steps": 3, "dropout": 0.5, "average": 0.5}, "document": {"top_terms": top_terms}}
    output = tmp_path / "model"
    report = train(kit.recipe(small, **changes, evaluate={"every": 3}), output)
    documents = [json.loads(line)["text"] for line in (small / "docs.jsonl").read_text(encoding="utf-8").splitlines()]
    vectors = load_encoder(output).encode_documents(documents)
    assert report.outcome.last["nnz"] == pytest.approx(float(np.diff(vectors.indptr).mean()), abs=0.02)


@pytest.mark.parametrize("kind", ["idf", "mlm"])
def test_sentence_transformers_gives_the_same_vectors(kind: str, small: Path, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    output = tmp_path / "model"
    changes = {"query": {"kind": kind}, "document": {"top_terms": None, "drop": []}}
    train(kit.recipe(small, **changes), output)
    ours = load_encoder(output)
    texts = families.SENTENCES[:6]
    with families.quiet():
        theirs = SparseEncoder(str(output), device="cpu")
        documents = theirs.encode_document(texts, convert_to_tensor=True).to_dense().numpy()
        queries = theirs.encode_query(texts, convert_to_tensor=True).to_dense().numpy()
    assert np.abs(ours.encode_documents(texts).to_scipy().toarray() - documents).max() < 1e-4
    assert np.abs(ours.encode_query(texts).to_scipy().toarray() - queries).max() < 1e-4
    assert (documents > 0).sum() > 20
    assert (queries > 0).sum() > 10


def test_the_vectors_are_those_that_were_trained(small: Path, tmp_path: Path) -> None:
    recipe = kit.recipe(small, data={"held_out": 0}, document={"top_terms": None})
    made = kit.trainer(recipe, tmp_path / "work")
    made.trainer.run()
    train(recipe, tmp_path / "model")
    batch = made.trainer.materials.documents.batch(np.arange(kit.DOCUMENTS))
    with torch.no_grad():
        expected = made.student.documents(*batch).numpy()
    documents = [json.loads(line)["text"] for line in (small / "docs.jsonl").read_text(encoding="utf-8").splitlines()]
    found = load_encoder(tmp_path / "model").encode_documents(documents).to_scipy().toarray()
    assert np.abs(found - expected).max() < 1e-4


def test_a_share_of_the_start_comes_back(small: Path, tmp_path: Path) -> None:
    weights = {}
    for share in (0.0, 0.25, 1.0):
        chosen = kit.recipe(small, run={"steps": 3, "learning_rate": 0.01, "start_share": share})
        report = train(chosen, tmp_path / f"{share}")
        weights[share] = kit.weights_of(tmp_path / f"{share}")
        assert report.outcome.best == report.card["best_evaluation"]
    for name, trained in weights[0.0].items():
        expected = torch.lerp(trained, weights[1.0][name], 0.25)
        assert torch.allclose(weights[0.25][name], expected, atol=1e-6), name
    assert any(not torch.equal(weights[0.0][name], weights[1.0][name]) for name in weights[0.0])
