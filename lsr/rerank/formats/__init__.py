"""Token vectors that other programs stored: ColBERT's and PyLate's PLAID, fast-plaid's, kANNolo's."""

from __future__ import annotations

from lsr.rerank.formats.importing import import_tokens
from lsr.rerank.formats.layouts import LAYOUTS, open_token_file
from lsr.rerank.formats.token_file import TokenFile

__all__ = ["LAYOUTS", "TokenFile", "import_tokens", "open_token_file"]
