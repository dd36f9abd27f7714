"""The parameters of the blocked engine: how it is built, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass

from lsr.errors import InvalidInput

__all__ = ["BlockOptions", "SearchSettings", "default_block_size"]

BLOCK_SIZES = (32, 64, 128, 256)
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
        if self.block_size not in BLOCK_SIZES:
            raise InvalidInput(f"block_size is {self.block_size}: it must be one of 32, 64, 128, 256")
        if not 0 < self.postings_energy <= 1:
            raise InvalidInput(
                f"postings_energy is {self.postings_energy}: it must be above 0 and at most 1 (default: 0.8)"
            )


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
