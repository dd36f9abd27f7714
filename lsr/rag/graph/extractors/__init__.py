"""Who finds phrases and facts in passages: rules over a parse, entities alone, a language model, or a file of triples."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.errors import InvalidInput
from lsr.rag.graph.types import Extractor

if TYPE_CHECKING:
    from lsr.rag.generators.base import Generator
    from lsr.rag.templates import Templates

__all__ = ["EXTRACTORS", "open_extractor"]

EXTRACTORS = ("rules", "entities", "names", "llm", "given")


def open_extractor(
    name: str,
    *,
    generator: Generator | None = None,
    prompts: Templates | None = None,
    triples: str | Path | None = None,
    skip_bad: bool = False,
) -> Extractor:
    """An extractor by name.

    rules: triples and phrases of spaCy's dependency parse; entities: the phrases of it alone, without relations, as
    LinearRAG does; names: capitalised names without any model; llm: a language model (generator); given: a file of
    triples (skip_bad: lines of it that are none are counted, not refused). Raises `InvalidInput`, with the nearest name,
    for an unknown one and for what an extractor needs; `MissingExtra` without spaCy.
    """
    if name == "rules" or name == "entities":
        from lsr.rag.graph.extractors.rules import RuleExtractor

        return RuleExtractor(relations=name == "rules")
    if name == "names":
        from lsr.rag.graph.extractors.names import NameExtractor

        return NameExtractor()
    if name == "llm":
        from lsr.rag.graph.extractors.llm import LanguageModelExtractor

        if generator is None:
            raise InvalidInput("the extractor llm needs a generator: name one (generator: in the YAML)")
        return LanguageModelExtractor(generator, prompts)
    if name == "given":
        from lsr.rag.graph.extractors.given import GivenTriples

        if triples is None:
            raise InvalidInput("the extractor given needs a file of triples: name it")
        return GivenTriples(triples, skip_bad=skip_bad)
    close = get_close_matches(name, EXTRACTORS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(EXTRACTORS)}"
    raise InvalidInput(f"there is no extractor {name!r}; {hint}")
