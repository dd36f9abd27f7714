"""Choosing how a second stage is run: from judged queries to a policy and a codec.

queries ──first stage──▶ Candidates ──codecs──▶ scores ──replay, measures──▶ table ──timing of its front──▶ choice
                                                                      └──the other half of the queries──▶ check
"""

from __future__ import annotations

from lsr.eval.tuning.choosing import Configuration, Grid
from lsr.eval.tuning.tuned import HeldOut, Tuned, tune

__all__ = ["Configuration", "Grid", "HeldOut", "Tuned", "tune"]
