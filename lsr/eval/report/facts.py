"""Tables of facts: the collection, the systems and their settings, where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lsr.eval.report import formats as f
from lsr.eval.report.table import Cell, Column, Table
from lsr.eval.report.texts import file_link
from lsr.eval.report.view import View

__all__ = ["collection_table", "provenance_table", "systems_table"]

_TWO = (Column("fact", number=False), Column("value", number=False))


def _facts(caption: str, pairs: list[tuple[str, str | None]]) -> Table:
    return Table(caption, _TWO, [[Cell(name), Cell(value)] for name, value in pairs if value])


def collection_table(view: View) -> Table:
    """Counts, grades and hashes of the collection."""
    d = view.dataset
    grades = ", ".join(f"{f.count(number)} of grade {grade}" for grade, number in d["grades"].items())
    relevant = f"{f.count(d['relevant'])}" + (
        f" (grade {d['relevance_threshold']} and above in binary measures)" if d["relevance_threshold"] != 1 else ""
    )
    return _facts(
        f"The collection {view.title}",
        [
            ("source", d["source"]),
            ("documents", f.count(d["documents"])),
            ("queries evaluated", f.count(d["queries"])),
            ("judgments", f.count(d["judgments"]) + (f": {grades}" if len(d["grades"]) > 1 else "")),
            ("relevant", relevant),
            ("queries with nothing relevant", f.count(d["queries_without_relevant"])),
            ("mean length of a document", f"{f.count(d['mean_document_characters'])} characters"
             if d["mean_document_characters"] is not None else None),
            ("judged documents missing", f.count(d["missing_documents"])),
            ("hits kept for a query", f.count(view.report["depth"])),
            ("hits with the query's own id", "dropped" if d["self_retrieval_dropped"] else "kept"),
            *((f"hash of the {name}", value) for name, value in d["hashes"].items()),
        ],
    )  # fmt: skip


def systems_table(view: View) -> Table:
    """What was run, with which settings, and its ranking in a file."""
    rows = []
    for i, system in enumerate(view.systems):
        settings = ", ".join(f"{key}={_scalar(value)}" for key, value in system["settings"].items())
        run = system.get("run")
        rows.append(
            [
                Cell(system["name"], system=i),
                Cell(system["kind"]),
                Cell("; ".join(part for part in (system["description"], settings) if part)),
                Cell(f.count(system["queries_without_hits"])),
                Cell(f.seconds(system.get("seconds"))),
                Cell(run or f.NONE, link=file_link(run)),
            ]
        )
    columns = [Column(name, number=name in ("without hits", "took")) for name in
               ("system", "kind", "what it is", "without hits", "took", "run")]  # fmt: skip
    notes = []
    for system in view.systems:
        if system["self_hits_dropped"]:
            notes.append(
                f"{system['name']}: {f.counted(system['self_hits_dropped'], 'hit')} with the query's own id dropped."
            )
        if system.get("ties_at_depth"):
            queries = f.counted(system["ties_at_depth"], "query", "queries")
            notes.append(f"{system['name']}: equal scores at the last place kept, in {queries}.")
    return Table("Systems and their settings", columns, rows, notes)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def provenance_table(document: Mapping[str, Any]) -> Table:
    """Software, machine and models of a report or a summary."""
    p = document["provenance"]
    commit = p.get("commit")
    if commit and p.get("dirty"):
        commit += " with uncommitted changes"
    cores = [f.counted(p["cores"], "core")] if p["cores"] is not None else []
    memory = [f"{f.decimal(p['memory_gb'])} GB of memory"] if p["memory_gb"] is not None else []
    used = [f"{f.counted(p['threads'], 'thread')} used"] if p["threads"] is not None else []
    machine = ", ".join([*([p["cpu"]] if p["cpu"] else []), *cores, *memory, *used])
    return _facts(
        "Where the numbers come from",
        [
            ("made", f.day(document["created"])),
            ("lsr", p["lsr_version"] + (f", commit {commit}" if commit else "")),
            ("Python", f"{p['python']} on {p['platform']}"),
            ("machine", machine),
            ("packages", ", ".join(f"{name} {version}" for name, version in p["packages"].items() if version)),
            ("seed", None if p["seed"] is None else str(p["seed"])),
            *((f"model {model['name']}", model["hash"] or "no hash") for model in p["models"]),
        ],
    )
