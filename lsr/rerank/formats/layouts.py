"""Which program stored a folder of token vectors, told by its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lsr.corpus.streams import shown
from lsr.errors import CorpusError
from lsr.rerank.formats.kannolo import open_kannolo, open_kannolo_pq
from lsr.rerank.formats.plaid import open_fast_plaid, open_plaid
from lsr.rerank.formats.pylate import MAPPINGS, open_pylate
from lsr.rerank.formats.token_file import TokenFile

__all__ = ["LAYOUTS", "Layout", "open_token_file"]


class Layout(NamedTuple):
    """A program's form: its name, files by any set of which it is known, and what opens it."""

    name: str
    signs: tuple[tuple[str, ...], ...]
    open: Callable[[Path], TokenFile]


LAYOUTS = (
    Layout("PyLate", tuple((name,) for name in MAPPINGS), open_pylate),
    Layout("PLAID of ColBERT", (("metadata.json", "centroids.pt"),), open_plaid),
    Layout("fast-plaid", (("metadata.json", "centroids.npy"),), open_fast_plaid),
    Layout("kANNolo", (("doclens.npy", "documents.npy"),), open_kannolo),
    Layout("kANNolo with two-level PQ", (("doclens.npy", "residuals.npy", "pq_centroids.npy"),), open_kannolo_pq),
)


def open_token_file(folder: str | Path) -> TokenFile:
    """Opens a folder of token vectors, whoever stored them. What a layout has in common with another stands first.

    Raises `CorpusError` for a folder that is none of the known ones, or not whole, and `MissingExtra` for tensors of torch
    without torch.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CorpusError(f"{shown(path)}: no such folder of token vectors")
    for layout in LAYOUTS:
        if any(all((path / name).exists() for name in sign) for sign in layout.signs):
            return layout.open(path)
    known = "; ".join(f"{layout.name} ({' or '.join(', '.join(sign) for sign in layout.signs)})" for layout in LAYOUTS)
    raise CorpusError(f"{shown(path)}: no store of token vectors that is known: {known}")
