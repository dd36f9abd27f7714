"""Pipelines as data and as Python: what is read, written, composed and refused."""

from __future__ import annotations

from typing import Any

import pytest

from lsr.errors import InvalidInput
from lsr.rag.pipeline import Pipeline
from lsr.rag.stages.chunking import Sentences
from lsr.rag.stages.filtering import TopK
from lsr.rag.stages.reading import ExtractiveReader
from lsr.rag.stages.retrieval import Fusion, Sparse


def test_stages_compose_and_the_mapping_says_the_same() -> None:
    composed = Sentences(words=120) >> Fusion(how="convex", weights=(0.7, 0.3)) >> TopK(k=3) >> ExtractiveReader()
    read = Pipeline.from_mapping(
        {
            "chunk": {"kind": "sentences", "words": 120},
            "retrieve": {"kind": "fusion", "how": "convex", "weights": [0.7, 0.3]},
            "filter": {"kind": "top-k", "k": 3},
            "generate": "extractive",
        }
    )
    assert composed.complete() == read
    assert hash(composed.complete()) == hash(read)
    assert (Sentences() >> Sparse()) >> TopK() == Sentences() >> (Sparse() >> TopK())


def test_what_every_pipeline_has_need_not_be_said() -> None:
    pipeline = Pipeline.from_mapping({"retrieve": "bm25", "rerank": "none", "filter": None})
    assert [stage.name for stage in pipeline.stages] == [
        "chunk: documents",
        "retrieve: bm25",
        "prompt: list",
        "generate: extractive",
    ]


def test_parameters_are_written_in_full_but_for_those_that_are_left_out() -> None:
    written = Pipeline.from_mapping({"retrieve": "sparse"}).to_mapping()
    assert written["retrieve"] == {"kind": "sparse", "k": 20, "encoder": "lsr-tiny", "recall": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retreive": "bm25"}, r"p.yaml: there is no family 'retreive'; did you mean retrieve\?"),
        ({"retrieve": "bm52"}, r"p.yaml.retrieve: there is no retrieve stage 'bm52'; did you mean bm25\?"),
        ({"retrieve": {"kind": "bm25", "K": 5}}, r"p.yaml.retrieve: bm25: unknown key 'K'; "),
        ({"retrieve": {"kind": "bm25", "k": 0}}, r"p.yaml.retrieve: bm25.k is 0: it must be between 1 and 1,000"),
        ({"retrieve": {"k": 5}}, "must be the name of a stage, or a mapping with its kind"),
        ({"retrieve": ["bm25"]}, "must be the name of a stage, or a mapping with its kind"),
        ({"retrieve": {"kind": "none", "k": 5}}, "none has no parameters"),
        ({"retrieve": "dense"}, "needs model"),
        ({"chunk": "sentences"}, "nothing retrieves; name a stage, such as retrieve: sparse"),
        ({"retrieve": {"kind": "fusion", "of": ["sparse"]}}, "must name two or more"),
        ({"retrieve": {"kind": "fusion", "weights": [1]}}, "there must be one, 0 or more and not all 0, for each"),
        ({"retrieve": {"kind": "fusion", "weights": [0, 0]}}, "not all 0, for each"),
        ({"retrieve": {"kind": "fusion", "weights": [float("nan"), 1]}}, "there must be one, 0 or more"),
        ({"retrieve": {"kind": "fusion", "model": "m"}}, "a model goes with dense"),
        (
            {"query": "rm3", "retrieve": "bm25"},
            "rm3 makes terms, which retrieve: bm25 does not search; retrieve sparse",
        ),
        ({"query": "rm3", "retrieve": "graph"}, "rm3 makes terms, which retrieve: graph does not search"),
        ({"query": "rm3", "retrieve": {"kind": "sparse", "encoder": "other"}}, "'lsr-tiny'.*'other': name the same"),
        ([1], "must be a mapping of families to stages"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_nearest_name(values: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Pipeline.from_mapping(values, "p.yaml")


def test_stages_out_of_order_and_two_of_a_family_are_refused() -> None:
    with pytest.raises(InvalidInput, match="retrieve: sparse cannot come after filter: top-k"):
        TopK() >> Sparse()
    with pytest.raises(InvalidInput, match="one filter stage at most"):
        Sparse() >> TopK() >> TopK(k=3)
