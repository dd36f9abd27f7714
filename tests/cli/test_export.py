"""`lsr export`: what it writes gives the same vectors, and a mistake is one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lsr import Encoder, load_encoder
from lsr.encoders.idf import idf
from tests.cli.commands import lsr, one_line
from tests.cli.test_main_job import write_lines
from tests.encoders import families

pytest.importorskip("transformers")

QUERIES = ["rotate the log file", "the dog the fox", "posting list?", ""]
SAYS = r"\d texts, against torch: largest difference \d(\.\d+)?e-0[5-9], mean cosine 1\.0000"
IN_8_BITS = ("--format", "onnx", "--precision", "int8")
FORMS = [IN_8_BITS, ("--format", "sentence-transformers")]
DOCUMENTS = [{"_id": str(i), "title": "", "text": text} for i, text in enumerate(families.SENTENCES)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return load_encoder(model)


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    """The model as ONNX, in float32: compared with torch, which takes long to load."""
    return export(model, model.parent / "exported", "--format", "onnx", says=SAYS)


def export(model: Path, output: Path, *options: str | Path, says: str = "") -> Path:
    """Runs the command, which must go well and leave stdout to results; `says` is what it must say on stderr."""
    done = lsr("export", model, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert str(output) in done.stderr
    assert re.search(says, done.stderr), done.stderr
    return output


def documents_of(encoder: Encoder) -> np.ndarray:
    return np.asarray(encoder.encode_documents(families.TEXTS).to_scipy().toarray())


def queries_of(encoder: Encoder) -> np.ndarray:
    return np.asarray(encoder.encode_query(QUERIES).to_scipy().toarray())


def terms_of(encoder: Encoder, text: str) -> set[str]:
    """The tokens of a text as the tokenizer alone gives them, special and unknown ones left out."""
    return {encoder.token(term) for term, _, _ in encoder.vocabulary.spans(text)}


def weights_of(encoder: Encoder, text: str) -> dict[str, float]:
    (terms,) = encoder.decode(encoder.encode_query(text))
    return dict(terms)


# -- what is written ---------------------------------------------------------------------------------------------------


def test_an_onnx_export_gives_the_vectors_of_the_model(exported: Path, encoder: Encoder) -> None:
    again = load_encoder(exported)
    np.testing.assert_allclose(documents_of(again), documents_of(encoder), atol=1e-4)
    np.testing.assert_allclose(queries_of(again), queries_of(encoder), atol=1e-4)
    assert (again.name, again.dim, again.max_length) == ("exported", encoder.dim, encoder.max_length)


def test_an_export_for_sentence_transformers_gives_the_same_vectors(
    model: Path, encoder: Encoder, tmp_path: Path
) -> None:
    again = load_encoder(export(model, tmp_path / "out", "--format", "sentence-transformers"))
    np.testing.assert_array_equal(documents_of(again), documents_of(encoder))
    np.testing.assert_array_equal(queries_of(again), queries_of(encoder))
    assert (tmp_path / "out" / "modules.json").is_file()


def test_8_bits_are_near_the_model(model: Path, encoder: Encoder, tmp_path: Path) -> None:
    again = load_encoder(export(model, tmp_path / "out", *IN_8_BITS, "--name", "small", says="against fp32: largest"))
    found, expected = documents_of(again), documents_of(encoder)
    assert not np.array_equal(found, expected)
    assert (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected) > 0.98
    np.testing.assert_array_equal(found, documents_of(load_encoder(model, precision="int8")))
    assert again.name == "small"


def test_limits_are_kept_in_the_export(model: Path, tmp_path: Path) -> None:
    again = load_encoder(export(model, tmp_path / "out", "--format", "onnx", "--max-length", "12", "--top-terms", "5"))
    assert again.max_length == 12
    everything = load_encoder(model, max_length=12).encode_documents(families.TEXTS)
    for (terms, weights), (all_terms, all_weights) in zip(
        again.encode_documents(families.TEXTS), everything, strict=True
    ):
        assert len(terms) == min(5, len(all_terms))
        assert set(terms.tolist()) <= set(all_terms.tolist())
        np.testing.assert_allclose(np.sort(weights), np.sort(all_weights)[-len(weights) :], atol=1e-4)


@pytest.mark.parametrize("form", FORMS, ids=["onnx", "sentence-transformers"])
def test_binary_queries_weigh_each_word_1(model: Path, encoder: Encoder, tmp_path: Path, form: tuple[str, ...]) -> None:
    again = load_encoder(export(model, tmp_path / "out", *form, "--query", "binary"))
    assert again.inference_free
    for query in QUERIES:
        assert weights_of(again, query) == dict.fromkeys(terms_of(encoder, query), 1.0)


@pytest.mark.parametrize("form", FORMS, ids=["onnx", "sentence-transformers"])
def test_queries_are_weighed_by_the_idf_of_the_documents_given(
    model: Path, encoder: Encoder, tmp_path: Path, form: tuple[str, ...]
) -> None:
    corpus = write_lines(tmp_path / "docs.jsonl", DOCUMENTS)
    again = load_encoder(export(model, tmp_path / "out", *form, "--idf-of", corpus))
    found = [terms_of(encoder, text) for text in families.SENTENCES]
    for query in QUERIES:
        terms = terms_of(encoder, query)
        frequencies = {term: sum(term in document for document in found) for term in terms}
        expected = {term: float(idf([df], len(found))[0]) for term, df in frequencies.items()}
        assert weights_of(again, query) == pytest.approx(expected, rel=1e-5)


def test_an_idf_json_weighs_queries(model: Path, encoder: Encoder, tmp_path: Path) -> None:
    table = {token: 0.5 + i / 50 for i, token in enumerate(encoder.vocabulary.tokens)}
    (tmp_path / "idf.json").write_text(json.dumps(table), encoding="utf-8")
    again = load_encoder(export(model, tmp_path / "out", *IN_8_BITS, "--query", tmp_path / "idf.json"))
    for query in QUERIES:
        expected = {term: table[term] for term in terms_of(encoder, query)}
        assert weights_of(again, query) == pytest.approx(expected, rel=1e-6)


def test_an_export_is_replaced_only_when_told_to(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export(model, output, *IN_8_BITS, "--name", "old")
    assert "already exists" in one_line(lsr("export", model, "-o", output, *IN_8_BITS, "--name", "new"))
    assert load_encoder(output).name == "old"
    export(model, output, *IN_8_BITS, "--name", "new", "--overwrite")
    assert load_encoder(output).name == "new"
    expected = documents_of(load_encoder(model, precision="int8"))
    np.testing.assert_array_equal(documents_of(load_encoder(output)), expected)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def mistakes() -> Iterator[tuple[str, list[str], str]]:
    """(name, arguments, what the line says). {d} is a folder, {m} a model, {x} an ONNX export of it."""
    onnx = ["-o", "{d}/out", "--format", "onnx"]
    yield (
        "unknown format",
        ["{m}", "-o", "{d}/out", "--format", "gguf"],
        "format 'gguf' is not known: .*onnx, sentence-",
    )
    yield "unknown precision", ["{m}", *onnx, "--precision", "int4"], "precision is 'int4': .*fp32 or int8"
    yield "two query sides", ["{m}", *onnx, "--query", "binary", "--idf-of", "{d}/docs.jsonl"], "--query and --idf-of"
    yield "unknown query side", ["{m}", *onnx, "--query", "{d}/none"], r"/none'.*lsr-tiny"
    yield "no documents", ["{m}", *onnx, "--idf-of", "{d}/none.jsonl"], r"none\.jsonl"
    yield "no such model", ["{d}/none", *onnx], "no encoder '.*/none'"
    yield "no model", ["{d}", *onnx], r"holds no encoder\.json, modules\.json or config\.json, so it is no model"
    yield "too long", ["{m}", *onnx, "--max-length", "4000"], "max_length is 4000: model reads 3 to 40"
    yield (
        "exported again",
        ["{x}", *onnx],
        "exported: is an ONNX export already; export the model that it was made from",
    )
    for form in ("onnx", "sentence-transformers"):
        yield f"output exists, {form}", ["{m}", "-o", "{d}", "--format", form], "already exists"


@pytest.mark.parametrize(("name", "arguments", "says"), list(mistakes()), ids=[m[0] for m in mistakes()])
def test_a_mistake_is_one_line_and_leaves_nothing(
    model: Path, exported: Path, tmp_path: Path, name: str, arguments: list[str], says: str
) -> None:
    corpus = write_lines(tmp_path / "docs.jsonl", DOCUMENTS)
    places = {"{d}": str(tmp_path), "{m}": str(model), "{x}": str(exported)}
    for mark, place in places.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    assert re.search(says, line := one_line(lsr("export", *arguments))), line
    assert list(tmp_path.iterdir()) == [corpus]


def test_without_a_format_the_usage_is_shown(model: Path, tmp_path: Path) -> None:
    done = lsr("export", model, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--format" in done.stderr
