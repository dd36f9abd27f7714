"""Reproductions: commands with the scores that they must give, in YAML, and the check of them.

- name: lsr-tiny on SciFact
  dataset: beir/scifact
  system: lsr-tiny
  options: {max_length: 256}          # relevance_threshold, split, depth: as the options of `lsr eval`
  documents: 4b1c...                  # their number, or their hash as reports give it: others are no check
  expect: {nDCG@10: 0.6449}
  tolerance: 0.00005                  # 4 decimals, unless it says more
  source: measured 2026-11-24
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lsr.disk import exists
from lsr.errors import DatasetNotFound, EncoderNotFound, InvalidInput, LsrError, MissingExtra, one_line
from lsr.eval.evaluate import Evaluation, evaluate_collections
from lsr.eval.measures import Measure

__all__ = ["Reproduction", "Result", "check_reproductions", "read_reproductions"]

TOLERANCE = 0.00005  # equal to 4 decimals
OPTIONS = {"split": str, "relevance_threshold": int, "depth": int, "max_length": int}

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One line of a file; the module shows the form."""

    name: str
    dataset: str
    system: str
    expect: Mapping[str, float]
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    documents: str | int | None = None
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Result:
    """`text` says what was expected and found, or why it was not run."""

    name: str
    verdict: Literal["matches", "differs", "failed", "skipped"]
    text: str


def check_reproductions(folder: Path, progress: Progress, *, download: bool = False) -> Iterator[Result]:
    """Runs all reproductions in a folder (or one file) whose collection and system are on this machine.

    Raises `InvalidInput` when there are none, or a file is malformed (before anything is run).
    """
    for one in read_reproductions(folder):
        yield _checked(one, progress, download)


def read_reproductions(folder: Path) -> list[Reproduction]:
    """The reproductions of all .yaml files of a folder, or of one file. Raises `InvalidInput` that names file and entry."""
    try:
        import yaml
    except ImportError:
        raise MissingExtra("pyyaml", "eval", "reading reproductions") from None
    if not exists(folder):
        raise InvalidInput(f"{folder}: no such file or folder of reproductions")
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder]
    found: list[Reproduction] = []
    for path in files:
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from None
        # After YAMLError what constructors of values raise, and what goes deeper than Python does.
        except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"{path}: not YAML ({one_line(error)[:200]})") from None
        if not isinstance(entries, list):
            raise InvalidInput(f"{path}: holds no list of reproductions")
        found += [_parsed(entry, f"{path}: entry {number}") for number, entry in enumerate(entries, start=1)]
    if not found:
        raise InvalidInput(f"{folder}: no reproductions (.yaml files) in it")
    return found


def _parsed(entry: Any, where: str) -> Reproduction:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{where}: not a mapping of name, dataset, system, expect and source")
    known = set(Reproduction.__dataclass_fields__)
    for key in entry:
        if key not in known:
            raise InvalidInput(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for key in ("name", "dataset", "system", "source"):
        if not isinstance(entry.get(key), str):
            raise InvalidInput(f"{where}: {key} is missing or no text")
    expect, options = entry.get("expect"), entry.get("options", {})
    if not isinstance(expect, dict) or not expect or not all(_is_number(value) for value in expect.values()):
        raise InvalidInput(f"{where}: expect holds no scores by measure, such as nDCG@10: 0.6789")
    if not isinstance(options, dict) or any(not isinstance(v, OPTIONS.get(k, ())) for k, v in options.items()):
        raise InvalidInput(f"{where}: options are {', '.join(OPTIONS)}, of the type that `lsr eval` takes")
    if not _is_number(entry.get("tolerance", TOLERANCE)) or not isinstance(entry.get("documents"), str | int | None):
        raise InvalidInput(f"{where}: tolerance is a number, and documents a number or a hash")
    measures = {str(Measure.parse(str(name))): float(score) for name, score in expect.items()}
    return Reproduction(**{**entry, "expect": measures})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 53  # and no NaN


def _checked(one: Reproduction, progress: Progress, download: bool) -> Result:
    def shown(stage: str, done: int, total: int | None) -> None:
        progress(f"{one.name}: {stage}", done, total)

    evaluation = Evaluation(
        systems=[one.system],
        measures=[Measure.parse(name) for name in one.expect],
        timing=False,
        texts=False,
        download=download,
        **one.options,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="lsr-check-") as work:
            outcome = evaluate_collections([one.dataset], Path(work) / "report", evaluation, shown)
    except (DatasetNotFound, EncoderNotFound, MissingExtra) as error:
        return Result(one.name, "skipped", str(error))
    except LsrError as error:
        return Result(one.name, "failed", str(error))
    report = outcome.reports[one.dataset]
    facts = report["dataset"]
    documents = facts["documents"] if isinstance(one.documents, int) else facts["hashes"]["documents"]
    if one.documents is not None and documents != one.documents:
        return Result(one.name, "skipped", f"{one.dataset} here has other documents ({documents}, not {one.documents})")
    found = report["systems"][0]["metrics"]
    lines = [f"{measure} {found[measure]:.4f} (expected {score:.4f})" for measure, score in one.expect.items()]
    # Expected scores are rounded themselves, hence the hair above the tolerance.
    near = all(abs(found[measure] - score) <= one.tolerance + 1e-9 for measure, score in one.expect.items())
    return Result(one.name, "matches" if near else "differs", ", ".join(lines))
