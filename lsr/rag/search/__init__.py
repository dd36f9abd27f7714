"""The search for the best pipeline: the space as data, algorithms, racing, the study on disk, and the verdict."""
