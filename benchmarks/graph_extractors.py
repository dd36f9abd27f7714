"""What extractors find of a language model's phrases and facts, and how fast.

    python -m benchmarks.graph_extractors DATA TRIPLES [--extractor rules]... [--processes 1] [--runs 5]

DATA: a BEIR folder of passages; TRIPLES: what a language model found in them (lsr.rag.graph.extractors.given). Phrases
are compared by their normal form, facts by their two ends, whichever comes first. Speed: the median of the runs, over all
passages, without the model's opening but with the start of processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsr.rag import open_rag_data
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.extractors.given import GivenTriples
from lsr.rag.graph.extractors.rules import RuleExtractor
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.types import Extracted, Extractor, Text
from lsr.rag.types import Failure


@dataclass(frozen=True)
class Agreement:
    """Shares of the other's phrases, and of its pairs of phrases in a fact, that were found; and how many there are of
    each in a passage."""

    phrases: float
    pairs: float
    phrases_found: float
    pairs_found: float


def compared(ours: Sequence[Extracted | Failure], theirs: Sequence[Extracted | Failure]) -> Agreement:
    """How much of `theirs` is in `ours`, passage by passage."""
    counts = [0] * 6
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, Extracted)
        assert isinstance(other, Extracted)
        for at, make in ((0, phrases_of), (3, pairs_of)):
            found, wanted = make(mine), make(other)
            counts[at] += len(found & wanted)
            counts[at + 1] += len(wanted)
            counts[at + 2] += len(found)
    n = max(1, len(ours))
    return Agreement(counts[0] / max(1, counts[1]), counts[3] / max(1, counts[4]), counts[2] / n, counts[5] / n)


def phrases_of(one: Extracted) -> set[str]:
    return {normal_form(phrase) for phrase in one.phrases} - {""}


def pairs_of(one: Extracted) -> set[frozenset[str]]:
    pairs = {frozenset((normal_form(fact.subject), normal_form(fact.object))) for fact in one.facts}
    return {pair for pair in pairs if len(pair) == 2 and "" not in pair}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("triples", type=Path)
    parser.add_argument("--extractor", action="append", choices=["rules", "entities", "names"])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    documents = open_rag_data(arguments.data).documents
    texts = [Text(document.id, document.text, document.title or "") for document in documents.values()]
    words = sum(len(text.text.split()) for text in texts) / len(texts)
    theirs = list(GivenTriples(arguments.triples).extract(texts))
    print(f"{len(texts):,} passages of {words:.0f} words; the load of the machine is {os.getloadavg()[0]:.1f}\n")
    print(
        "| extractor | phrases found | facts found | phrases | facts | passages a second |\n|---|--:|--:|--:|--:|--:|"
    )
    there = compared(theirs, theirs)
    print(f"| {arguments.triples.name} | 1 | 1 | {there.phrases_found:.1f} | {there.pairs_found:.1f} | |")
    for name in arguments.extractor or ["rules", "entities", "names"]:
        extractor: Extractor
        if name == "names":
            extractor = open_extractor(name)
        else:
            extractor = RuleExtractor(relations=name == "rules", processes=arguments.processes)
        list(extractor.extract(texts[:8]))
        speeds = []
        for _ in range(arguments.runs):
            started = time.perf_counter()
            ours = list(extractor.extract(texts))
            speeds.append(len(texts) / (time.perf_counter() - started))
        share = compared(ours, theirs)
        print(
            f"| {name} | {share.phrases:.3f} | {share.pairs:.3f} | {share.phrases_found:.1f} | {share.pairs_found:.1f} "
            f"| {statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
