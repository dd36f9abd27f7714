"""Reranking: the candidates of the sparse first stage, scored by token vectors (MaxSim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.rerank.codecs import CODECS, Codec, codec_class

__all__ = ["CODECS", "Codec", "codec_class"]

# Names are handed on lazily: `import lsr.rerank` loads neither numpy nor numba.
_HOME = {"CODECS": "lsr.rerank.codecs", "Codec": "lsr.rerank.codecs", "codec_class": "lsr.rerank.codecs"}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lsr.rerank' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
