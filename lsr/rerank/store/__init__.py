"""TokenStore: the token vectors of documents on disk, compressed, for reranking what any first stage found."""

from __future__ import annotations

from lsr.rerank.store.building import SAMPLE
from lsr.rerank.store.changing import TokenAddReport, TokenChange
from lsr.rerank.store.manifest import IndexIdentity, StoreEncoder
from lsr.rerank.store.report import CodecReport, codec_report
from lsr.rerank.store.snapshot import Found
from lsr.rerank.store.store import TokenStore

__all__ = [
    "SAMPLE",
    "CodecReport",
    "Found",
    "IndexIdentity",
    "StoreEncoder",
    "TokenAddReport",
    "TokenChange",
    "TokenStore",
    "codec_report",
]
