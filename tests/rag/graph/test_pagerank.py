"""PageRank: exact as SciPy has it, forward push within its bound, overlays that leave the graph alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag.graph.pagerank import personalised, personalised_exact
from lsr.rag.graph.types import GraphArrays, Overlay
from tests.rag.graph.graphs import graph_of, random_graph, stationary

SIZES = st.tuples(st.integers(2, 40), st.integers(0, 120), st.integers(0, 10_000))


def seeds_of(graph: GraphArrays, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    nodes = generator.choice(graph.nodes, min(3, graph.nodes), replace=False)
    weights = generator.uniform(0.1, 1, len(nodes))
    restart = np.zeros(graph.nodes)
    restart[nodes] = weights
    return nodes, weights, restart


def changes_of(graph: GraphArrays, seed: int) -> Overlay:
    generator = np.random.default_rng(seed)
    many = min(len(graph.targets), 4)
    edges = np.sort(generator.choice(len(graph.targets), many, replace=False)) if many else np.zeros(0, np.int64)
    return Overlay(edges.astype(np.int64), generator.choice([0, 0.25, 5], many).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(size=SIZES, damping=st.sampled_from([0.0, 0.5, 0.85]), changed=st.booleans())
def test_power_iteration_is_scipys_to_1e_9(size: tuple[int, int, int], damping: float, changed: bool) -> None:
    graph = random_graph(*size)
    _, _, restart = seeds_of(graph, size[2])
    overlay = changes_of(graph, size[2]) if changed else None
    found = personalised_exact(graph, restart, damping=damping, tolerance=1e-13, overlays=[overlay])[0]
    assert found == pytest.approx(stationary(graph, restart, damping, overlay), abs=1e-9)
    assert found.sum() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, damping=st.sampled_from([0.3, 0.5, 0.85]), changed=st.booleans())
def test_forward_push_is_exact_to_its_bound(size: tuple[int, int, int], damping: float, changed: bool) -> None:
    graph = random_graph(*size)
    nodes, weights, restart = seeds_of(graph, size[2])
    overlay = changes_of(graph, size[2]) if changed else None
    epsilon = 1e-9
    reached, scores = personalised(graph, nodes, weights, damping=damping, epsilon=epsilon, overlay=overlay)
    found = np.zeros(graph.nodes)
    found[reached] = scores
    error = np.abs(found - stationary(graph, restart, damping, overlay)).sum()
    assert error <= 1e-6
    assert scores.sum() == pytest.approx(1)


def test_a_larger_epsilon_does_less_and_keeps_the_best_in_order() -> None:
    graph = random_graph(400, 2500, 1)
    nodes, weights, restart = seeds_of(graph, 1)
    exact = stationary(graph, restart, 0.5)
    few, scores = personalised(graph, nodes, weights, epsilon=1e-4)
    many, _ = personalised(graph, nodes, weights, epsilon=1e-8)
    assert len(few) < len(many)
    best = few[np.argsort(-scores)[:5]]
    assert set(best.tolist()) == set(np.argsort(-exact)[:5].tolist())


def test_a_walk_by_hand() -> None:
    # 0 -> 1 with weight 3, 0 -> 2 with weight 1; 1 and 2 lead nowhere, so the walker jumps back to 0.
    graph = graph_of({(0, 1): 3.0, (0, 2): 1.0}, 1, 2)
    reached, scores = personalised(graph, [0], [7.0], damping=0.5, epsilon=1e-12)
    assert reached.tolist() == [0, 1, 2]
    assert scores == pytest.approx([2 / 3, 3 / 12, 1 / 12])
    closed = Overlay(np.array([0]), np.array([0.0], np.float32))
    reached, scores = personalised(graph, [0], [7.0], damping=0.5, epsilon=1e-12, overlay=closed)
    assert reached.tolist() == [0, 2]
    assert scores == pytest.approx([2 / 3, 1 / 3])


def test_searches_at_the_same_time_neither_change_the_graph_nor_each_other() -> None:
    graph = random_graph(300, 2000, 3)
    for array in (graph.indptr, graph.targets, graph.weights):
        array.flags.writeable = False
    before = graph.weights.copy()

    def search(seed: int) -> tuple[np.ndarray, np.ndarray]:
        nodes, weights, _ = seeds_of(graph, seed)
        return personalised(graph, nodes, weights, overlay=changes_of(graph, seed))

    alone = [search(seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(search, range(24)))
    for (nodes, scores), (others, theirs) in zip(alone, together, strict=True):
        assert nodes.tolist() == others.tolist()
        assert scores.tolist() == theirs.tolist()
    assert (graph.weights == before).all()


@pytest.mark.parametrize(
    ("seeds", "weights", "options", "message"),
    [
        ([5], [1.0], {}, "no node"),
        ([-1], [1.0], {}, "no node"),
        ([0.5], [1.0], {}, "one for each node"),
        ([0], [1.0, 2.0], {}, "one for each node"),
        ([0], [0.0], {}, "not all 0"),
        ([0], [float("nan")], {}, "finite"),
        ([0], [1.0], {"damping": 1.0}, "damping"),
        ([0], [1.0], {"epsilon": 0.0}, "epsilon"),
        ([0], [1.0], {"overlay": Overlay(np.array([9]), np.ones(1, np.float32))}, "places of edges"),
        ([0], [1.0], {"overlay": Overlay(np.array([1, 0]), np.ones(2, np.float32))}, "rising"),
        ([0], [1.0], {"overlay": Overlay(np.array([0]), -np.ones(1, np.float32))}, "0 or more"),
    ],
)
def test_wrong_arguments_are_refused_before_a_kernel_sees_them(
    seeds: list[float], weights: list[float], options: dict[str, object], message: str
) -> None:
    graph = graph_of({(0, 1): 1.0, (1, 0): 1.0}, 1, 1)
    with pytest.raises(InvalidInput, match=message):
        personalised(graph, seeds, weights, **options)  # type: ignore[arg-type]


def test_igraph_agrees() -> None:
    igraph = pytest.importorskip("igraph")
    graph = random_graph(60, 300, 5)
    _, _, restart = seeds_of(graph, 5)
    sources = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr))
    theirs = igraph.Graph(
        n=graph.nodes, edges=list(zip(sources.tolist(), graph.targets.tolist(), strict=True)), directed=True
    )
    scores = theirs.personalized_pagerank(
        damping=0.5, reset=restart.tolist(), weights=graph.weights.astype(float).tolist(), directed=True
    )
    linked = np.diff(graph.indptr) > 0
    ours = personalised_exact(graph, restart, damping=0.5, tolerance=1e-13)[0]
    if linked[restart > 0].all():  # igraph lets walkers at nodes without edges jump anywhere
        assert ours == pytest.approx(scores, abs=1e-6)
