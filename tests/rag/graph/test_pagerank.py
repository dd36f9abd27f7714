"""PageRank: exact as SciPy has it, forward push within its bound, overlays that leave the graph alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag.graph.pagerank import personalised, personalised_exact, walk
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


@settings(max_examples=100, deadline=None)
@given(
    size=SIZES,
    damping=st.sampled_from([0.0, 0.3, 0.5, 0.85]),
    epsilon=st.sampled_from([1e-1, 1e-2, 1e-3, 1e-6, 1e-9]),
    changed=st.booleans(),
)
def test_forward_push_is_within_the_error_that_it_states(
    size: tuple[int, int, int], damping: float, epsilon: float, changed: bool
) -> None:
    graph = random_graph(*size)
    nodes, weights, restart = seeds_of(graph, size[2])
    overlay = changes_of(graph, size[2]) if changed else None
    found = walk(graph, nodes, weights, damping=damping, epsilon=epsilon, overlay=overlay)
    assert (np.diff(found.nodes) > 0).all()
    assert (found.scores > 0).all()
    assert found.scores.sum() == pytest.approx(1)
    scores = np.zeros(graph.nodes)
    scores[found.nodes] = found.scores
    assert np.abs(scores - stationary(graph, restart, damping, overlay)).sum() <= found.error + 1e-9
    most_left = epsilon * (graph.nodes + len(graph.targets))
    if found.pushes and overlay is None and most_left < 0.5 and (np.diff(graph.indptr) > 0)[nodes].all():
        # Edges come both ways, so no walker who starts at a node with edges is lost: what is not left is scored.
        assert found.error <= 2 * most_left / (1 - most_left) + 1e-12
    if epsilon <= 1e-9:
        assert found.error <= 1e-5
        plain = personalised(graph, nodes, weights, damping=damping, epsilon=epsilon, overlay=overlay)
        assert (plain[0] == found.nodes).all()
        assert (plain[1] == found.scores).all()


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


@settings(max_examples=25, deadline=None)
@given(size=SIZES, rows=st.integers(1, 19))
def test_a_batch_has_for_each_row_what_it_has_alone(size: tuple[int, int, int], rows: int) -> None:
    graph = random_graph(*size)
    restart = np.stack([seeds_of(graph, seed)[2] for seed in range(rows)])
    overlays = [changes_of(graph, seed) if seed % 3 else None for seed in range(rows)]
    together = personalised_exact(graph, restart, overlays=overlays)
    alone = [personalised_exact(graph, restart[i], overlays=[overlays[i]])[0] for i in range(rows)]
    assert together == pytest.approx(np.array(alone), abs=1e-14)


def test_the_tolerance_of_power_iteration_is_the_error_of_a_row() -> None:
    graph = random_graph(60, 300, 2)
    _, _, restart = seeds_of(graph, 2)
    for damping in (0.5, 0.95):
        exact = stationary(graph, restart, damping)
        for tolerance in (1e-1, 1e-3, 1e-8):
            found = personalised_exact(graph, restart, damping=damping, tolerance=tolerance)[0]
            assert np.abs(found - exact).sum() <= tolerance


def test_a_node_whose_edges_are_all_closed_sends_its_walkers_home() -> None:
    # Weights whose float sums leave something when they are taken off again one by one.
    graph = graph_of({(0, 1): 0.1, (0, 2): 0.3, (0, 3): 1e6, (3, 0): 1e-3}, 2, 2)
    closed = Overlay(np.arange(3), np.zeros(3, np.float32))
    for scores in (
        personalised_exact(graph, [1.0, 0, 0, 1.0], overlays=[closed])[0],
        walk(graph, [0, 3], [1.0, 1.0], epsilon=1e-13, overlay=closed).scores,
    ):
        assert scores[[0, -1]] == pytest.approx([0.6, 0.4])
        assert scores.sum() == pytest.approx(1)


def test_a_light_node_after_heavy_ones_keeps_its_proportions() -> None:
    graph = graph_of({(0, 1): 1e30, (1, 0): 1e30, (2, 0): 3e-20, (2, 3): 1e-20}, 2, 2)
    scores = personalised_exact(graph, [0, 0, 1.0, 0])[0]
    assert scores == pytest.approx(stationary(graph, np.array([0, 0, 1.0, 0]), 0.5), abs=1e-10)


@pytest.mark.parametrize(
    ("field", "array", "message"),
    [
        ("targets", np.array([1, 7], np.uint32), "leads to node 7"),
        ("targets", np.array([1, 0], np.int64), "targets of a graph is int64"),
        ("weights", np.array([1], np.float32), "weights of a graph"),
        ("weights", np.array([1, -1], np.float32), "above 0"),
        ("weights", np.array([1, np.nan], np.float32), "finite"),
        ("indptr", np.array([0, 1, 3]), "rise"),
        ("indptr", np.array([0, 3, 2]), "rise"),
        ("indptr", np.array([0, 2]), "indptr of a graph"),
    ],
)
def test_arrays_that_are_no_graph_are_refused_before_a_kernel_sees_them(field: str, array: Any, message: str) -> None:
    changes: Any = {field: array}
    graph = replace(graph_of({(0, 1): 1.0, (1, 0): 1.0}, 1, 1), **changes)
    with pytest.raises(InvalidInput, match=message):
        personalised(graph, [0], [1.0])
    with pytest.raises(InvalidInput, match=message):
        personalised_exact(graph, [1.0, 0.0])


def test_igraph_agrees() -> None:
    igraph = pytest.importorskip("igraph")
    graph = random_graph(60, 300, 5)
    sources = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr))
    theirs = igraph.Graph(
        n=graph.nodes, edges=list(zip(sources.tolist(), graph.targets.tolist(), strict=True)), directed=True
    )
    linked = np.flatnonzero(np.diff(graph.indptr))  # igraph lets walkers at nodes without edges jump anywhere
    for first in range(5):
        restart = np.zeros(graph.nodes)
        restart[linked[first::9]] = np.arange(1, len(linked[first::9]) + 1)
        scores = theirs.personalized_pagerank(
            damping=0.5, reset=restart.tolist(), weights=graph.weights.astype(float).tolist(), directed=True
        )
        assert personalised_exact(graph, restart)[0] == pytest.approx(scores, abs=1e-6)
        found = walk(graph, np.flatnonzero(restart), restart[restart > 0], epsilon=1e-9)
        assert found.scores == pytest.approx(np.array(scores)[found.nodes], abs=1e-6)
