"""Second stages by the names that commands take."""

from __future__ import annotations

from lsr.rerank.cross_encoder import CrossEncoderReranker
from lsr.rerank.flashrank import FlashRankReranker

__all__ = ["text_reranker"]

FLASHRANK = "flashrank:"


def text_reranker(
    name: str, candidates: int = 50, *, local_files_only: bool = False
) -> CrossEncoderReranker | FlashRankReranker:
    """ "flashrank:NAME", or a cross-encoder of sentence-transformers by folder or hub id. Raises as they do."""
    if name.startswith(FLASHRANK):
        model = name.removeprefix(FLASHRANK)
        return FlashRankReranker(model, candidates=candidates, local_files_only=local_files_only)
    return CrossEncoderReranker(name, candidates=candidates, local_files_only=local_files_only)
