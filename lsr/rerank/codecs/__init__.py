"""Codecs: token vectors as a few bytes each, scored as they are stored."""

from __future__ import annotations

from types import MappingProxyType

from lsr.errors import InvalidInput
from lsr.rerank.codecs.codec import Codec
from lsr.rerank.codecs.plain import Float16, Float32, Int4, Int8
from lsr.rerank.codecs.pq import ProductQuantizer
from lsr.rerank.codecs.residual import Residual2
from lsr.rerank.codecs.scoring import Exit, QueryScorer, StoredTokens

__all__ = ["CODECS", "Codec", "Exit", "QueryScorer", "StoredTokens", "codec_class"]

CODECS = MappingProxyType({codec.name: codec for codec in (Float32, Float16, Int8, Int4, Residual2, ProductQuantizer)})


def codec_class(name: str) -> type[Codec]:
    """The codec of this name. Raises `InvalidInput`."""
    found = CODECS.get(name)
    if found is None:
        raise InvalidInput(f"there is no codec {name!r}: there are {', '.join(CODECS)}")
    return found
