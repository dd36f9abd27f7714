"""TREC runs: what is written is what every tool reads back, and what is read is in trec_eval's order."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsr import run_file
from lsr.errors import EvaluationError, InvalidInput, StorageError
from lsr.run_file import Ranking, read_run, trec_order, write_run

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
NEXT_TO_LOWEST = float(np.nextafter(np.float32(-LARGEST), np.float32(0)))
CORNERS = [0.0, -0.0, SMALLEST, -SMALLEST, 1.0, -1.0, 16777216.0, LARGEST, -LARGEST, NEXT_TO_LOWEST]

floats32 = st.one_of(st.sampled_from(CORNERS), st.floats(width=32, allow_nan=False, allow_infinity=False))
# Doubles that a float32 can hold only nearly: several become one.
doubles = st.one_of(floats32, st.floats(-1e30, 1e30), st.integers(16777210, 16777225).map(float))
words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=4)


def trec_eval_order(scores: Mapping[str, float]) -> list[str]:
    """The order in which trec_eval ranks documents: the rank of each is what it says when that one alone is relevant."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    ids = list(scores)
    evaluator = pytrec_eval.RelevanceEvaluator({str(i): {ids[i]: 1} for i in range(len(ids))}, {"recip_rank"})
    found = evaluator.evaluate({str(i): dict(scores) for i in range(len(ids))})
    ranks = [round(1 / found[str(i)]["recip_rank"]) for i in range(len(ids))]
    assert sorted(ranks) == list(range(1, len(ids) + 1))
    return [ids[i] for i in np.argsort(ranks)]


def as_other_tools_read(path: Path) -> dict[str, dict[str, float]]:
    run: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, _, score, _ = line.split()
        run.setdefault(query, {})[document] = float(score)
    return run


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Order


@given(st.dictionaries(words, doubles, min_size=1, max_size=30))
@example({"a": 16777217.0, "b": 16777216.0, "c": 16777218.0})
@example({"a": 0.0, "b": -0.0, "c": SMALLEST})
@example({"a": 1.0, "é": 1.0, "\U0001f600": 1.0, "\ufb01": 1.0, "Z": 1.0})  # UTF-16 would order the last ones otherwise
def test_the_order_is_that_of_trec_eval(scores: dict[str, float]) -> None:
    ranking = trec_order(scores)
    assert list(ranking.ids) == trec_eval_order(scores)
    assert all(first >= second for first, second in pairwise(ranking.scores))
    assert all(ranking.scores[i] == np.float32(scores[ranking.ids[i]]) for i in range(len(scores)))


def test_scores_that_are_one_float32_are_a_tie_and_ties_go_by_id_descending() -> None:
    assert trec_order({"a": 16777216.0, "b": 16777217.0, "c": 1.0}) == Ranking(
        ("b", "a", "c"), (16777216.0, 16777216.0, 1.0)
    )
    assert trec_order({"9": 1.0, "10": 1.0, "B": 1.0, "a": 1.0}).ids == ("a", "B", "9", "10")
    assert trec_order({}) == Ranking((), ())


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e39, "high", None])
def test_a_score_that_orders_nothing_is_refused(score: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="score"):
        trec_order({"a": 1.0, "b": score})
    with pytest.raises(InvalidInput, match="score"):
        write_run(tmp_path / "run", [("q", ["a", "b"], [1.0, score])])
    assert not list(tmp_path.iterdir())


# Writing


@given(st.lists(floats32, max_size=40), st.randoms(use_true_random=False))
@example([-LARGEST] * 40, random.Random(0))
@example([LARGEST] * 40, random.Random(0))
@example([-1.0, -LARGEST, 5.0, -LARGEST, -LARGEST], random.Random(1))
@example([0.0, -0.0] * 10, random.Random(2))
@example([SMALLEST] * 5, random.Random(3))
def test_what_is_written_is_ranked_so_by_trec_eval_and_read_back_so(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], order: random.Random
) -> None:
    ids = [f"d{i}" for i in range(len(scores))]
    order.shuffle(ids)
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    assert write_run(path, [("q", ids, scores), ("other", ["x"], [0.0])]) == 2
    written = as_other_tools_read(path)
    assert list(written.get("q", {})) == ids
    values = list(written.get("q", {}).values())
    assert all(math.isfinite(value) and float(np.float32(value)) == value for value in values)
    assert all(first > second for first, second in pairwise(values))
    ranking = read_run(path).get("q", Ranking((), ()))
    assert list(ranking.ids) == ids
    assert list(ranking.scores) == values
    if ids:
        assert trec_eval_order(written["q"]) == ids


@pytest.mark.parametrize("score", [0.0, -0.0, 1.0, -1.0, 21.5, LARGEST, -LARGEST])
def test_hundreds_of_equal_scores_stay_in_their_order(score: float, tmp_path: Path) -> None:
    ids = [f"d{i}" for i in range(700)]
    write_run(tmp_path / "run", [("q", ids, np.full(700, score, np.float32))])
    ranking = read_run(tmp_path / "run")["q"]
    assert list(ranking.ids) == ids
    assert all(first > second for first, second in pairwise(ranking.scores))
    assert ranking.scores[-1] >= -LARGEST
    assert max(abs(found - score) for found in ranking.scores) <= 700 * max(abs(score) * 2.0**-23, SMALLEST)


