"""The space of pipelines: what it holds, how many, and why something is not in it."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import product
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput
from lsr.rag.search.constraints import Constraint
from lsr.rag.search.ragsmith import RAGSMITH, named_space, ragsmith_space, readings
from lsr.rag.search.space import Space, read_space
from tests.rag.search_world import KINDS, Fused, Hyde, Listing, Llm, Reader, Reflect, Rerank, Sparse, Words, space


def read(options: dict[str, Any], **given: Any) -> Space:
    return read_space(options, kinds=KINDS, **given)


def brute(space: Space) -> list[tuple[int, ...]]:
    """All legal genomes by trying every one."""
    every = product(*(range(len(family.techniques)) for family in space.families))
    return [genome for genome in every if not space.why_illegal(space.choice(genome))]


@st.composite
def constrained(draw: st.DrawFn) -> Space:
    """A space of names with random constraints, among which some pipeline is legal."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    families = {f"f{i}": tuple(["none", "a", "b", "c"][:size]) for i, size in enumerate(sizes)}
    plain = named_space(families)
    constraints = []
    for number in range(draw(st.integers(0, 5))):
        named = draw(
            st.dictionaries(st.sampled_from([*families, "absent"]), st.sets(st.sampled_from("nabc")), min_size=1)
        )
        when = {
            family: (lambda technique, kinds=kinds: ("n" if technique is None else technique.kind) in kinds)
            for family, kinds in named.items()
        }
        constraints.append(Constraint(when, f"reason {number}"))
    legal = [
        choice for choice in plain.pipelines() if all(constraint.why(choice) is None for constraint in constraints)
    ]
    if not legal:
        constraints = []
    return Space(plain.families, constraints)


@settings(deadline=None, max_examples=150)
@given(constrained(), st.integers(0, 2**32))
def test_counting_listing_and_drawing_agree_with_trying_every_pipeline(space: Space, seed: int) -> None:
    legal = brute(space)
    assert space.count() == len(legal)
    assert list(space.genomes()) == legal
    assert [space.nth(n) for n in range(len(legal))] == legal
    assert space.draw(random.Random(seed)) in legal
    for genome in product(*(range(len(family.techniques)) for family in space.families)):
        assert space.is_legal(genome) == (genome in legal) == (space.choice(genome) in space)


@settings(deadline=None, max_examples=60)
@given(constrained(), st.integers(0, 2**32), st.data())
def test_the_nearest_pipeline_is_legal_and_new_and_there_is_one_while_any_is_left(
    space: Space, seed: int, data: st.DataObject
) -> None:
    legal = brute(space)
    taken = set(data.draw(st.lists(st.sampled_from(legal))))
    genome = data.draw(st.tuples(*(st.integers(0, len(family.techniques) - 1) for family in space.families)))
    found = space.nearest(genome, taken, random.Random(seed))
    if len(taken) == len(legal):
        assert found is None
    else:
        assert found is not None
        assert found in legal
        assert found not in taken
        distances = [sum(a != b for a, b in zip(genome, other, strict=True)) for other in legal if other not in taken]
        if min(distances) <= 1:
            assert sum(a != b for a, b in zip(genome, found, strict=True)) == min(distances)


def test_every_legal_pipeline_is_drawn_as_often() -> None:
    small = read({"retrieve": ["test-sparse", "test-fused"], "rerank": ["none", "test-maxsim"], "augment": ["none"]})
    rng = random.Random(0)
    drawn = Counter(small.draw(rng) for _ in range(4000))
    assert len(drawn) == 4
    assert all(900 < many < 1100 for many in drawn.values())  # 1000 +- 3.6 standard deviations


def test_a_space_too_large_to_list_is_counted_exactly() -> None:
    families = {f"f{i}": tuple(f"k{j}" for j in range(20)) for i in range(30)}
    plain = named_space(families)
    assert plain.count() == 20**30
    both = Constraint({"f0": lambda t: t is not None and t.kind == "k0", "f29": lambda t: t is not None}, "no")
    some = Space(plain.families, [both])
    assert some.count() == 20**30 - 20**29
    assert some.is_legal(some.draw(random.Random(1)))


def test_the_space_of_the_paper_is_the_product_of_its_options() -> None:
    paper = ragsmith_space()
    assert paper.count() == prod(map(len, RAGSMITH.values())) == 103_680
    assert sum(1 for _ in paper.genomes()) == 103_680
    assert ragsmith_space(hypergraph=True).count() == 155_520


