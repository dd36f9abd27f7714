"""The blocked engine: similar documents in blocks, a summary of each block that decides whether it is read, and exact scores
for the documents that look best (after Seismic, Bruch et al. 2024). `kernels.blocked` says how a query is answered."""
