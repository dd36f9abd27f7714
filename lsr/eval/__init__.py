"""Evaluation: collections, measures, significance, timing, and the report made of them.

DATASET ──datasets──▶ Dataset ──systems──▶ runs ──measures, significance──▶ report.json ──report──▶ pages
                                   └──timing──▶ speed and cost ──────────────────┘
"""

from __future__ import annotations

from lsr.eval.datasets import Dataset, open_dataset
from lsr.eval.evaluate import Evaluation, evaluate_collections
from lsr.eval.measures import Measure, evaluate
from lsr.eval.qrels import read_qrels
from lsr.eval.significance import compare
from lsr.eval.tuning import Tuned, tune

__all__ = [
    "Dataset",
    "Evaluation",
    "Measure",
    "Tuned",
    "compare",
    "evaluate",
    "evaluate_collections",
    "open_dataset",
    "read_qrels",
    "tune",
]
