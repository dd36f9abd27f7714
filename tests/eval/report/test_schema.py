"""What a report must be: every kind of fault is named in one line, with its path; and how the file is written."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lsr.errors import InvalidInput, LsrError, MissingExtra, StorageError, UnsupportedVersion
from lsr.eval.report import (
    load_report,
    load_summary,
    require,
    schema,
    validate_report,
    validate_summary,
    write_report,
    write_summary,
)
from tests.eval.report.examples import example_report, example_summary

REPORT, SUMMARY = example_report(queries=6), example_summary()


def _step(path: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in path.split("/")]


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path such as systems/0/name; ... removes it."""
    copied = copy.deepcopy(base)
    inner: Any = copied
    *steps, last = _step(path)
    for step in steps:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copied


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        # what the schema says
        ("dataset", ..., "$ lacks 'dataset'"),
        ("systems/0/metrics", ..., "$.systems[0] lacks 'metrics'"),
        ("systems/1/latency_ms/p99", ..., "$.systems[1].latency_ms lacks 'p99'"),
        ("dataset/documents", "many", "$.dataset.documents is a text, not integer"),
        ("depth", None, "$.depth is null, not integer"),
        ("systems", {}, "$.systems is an object, not array"),
        ("dataset/queries", -1, "$.dataset.queries is -1, less than 0"),
        ("comparisons/0/p", 1.5, "$.comparisons[0].p is 1.5, more than 1"),
        ("systems/0/latency_ms/p50", -0.5, "$.systems[0].latency_ms.p50 is -0.5, less than 0"),
        (
            "systems/0/latency_ms/quantiles",
            [0.1] * 7,
            "$.systems[0].latency_ms.quantiles has 7 items, not at least 101",
        ),
        ("systems/0/intervals/nDCG@10", [0, 1, 2], "$.systems[0].intervals['nDCG@10'] has 3 items, not at most 2"),
        ("systems/0/name", "", "$.systems[0].name is empty"),
        ("measures", ["nDCG@10", "nDCG@10"], "$.measures names something twice"),
        ("created", "yesterday", "$.created is 'yesterday', which is not of the form"),
        ("schema_version", "1", "$.schema_version is '1', which is not of the form"),
        ("dataset/source", "/home/me/data", "$.dataset.source is an absolute path"),
        ("dataset/source", "C:\\data", "$.dataset.source is an absolute path"),
        ("provenance/memory_gb", [], "$.provenance.memory_gb is an array, not number or null"),
        ("per_query/scores/bm25/2", "x", "$.per_query.scores.bm25[2] is a text"),
        # what it cannot say
        ("systems/1/metrics/nDCG@10", float("nan"), "$.systems[1].metrics['nDCG@10'] is nan; numbers are finite"),
        ("systems/1/seconds", float("-inf"), "$.systems[1].seconds is -inf; numbers are finite"),
        ("systems/1/seconds", 1e300, "$.systems[1].seconds is 1e+300; numbers are finite and below"),
        ("provenance/seed", 10**400, "$.provenance.seed is a whole number of more than 100 digits"),
        ("systems/2/name", "bm25", "$.systems[2].name is 'bm25' a second time"),
        ("headline", "MRR", "$.headline is 'MRR', which is not among $.measures"),
        ("comparisons/0/system", "nobody", "$.comparisons[0].system is 'nobody', which is not a system here"),
        ("comparisons/1/baseline", "nobody", "$.comparisons[1].baseline is 'nobody'"),
        ("failures/0/system", "nobody", "$.failures[0].system is 'nobody'"),
        ("per_query/scores/bm25", [0.5], "$.per_query.scores.bm25 has 1 scores for 6 queries"),
        ("per_query/scores/nobody", [0.5] * 6, "$.per_query.scores.nobody is of no system here"),
    ],
)
def test_each_fault_of_a_report_is_named_with_its_path(path: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_report(changed(REPORT, path, value), where="my.json")
    message = str(caught.value)
    assert message.startswith(f"my.json: {says}")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("kind", ..., "$ lacks 'kind'"),
        ("kind", "report", "$.kind is not 'summary'"),
        ("datasets/0/metrics", ..., "$.datasets[0] lacks 'metrics'"),
        ("comparisons/0/dataset", ..., "$.comparisons[0] lacks 'dataset'"),
        ("macro/bm25/nDCG@10", float("inf"), "$.macro.bm25['nDCG@10'] is inf"),
        ("headline", "MRR", "$.headline is 'MRR', which is not among $.measures"),
        ("datasets/1/name", "scifact", "$.datasets[1].name is 'scifact' a second time"),
        ("set/1", "nobody", "$.set[1] is 'nobody', which is not among $.datasets"),
        ("comparisons/0/dataset", "nobody", "$.comparisons[0].dataset is 'nobody', which is not among $.datasets"),
    ],
)
def test_each_fault_of_a_summary_is_named_with_its_path(path: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_summary(changed(SUMMARY, path, value))
    assert str(caught.value).startswith(f"summary.json: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("huge", ["x" * 10**6, ["x"] * 10**5])
def test_a_fault_in_a_large_value_is_still_one_short_line(huge: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_report({**REPORT, "created": huge})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("data", [None, [], "x", 1, {}])
def test_what_is_no_object_or_empty_is_refused(data: Any) -> None:
    for validate in (validate_report, validate_summary):
        with pytest.raises(InvalidInput, match=r"json: \$ (is|lacks)"):
            validate(data)


def test_another_major_version_is_refused_and_a_minor_one_read() -> None:
    validate_report({**REPORT, "schema_version": "1.7", "something_new": {"x": 1}})
    for newer in ("2.0", "10.1", "0.9"):
        with pytest.raises(UnsupportedVersion, match=r"reads 1\.x: pip install -U"):
            validate_report({**REPORT, "schema_version": newer})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ":1: not JSON"),
        (b'{\n"a": 1,\n}', ":3: not JSON"),
        (b'{"a": "\xff"}', ": not UTF-8 at byte 7"),
        (b"[" * 10**5, ": not"),
        (b'{"depth": ' + b"9" * 10**4 + b"}", ": not a report"),
        (b"[1]", ": $ is an array, not object"),
        (b'{"kind": "summary"}', ": a summary of several collections, not a report; name the report.json"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        load_report(path)
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    for load in (load_report, load_summary):
        with pytest.raises(InvalidInput, match=r"none\.json: no such file; `lsr eval"):
            load(tmp_path / "none.json")
        with pytest.raises(InvalidInput, match="cannot be read"):
            load(tmp_path)


def test_without_jsonschema_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require()
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-engine\[eval\]'"):
        require()
    with pytest.raises(MissingExtra):
        validate_report(REPORT)


# -- writing -----------------------------------------------------------------------------------------------------------


def _orders(value: Any) -> Any:
    """The order of keys, all the way down."""
    if isinstance(value, dict):
        return [(key, _orders(inner)) for key, inner in value.items()]
    return [_orders(inner) for inner in value] if isinstance(value, list) else None


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(inner) for inner in value] if isinstance(value, list) else value


def test_keys_stand_in_the_order_of_the_schema_whatever_order_they_came_in(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "a")
    write_report(_reversed(REPORT), tmp_path / "b")
    one, other = (json.loads((tmp_path / name / "report.json").read_bytes()) for name in "ab")
    assert one == other
    assert list(one) == list(other) == [key for key in schema()["$defs"]["report"]["properties"] if key in REPORT]
    for at in ("dataset", "provenance", "detectable"):
        assert list(one[at]) == list(other[at])
    assert list(one["systems"][0]["latency_ms"]) == list(other["systems"][0]["latency_ms"])


def test_a_list_of_numbers_stands_in_one_line_so_that_differences_can_be_read(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path)
    lines = (tmp_path / "report.json").read_text(encoding="utf-8").splitlines()
    assert sum(line.lstrip().startswith('"quantiles": [') and line.rstrip(",").endswith("]") for line in lines) == 3
    assert len(lines) < 600


def test_nothing_is_written_of_a_report_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        write_report(changed(REPORT, "systems/0/metrics/nDCG@10", float("nan")), tmp_path / "report")
    with pytest.raises(InvalidInput):
        write_summary(changed(SUMMARY, "set/0", "nobody"), tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"report\.json: cannot be written as JSON"):
        write_report({**REPORT, "more": value}, tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        write_report(REPORT, tmp_path / "file" / "report")


def test_half_a_character_is_written_and_read_again(tmp_path: Path) -> None:
    write_report(changed(REPORT, "systems/1/description", "half \ud800 of it"), tmp_path)
    assert load_report(tmp_path / "report.json")["systems"][1]["description"] == "half \ud800 of it"
    assert "half \ufffd of it" in (tmp_path / "report.md").read_text(encoding="utf-8")


# -- anything at all ---------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


def _paths(value: Any, path: str = "") -> list[str]:
    found = [path] if path else []
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in items[:8]:
        found += _paths(inner, f"{path}/{key}".lstrip("/"))
    return found


def _refusal(report: dict[str, Any]) -> str | None:
    try:
        validate_report(report)
    except LsrError as error:
        return str(error)
    return None


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(_paths(REPORT)), _JSON)
def test_any_value_anywhere_is_accepted_or_refused_in_one_line(path: str, value: Any) -> None:
    refusal = _refusal(changed(REPORT, path, value))
    assert refusal is None or (refusal.startswith("report.json: ") and "\n" not in refusal)
