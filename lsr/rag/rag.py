"""Answers from one's own documents: a pipeline, its corpus, and what it works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self, overload

from lsr.corpus import Document, read_documents
from lsr.errors import InvalidInput
from lsr.rag.blobs import Blobs
from lsr.rag.files import PipelineFile, Surroundings, read_pipeline
from lsr.rag.generators import open_generator
from lsr.rag.gold import collected, joined
from lsr.rag.pipeline import Pipeline
from lsr.rag.resources import Resources
from lsr.rag.runner import Outcome, Runner
from lsr.rag.templates import Templates

__all__ = ["Rag", "open_documents", "open_resources", "open_stages"]

STAGES = "stages.sqlite"
INDEXES = "indexes"


class Rag(AbstractContextManager["Rag"]):
    """Runs one pipeline over one corpus.

        with Rag.open("pipeline.yaml") as rag:
            outcome = rag.answer("how do I rotate a log file?")
            print(outcome.answer.text, [piece.title for piece in outcome.citations])

    documents: by id. resources: models, generator, templates; closed with this. cache: where results are kept.
    """

    def __init__(
        self,
        pipeline: Pipeline | Mapping[str, Any],
        documents: Mapping[str, Document],
        resources: Resources | None = None,
        cache: Blobs | None = None,
    ) -> None:
        self.pipeline = pipeline.complete() if isinstance(pipeline, Pipeline) else Pipeline.from_mapping(pipeline)
        self.resources = resources or Resources()
        self.runner = Runner(documents, self.resources, cache)
        self._cache = cache

    @classmethod
    def open(
        cls,
        file: str | Path | PipelineFile,
        *,
        corpus: str | Path | None = None,
        cache: str | Path | None = None,
    ) -> Self:
        """What a YAML file says (see `lsr.rag.files`). corpus: in place of the file's; cache: a folder in which indexes,
        results of stages and replies of generators are kept from one time to the next.

        Raises `InvalidInput` for a file that cannot be read as given or names no corpus, and as readers and models do.
        """
        read = file if isinstance(file, PipelineFile) else read_pipeline(file)
        where = "the pipeline" if isinstance(file, PipelineFile) else str(file)
        source = read.surroundings.corpus if corpus is None else str(corpus)
        if source is None:
            raise InvalidInput(f"{where}: names no corpus; add corpus: to it, or give one (--corpus)")
        documents = open_documents(source, read.surroundings.join)
        with ExitStack() as opened:
            resources = opened.enter_context(open_resources(read.surroundings, cache))
            stages = open_stages(cache)
            if stages is not None:
                opened.callback(stages.close)
            made = cls(read.pipeline, documents, resources, stages)
            opened.pop_all()  # it closes them from now on
        return made

    @overload  # a str is a Sequence[str] too: the first that fits counts
    def answer(self, questions: str) -> Outcome: ...  # type: ignore[overload-overlap]

    @overload
    def answer(self, questions: Sequence[str]) -> list[Outcome]: ...

    def answer(self, questions: str | Sequence[str]) -> Outcome | list[Outcome]:
        """An outcome for a question, or one for each of several, which are faster together. Raises as `Runner.run`."""
        if isinstance(questions, str):
            return self.runner.run(self.pipeline, [questions])[0]
        return self.runner.run(self.pipeline, questions)

    def close(self) -> None:
        self.resources.close()
        if self._cache is not None:
            self._cache.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_documents(source: str, join: str | None) -> Mapping[str, Document]:
    """The documents of a source by id, joined by a metadata field where one is given. Raises as the readers do."""
    found = collected(read_documents(source))
    return (found if join is None else joined(found, join)).documents


def open_resources(surroundings: Surroundings, cache: str | Path | None) -> Resources:
    """Models, generator and templates of a file; what can be made again is kept in the folder `cache`."""
    folder = None if cache is None else Path(cache) / INDEXES
    resources = Resources(prompts=Templates(surroundings.prompts), folder=folder, device=surroundings.device)
    try:
        if surroundings.generator is not None:
            resources.generator = open_generator(surroundings.generator, cache, counter=resources.count_tokens)
    except BaseException:
        resources.close()
        raise
    return resources


def open_stages(cache: str | Path | None) -> Blobs | None:
    """The store of results of stages in the folder `cache`."""
    return None if cache is None else Blobs(Path(cache) / STAGES)
