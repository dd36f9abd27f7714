"""Collections whose index has token vectors, of a small multivector model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lsr.index import Index
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, Policy, index_tokens
from tests.encoders import families

__all__ = ["DEPTH", "QUERIES", "WORDS", "build", "judged_by_maxsim", "texts"]

WORDS = sorted({word for sentence in families.SENTENCES for word in sentence.lower().split() if word.isalpha()})
QUERIES, DEPTH = 44, 30


def texts(documents: int = 150) -> dict[str, str]:
    generator = np.random.default_rng(3)
    return {f"d{i}": " ".join(generator.choice(WORDS, generator.integers(6, 20)).tolist()) for i in range(documents)}


def build(folder: Path, encoder: MultiVectorEncoder, codec: str = "f32") -> Index:
    source = folder / "docs.jsonl"
    source.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in texts().items()))
    index = Index.build(source, folder / "my.idx")
    index_tokens(index, encoder, codec=codec)
    return index


def judged_by_maxsim(index: Index, encoder: MultiVectorEncoder) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Queries, and judgments that MaxSim over the first `DEPTH` candidates satisfies wholly: they are its three best."""
    generator = np.random.default_rng(4)
    queries = {f"q{i}": " ".join(generator.choice(WORDS, 4, replace=False).tolist()) for i in range(QUERIES)}
    stage = MaxSimReranker.of(index, Policy(kappa=DEPTH), encoder=encoder)
    found = index.search(list(queries.values()), k=3, rerank=stage)
    return queries, {
        query: dict(zip(hits.ids, (3, 2, 1), strict=True)) for query, hits in zip(queries, found, strict=True)
    }