def test_the_counts_that_would_give_the_papers_number() -> None:
    found = list(readings())
    assert all(prod(reading.values()) == 46_080 for reading in found)
    assert [reading["retrieval"] for reading in found] == [6, 6, 6, 9]
    twos = [
        [family for family, count in reading.items() if count == 2 and len(RAGSMITH[family]) == 3] for reading in found
    ]
    assert sorted(map(len, twos)) == [2, 2, 2, 3]


def test_constraints_take_their_share_of_the_papers_space() -> None:
    def of(*kinds: str) -> Any:
        return lambda technique: ("none" if technique is None else technique.kind) in kinds

    constraints = [
        Constraint({"passage_rerank": of("none"), "passage_filter": of("similarity_threshold")}, "no scores"),
        Constraint({"query_expansion": of("graph"), "retrieval": of("graph", "vector_graph")}, "twice"),
    ]
    some = Space(ragsmith_space().families, constraints)
    assert some.count() == len(brute(some)) < 103_680


def test_choices_of_parameters_multiply_and_refused_combinations_are_left_out_with_their_reason() -> None:
    chunks = read(
        {"chunk": [{"kind": "test-words", "words": [10, 20, 100], "overlap": [0, 15]}], "retrieve": ["test-sparse"]}
    )
    assert chunks.count() == 5
    assert [stage.parameters() for stage in chunks.families[0].techniques if stage][-1] == {"words": 100, "overlap": 15}
    assert "overlap is 15" in chunks.families[0].options[0].refused[0, 1]
    with pytest.raises(InvalidInput, match="overlap is 2000: it must be between 0 and 1,000"):
        read({"chunk": [{"kind": "test-words", "words": [10, 20], "overlap": [0, 2000]}]})
    with pytest.raises(InvalidInput, match="overlap is 500: it must be less than words"):
        read({"chunk": [{"kind": "test-words", "words": [10, 20], "overlap": [0, 500]}]})


def test_a_list_is_choices_unless_the_parameter_is_a_list() -> None:
    one = read({"retrieve": [{"kind": "test-fused", "weights": [0.7, 0.3]}]})
    two = read({"retrieve": [{"kind": "test-fused", "weights": [[0.7, 0.3], [0.5, 0.5]]}]})
    assert list(one.families[0].techniques) == [Fused((0.7, 0.3))]
    assert list(two.families[0].techniques) == [Fused((0.7, 0.3)), Fused((0.5, 0.5))]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retrive": ["test-sparse"]}, "space: unknown family 'retrive'; did you mean retrieve"),
        ({"retrieve": ["test-sparze"]}, r"space.retrieve\[0\]: there is no retrieve stage 'test-sparze'"),
        ({"rerank": [{"kind": "test-maxsim", "candidate": 5}]}, "unknown key 'candidate'; did you mean candidates"),
        ({"rerank": [{"kind": "test-maxsim", "candidates": ["x"]}]}, "candidates is 'x': it must be a whole number"),
        ({"rerank": [{"kind": "test-maxsim", "candidates": []}]}, "candidates has no choices"),
        ({"rerank": [{"kind": "none", "candidates": 1}]}, "none has no parameters"),
        ({"rerank": [{"candidates": 1}]}, "must be none, a kind, or a mapping with kind"),
        ({"rerank": "none"}, "space.rerank: must be a list of options"),
        ({"rerank": []}, "space.rerank: must be a list of options"),
        ({"rerank": ["none", "none"]}, "rerank: none stands twice"),
        ({"rerank": ["test-maxsim", {"kind": "test-maxsim", "candidates": [20, 50]}]}, "stands twice"),
        ({}, "space: must be a mapping of families"),
        ({"rerank": ["none"]}, "no pipeline of the space is legal; of the first: nothing is retrieved"),
    ],
)
def test_what_is_wrong_with_a_space_is_said_with_its_place(options: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(options)


def test_what_stages_need_makes_pipelines_illegal_and_the_reasons_are_told() -> None:
    options = {
        "query": ["none", "test-hyde"],
        "retrieve": ["test-sparse"],
        "prompt": ["none", "test-list"],
        "generate": ["none", "test-reader", "test-llm"],
        "revise": ["none", "test-reflect"],
    }
    without, with_generator = read(options), read(options, available=["generator"])
    assert with_generator.count() == len(brute(with_generator)) == 2 * (2 + 1 + 2)  # no answer, read, written, revised
    assert without.count() == len(brute(without)) == 2 + 1
    choice = {"query": Hyde(), "retrieve": Sparse(), "prompt": None, "generate": Reader(), "revise": Reflect()}
    assert without.why_illegal(choice) == [
        "query: test-hyde needs a generator, and none is configured",
        "revise: test-reflect needs a generator, and none is configured",
        "generate: test-reader reads a prompt, and there is no prompt stage",
        "revise: test-reflect asks the generator about its own answer, which generate: test-reader is not",
    ]
    assert with_generator.why_illegal({"retrieve": Sparse(), "generate": Llm(), "prompt": Listing()}) == []
    assert with_generator.why_illegal({"generate": None, "revise": Reflect()}) == [
        "nothing is retrieved: a pipeline needs a retrieve stage",
        "revise: test-reflect has no answer to look at without generate",
    ]


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ({"rerank": "test-maxsim"}, 72),
        ({"rerank": "none"}, 216),
        ({"rerank": "any", "augment": "none"}, 180),
        ({"rerank": {"kind": "test-maxsim", "candidates": 50}}, 216),
        ({"rerank": {"kind": "test-maxsim", "candidates": [50, 100]}, "query": "any"}, 216),
        ({"retrieve": {"kind": "test-fused", "weights": [0.7, 0.3]}}, 192),
        ({"retrieve": {"kind": "test-fused", "weights": [[0.7, 0.3], [0.5, 0.5]]}}, 96),
        ({"rerank": {"not": "none"}}, 72),
        ({"rerank": ["none", {"kind": "test-maxsim", "candidates": 20}]}, 144),
        ({"revise": "any"}, 288),
    ],
)
def test_users_forbid_kinds_and_parameters(when: Any, left: int) -> None:
    some = space(forbid=[{"when": when, "reason": "because {of it}"}])
    assert some.count() == len(brute(some)) == left
    for genome in product(*(range(len(family.techniques)) for family in some.families)):
        assert some.is_legal(genome) or some.why_illegal(some.choice(genome)) == ["because {of it}"]


