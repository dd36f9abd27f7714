"""`lsr eval`: systems on collections, and the reports of that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lsr.disk import atomic_write, exists
from lsr.errors import EvaluationError, InvalidInput, LsrError, OutputExists
from lsr.eval.assemble import Scored, compared, corrected, report_body
from lsr.eval.datasets import open_dataset, survey
from lsr.eval.datasets.conventions import counted_as
from lsr.eval.measures import DEFAULT_MEASURES, Measure
from lsr.eval.provenance import now, provenance
from lsr.eval.report import load_report, load_summary, require, write_report, write_summary
from lsr.eval.significance import Comparison
from lsr.eval.system_run import Depth, SystemRun, file_names, kept_run, new_run
from lsr.eval.systems import System, UnderTest, open_system, with_second_stage
from lsr.eval.systems.indexes import IndexSystem
from lsr.limits import Limits

__all__ = ["Evaluation", "Outcome", "evaluate_collections", "report_again"]

SCHEMA_VERSION = "1.0"
# What an evaluation writes into its folder, and --overwrite may take away.
PAGES = (
    "report.json",
    "report.md",
    "report.html",
    "report.tex",
    "per_query.tsv",
    "summary.json",
    "summary.md",
    "summary.html",
)
FOLDERS = ("runs", "systems", "work")

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to evaluate, and how.

    systems: specifications (`lsr.eval.systems.open_system`). baseline: one more, or one of them; None: no comparison.
    rerank, candidates: a second stage of those systems that are indexes (`lsr.eval.systems.with_second_stage`), whose
    rows follow that of the index.
    measures: the first is the headline. depth: hits of a query that are kept, None for what the measures need, at least
    1,000. The rest as the options of `lsr eval`, which `lsr eval --help` explains.
    """

    systems: Sequence[str]
    baseline: str | None = None
    rerank: str | None = None
    candidates: int | None = None
    measures: Sequence[Measure] = ()
    split: str | None = None
    download: bool = False
    allow_missing: bool = False
    relevance_threshold: int | None = None
    depth: int | None = None
    max_length: int | None = None
    resume: bool = False
    overwrite: bool = False
    latex: bool = False
    texts: bool = True
    timing: bool = True
    seed: int = 0
    command: Sequence[str] = ("lsr", "eval")

    def resolved(self) -> Evaluation:
        """With measures and depth settled. Raises `InvalidInput` when they do not fit."""
        if not self.systems and self.baseline is None:
            raise InvalidInput("no system to evaluate: name one with --system")
        if self.resume and self.overwrite:
            raise InvalidInput("--resume keeps what is there and --overwrite removes it: give one of them")
        if self.candidates is not None and self.rerank is None:
            raise InvalidInput("candidates are those of a second stage: name one with --rerank")
        if self.candidates is not None and not 1 <= self.candidates <= Limits.default().k:
            raise InvalidInput(f"candidates are {self.candidates}: they must be 1 to {Limits.default().k:,}")
        most = Limits.default().k - 1  # one hit more is asked for than is kept
        if self.depth is not None and not 1 <= self.depth <= most:
            raise InvalidInput(f"the depth is {self.depth}: it must be 1 to {most:,}")
        measures = tuple(self.measures) or tuple(
            measure for measure in DEFAULT_MEASURES if self.depth is None or (measure.cutoff or 0) <= self.depth
        )
        deepest = max(((measure.cutoff or 0), str(measure)) for measure in measures) if measures else (0, "")
        if not measures or deepest[0] > (self.depth or most):
            raise InvalidInput(
                f"{deepest[1] or 'no measure'} looks at more hits than a depth of {self.depth or most:,} keeps"
            )
        unique = tuple({str(measure): measure for measure in measures}.values())
        return replace(self, measures=unique, depth=self.depth or max(1, min(most, max(1000, deepest[0]))))


@dataclass(slots=True)
class Outcome:
    """What came of it: finished reports by the specification of the collection, and what failed, by name."""

    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pages: list[Path] = field(default_factory=list)


