"""lsr.json: what lsr does with a model in the layout of sentence-transformers, which has no place for it and passes it over.

    {"format_version": 1,
     "document": {"top_terms": 256, "dropped": [0, 100], "prune_ratio": 0.1},
     "query": {"special": "drop", "unknown": "drop", "adapts": true, "max_length": null}}

Both sides may be missing, and each of their values: then all is as the layout says. The query side has the values of a
document where it is a network, with a max_length where both sides are one network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lsr.encoders.layouts import checked
from lsr.encoders.layouts.files import Contents, json_bytes
from lsr.encoders.model import NetworkSide, OnnxSide, Side, TableSide, VocabularyHead
from lsr.encoders.network.checkpoint import read_json

__all__ = ["POLICIES", "policy_files", "with_policies"]

POLICIES = "lsr.json"
FORMAT_VERSION = 1
OF_NETWORKS = {"top_terms", "dropped", "prune_ratio", "max_length"}
OF_TABLES = {*checked.POLICIES, "adapts", "max_length"} - {"repeated"}


def policy_files(query: Side, document: NetworkSide) -> Contents:
    """The file, where there is something to say."""
    sides: dict[str, Any] = {"document": _of_network(document)}
    if isinstance(query, NetworkSide):
        sides["query"] = _of_network(query)
        if query.folder == document.folder and query.max_length != document.max_length:
            sides["query"]["max_length"] = query.max_length
    elif isinstance(query, TableSide):
        sides["query"] = _of_table(query)
    said = {which: values for which, values in sides.items() if values}
    return {POLICIES: json_bytes({"format_version": FORMAT_VERSION} | said)} if said else {}


def with_policies(folder: Path, query: Side, document: Side) -> tuple[Side, Side]:
    """Both sides as the folder's lsr.json says, if it has one. Raises `EncoderError` when it cannot be followed."""
    path = folder / POLICIES
    if not path.is_file():
        return query, document
    found = read_json(path)
    checked.version(path, found, FORMAT_VERSION)
    with checked.described(path):
        checked.unknown_keys(found, {"format_version", "query", "document"})
        entries = [found.get(which, {}) for which in ("query", "document")]
        same = query is document and entries[0] == entries[1]
        after = _applied(document, entries[1])
        return (after if same else _applied(query, entries[0])), after


def _of_network(side: NetworkSide) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if side.top_terms is not None:
        found["top_terms"] = side.top_terms
    if side.dropped:
        found["dropped"] = list(side.dropped)
    if isinstance(side.head, VocabularyHead) and side.head.prune_ratio:
        found["prune_ratio"] = side.head.prune_ratio
    return found


def _of_table(side: TableSide) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: getattr(side, name) for name in ("special", "unknown") if getattr(side, name) != "table"
    }
    if side.adapts:
        found["adapts"] = True
    if side.max_length is None:  # the layout would give it the limit of documents
        found["max_length"] = side.max_length
    return found


def _applied(side: Side, entry: Mapping[str, Any]) -> Side:
    assert not isinstance(side, OnnxSide)
    if isinstance(side, TableSide):
        checked.unknown_keys(entry, OF_TABLES)
        values: dict[str, Any] = {
            name: checked.choice(entry, name, checked.POLICIES[name])
            for name in ("special", "unknown")
            if name in entry
        }
        if "adapts" in entry:
            values["adapts"] = checked.boolean(entry, "adapts")
        if "max_length" in entry:
            values["max_length"] = checked.count(entry, "max_length")
        return replace(side, **values)
    checked.unknown_keys(entry, OF_NETWORKS)
    values = {}
    if "top_terms" in entry:
        values["top_terms"] = checked.count(entry, "top_terms")
    if "dropped" in entry:
        values["dropped"] = checked.terms(entry, side.dim)
    if "max_length" in entry:
        values["max_length"] = checked.limit(entry, side.positions)
    if "prune_ratio" in entry:
        if not isinstance(side.head, VocabularyHead):
            raise ValueError("prune_ratio goes with a vocabulary head")
        values["head"] = replace(side.head, prune_ratio=checked.ratio(entry))
    return replace(side, **values)
