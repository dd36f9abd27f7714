"""Evaluation during training: the exact engine on a development set, and how sparse the vectors are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lsr.encoders import flops, statistics
from lsr.eval.measures import Measure
from lsr.eval.measures import evaluate as measured
from lsr.index import Index
from lsr.sparse import SparseVectors, term_type
from lsr.training.network import Side
from lsr.training.vectors import Texts, chunks

__all__ = ["DEPTH", "Development", "Found", "SparseFound", "TokensFound", "evaluate_sparse", "sparse_vectors"]

Rows = npt.NDArray[np.int64]
DEPTH = 10
# Of a posting list: a term that so large a share of the documents has is no use, and makes searching slow.
LONG_LIST = 0.5


@dataclass(frozen=True, kw_only=True)
class Found:
    """nDCG@10 of all queries and of each kind; words on what looks wrong."""

    ndcg: float
    kinds: Mapping[str, float]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "warnings": list(self.warnings)}


@dataclass(frozen=True, kw_only=True)
class SparseFound(Found):
    """terms of documents; FLOPS of queries and documents, and of documents alone; share of the documents in the longest
    posting list, and the term it belongs to."""

    nnz: float
    nnz_p50: float
    nnz_p95: float
    flops: float
    document_flops: float
    longest_list: float
    longest_term: int


@dataclass(frozen=True, kw_only=True)
class TokensFound(Found):
    """vectors: of a document, in the mean."""

    vectors: float


@dataclass(frozen=True, kw_only=True)
class Development:
    """Queries with judged documents. `judged` maps rows of queries to {row of a document: grade}; `kind` names each
    query's kind."""

    documents: Texts
    queries: Texts
    count: int  # of documents
    judged: Mapping[int, Mapping[int, int]]
    kind: Mapping[int, str]

    @property
    def asked(self) -> Rows:
        """The rows of the queries, rising, int64."""
        return np.array(sorted(self.judged), np.int64)

    def measured(self, hits: Sequence[Sequence[int]]) -> tuple[float, dict[str, float]]:
        """nDCG@10, the mean over kinds, and that of each kind; hits: the rows of the best documents of each query `asked`."""
        rows = self.asked.tolist()
        qrels = {str(row): {str(d): grade for d, grade in self.judged[row].items()} for row in rows}
        rankings = {str(row): [str(d) for d in found] for row, found in zip(rows, hits, strict=True)}
        values = measured([Measure("nDCG", DEPTH)], qrels, rankings)
        kinds: dict[str, list[float]] = {}
        for row, value in zip(rows, next(iter(values.values())), strict=True):
            kinds.setdefault(self.kind[row], []).append(float(value))
        means = {kind: float(np.mean(found)) for kind, found in sorted(kinds.items())}
        return float(np.mean(list(means.values()))), means


def evaluate_sparse(
    development: Development, documents: Side, queries: Side, top_terms: int | None, tokens: int, scratch: Path
) -> SparseFound:
    """The figures of sides of sparse vectors, by the exact engine, with the terms that their model would keep."""
    vectors = sparse_vectors(documents, development.documents, np.arange(development.count), tokens, top_terms)
    asked = sparse_vectors(queries, development.queries, development.asked, tokens, None)
    ndcg, kinds = development.measured(_searched(vectors, asked, scratch))
    return _found(vectors, asked, ndcg, kinds)


def _found(vectors: SparseVectors, asked: SparseVectors, ndcg: float, kinds: Mapping[str, float]) -> SparseFound:
    lengths, frequencies = np.diff(vectors.indptr), np.bincount(vectors.indices, minlength=vectors.dim)
    facts = statistics(vectors)
    warnings = [facts.collapse, statistics(asked).collapse]
    longest = int(frequencies.argmax())
    share = float(frequencies[longest] / max(len(vectors), 1))
    if share > LONG_LIST:
        many = int((frequencies > LONG_LIST * len(vectors)).sum())
        warnings.append(f"{many:,} terms are in more than half of the documents")
    return SparseFound(
        ndcg=ndcg,
        kinds=kinds,
        nnz=facts.terms,
        nnz_p50=float(np.percentile(lengths, 50)),
        nnz_p95=float(np.percentile(lengths, 95)),
        flops=flops(asked, vectors),
        document_flops=facts.flops,
        longest_list=share,
        longest_term=longest,
        warnings=tuple(warning for warning in warnings if warning),
    )


def sparse_vectors(side: Side, texts: Texts, rows: Rows, tokens: int, top_terms: int | None) -> SparseVectors:
    """The vectors of texts by a side, in the order of `rows`; the `top_terms` heaviest when given."""
    parts: list[tuple[Rows, Rows, npt.NDArray[np.float32]]] = []
    with torch.no_grad():
        for chosen in chunks(texts.lengths[rows], tokens):
            weights = side(*texts.batch(rows[chosen]))
            if top_terms is not None and top_terms < side.dim:
                values, terms = weights.topk(top_terms, dim=1)
                weights = torch.zeros_like(weights).scatter_(1, terms, values)
            row, term = weights.nonzero(as_tuple=True)
            parts.append((chosen[row.cpu().numpy()], term.cpu().numpy(), weights[row, term].float().cpu().numpy()))
    places = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    terms_of = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.int64)
    weights_of = np.concatenate([part[2] for part in parts]) if parts else np.zeros(0, np.float32)
    order = np.argsort(places, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(rows)))]).astype(np.int64)
    return SparseVectors(
        indptr=indptr, indices=terms_of[order].astype(term_type(side.dim)), values=weights_of[order], dim=side.dim
    )


def _searched(vectors: SparseVectors, asked: SparseVectors, scratch: Path) -> list[list[int]]:
    """The rows of the documents found for each query, best first."""
    with TemporaryDirectory(dir=scratch) as folder:
        index = Index.build(vectors, Path(folder) / "development.idx", engine="exact")
        return [hits.rows.tolist() for hits in index.search(asked, k=DEPTH)]