def evaluate_collections(
    collections: Sequence[str], output: Path, evaluation: Evaluation, progress: Progress
) -> Outcome:
    """Evaluates the systems on each collection. One goes to `output`, several to a folder each below it with a summary.

    A collection that fails does not stop the others, nor a system other systems: see `Outcome.failed`. All that is finished
    stays when it is interrupted, and `resume` goes on from there.

    Raises `OutputExists` when there is a report already, `InvalidInput` for options that do not fit, what opening the
    systems raises, `EvaluationError` and others when the only collection cannot be evaluated.
    """
    require()  # a report that cannot be checked is not written: better said before long work
    evaluation = evaluation.resolved()
    names = _folder_names(collections)
    folders = [output] if len(collections) == 1 else [output / names[spec] for spec in collections]
    for folder in dict.fromkeys([output, *folders]):
        _check_output(folder, evaluation)
    _open_systems(evaluation)  # a misspelt name is found here and not after hours
    outcome, compared_in = Outcome(), {}  # type: Outcome, dict[str, list[Comparison]]
    for spec, folder in zip(collections, folders, strict=True):

        def shown(stage: str, done: int, total: int | None, of: str = names[spec]) -> None:
            progress(f"{of}: {stage}" if len(collections) > 1 else stage, done, total)

        try:
            report, comparisons = _evaluate(spec, folder, evaluation, shown)
        except LsrError as error:
            if len(collections) == 1:
                raise
            outcome.failed[spec] = str(error)
            continue
        outcome.reports[spec], compared_in[spec] = report, comparisons
        outcome.pages += write_report(report, folder, latex=evaluation.latex)
        outcome.failed.update({entry["name"]: entry["error"] for entry in report["failed"]})
    if len(collections) > 1 and outcome.reports:
        summary = _summary(outcome, compared_in, names, evaluation)
        outcome.pages += write_summary(summary, output)
    return outcome


def report_again(source: Path, folder: Path | None, *, latex: bool = False) -> list[Path]:
    """Makes the pages of a report.json (or summary.json) again, beside it or in another folder; runs nothing.

    Gives the paths of the pages. Raises as `load_report` does.
    """
    path = source / "report.json" if exists(source) and source.is_dir() else source
    if path.name == "summary.json":
        return write_summary(load_summary(path), path.parent if folder is None else folder)
    return write_report(load_report(path), path.parent if folder is None else folder, latex=latex)


# -- one collection ----------------------------------------------------------------------------------------------------


def _evaluate(
    spec: str, folder: Path, evaluation: Evaluation, progress: Progress
) -> tuple[dict[str, Any], list[Comparison]]:
    assert evaluation.depth is not None
    dataset = open_dataset(
        spec,
        split=evaluation.split,
        download=evaluation.download,
        relevance_threshold=evaluation.relevance_threshold,
    )
    facts = survey(dataset, evaluation.allow_missing, progress)
    systems, baseline = _open_systems(evaluation)
    if evaluation.overwrite:
        _remove(folder)
    scored = Scored(dataset, facts, evaluation.measures, baseline, evaluation.seed)
    test = UnderTest(dataset, facts, folder / "work", progress)
    test.work.mkdir(parents=True, exist_ok=True)
    failed = _run_all(systems, test, folder, evaluation, scored)
    shutil.rmtree(test.work, ignore_errors=True)
    if not scored.values:
        raise EvaluationError(f"{dataset.name}: no system could be evaluated: {'; '.join(failed.values())}")
    _write_per_query(folder / "per_query.tsv", scored)
    comparisons = compared(scored)
    models = {model["name"]: model for run in scored.runs.values() for model in run.models}
    report = {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "command": list(evaluation.command),
        "depth": evaluation.depth,
        **report_body(scored, comparisons, texts=evaluation.texts),
        "failed": [{"name": name, "error": error} for name, error in failed.items()],
        "provenance": provenance(evaluation.seed, list(models.values())),
    }
    return report, comparisons


def _run_all(
    systems: Sequence[System], test: UnderTest, folder: Path, evaluation: Evaluation, scored: Scored
) -> dict[str, str]:
    """Runs each system and scores it; gives the errors of those that failed, by name."""
    assert evaluation.depth is not None
    depth = Depth(evaluation.depth, test.dataset.drop_self)
    files = file_names([system.name for system in systems])
    failed: dict[str, str] = {}
    for system in systems:
        name = system.name
        try:
            run: SystemRun | None = None
            if evaluation.resume:
                run = kept_run(system, test, folder, files[name], depth, evaluation.timing)
            if run is None:
                run = new_run(system, test, folder, files[name], depth, evaluation.timing)
            scored.add(name, run)
        except LsrError as error:
            failed[name] = str(error)
        except MemoryError:
            failed[name] = "out of memory"
        finally:
            system.close()
    return failed


def _open_systems(evaluation: Evaluation) -> tuple[list[System], str | None]:
    """The systems, the baseline first, and its name."""
    specs = list(evaluation.systems)
    opened = partial(open_system, max_length=evaluation.max_length, local_files_only=not evaluation.download)
    found = [opened(spec) for spec in specs]
    stages = _second_stages(found, evaluation)
    baseline: str | None = None
    if evaluation.baseline is not None:
        named = [i for i, system in enumerate(found) if evaluation.baseline in (specs[i], system.name)]
        if named:
            found.insert(0, found.pop(named[0]))
        else:
            found.insert(0, opened(evaluation.baseline))
        baseline = found[0].name
    _check_names(found)
    found = [row for system in found for row in stages.get(system.name, [system])]
    _check_names(found)
    return found, baseline