@given(st.lists(floats32.map(lambda score: score + 0.0), unique=True, max_size=30))
def test_scores_that_fall_already_are_written_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float]
) -> None:
    scores.sort(reverse=True)
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_run(path, [("q", [str(i) for i in range(len(scores))], scores)])
    assert list(as_other_tools_read(path).get("q", {}).values()) == scores


def test_the_columns_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    write_run(path, [("q1", ("b", "ä"), np.array([0.1, 0.1], np.float32)), ("q2", (), ())], tag="mine")
    assert path.read_text(encoding="utf-8") == (
        "q1 Q0 b 1 0.10000000149011612 mine\nq1 Q0 ä 2 0.09999999403953552 mine\n"
    )


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        ([("q 1", ["a"], [1.0])], "query id 'q 1' has white space"),
        ([("", ["a"], [1.0])], "query id '' has white space"),
        ([("q", ["a\u00a0b"], [1.0])], "document id 'a\\\\xa0b' has white space"),
        ([("q", ["a", "a"], [1.0, 0.5])], "'q' has a document twice"),
        ([("q", ["a"], [1.0]), ("q", ["b"], [1.0])], "'q' comes twice"),
        ([("q", ["a"], [1.0, 2.0])], "1 ids and 2 scores"),
    ],
)
def test_what_a_run_cannot_hold_is_refused_and_leaves_nothing(
    ranked: list[tuple[str, Sequence[str], Sequence[float]]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_run(tmp_path / "run", ranked)
    assert not list(tmp_path.iterdir())


def test_a_tag_is_one_word(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="tag 'my system' has white space"):
        write_run(tmp_path / "run", [], tag="my system")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_run(tmp_path / "no" / "run", [("q", ["a"], [1.0])])


# Reading

RUN = "q1 Q0 a 1 2.5 x\nq2\tQ0\tb\t1\t-1e3\tx\nq1 Q0 c 2 2.5 x\n\nq1 Q0 b 3 7 x"


@pytest.mark.parametrize("make", ["plain", "gz", "crlf", "bom"])
def test_a_run_is_read_in_trec_order_whatever_the_order_of_lines(make: str, tmp_path: Path) -> None:
    text = RUN.replace("\n", "\r\n") if make == "crlf" else RUN
    data = (b"\xef\xbb\xbf" if make == "bom" else b"") + text.encode()
    path = put(tmp_path / "run.gz", gzip.compress(data)) if make == "gz" else put(tmp_path / "run", data)
    found = read_run(path)
    assert found == {"q1": Ranking(("b", "c", "a"), (7.0, 2.5, 2.5)), "q2": Ranking(("b",), (-1000.0,))}
    assert list(found) == ["q1", "q2"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 13, 64])
def test_lines_do_not_depend_on_how_the_file_is_cut(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "run", "\n".join(f"q{i % 3} Q0 dä{i} 1 {i} x" for i in range(50)))
    whole = read_run(path)
    assert sum(len(ranking.ids) for ranking in whole.values()) == 50
    monkeypatch.setattr(run_file, "CHUNK", chunk)
    assert read_run(path) == whole
    put(path, path.read_bytes() + b"\nq1 Q0 d 1 1")
    with pytest.raises(EvaluationError, match=r"run:51: 5 columns"):
        read_run(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"run: empty: no hits"),
        ("\n \n", r"run: empty: no hits"),
        ("q Q0 a 1 2.0\n", r"run:1: 5 columns; a TREC run has 6"),
        ("q Q0 a 1 2.0 x\nq Q0 b c 2 1.0 x\n", r"run:2: 7 columns"),
        ("q Q0 a 1 2.0 x\nq Q0 b 2 high x\n", r"run:2: the score 'high' \(fifth column\) is not a finite number"),
        ("q Q0 a 1 1_000 x\n", r"run:1: the score '1_000'"),
        ("q Q0 a 1 2.0 x\nq Q0 b 2 nan x\n", r"run:2: the score 'nan'"),
        ("q Q0 a 1 2.0 x\np Q0 b 2 1 x\nq Q0 b 2 -inf x\n", r"run:3: the score '-inf'"),
        ("q Q0 a 1 1e39 x\n", r"run:1: the score '1e\+39'"),
        ("q Q0 a 1 2.0 x\np Q0 a 1 2.0 x\nq Q0 a 2 1.0 x\n", r"run:3: the document 'a' is at line 1 already"),
        (b"q Q0 a 1 2.0 x\nq Q0 \xff 2 1.0 x\n", r"run:2: not valid UTF-8"),
        (b"q Q0 a 1 2.0 \xe4\n", r"run:1: not valid UTF-8"),
        (b"q" * 200_000, r"run:1: a line of more than 65,536 bytes"),
        ("query-id\tcorpus-id\tscore\n1\t2\t1\n", r"run:1: 3 columns"),
    ],
)
def test_what_is_no_run_is_refused_with_its_line(
    text: str | bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "run", text)
    monkeypatch.setattr(run_file, "CHUNK", 50_000)
    with pytest.raises(EvaluationError, match=message) as caught:
        read_run(path)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"missing: cannot be read \(No such file"):
        read_run(tmp_path / "missing")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_run(tmp_path)
    lines = "".join(f"q Q0 d{i} {i} {-i} x\n" for i in range(5000))
    with pytest.raises(EvaluationError, match=r"cut\.gz.*cannot be read"):
        read_run(put(tmp_path / "cut.gz", gzip.compress(lines.encode())[:-2000]))
    with pytest.raises(EvaluationError, match=r"plain\.gz: cannot be read"):
        read_run(put(tmp_path / "plain.gz", RUN))
