"""Optuna's samplers: TPE, NSGA-II and Gaussian processes.

A family is a categorical parameter of its options, and each parameter of an option one of its own: an ordinal one where its
choices are rising numbers. TPE sees the parameters of the chosen option alone; the two others, which know no conditional
parameters, see those of all options.

A sampler's proposal is a trial that ends at once; what is evaluated in its place, the nearest legal pipeline that is new,
is then recorded as another one. So a sampler learns of what was evaluated, whatever it proposed.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, cast

from lsr.errors import MissingExtra
from lsr.rag.search.algorithms.base import Algorithm, Settings
from lsr.rag.search.space import Genome
from lsr.schema import between

__all__ = ["Gp", "GpSettings", "Nsga2", "Nsga2Settings", "Tpe", "TpeSettings"]


@dataclass(frozen=True)
class TpeSettings(Settings):
    """start: random pipelines before the model is used."""

    batch: int = field(default=4, metadata=between(1, 10_000))
    start: int = field(default=10, metadata=between(1, 10_000))


@dataclass(frozen=True)
class GpSettings(TpeSettings):
    """start: random pipelines before the model is used."""


@dataclass(frozen=True)
class Nsga2Settings(Settings):
    """population: pipelines of a generation."""

    batch: int = field(default=16, metadata=between(1, 10_000))
    population: int = field(default=16, metadata=between(2, 10_000))


class _Sampler(Algorithm):
    """Everything but the choice of the sampler."""

    conditional: ClassVar[bool] = False
    several: ClassVar[bool] = False  # objectives

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        try:
            import optuna
        except ImportError:
            raise MissingExtra("optuna", "rag", f"searching with {self.name}") from None
        self._optuna = optuna
        directions = ["maximize", *(["minimize"] * self.costs if self.several else [])]
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # options of samplers that Optuna calls experimental
            sampler = self._sampler(self.random.randrange(1 << 31))
            self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._distributions = dict(self._parameters())
        self._scored = 0

    def _sampler(self, seed: int) -> Any:
        raise NotImplementedError

    @property
    def _start(self) -> int:
        """Pipelines that are drawn at random before the sampler is asked."""
        raise NotImplementedError

    def _parameters(self) -> Iterator[tuple[str, Any]]:
        """The parameters that have more than one value, in their order, with their distributions."""
        for family in self.space.families:
            if len(family.options) > 1:
                yield family.name, self._distribution(range(len(family.options)), ordinal=False)
            for i, option in enumerate(family.options):
                for name, values in option.grid.items():
                    if len(values) > 1:
                        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
                        rising = numbers and all(a < b for a, b in pairwise(values))
                        yield f"{family.name}/{i}/{name}", self._distribution(range(len(values)), ordinal=rising)

    def _distribution(self, values: range, *, ordinal: bool) -> Any:
        kinds = self._optuna.distributions
        if ordinal:
            return kinds.IntDistribution(0, len(values) - 1)
        return kinds.CategoricalDistribution(tuple(values))

    def _suggested(self, trial: Any) -> Genome:
        """The genome that a trial stands for; a combination that no stage accepts becomes the nearest."""
        if not self.conditional:
            for name in self._distributions:
                self._value(trial, name)
        genome = []
        for family in self.space.families:
            chosen = self._value(trial, family.name)
            digits = tuple(self._value(trial, f"{family.name}/{chosen}/{n}") for n in family.options[chosen].grid)
            genome.append(family.gene_at(chosen, digits))
        return tuple(genome)

    def _value(self, trial: Any, name: str) -> int:
        if name not in self._distributions:
            return 0
        distribution = self._distributions[name]
        if isinstance(distribution, self._optuna.distributions.IntDistribution):
            return int(trial.suggest_int(name, distribution.low, distribution.high))
        return int(trial.suggest_categorical(name, distribution.choices))

    def _params(self, genome: Genome) -> dict[str, int]:
        """The parameters of a genome; those of options that are not chosen are 0 where the sampler sees them."""
        result = {} if self.conditional else dict.fromkeys(self._distributions, 0)
        for family, gene in zip(self.space.families, genome, strict=True):
            chosen, digits = family.places[gene]
            named = dict(zip(family.options[chosen].grid, digits, strict=True))
            values = {family.name: chosen, **{f"{family.name}/{chosen}/{n}": at for n, at in named.items()}}
            result.update({name: value for name, value in values.items() if name in self._distributions})
        return result

    def _propose(self) -> Genome | None:
        if self._scored < self._start:
            # A sampler would draw options, not pipelines: options of many legal pipelines would be too rare.
            return self.space.unseen(self._taken, self.random)
        with _quiet():
            trial = self._study.ask()
            genome = self._suggested(trial)
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return genome

    def _told(self, genome: Genome, values: tuple[float, ...] | None) -> None:
        if values is None:
            return
        self._scored += 1
        with _quiet():
            params = self._params(genome)
            distributions = {name: self._distributions[name] for name in params}
            made = self._optuna.trial.create_trial(
                params=params, distributions=distributions, value=_with_costs(values)
            )
            self._study.add_trial(made)


class Tpe(_Sampler):
    """The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate. One objective: quality, ties by cost."""

    name = "tpe"
    settings_class = TpeSettings
    conditional = True

    def _sampler(self, seed: int) -> Any:
        return self._optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=1)

    @property
    def _start(self) -> int:
        return cast(TpeSettings, self.settings).start


class Gp(_Sampler):
    """Bayesian optimisation with a Gaussian process. Needs torch; a proposal takes about half a second. One objective."""

    name = "gp"
    settings_class = GpSettings

    def _sampler(self, seed: int) -> Any:
        try:
            import torch  # noqa: F401
        except ImportError:
            raise MissingExtra("torch", "torch", "searching with gp") from None
        return self._optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)

    @property
    def _start(self) -> int:
        return cast(GpSettings, self.settings).start


class Nsga2(_Sampler):
    """NSGA-II (Deb et al. 2002): all objectives, towards the Pareto front."""

    name = "nsga2"
    settings_class = Nsga2Settings
    several = True

    def _sampler(self, seed: int) -> Any:
        return self._optuna.samplers.NSGAIISampler(seed=seed, population_size=self._start)

    @property
    def _start(self) -> int:
        return cast(Nsga2Settings, self.settings).population

    def _told(self, genome: Genome, values: tuple[float, ...] | None) -> None:
        if values is None:
            return
        self._scored += 1
        with _quiet():
            # As a trial that was asked for: the sampler takes only those into a generation.
            self._study.enqueue_trial(self._params(genome))
            trial = self._study.ask()
            for name in self._distributions:
                self._value(trial, name)
            self._study.tell(trial, list(values))


def _with_costs(values: tuple[float, ...]) -> float:
    """One value of several, in the order of `fitness` where qualities differ by more than a billionth: costs decide ties."""
    share = 1e-9
    value = values[0]
    for cost in values[1:]:
        share *= 1e-2
        value -= share * cost / (1 + cost)
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing to this thread; what others use it for is as before."""
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    loggers = [logging.getLogger(f"optuna.{name}") for name in ("storages._in_memory", "study.study")]
    for logger in loggers:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(others)
