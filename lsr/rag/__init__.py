"""Retrieval-augmented generation: pipelines as data, their runner, their evaluation, and the search for the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.rag.files import PipelineFile, read_pipeline
    from lsr.rag.graph.extractors import open_extractor
    from lsr.rag.graph.search import GraphResult
    from lsr.rag.graph.settings import GraphSettings
    from lsr.rag.graph.store import Graph
    from lsr.rag.pipeline import Pipeline
    from lsr.rag.questions import Question, RagData, open_rag_data, write_questions
    from lsr.rag.rag import Rag
    from lsr.rag.resources import Resources
    from lsr.rag.runner import Outcome, Runner, Step
    from lsr.rag.types import Answer, Failure, Found, Passage, Passages, Prompt, Queries, Query, Span, Usage

__all__ = [
    "Answer",
    "Failure",
    "Found",
    "Graph",
    "GraphResult",
    "GraphSettings",
    "Outcome",
    "Passage",
    "Passages",
    "Pipeline",
    "PipelineFile",
    "Prompt",
    "Queries",
    "Query",
    "Question",
    "Rag",
    "RagData",
    "Resources",
    "Runner",
    "Span",
    "Step",
    "Usage",
    "open_extractor",
    "open_rag_data",
    "read_pipeline",
    "write_questions",
]

# Names are handed on lazily: `import lsr.rag` loads neither numpy nor numba.
_HOME = {
    "PipelineFile": "files",
    "read_pipeline": "files",
    "open_extractor": "graph.extractors",
    "GraphResult": "graph.search",
    "GraphSettings": "graph.settings",
    "Graph": "graph.store",
    "Pipeline": "pipeline",
    "Question": "questions",
    "RagData": "questions",
    "open_rag_data": "questions",
    "write_questions": "questions",
    "Rag": "rag",
    "Resources": "resources",
    "Outcome": "runner",
    "Runner": "runner",
    "Step": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lsr.rag' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lsr.rag.{_HOME.get(name, 'types')}"), name)
