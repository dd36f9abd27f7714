"""Graph retrieval on multi-hop questions: HippoRAG 2, CatRAG, each of its parts removed, and our defaults, beside BM25
and sparse retrieval.

    python -m benchmarks.graph_retrieval DATA... [--extractor rules]... [--triples FILE] [--maxsim MODEL] [--keep FOLDER]
        [--json FILE]

DATA: BEIR folders whose queries have gold documents. One table a collection and extractor: recall@2, 5 and 10, full
chain@5 (all gold passages among the first five) and by hops, joint success (the chain is full, and one of the three
sentences that the extractive reader takes from these passages holds a right answer), with the interval of the difference
from sparse retrieval (percentile bootstrap, 10,000 resamples). `--triples`: also with the triples of a file
(lsr.rag.graph.extractors.given), on the first DATA. `--maxsim`: also the first 50 reranked by token vectors of this model,
with a tenth of the first score.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lsr.eval.significance import bootstrap_interval
from lsr.rag import Pipeline, RagData, Resources, Runner, open_rag_data
from lsr.rag.graph.arrays import build_arrays
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.matching import FactMatches
from lsr.rag.graph.passages import SparseFirst, passage_graph
from lsr.rag.graph.search import GraphSearch
from lsr.rag.graph.settings import GraphSettings
from lsr.rag.graph.synonyms import SynonymSearch
from lsr.rag.graph.types import Text
from lsr.rag.judging.answers import squad_normalised
from lsr.rag.resources import BUNDLED
from lsr.rag.stages.packing import Listing
from lsr.rag.stages.reading import ExtractiveReader
from lsr.rag.stages.reranking import MaxSim
from lsr.rag.types import Answer, Found, Passages, Prompt

FIRST = "sparse"
OURS = "defaults"
CATRAG = GraphSettings.catrag()
CONFIGURATIONS = {
    "HippoRAG 2": GraphSettings.hipporag(),
    "CatRAG": CATRAG,
    "CatRAG without anchoring": replace(CATRAG, anchoring=False),
    "CatRAG without weighting": replace(CATRAG, weighting=False),
    "CatRAG without boost": replace(CATRAG, boost=False),
    "CatRAG without synonyms x 2": replace(CATRAG, synonym=1.0),
    OURS: GraphSettings(),
}
DEPTHS = (2, 5, 10)
DEEP = 50  # passages that are reranked
READER = ExtractiveReader(sentences=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--extractor", action="append", choices=["rules", "entities", "names"])
    parser.add_argument("--triples", type=Path)
    parser.add_argument("--maxsim")
    parser.add_argument("--keep", type=Path, help="graphs and indexes, for the next time")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary, Resources(folder=arguments.keep or temporary) as resources:
        for at, source in enumerate(arguments.data):
            data = open_rag_data(source).require_gold()
            runner = Runner(data.documents, resources)
            passages = runner.passages(Pipeline.from_mapping({"retrieve": "sparse"}))
            baselines = {
                name: ranked(runner, data, {"retrieve": {"kind": kind, "k": DEEP}})
                for name, kind in (("BM25", "bm25"), (FIRST, "sparse"))
            }
            graphs = {
                name: passage_graph(resources, passages, name, BUNDLED, resources.folder)
                for name in arguments.extractor or ["rules"]
            }
            if arguments.triples is not None and at == 0:
                graphs["given triples"] = given(resources, passages, arguments.triples, data.name)
            for name, graph in graphs.items():
                rankings = {**baselines, **walked(graph, data, passages)}
                if arguments.maxsim is not None:
                    for first in (FIRST, next(one for one in rankings if one.startswith(OURS))):
                        rankings[f"{first}, MaxSim"] = reranked(
                            resources, data, passages, rankings[first], arguments.maxsim
                        )
                results[f"{data.name}, {name}"] = table(data, graph, name, rankings, resources, passages)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results))


def given(resources: Resources, passages: Passages, triples: Path, name: str) -> GraphSearch:
    texts = [Text(passage.id, passage.text, passage.title) for passage in passages]
    encoder = resources.encoder(BUNDLED)
    arrays = build_arrays(
        GivenTriples(triples).extract(texts), [text.id for text in texts], synonyms=SynonymSearch(encoder)
    )
    facts = FactMatches(arrays, encoder, resources.folder / f"{name}-given.idx")
    return GraphSearch(arrays, facts, SparseFirst(resources.sparse(passages, BUNDLED)))


def ranked(runner: Runner, data: RagData, way: dict[str, Any]) -> list[list[str]]:
    outcomes = runner.run(Pipeline.from_mapping(way), [question.text for question in data.questions], until="filter")
    return [[piece.passages[0] for piece in outcome.found] for outcome in outcomes]


def walked(graph: GraphSearch, data: RagData, passages: Passages) -> dict[str, list[list[str]]]:
    questions = [question.text for question in data.questions]
    rankings = {}
    for name, settings in CONFIGURATIONS.items():
        search = graph.with_settings(settings)
        started = time.perf_counter()
        found = search.search(questions, DEEP)
        each = 1000 * (time.perf_counter() - started) / len(questions)
        fell = sum(one.fell_back is not None for one in found)
        rankings[f"{name} ({each:.1f} ms{f', {fell} without a match' if fell else ''})"] = [
            [passages[place].id for place in one.passages.tolist()] for one in found
        ]
    return rankings


def reranked(
    resources: Resources, data: RagData, passages: Passages, ranking: list[list[str]], model: str
) -> list[list[str]]:
    stage = MaxSim(model=model, candidates=DEEP, weight=0.1)
    questions = [question.text for question in data.questions]
    found = stage.rerank(questions, evidence(passages, ranking, DEEP), passages, resources)
    return [[piece.passages[0] for piece in pieces] for pieces in found if isinstance(pieces, tuple)]


def evidence(passages: Passages, ranking: list[list[str]], k: int) -> list[tuple[Found, ...]]:
    by_id = {passage.id: passage for passage in passages}
    return [tuple(Found.of(by_id[id], 1 / rank) for rank, id in enumerate(ids[:k], 1)) for ids in ranking]


def right(resources: Resources, data: RagData, passages: Passages, ranking: list[list[str]]) -> np.ndarray[Any, Any]:
    """1 for each question whose right answer is in what the reader says."""
    questions = [question.text for question in data.questions]
    prompts = Listing(tokens=1_000_000).pack(questions, evidence(passages, ranking, 5), resources)
    answers = READER.generate(questions, [one for one in prompts if isinstance(one, Prompt)], resources)
    said = [squad_normalised(answer.text) if isinstance(answer, Answer) else "" for answer in answers]
    return np.array(
        [
            float(any(f" {squad_normalised(answer)} " in f" {text} " for answer in question.answers))
            for question, text in zip(data.questions, said, strict=True)
        ]
    )


def table(
    data: RagData,
    graph: GraphSearch,
    extractor: str,
    rankings: dict[str, list[list[str]]],
    resources: Resources,
    passages: Passages,
) -> dict[str, Any]:
    gold = [{span.document for span in question.gold} for question in data.questions]
    hops = np.array([len(one) for one in gold])
    kinds = np.bincount(graph.arrays.kinds, minlength=3)
    print(
        f"\n### {data.name}, {extractor}: {len(gold)} questions, {graph.arrays.passages:,} passages, "
        f"{len(graph.arrays.phrases):,} phrases, {len(graph.arrays.subjects):,} facts, edges {kinds[0]:,} relations, "
        f"{kinds[1]:,} mentions, {kinds[2]:,} synonyms\n"
    )
    chains = {
        name: np.array([float(one <= set(ids[:5])) for one, ids in zip(gold, ranking, strict=True)])
        for name, ranking in rankings.items()
    }
    recalls = {
        name: {
            k: np.array([len(one & set(ids[:k])) / len(one) for one, ids in zip(gold, ranking, strict=True)])
            for k in DEPTHS
        }
        for name, ranking in rankings.items()
    }
    joint = {name: chains[name] * right(resources, data, passages, ranking) for name, ranking in rankings.items()}
    groups = sorted(set(hops.tolist()))
    columns = [*(f"R@{k}" for k in DEPTHS), "R@5 against sparse", "full chain@5", "against sparse"]
    columns += [*(f"{hop} hops" for hop in groups), "joint success", "against sparse"]
    print(f"| | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|")
    for name in rankings:
        cells = [f"{recalls[name][k].mean():.3f}" for k in DEPTHS]
        cells.append(against(recalls[name][5], recalls[FIRST][5], name))
        cells += [f"{chains[name].mean():.3f}", against(chains[name], chains[FIRST], name)]
        cells += [f"{chains[name][hops == hop].mean():.3f}" for hop in groups]
        cells += [f"{joint[name].mean():.3f}", against(joint[name], joint[FIRST], name)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return {name: chain.tolist() for name, chain in chains.items()}


def against(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], name: str) -> str:
    if name == FIRST:
        return ""
    low, high = bootstrap_interval(one - other)
    return f"{(one - other).mean():+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
