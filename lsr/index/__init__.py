"""SparseVectors to ranked documents: building, opening and searching an index."""

from lsr.index.index import Index

__all__ = ["Index"]
