"""Reranking: the candidates of the sparse first stage, scored by token vectors (MaxSim), a cross-encoder, or any function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.rerank.bounds import DocumentErrors, best_by_bounds, document_errors, score_errors
    from lsr.rerank.by_name import text_reranker
    from lsr.rerank.codecs import CODECS, Codec, QueryScorer, StoredTokens, codec_class
    from lsr.rerank.cross_encoder import CrossEncoderReranker
    from lsr.rerank.encoders import MultiVectorEncoder, load_multivector_encoder
    from lsr.rerank.flashrank import FlashRankReranker
    from lsr.rerank.formats import TokenFile, import_tokens, open_token_file
    from lsr.rerank.fusion import fused
    from lsr.rerank.living import TokenSyncReport, check_tokens, index_tokens, sync_tokens
    from lsr.rerank.policies import Policy, Reranked, rerank
    from lsr.rerank.policy_file import save_policy, saved_policy
    from lsr.rerank.stage import FunctionReranker, TextReranker
    from lsr.rerank.store import CodecReport, TokenStore, codec_report
    from lsr.rerank.token_vectors import TokenVectors
    from lsr.rerank.two_stages import MaxSimReranker

__all__ = [
    "CODECS",
    "Codec",
    "CodecReport",
    "CrossEncoderReranker",
    "DocumentErrors",
    "FlashRankReranker",
    "FunctionReranker",
    "MaxSimReranker",
    "MultiVectorEncoder",
    "Policy",
    "QueryScorer",
    "Reranked",
    "StoredTokens",
    "TextReranker",
    "TokenFile",
    "TokenStore",
    "TokenSyncReport",
    "TokenVectors",
    "best_by_bounds",
    "check_tokens",
    "codec_class",
    "codec_report",
    "document_errors",
    "fused",
    "import_tokens",
    "index_tokens",
    "load_multivector_encoder",
    "open_token_file",
    "rerank",
    "save_policy",
    "saved_policy",
    "score_errors",
    "sync_tokens",
    "text_reranker",
]

# Names are handed on lazily: `import lsr.rerank` loads neither numpy nor numba.
_HOME = {
    "CODECS": "lsr.rerank.codecs",
    "Codec": "lsr.rerank.codecs",
    "CodecReport": "lsr.rerank.store",
    "CrossEncoderReranker": "lsr.rerank.cross_encoder",
    "DocumentErrors": "lsr.rerank.bounds",
    "FlashRankReranker": "lsr.rerank.flashrank",
    "FunctionReranker": "lsr.rerank.stage",
    "MaxSimReranker": "lsr.rerank.two_stages",
    "MultiVectorEncoder": "lsr.rerank.encoders",
    "Policy": "lsr.rerank.policies",
    "QueryScorer": "lsr.rerank.codecs",
    "Reranked": "lsr.rerank.policies",
    "StoredTokens": "lsr.rerank.codecs",
    "TextReranker": "lsr.rerank.stage",
    "TokenFile": "lsr.rerank.formats",
    "TokenStore": "lsr.rerank.store",
    "TokenSyncReport": "lsr.rerank.living",
    "TokenVectors": "lsr.rerank.token_vectors",
    "best_by_bounds": "lsr.rerank.bounds",
    "check_tokens": "lsr.rerank.living",
    "codec_class": "lsr.rerank.codecs",
    "codec_report": "lsr.rerank.store",
    "document_errors": "lsr.rerank.bounds",
    "fused": "lsr.rerank.fusion",
    "import_tokens": "lsr.rerank.formats",
    "index_tokens": "lsr.rerank.living",
    "load_multivector_encoder": "lsr.rerank.encoders",
    "open_token_file": "lsr.rerank.formats",
    "rerank": "lsr.rerank.policies",
    "save_policy": "lsr.rerank.policy_file",
    "saved_policy": "lsr.rerank.policy_file",
    "score_errors": "lsr.rerank.bounds",
    "sync_tokens": "lsr.rerank.living",
    "text_reranker": "lsr.rerank.by_name",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lsr.rerank' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
