"""What can be evaluated: an index, its second stage, an encoder to index with, BM25, a run that another engine wrote.

All speak one small protocol, `System`: prepare, search, and say what may be measured.
"""

from __future__ import annotations

from lsr.eval.systems.spec import open_system
from lsr.eval.systems.system import System, UnderTest
from lsr.eval.systems.two_stages import with_second_stage

__all__ = ["System", "UnderTest", "open_system", "with_second_stage"]
