"""Graph retrieval for questions of several hops, after HippoRAG 2 and CatRAG ('Breaking the Static Graph', 2026)."""
