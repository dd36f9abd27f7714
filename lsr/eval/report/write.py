"""Writing a report: the JSON, and every other form made from that JSON and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.disk import atomic_write
from lsr.errors import InvalidInput, StorageError, one_line
from lsr.eval.report.html import report_html, summary_html
from lsr.eval.report.latex import report_latex
from lsr.eval.report.markdown import report_markdown, summary_markdown
from lsr.eval.report.schema import schema, validate_report, validate_summary
from lsr.eval.report.texts import UNFIT

__all__ = ["json_text", "write_files", "write_report", "write_summary"]

_LINE = 100  # characters of an object that stands in one line


def write_report(report: Mapping[str, Any], folder: str | Path, *, latex: bool = False) -> list[Path]:
    """Writes report.json, report.md, report.html (and report.tex) into a folder, made when it is not there.

    The pages are made from the JSON text, read again: written once more from a loaded report.json they are the same to
    the byte. Gives the paths. Raises as `validate_report` does, before anything is written, and `StorageError`.
    """
    text, data = _through_json(report, "report")
    validate_report(data)
    files = {"report.json": text, "report.md": report_markdown(data), "report.html": report_html(data)}
    if latex:
        files["report.tex"] = report_latex(data)
    return write_files(files, Path(folder))


def write_summary(summary: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes summary.json, summary.md and summary.html into a folder; as `write_report`."""
    text, data = _through_json(summary, "summary")
    validate_summary(data)
    files = {"summary.json": text, "summary.md": summary_markdown(data), "summary.html": summary_html(data)}
    return write_files(files, Path(folder))


def _through_json(document: Mapping[str, Any], kind: str) -> tuple[str, Any]:
    try:
        ordered = _ordered(document, schema()["$defs"][kind])
        text = json_text(ordered)
        return text, json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{kind}.json: cannot be written as JSON ({one_line(error)})") from None


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes texts by the names of their files into a folder, made when it is not there; the paths. Raises `StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror or error}); name another folder") from error
    for name, text in files.items():
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in files]


def json_text(document: Any) -> str:
    """JSON for people: lists of plain values in one line, short objects too, the rest over several."""
    return "\n".join(_lines(document)) + "\n"


def _ordered(value: Any, node: Mapping[str, Any]) -> Any:
    """The same value with keys in the order of the schema, those that it does not name after them as they came."""
    node = _resolved(node)
    if isinstance(value, Mapping):
        known: Mapping[str, Any] = node.get("properties", {})
        other = node.get("additionalProperties", {})
        keys = [key for key in known if key in value] + [key for key in value if key not in known]
        return {key: _ordered(value[key], known.get(key, other)) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item, node.get("items", {})) for item in value]
    return value


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node with what it refers to, or may be instead of null, taken in."""
    inner: dict[str, Any] = {}
    for part in (*node.get("oneOf", ()), *node.get("allOf", ())):
        inner.update(_resolved(part))
    if "$ref" in node:
        inner.update(_resolved(schema()["$defs"][node["$ref"].rpartition("/")[2]]))
    merged = {**inner, **node}
    if "properties" in inner and "properties" in node:
        merged["properties"] = {**inner["properties"], **node["properties"]}
    return merged


def _lines(value: Any, indent: str = "", before: str = "", after: str = "") -> list[str]:
    if isinstance(value, dict) and value and not _short(value):
        items = [(f"{_scalar(str(key))}: ", item) for key, item in value.items()]
        return _block(items, "{}", indent, before, after)
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return _block([("", item) for item in value], "[]", indent, before, after)
    return [f"{indent}{before}{_scalar(value)}{after}"]


def _block(items: list[tuple[str, Any]], ends: str, indent: str, before: str, after: str) -> list[str]:
    lines = [f"{indent}{before}{ends[0]}"]
    for i, (key, item) in enumerate(items):
        lines += _lines(item, indent + "  ", key, "," if i < len(items) - 1 else "")
    return [*lines, f"{indent}{ends[1]}{after}"]


def _short(value: dict[str, Any]) -> bool:
    """Whether an object holds plain values only, and few."""
    return not any(isinstance(item, dict | list) for item in value.values()) and len(_scalar(value)) <= _LINE


def _scalar(value: Any) -> str:
    # NaN goes through here, and is refused by the check that follows, with its path.
    text = json.dumps(value, ensure_ascii=False)
    # What would turn the direction of the lines that follow, or is no character, stands as \u202e.
    return UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
