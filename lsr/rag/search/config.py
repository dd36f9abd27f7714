"""What a search is told, as one YAML file.

    data: law/                      # a folder or zip of BEIR's form; or corpus: and questions:
    join: auto                      # optional, as in lsr.rag.open_rag_data
    generator: {kind: endpoint, url: http://localhost:8000/v1, model: m}    # optional
    space: offline                  # or generator, or a mapping of families to lists of options
    baseline: {retrieve: sparse, filter: {kind: top-k, k: 5}}
    objectives: {quality: {retrieval: 1}, costs: [latency]}
    budget: {pipelines: 60}

Paths are relative to the folder of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.files import Surroundings, beside, surroundings_of, with_located_models
from lsr.rag.pipeline import DEFAULTS, Pipeline
from lsr.rag.questions import RagData, open_rag_data
from lsr.rag.search.algorithms import DEFAULT, Settings, algorithm_settings
from lsr.rag.search.budget import Budget
from lsr.rag.search.constraints import unknown
from lsr.rag.search.evaluated import COSTS, Objectives
from lsr.rag.search.judged import JudgeConfig
from lsr.rag.search.racing import Racing
from lsr.rag.search.space import Space, read_space
from lsr.rag.stages.base import FAMILIES, Stage
from lsr.schema import between, from_mapping, read_yaml

__all__ = ["SPACES", "SearchConfig", "as_choice", "read_search"]

SPACES = ("offline", "generator", "multi-hop")

_OWN = ("space", "forbid", "baseline", "known", "objectives", "algorithm", "budget", "racing", "judge")


@dataclass(frozen=True)
class _Plain:
    """What a file says beside the mappings that have a reader of their own.

    data, or corpus and questions: see `open_rag_data`. holdout: share of the questions that nothing is chosen by. tokens:
    how much evidence counts. seed: of all that is drawn. workers: pipelines at the same time.
    """

    data: str | None = None
    questions: str | None = None
    split: str | None = None
    holdout: float = field(default=0.5, metadata=between(0.05, 0.95))
    tokens: int = field(default=1000, metadata=between(50, 1_000_000))
    seed: int = field(default=0, metadata=between(0, 2**31))
    workers: int = field(default=1, metadata=between(1, 256))


@dataclass(frozen=True)
class SearchConfig:
    """A search as it can be run. quality: None where the file does not say; then it follows from the questions."""

    name: str
    plain: _Plain
    surroundings: Surroundings
    space: Space
    baseline: Pipeline
    known: tuple[Pipeline, ...]
    quality: Mapping[str, float] | None
    costs: tuple[str, ...]
    algorithm: str
    settings: Settings
    budget: Budget
    racing: Racing
    judge: JudgeConfig | None

    def open_data(self) -> RagData:
        """The documents and questions. Raises as `open_rag_data` does."""
        plain, around = self.plain, self.surroundings
        return open_rag_data(
            plain.data, join=around.join, corpus=around.corpus, questions=plain.questions, split=plain.split
        )

    def objectives(self, data: RagData) -> Objectives:
        """What is searched for: as the file says, else the measures of evidence and of answers, as far as questions have
        gold and answers, half and half."""
        if self.quality is not None:
            return Objectives(self.quality, self.costs)
        quality = {
            name: 1.0
            for name, known in (
                ("retrieval", all(question.gold for question in data.questions)),
                ("answers", all(question.answers for question in data.questions)),
            )
            if known
        }
        if not quality:
            raise InvalidInput(
                f"{data.name}: some questions have no gold and some no answers; give all of them one of the two, or name"
                " measures that do without (objectives:)"
            )
        return Objectives(quality, self.costs)


def read_search(path: str | Path) -> SearchConfig:
    """Raises `InvalidInput` that names file and key, with the nearest names; `MissingExtra` without PyYAML."""
    path = Path(path)
    values = read_yaml(path, "search", "rag")
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{path}: must be a mapping; see docs/rag.md")
    where, folder = str(path), path.parent
    plain_names, around_names = ({f.name for f in fields(kind)} for kind in (_Plain, Surroundings))
    _check_names(values, {*_OWN, *plain_names, *around_names}, where)
    plain: _Plain = from_mapping(_Plain, {n: v for n, v in values.items() if n in plain_names}, where)
    surroundings = surroundings_of({n: v for n, v in values.items() if n in around_names}, path)
    plain = _placed(plain, folder)
    if plain.data is None and (surroundings.corpus is None or plain.questions is None):
        raise InvalidInput(f"{where}: names no data: give data: FOLDER, or corpus: and questions:")
    space = _space(values, surroundings, where)
    quality, costs = _objectives(values.get("objectives"), surroundings, where)
    algorithm = values.get("algorithm") or {}
    algorithm = {"name": algorithm} if isinstance(algorithm, str) else dict(_mapping(algorithm, f"{where}: algorithm"))
    name = algorithm.pop("name", DEFAULT)
    return SearchConfig(
        name=path.stem,
        plain=plain,
        surroundings=surroundings,
        space=space,
        baseline=_baseline(values.get("baseline"), space, folder, where),
        known=tuple(
            _pipeline(each, folder, f"{where}: known[{at}]") for at, each in enumerate(values.get("known") or ())
        ),
        quality=quality,
        costs=costs,
        algorithm=name,
        settings=algorithm_settings(name, algorithm, f"{where}: algorithm"),
        budget=from_mapping(Budget, values.get("budget"), f"{where}: budget"),
        racing=from_mapping(Racing, values.get("racing"), f"{where}: racing"),
        judge=_judge(values, surroundings, where),
    )


def _check_names(values: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in values:
        if name not in known:
            raise InvalidInput(f"{where}: {unknown('key', str(name), sorted(known))}")


def _placed(plain: _Plain, folder: Path) -> _Plain:
    data = None if plain.data is None else beside(plain.data, folder)
    questions = None if plain.questions is None else beside(plain.questions, folder)
    return replace(plain, data=data, questions=questions)


def _space(values: Mapping[str, Any], surroundings: Surroundings, where: str) -> Space:
    data, forbid = values.get("space", SPACES[0]), values.get("forbid")
    if isinstance(data, str):
        if data not in SPACES:
            raise InvalidInput(
                f"{where}: space {data!r}: must be {', '.join(SPACES[:-1])} or {SPACES[-1]}, or a mapping of families"
            )
        data = read_yaml(Path(__file__).parent.parent / "spaces" / f"{data}.yaml", "space", "rag")["space"]
    defaults = {family: [kind] for family, kind in DEFAULTS.items() if family not in _mapping(data, f"{where}: space")}
    available = {"generator"} if surroundings.generator is not None else set()
    with _at(where):
        return read_space({**defaults, **data}, forbid=forbid, available=available, where=f"{where}: space")


def _judge(values: Mapping[str, Any], surroundings: Surroundings, where: str) -> JudgeConfig | None:
    if "judge" not in values:
        return None
    read: JudgeConfig = from_mapping(JudgeConfig, values["judge"], f"{where}: judge")
    if read.generator is None and surroundings.generator is None:
        raise InvalidInput(f"{where}: judge needs a generator: name one in it, or for all (generator:)")
    return read


def _baseline(value: Any, space: Space, folder: Path, where: str) -> Pipeline:
    """As given, or the first legal pipeline of the space: that of the first options."""
    if value is not None:
        return _pipeline(value, folder, f"{where}: baseline")
    chosen = space.choice(space.nth(0))
    return Pipeline(stage for stage in chosen.values() if isinstance(stage, Stage)).complete(where)


def _pipeline(value: Any, folder: Path, where: str) -> Pipeline:
    stages = Pipeline.from_mapping(value, where).stages
    return Pipeline(with_located_models(stage, folder) for stage in stages)


def _objectives(
    value: Any, surroundings: Surroundings, where: str
) -> tuple[Mapping[str, float] | None, tuple[str, ...]]:
    given = _mapping(value or {}, f"{where}: objectives")
    _check_names(given, {"quality", "costs"}, f"{where}: objectives")
    costs = given.get("costs", ["tokens"] if surroundings.generator is not None else [])
    if not isinstance(costs, list) or not all(isinstance(name, str) for name in costs):
        raise InvalidInput(f"{where}: objectives.costs must be a list of {', '.join(COSTS)}")
    quality = given.get("quality")
    if isinstance(quality, str):
        quality = {quality: 1}
    if quality is not None:
        for name, weight in _mapping(quality, f"{where}: objectives.quality").items():
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < inf:
                raise InvalidInput(f"{where}: objectives.quality.{name} is {weight!r}: it must be a weight above 0")
        quality = {str(name): float(weight) for name, weight in quality.items()}
    with _at(where):
        Objectives(quality or {"retrieval": 1}, tuple(costs))  # told now, not after the data are read
    return quality, tuple(costs)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Says of an error of what is read which file it is in."""
    try:
        yield
    except InvalidInput as error:
        if str(error).startswith(where):
            raise
        raise InvalidInput(f"{where}: {error}") from None


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where}: must be a mapping of names and values")
    return value


def as_choice(pipeline: Pipeline) -> dict[str, Stage | None]:
    """A pipeline as studies have it: every family with its stage or None."""
    return {family: pipeline.get(family) for family in FAMILIES}
