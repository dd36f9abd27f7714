"""Reranking: the candidates of the sparse first stage, scored by token vectors (MaxSim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.rerank.encoders import MultiVectorEncoder, load_multivector_encoder
    from lsr.rerank.token_vectors import TokenVectors

__all__ = ["MultiVectorEncoder", "TokenVectors", "load_multivector_encoder"]

# Names are handed on lazily: `import lsr.rerank` loads neither numpy nor numba.
_HOME = {
    "MultiVectorEncoder": "lsr.rerank.encoders",
    "TokenVectors": "lsr.rerank.token_vectors",
    "load_multivector_encoder": "lsr.rerank.encoders",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lsr.rerank' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
