"""Search algorithms: what they propose, that they can be repeated, and that they find something."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping
from typing import Any

import pytest

from lsr.errors import InvalidInput
from lsr.rag.search.algorithms import ALGORITHMS, Algorithm, algorithm_settings, make_algorithm
from lsr.rag.search.space import Choice, Space, read_space
from tests.rag.search_world import BASELINE, KINDS, OPTIONS, Words, space, tokens, worth

QUICK = ["random", "genetic", "tpe", "nsga2"]
FORBID = [
    {"when": {"rerank": "none", "augment": "test-neighbours"}, "reason": "x"},
    {"when": {"query": "test-hyde", "retrieve": "test-fused"}, "reason": "y"},
]


def small(forbid: Any = None) -> Space:
    options = {**OPTIONS, "chunk": [{"kind": "test-words", "words": [50, 100]}]}
    return read_space(options, kinds=KINDS, available=["generator"], forbid=forbid)


def values(choice: Mapping[str, Any]) -> tuple[float, float]:
    return worth(choice), float(tokens(choice))


def run(algorithm: Algorithm, evaluations: int, batch: int) -> list[Choice]:
    done: list[Choice] = []
    while len(done) < evaluations and (asked := algorithm.ask(batch)):
        for choice in asked:
            # What fails hangs on the pipeline: every eleventh or so.
            algorithm.tell(choice, None if hash_of(choice) % 11 == 0 else values(choice))
        done += asked
    return done


def hash_of(choice: Choice) -> int:
    return sum(map(ord, str(choice)))


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("batch", [1, 5])
def test_every_legal_pipeline_is_proposed_once_and_no_other(name: str, batch: int) -> None:
    some = small(forbid=FORBID)
    done = run(make_algorithm(name, some, seed=3, costs=1), 10_000, batch)
    assert len(done) == len(set(done)) == some.count()
    assert set(done) == set(some.pipelines())


@pytest.mark.parametrize("name", QUICK)
def test_the_same_questions_and_answers_give_the_same_proposals(name: str) -> None:
    first, second, other = (run(make_algorithm(name, space(), seed=s, costs=1), 60, 6) for s in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("name", QUICK)
def test_known_pipelines_come_first_and_what_was_told_is_not_asked(name: str) -> None:
    some = space()
    known = [some.choice((5, 0, 2, 3, 1)), some.choice((1, 1, 0, 0, 0))]
    algorithm = make_algorithm(name, some, known=[*known, BASELINE], costs=1)
    algorithm.tell(BASELINE, values(BASELINE))
    asked = algorithm.ask(30)
    assert asked[:2] == known
    assert some.choice(some.genome(BASELINE)) not in asked


@pytest.mark.parametrize("name", QUICK)
def test_an_algorithm_whose_pipelines_all_fail_goes_on(name: str) -> None:
    algorithm = make_algorithm(name, space(), costs=1)
    for _ in range(6):
        for choice in algorithm.ask(8):
            algorithm.tell(choice, None)
    assert len(algorithm.ask(8)) == 8


def best_after(name: str, evaluations: int, seed: int, settings: Any = None) -> float:
    algorithm = make_algorithm(name, space(), seed=seed, settings=algorithm_settings(name, settings))
    done: list[Choice] = []
    while len(done) < evaluations:
        for choice in algorithm.ask(4):
            algorithm.tell(choice, (worth(choice),))
            done.append(choice)
    return max(map(worth, done))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tpe", {}),
        *(("genetic", {"selection": selection}) for selection in ("tournament", "roulette", "rank", "elite")),
        *(("genetic", {"crossover": crossover}) for crossover in ("single", "multi")),
        ("genetic", {"mutation": "adaptive"}),
    ],
)
def test_what_learns_finds_more_than_chance(name: str, settings: Any) -> None:
    chance = statistics.mean(best_after("random", 40, seed) for seed in range(12))
    learnt = statistics.mean(best_after(name, 40, seed, settings) for seed in range(12))
    assert learnt > chance


def test_equal_quality_is_decided_by_cost() -> None:
    """All is as good as anything else, so what the population keeps is what is cheap."""
    found = {}
    for name in ("random", "genetic", "tpe"):
        cheap = []
        for seed in range(8):
            algorithm = make_algorithm(name, space(), seed=seed, costs=1)
            done: list[Choice] = []
            while len(done) < 80:
                for choice in algorithm.ask(8):
                    algorithm.tell(choice, (0.5, float(tokens(choice))))
                    done.append(choice)
            cheap.append(sum(choice["query"] is None for choice in done[40:]))
        found[name] = statistics.mean(cheap)
    assert found["genetic"] > found["random"] + 5
    assert found["tpe"] > found["random"] + 5


def test_nsga2_spreads_over_the_front_where_one_objective_goes_to_its_end() -> None:
    """Worth and price rise together: the front holds dear pipelines and cheap ones."""
    algorithm = make_algorithm(
        "nsga2", space(), seed=0, costs=1, settings=algorithm_settings("nsga2", {"population": 8})
    )
    late = []
    for turn in range(20):
        for choice in algorithm.ask(8):
            price = float(choice.stages)
            algorithm.tell(choice, (price, price))
            late += [price] if turn >= 10 else []
    assert {min(late), max(late)} == {2.0, 5.0}


def test_gaussian_processes_search_too() -> None:
    pytest.importorskip("torch")
    algorithm = make_algorithm("gp", space(), seed=0, costs=1, settings=algorithm_settings("gp", {"start": 4}))
    done = run(algorithm, 10, 2)
    assert len(set(done)) == 10
    again = make_algorithm("gp", space(), seed=0, costs=1, settings=algorithm_settings("gp", {"start": 4}))
    assert run(again, 10, 2) == done


def test_optuna_stays_as_it_was_for_others() -> None:
    optuna = pytest.importorskip("optuna")
    said: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Listening()
    before = optuna.logging.get_verbosity()
    logging.getLogger("optuna").addHandler(handler)
    try:
        run(make_algorithm("tpe", space(), costs=1), 20, 4)
        run(make_algorithm("nsga2", space(), costs=1), 20, 4)
        assert said == []
        assert optuna.logging.get_verbosity() == before
        optuna.create_study()
        assert len(said) == 1
    finally:
        logging.getLogger("optuna").removeHandler(handler)


def test_as_many_values_are_told_as_there_are_objectives() -> None:
    with pytest.raises(InvalidInput, match="2 values of a pipeline were told: there are 1 objectives"):
        make_algorithm("random", space()).tell(BASELINE, (0.5, 1.0))


def test_a_mutated_gene_is_a_legal_combination_of_the_family() -> None:
    some = read_space(
        {"chunk": [{"kind": "test-words", "words": [10, 20, 100], "overlap": [0, 15]}], "retrieve": ["test-sparse"]},
        kinds=KINDS,
    )
    for name in QUICK:
        done = run(make_algorithm(name, some, costs=1), 100, 2)
        assert len(done) == 5
        assert all(isinstance(c["chunk"], Words) and c["chunk"].overlap < c["chunk"].words for c in done)


def test_an_unknown_algorithm_or_setting_is_named() -> None:
    with pytest.raises(InvalidInput, match="unknown algorithm 'genetics'; did you mean genetic"):
        algorithm_settings("genetics")
    with pytest.raises(InvalidInput, match="unknown key 'populaton'; did you mean population"):
        algorithm_settings("genetic", {"populaton": 20})
    with pytest.raises(InvalidInput, match="must be one of tournament, roulette, rank, elite"):
        algorithm_settings("genetic", {"selection": "best"})
    assert set(ALGORITHMS) == {"random", "genetic", "tpe", "nsga2", "gp"}
