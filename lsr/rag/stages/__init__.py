"""The stages that there are: importing this gives them their names (`lsr.rag.stages.base.stage`)."""

from lsr.rag.stages import (  # noqa: F401
    augmenting,
    chunking,
    contextual,
    extracting,
    filtering,
    generating,
    graph,
    judging_rerank,
    packing,
    preparing,
    prf,
    reading,
    reranking,
    retrieval,
    revising,
    rewriting,
    summarising,
)