@pytest.mark.parametrize(
    ("forbid", "said"),
    [
        ({"when": {"rank": "none"}, "reason": "x"}, "forbid: must be a list"),
        (
            [{"when": {"reank": "none"}, "reason": "x"}],
            r"forbid\[0\].when: unknown family 'reank'; did you mean rerank",
        ),
        ([{"when": {"rerank": "test-maxsin"}, "reason": "x"}], r"forbid\[0\].when.rerank: there is no rerank stage"),
        ([{"when": {"rerank": {"kind": "test-maxsim", "k": 1}}, "reason": "x"}], "unknown parameter 'k'"),
        (
            [{"when": {"rerank": {"kind": "test-maxsim", "candidates": 51}}, "reason": "x"}],
            "no rerank option test-maxsim of the space has 51; there are 100, 20, 50",
        ),
        ([{"when": {"rerank": 5}, "reason": "x"}], "must be none, any, a kind"),
        ([{"when": {}, "reason": "x"}], "must be a mapping of families"),
        ([{"when": {"rerank": "any"}}], "when .* and reason"),
        ([{"when": {"rerank": "any"}, "reason": " "}], "must be a text that says why"),
        ([{"when": {"retrieve": "any"}, "reason": "never"}], "no pipeline of the space is legal; of the first: never"),
    ],
)
def test_a_constraint_that_says_nothing_is_refused(forbid: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        space(forbid=forbid)


def test_a_pipeline_of_the_space_is_found_again_and_another_is_named() -> None:
    some = space()
    for choice in some.pipelines():
        assert some.choice(some.genome(choice)) == choice
        assert choice in some
        assert some.from_json(json.loads(json.dumps(choice.to_json()))) == choice
    with pytest.raises(InvalidInput, match=r"chunk: {'kind': 'x'} is no option of the space"):
        some.from_json({"chunk": {"kind": "x"}})
    with pytest.raises(InvalidInput, match=r"rerank: test-maxsim .candidates 7. is no option of the space"):
        some.genome({"chunk": Words(50), "retrieve": Sparse(), "rerank": Rerank(7)})
    with pytest.raises(InvalidInput, match="prompt: test-list is no option of the space"):
        some.genome({"chunk": Words(50), "retrieve": Sparse(), "prompt": Listing()})
    whole = some.stages({"retrieve": Sparse()})
    assert [family for family, stage in whole.items() if stage is not None] == ["retrieve"]
    assert len(whole) == 11


def test_the_share_of_pipelines_that_ask_the_generator_is_exact() -> None:
    some = space(forbid=[{"when": {"query": "test-hyde", "rerank": "none"}, "reason": "x"}])
    shares = some.share(lambda technique: "generator" in technique.needs)
    counted = sum(choice["query"] is not None for choice in some.pipelines()) / some.count()
    assert shares["query"] == pytest.approx(counted)
    assert shares["rerank"] == 0
