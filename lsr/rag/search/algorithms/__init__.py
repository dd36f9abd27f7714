"""Search algorithms behind one interface: `ask` for pipelines, `tell` what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsr.errors import InvalidInput
from lsr.rag.search.algorithms.base import Algorithm, Settings, Values, fitness
from lsr.rag.search.algorithms.genetic import Genetic, GeneticSettings
from lsr.rag.search.algorithms.random_search import RandomSearch
from lsr.rag.search.algorithms.samplers import Gp, Nsga2, Tpe
from lsr.rag.search.constraints import unknown
from lsr.rag.search.space import Space
from lsr.schema import from_mapping

__all__ = [
    "ALGORITHMS",
    "DEFAULT",
    "Algorithm",
    "Genetic",
    "GeneticSettings",
    "Gp",
    "Nsga2",
    "RandomSearch",
    "Settings",
    "Tpe",
    "Values",
    "algorithm_settings",
    "fitness",
    "make_algorithm",
]

ALGORITHMS: Mapping[str, type[Algorithm]] = {made.name: made for made in (RandomSearch, Genetic, Tpe, Nsga2, Gp)}
# It came near the best in most searches when evaluated pipelines were replayed: docs/rag-search.md has the figures.
DEFAULT = "tpe"


def algorithm_settings(name: str, data: Any = None, where: str = "algorithm") -> Settings:
    """The settings of an algorithm from YAML. Raises `InvalidInput` for an unknown algorithm or setting."""
    if name not in ALGORITHMS:
        raise InvalidInput(f"{where}: {unknown('algorithm', name, ALGORITHMS)}")
    settings: Settings = from_mapping(ALGORITHMS[name].settings_class, data, where)
    return settings


def make_algorithm(
    name: str,
    space: Space,
    *,
    seed: int = 0,
    known: Sequence[Mapping[str, Any]] = (),
    costs: int = 0,
    settings: Settings | None = None,
) -> Algorithm:
    """Raises `InvalidInput` for an unknown algorithm, `MissingExtra` where its library is not installed."""
    chosen = settings or algorithm_settings(name)
    return ALGORITHMS[name](space, seed=seed, known=known, costs=costs, settings=chosen)
