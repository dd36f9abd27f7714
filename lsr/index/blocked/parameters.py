"""The parameters of the blocked engine: how it is built, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass

from lsr.errors import InvalidInput
from lsr.index.storage.blocks import BLOCK_SIZES

__all__ = ["BLOCKED_FROM", "ENGINES", "BlockOptions", "Building", "SearchSettings", "default_block_size"]

ENGINES = ("auto", "exact", "blocked")
BLOCKED_FROM = 100_000  # documents from which "auto" builds blocks: below, the exact engine answers as fast
MOST_BLOCKS = 1 << 17  # scoring so many costs as much as reading the best of them


def default_block_size(documents: int) -> int:
    """The smallest that makes at most 131,072 blocks: small ones tell better where the hits are."""
    return next((size for size in BLOCK_SIZES if documents <= MOST_BLOCKS * size), BLOCK_SIZES[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOptions:
    """How blocks are built.

    block_size: documents of a block: 32, 64, 128 or 256.
    postings_energy: the share of the weight of all postings that is kept, the heaviest ones, in the lists that candidates
      are found by (static pruning). Scores are exact all the same. Each document keeps its 8 heaviest terms.
    """

    block_size: int
    postings_energy: float = 0.8

    def __post_init__(self) -> None:
        if type(self.block_size) is not int or self.block_size not in BLOCK_SIZES:
            raise InvalidInput(f"block_size is {self.block_size}: it must be one of 32, 64, 128, 256")
        if not 0 < self.postings_energy <= 1:
            raise InvalidInput(
                f"postings_energy is {self.postings_energy}: it must be above 0 and at most 1 (default: 0.8)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """Which engine an index is built for, as `Index.build` was told; kept for when it is built anew. None for a default."""

    engine: str = "auto"
    block_size: int | None = None
    postings_energy: float = 0.8

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InvalidInput(f"engine {self.engine!r} is not known: choose one of {', '.join(ENGINES)}")
        BlockOptions(block_size=self.block_size or BLOCK_SIZES[0], postings_energy=self.postings_energy)  # checks them

    def blocks(self, documents: int) -> BlockOptions | None:
        """How to build blocks for so many documents, None where the exact engine alone is to be built."""
        if documents == 0 or self.engine == "exact" or (self.engine == "auto" and documents < BLOCKED_FROM):
            return None
        size = self.block_size or default_block_size(documents)
        return BlockOptions(block_size=size, postings_energy=self.postings_energy)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How blocks are searched; see `kernels.blocked`.

    query_cut: the share of the weight of a query whose terms, the heaviest ones, find the candidates, above 0, up to 1.
    n_blocks: blocks that are read.
    candidates: documents that are scored exactly.
    """

    query_cut: float = 0.9
    n_blocks: int = 640
    candidates: int = 60

    def __post_init__(self) -> None:
        if not 0 < self.query_cut <= 1:
            raise InvalidInput(f"query_cut is {self.query_cut}: it must be above 0 and at most 1 (default: 0.9)")
        for name, value, default in (("n_blocks", self.n_blocks, 640), ("candidates", self.candidates, 60)):
            if not 1 <= value <= 1 << 30:
                raise InvalidInput(f"{name} is {value}: it must be from 1 to {1 << 30:,} (default: {default})")
