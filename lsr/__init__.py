"""lsr: search text with learned sparse representations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.corpus import Document, read_documents, read_queries
    from lsr.encoders import Encoder, load_encoder
    from lsr.errors import LsrError
    from lsr.hits import Hit, Hits
    from lsr.index import Index
    from lsr.index.formats import open_vectors, read_vectors, write_vectors
    from lsr.limits import Limits
    from lsr.sparse import SparseVectors

__version__ = "0.1.0"

__all__ = [
    "Document",
    "Encoder",
    "Hit",
    "Hits",
    "Index",
    "Limits",
    "LsrError",
    "SparseVectors",
    "load_encoder",
    "open_vectors",
    "read_documents",
    "read_queries",
    "read_vectors",
    "write_vectors",
]

# Names are handed on lazily: `import lsr` loads neither numpy nor numba nor onnxruntime.
_HOME = {
    "Document": "lsr.corpus",
    "Encoder": "lsr.encoders",
    "Hit": "lsr.hits",
    "Hits": "lsr.hits",
    "Index": "lsr.index",
    "Limits": "lsr.limits",
    "LsrError": "lsr.errors",
    "SparseVectors": "lsr.sparse",
    "load_encoder": "lsr.encoders",
    "open_vectors": "lsr.index.formats",
    "read_documents": "lsr.corpus",
    "read_queries": "lsr.corpus",
    "read_vectors": "lsr.index.formats",
    "write_vectors": "lsr.index.formats",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lsr' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
