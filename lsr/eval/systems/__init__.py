"""What can be evaluated: an index, an encoder to index with, BM25, a run that another engine wrote.

A later stage joins by the same small protocol, `System`: prepare, search, and say what may be measured.
"""

from __future__ import annotations

from lsr.eval.systems.spec import open_system
from lsr.eval.systems.system import System, UnderTest

__all__ = ["System", "UnderTest", "open_system"]
