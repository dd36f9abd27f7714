"""Reproductions: what is expected is checked to 4 decimals, what cannot be run is skipped with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr.errors import InvalidInput
from lsr.eval.reproduce import Result, check_reproductions, read_reproductions
from tests.conftest import REPOSITORY

ENTRY = """
- name: ours
  dataset: {dataset}
  system: bm25
  source: by hand
  expect: {{RR@10: {score}}}
"""


def checked(path: Path) -> list[Result]:
    return list(check_reproductions(path, lambda *_: None))


def write(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text)
    return path


def test_a_score_is_expected_to_four_decimals(collection: Path, tmp_path: Path) -> None:
    # q1, q2 and q3 have a relevant document first, q4 finds nothing.
    (result,) = checked(write(tmp_path, ENTRY.format(dataset=collection, score=0.75)))
    assert (result.verdict, result.text) == ("matches", "RR@10 0.7500 (expected 0.7500)")
    (result,) = checked(write(tmp_path, ENTRY.format(dataset=collection, score=0.7502)))
    assert result.verdict == "differs"
    (result,) = checked(write(tmp_path, ENTRY.format(dataset=collection, score=0.7502) + "  tolerance: 0.001\n"))
    assert result.verdict == "matches"


def test_what_is_not_here_is_skipped_with_the_reason(collection: Path, tmp_path: Path) -> None:
    text = ENTRY.format(dataset=tmp_path / "nowhere", score=1)
    text += ENTRY.format(dataset=collection, score=1).replace("bm25", "org/model")
    text += ENTRY.format(dataset=collection, score=0.75) + "  documents: '0123'\n"
    results = checked(write(tmp_path, text))
    assert [result.verdict for result in results] == ["skipped"] * 3
    for result, says in zip(results, ["no such folder", "no encoder 'org/model'", "has other documents"], strict=True):
        assert says in result.text


def test_a_collection_that_cannot_be_evaluated_has_failed(collection: Path, tmp_path: Path) -> None:
    (collection / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgone\t1\n")
    (result,) = checked(write(tmp_path, ENTRY.format(dataset=collection, score=1)))
    assert result.verdict == "failed"
    assert "not in the corpus" in result.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no list"),
        ("a: [", "not YAML"),
        ("- 3", "entry 1: not a mapping"),
        ("- {name: x}", "dataset is missing"),
        ("- {name: x, dataset: y, system: z, source: s, expect: {}}", "expect holds no scores"),
        ("- {name: x, dataset: y, system: z, source: s, expect: {wrong@10: 1}}", "unknown measure"),
        ("- {name: x, dataset: y, system: z, source: s, expect: {RR@10: 1}, colour: red}", "unknown key 'colour'"),
        ("- {name: x, dataset: y, system: z, source: s, expect: {RR@10: 1}, options: {depth: a}}", "options are"),
    ],
)
def test_malformed_files_are_refused_before_anything_is_run(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        checked(write(tmp_path, text))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no reproductions"):
        checked(tmp_path)


def test_the_reproductions_of_the_project_can_be_read() -> None:
    assert len({one.name for one in read_reproductions(REPOSITORY / "reproductions")}) > 20


@pytest.mark.slow
def test_the_reproductions_of_the_bundled_encoder_hold(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_DATA", str(shared / "data"))
    results = checked(REPOSITORY / "reproductions")
    assert [result for result in results if result.verdict in ("differs", "failed")] == []
    assert any(result.verdict == "matches" for result in results)


def test_bm25_on_scifact_is_near_the_published_figure(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lucene's BM25 has .6789 there (Thakur et al. 2021; Pyserini, flat index); ours has another tokenizer."""
    monkeypatch.setenv("LSR_DATA", str(shared / "data"))
    wanted = [
        one for one in read_reproductions(REPOSITORY / "reproductions" / "bm25.yaml") if one.name == "bm25 on SciFact"
    ]
    assert wanted[0].expect["nDCG@10"] == pytest.approx(0.6789, abs=0.015)
