"""Numba kernels of graphs: plain arrays in and out. How they are compiled, once and by one process at a time, is
`lsr.index.kernels`."""
