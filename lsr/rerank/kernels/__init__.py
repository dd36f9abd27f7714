"""Numba kernels of reranking: plain arrays in and out, no objects, no files. Import a module from here only where it is used.

How they are compiled, once and by one process at a time, is `lsr.index.kernels`.
"""
