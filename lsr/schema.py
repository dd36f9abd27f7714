"""Mappings to dataclasses, strictly: unknown names, wrong types and values out of range are refused by the place they
stand at."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lsr.errors import InvalidInput, MissingExtra, one_line

__all__ = ["between", "choice", "from_mapping", "read_yaml"]


def between(least: float, most: float) -> dict[str, Any]:
    """Metadata of a field whose value lies between both, which it may be."""
    return {"between": (least, most)}


def choice(*names: str) -> dict[str, Any]:
    """Metadata of a field that is one of the names."""
    return {"choice": names}


def read_yaml(path: Path, what: str = "recipe", extra: str = "train") -> Any:
    """What a YAML file holds. Raises `InvalidInput` with file and line, `MissingExtra` of that extra without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise MissingExtra("pyyaml", extra, f"reading a {what}") from None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InvalidInput(f"{path}: the {what} cannot be read ({reason})") from None

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice in a mapping: the last would win without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for i, key in enumerate(keys):
                if key in keys[:i]:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key!r} stands twice", node.value[i][0].start_mark
                    )
            return super().construct_mapping(node, deep)

    try:
        loader = Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        what = getattr(error, "problem", None) or one_line(error)
        raise InvalidInput(f"{place}: not YAML ({what})") from None


def from_mapping(kind: type[Any], values: Any, where: str, **given: Any) -> Any:
    """An instance of the dataclass `kind`; `given` are fields that are not read. Raises `InvalidInput`."""
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{where}: must be a mapping of names and values, not {_called(values)}")
    known = {f.name: f for f in fields(kind) if not f.metadata.get("skip")}
    hints = typing.get_type_hints(kind)
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            close = get_close_matches(str(key), known, n=1, cutoff=0.5)
            remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise InvalidInput(f"{where}: unknown key {key!r}; {remedy}")
        place = f"{where}: {key}" if ": " not in where else f"{where}.{key}"
        read[key] = _checked(_value(hints[key], value, place), known[key].metadata, place)
    for name, spec in known.items():
        if name not in read and spec.default is MISSING and spec.default_factory is MISSING:
            raise InvalidInput(f"{where}: needs {name}")
    try:
        return kind(**read, **given)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None


def _value(hint: Any, value: Any, place: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return from_mapping(hint, value, place)
    if typing.get_origin(hint) is tuple:
        return _several(typing.get_args(hint), value, place)
    if hint is float and (type(value) is int or isinstance(value, str)):  # YAML 1.1 reads 1e-4 as a text
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    if type(value) is not hint:
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise InvalidInput(f"{place} is {_called(value)}: it must be {names[hint]}")
    return value


def _several(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput(f"{place} is {_called(value)}: it must be a list")
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], part, f"{place}[{i}]") for i, part in enumerate(value))
    if len(value) != len(kinds):
        raise InvalidInput(f"{place} has {len(value)} values: it must have {len(kinds)}")
    return tuple(_value(kind, part, f"{place}[{i}]") for i, (kind, part) in enumerate(zip(kinds, value, strict=True)))


def _checked(value: Any, metadata: Mapping[str, Any], place: str) -> Any:
    if value is None:
        return value
    if "choice" in metadata and value not in metadata["choice"]:
        close = get_close_matches(str(value), metadata["choice"], n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InvalidInput(f"{place} is {value!r}: it must be one of {', '.join(metadata['choice'])}{hint}")
    if "between" in metadata:
        least, most = metadata["between"]
        if not (math.isfinite(value) and least <= value <= most):
            raise InvalidInput(f"{place} is {value!r}: it must be between {least:,} and {most:,}")
    return value


def _called(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{type(value).__name__} {text[:50]}..."
