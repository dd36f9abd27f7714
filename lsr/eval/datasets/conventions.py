"""What the makers of a collection decided about measuring on it, and its files do not say."""

from __future__ import annotations

import re

__all__ = ["caveats", "counted_as", "drops_self", "relevance_threshold"]

# TREC Deep Learning, passages: 1 is "related", on the topic without an answer; binary measures count 2 and 3 (Craswell et
# al., Overview of the TREC 2019 Deep Learning Track, section 3). DL-HARD and BEIR's msmarco/test use the same judgments.
# For documents 1 counts.
PASSAGES_OF_DEEP_LEARNING = re.compile(
    r"(msmarco-passage/trec-dl-(2019|2020|hard)|msmarco-passage-v2/trec-dl-\d{4}|beir/msmarco/test)(/.*)?"
)
# Their queries are documents of the collection, with the same id (BEIR leaves these out of the hits).
QUERIES_ARE_DOCUMENTS = frozenset({"arguana", "quora"})
# Judged twice, by different rules: systems order differently under the two (Thakur et al. 2024).
JUDGED_TWICE = re.compile(r"(.*/)?(webis-)?touche-?2020(/.*)?")
# One collection of BEIR in twelve parts, each with its own corpus: its figure is their mean.
IN_PARTS = re.compile(r"(?P<whole>(?:.*/)?cqadupstack)/[^/]+/?")


def caveats(name: str) -> tuple[str, ...]:
    """What to know before comparing scores with published ones, a sentence each."""
    if JUDGED_TWICE.fullmatch(name.casefold()):
        return (
            "Touché 2020 has two sets of judgments (v1, v2): compare only scores with the same hash of the judgments.",
        )
    return ()


def counted_as(name: str) -> str:
    """The collection that a name counts as in a mean over collections: the parts of CQADupStack are one."""
    found = IN_PARTS.fullmatch(name)
    return name if found is None else found["whole"]


def relevance_threshold(name: str) -> int:
    """The grade from which a document counts as relevant in binary measures. name: with the split, "a/b/test"."""
    return 2 if PASSAGES_OF_DEEP_LEARNING.fullmatch(name.casefold()) else 1


def drops_self(name: str) -> bool:
    """Whether a document with the id of the query is to be left out of its hits."""
    return not QUERIES_ARE_DOCUMENTS.isdisjoint(name.casefold().split("/"))
