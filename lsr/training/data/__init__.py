"""What a model is trained on: documents, queries with and without positives, and queries made from text."""

from __future__ import annotations

from lsr.training.data.inflections import Inflections
from lsr.training.data.made import MADE_KINDS, MadeQueries, Passages, made_queries
from lsr.training.data.queries_file import TrainingQuery, read_training_queries
from lsr.training.data.split import Forbidden, development_split, without_texts
from lsr.training.data.tokens import DeviceTokens, TokenStore
from lsr.training.data.training_set import QuerySource, TrainingSet, load_training_set

__all__ = [
    "MADE_KINDS",
    "DeviceTokens",
    "Forbidden",
    "Inflections",
    "MadeQueries",
    "Passages",
    "QuerySource",
    "TokenStore",
    "TrainingQuery",
    "TrainingSet",
    "development_split",
    "load_training_set",
    "made_queries",
    "read_training_queries",
    "without_texts",
]