def _check_names(systems: Sequence[System]) -> None:
    names = [system.name for system in systems]
    if twice := {name for name in names if names.count(name) > 1}:
        name = min(twice)
        raise InvalidInput(f"two systems are called {name!r}: give one another name, such as --system {name}-2=...")


def _second_stages(systems: Sequence[System], evaluation: Evaluation) -> dict[str, list[System]]:
    """The rows of each index that gets a second stage, by its name."""
    if evaluation.rerank is None:
        return {}
    found = {
        system.name: with_second_stage(
            system, evaluation.rerank, evaluation.candidates, local_files_only=not evaluation.download
        )
        for system in systems
        if isinstance(system, IndexSystem)
    }
    if not found:
        given = ", ".join(system.name for system in systems) or "none"
        raise InvalidInput(
            f"--rerank orders what an index found, and of the systems ({given}) none is one: name its folder"
        )
    return found


def _write_per_query(path: Path, scored: Scored) -> None:
    """Scores of each query, a line for query and system, full precision."""
    measures = [str(measure) for measure in scored.measures]
    with atomic_write(path) as file:
        file.write(("\t".join(["query", "system", *measures]) + "\n").encode())
        for name, values in scored.values.items():
            for at, query in enumerate(scored.dataset.qrels):
                cells = [repr(float(values[measure][at])) for measure in measures]
                file.write(("\t".join([query, name, *cells]) + "\n").encode())


# -- several collections -----------------------------------------------------------------------------------------------


def _summary(
    outcome: Outcome, compared_in: dict[str, list[Comparison]], names: dict[str, str], evaluation: Evaluation
) -> dict[str, Any]:
    datasets = [
        {
            "name": names[spec],
            "report": f"{names[spec]}/report.json",
            "documents": report["dataset"]["documents"],
            "queries": report["dataset"]["queries"],
            "metrics": {system["name"]: system["metrics"] for system in report["systems"]},
        }
        for spec, report in outcome.reports.items()
    ]
    # Only who was measured everywhere has a mean over the set.
    everywhere = [name for name in datasets[0]["metrics"] if all(name in entry["metrics"] for entry in datasets)]
    wholes = [counted_as(spec) for spec in outcome.reports]
    measures = [str(measure) for measure in evaluation.measures]
    pairs = [(names[spec], comparison) for spec, found in compared_in.items() for comparison in found]
    first = next(iter(outcome.reports.values()))
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "summary",
        "created": now(),
        "command": list(evaluation.command),
        "datasets": datasets,
        "failed": [{"name": names.get(name, name), "error": error} for name, error in outcome.failed.items()],
        "set": [entry["name"] for entry in datasets],
        "macro": {
            name: {
                measure: _macro([entry["metrics"][name][measure] for entry in datasets], wholes) for measure in measures
            }
            for name in everywhere
        },
        "measures": measures,
        "headline": measures[0],
        "baseline": next((r["baseline"] for r in outcome.reports.values() if r["baseline"] is not None), None),
        "comparisons": [
            {"dataset": name, **asdict(comparison)}
            for (name, _), comparison in zip(pairs, corrected([c for _, c in pairs]), strict=True)
        ],
        "provenance": first["provenance"],
    }


def _macro(scores: Sequence[float], wholes: Sequence[str]) -> float:
    """The mean over collections; parts of one collection are averaged first, and count once."""
    parts: dict[str, list[float]] = {}
    for whole, score in zip(wholes, scores, strict=True):
        parts.setdefault(whole, []).append(score)
    return sum(sum(found) / len(found) for found in parts.values()) / len(parts)


def _folder_names(collections: Sequence[str]) -> dict[str, str]:
    """A name for each collection, its last part where that tells them apart."""
    if len(set(collections)) < len(collections):
        raise InvalidInput("the same collection is given twice")
    short = [Path(spec.rstrip("/")).name.removesuffix(".zip") or spec for spec in collections]
    full = [spec if short.count(name) > 1 else name for spec, name in zip(collections, short, strict=True)]
    return dict(zip(collections, file_names(full).values(), strict=True))


# -- the folder --------------------------------------------------------------------------------------------------------


def _check_output(folder: Path, evaluation: Evaluation) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"{folder}: a file; name a folder for the report")
    there = [name for name in (*PAGES, *FOLDERS) if (folder / name).exists()]
    if there and not (evaluation.resume or evaluation.overwrite):
        raise OutputExists(
            f"{folder}: holds {there[0]} already; --resume goes on from what is there, --overwrite starts afresh"
        )


def _remove(folder: Path) -> None:
    """Removes an earlier report, and nothing that others have put beside it."""
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in PAGES:
        (folder / name).unlink(missing_ok=True)
