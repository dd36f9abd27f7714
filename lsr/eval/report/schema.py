"""The form of report.json and summary.json: the schema (schema-1.json), reading, and checking with errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from lsr.errors import InvalidInput, MissingExtra, UnsupportedVersion, one_line

__all__ = ["load_report", "load_summary", "require", "schema", "validate_report", "validate_summary"]

MAJOR = 1
_LIMIT = 1e100  # of any number: sums and products of such do not overflow
_LONGEST = 160  # characters of a value or a reason that an error shows

# What "type" of the schema is called in an error.
_KINDS: dict[type, str] = {
    dict: "an object", list: "an array", str: "a text", bool: "a boolean", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of both files; `$defs/report` and `$defs/summary` are the two alone."""
    text = resources.files(__package__).joinpath("schema-1.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def require() -> None:
    """Raises `MissingExtra` when reports cannot be checked here, and so not written: ask before long work."""
    try:
        import jsonschema  # noqa: F401
    except ImportError:
        raise MissingExtra("jsonschema", "eval", "checking reports") from None


def load_report(path: str | Path) -> dict[str, Any]:
    """A report.json, checked. Raises `InvalidInput` (with the path of what is wrong) and `UnsupportedVersion`."""
    data = _read(Path(path))
    if isinstance(data, dict) and data.get("kind") == "summary":
        raise InvalidInput(
            f"{path}: a summary of several collections, not a report; name the report.json of one of them"
        )
    validate_report(data, where=str(path))
    return data  # type: ignore[no-any-return]  # an object, says the schema


def load_summary(path: str | Path) -> dict[str, Any]:
    """A summary.json, checked. Raises as `load_report` does."""
    data = _read(Path(path))
    validate_summary(data, where=str(path))
    return data  # type: ignore[no-any-return]


def validate_report(data: Any, *, where: str = "report.json") -> None:
    """Checks a report against the schema, and what no schema can say: lengths and names that must agree.

    Raises `InvalidInput` in one line (the file, the JSON path, what is wrong there), `UnsupportedVersion` for another
    major version than 1, `MissingExtra` without jsonschema.
    """
    _validate(data, "report", where, _disagreements)


def validate_summary(data: Any, *, where: str = "summary.json") -> None:
    """Checks a summary as `validate_report` checks a report."""
    _validate(data, "summary", where, _summary_disagreements)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; `lsr eval ... -o FOLDER` writes one") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}:{error.lineno}: not JSON ({error.msg}); make the report again") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 at byte {error.start}; make the report again") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of open brackets
        raise InvalidInput(f"{path}: not a report ({one_line(error)[:_LONGEST]})") from None


def _validate(data: Any, kind: str, where: str, disagreements: Callable[[Any], Iterator[tuple[str, str]]]) -> None:
    _check_version(data, where)
    for path, value in _no_numbers(data, "$"):
        raise InvalidInput(f"{where}: {path} is {value}; numbers are finite and below 1e100, or null")
    for error in _first_error(data, kind):
        raise InvalidInput(f"{where}: {error}")
    for path, wrong in disagreements(data):
        raise InvalidInput(f"{where}: {path} {wrong}")


def _check_version(data: Any, where: str) -> None:
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if isinstance(version, str) and (major := version.partition(".")[0]).isdecimal() and int(major[:9]) != MAJOR:
        raise UnsupportedVersion(
            f"{where}: schema_version {version[:20]!r}, and this lsr reads {MAJOR}.x: pip install -U lsr-engine"
        )


def _no_numbers(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Numbers that JSON has no word for, or that are too large to be drawn."""
    stack = [(data, path)]
    while stack:  # not by recursion: the schema has not yet been asked how deep this goes
        value, path = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((inner, f"{path}{_step(key)}") for key, inner in value.items())
        elif isinstance(value, list | tuple):
            stack.extend((inner, f"{path}[{i}]") for i, inner in enumerate(value) if not isinstance(inner, str))
        elif isinstance(value, float) and not abs(value) < _LIMIT:
            yield path, str(value)
        elif isinstance(value, int) and abs(value) >= _LIMIT:
            yield path, "a whole number of more than 100 digits"


def _first_error(data: Any, kind: str) -> Iterator[str]:
    require()
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    validator = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema()["$defs"]})
    error = best_match(validator.iter_errors(data))
    if error is not None:
        path = "$" + "".join(f"[{step}]" if isinstance(step, int) else _step(step) for step in error.absolute_path)
        yield f"{path} {_reason(error)}"


def _step(key: object) -> str:
    text = str(key)[:60]
    return f".{text}" if text.isidentifier() else f"[{text!r}]"


def _reason(error: Any) -> str:
    """What is wrong, without the whole value: jsonschema puts it first, and it may be a megabyte long."""
    value, wanted = error.instance, error.validator_value
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"is {_KINDS.get(type(value), type(value).__name__)}, not {' or '.join(kinds)}"
        case "required":
            return "lacks " + ", ".join(repr(key) for key in wanted if key not in value)
        case "minItems" | "maxItems":
            bound = "at least" if error.validator == "minItems" else "at most"
            return f"has {len(value)} items, not {bound} {wanted}"
        case "minLength":
            return "is empty"
        case "minimum" | "maximum":
            bound = "less" if error.validator == "minimum" else "more"
            return f"is {value}, {bound} than {wanted}"
        case "const":
            return f"is not {wanted!r}"
        case "uniqueItems":
            return "names something twice"
        case "not":
            return f"is an absolute path ({_cut(repr(value))}); say what it is without naming this machine"
        case "pattern":
            return f"is {_cut(repr(value))}, which is not of the form {wanted}"
        case _:
            return _cut(one_line(error))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _disagreements(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = [system["name"] for system in report["systems"]]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield f"$.systems[{i}].name", f"is {_cut(repr(name))} a second time; systems have names of their own"
    if report["headline"] not in report["measures"]:
        yield "$.headline", f"is {_cut(repr(report['headline']))}, which is not among $.measures"
    known = {*names, *(failed["name"] for failed in report["failed"])}
    for i, comparison in enumerate(report["comparisons"]):
        for side in ("system", "baseline"):
            if comparison[side] not in known:
                yield f"$.comparisons[{i}].{side}", f"is {_cut(repr(comparison[side]))}, which is not a system here"
    for i, failure in enumerate(report.get("failures") or ()):
        if failure["system"] not in known:
            yield f"$.failures[{i}].system", f"is {_cut(repr(failure['system']))}, which is not a system here"
    queries = len(report["per_query"]["query_ids"])
    for name, scores in report["per_query"]["scores"].items():
        path = f"$.per_query.scores{_step(name)}"
        if name not in known:
            yield path, "is of no system here"
        if len(scores) != queries:
            yield path, f"has {len(scores)} scores for {queries} queries"


def _summary_disagreements(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if summary["headline"] not in summary["measures"]:
        yield "$.headline", f"is {_cut(repr(summary['headline']))}, which is not among $.measures"
    names = [dataset["name"] for dataset in summary["datasets"]]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield f"$.datasets[{i}].name", f"is {_cut(repr(name))} a second time"
    for i, name in enumerate(summary["set"]):
        if name not in names:
            yield f"$.set[{i}]", f"is {_cut(repr(name))}, which is not among $.datasets"
    for i, comparison in enumerate(summary["comparisons"]):
        if comparison["dataset"] not in names:
            yield (
                f"$.comparisons[{i}].dataset",
                f"is {_cut(repr(comparison['dataset']))}, which is not among $.datasets",
            )
