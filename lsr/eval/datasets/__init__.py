"""Collections to evaluate on: documents, queries and judgments, from a folder, a zip or the catalogue of ir_datasets."""

from __future__ import annotations

from lsr.eval.datasets.dataset import Dataset
from lsr.eval.datasets.facts import DatasetFacts, survey
from lsr.eval.datasets.resolve import open_dataset

__all__ = ["Dataset", "DatasetFacts", "open_dataset", "survey"]
