"""What passages are found by, without a language model: a header of where they stand, or their parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from lsr.errors import InvalidInput
from lsr.rag.resources import Resources
from lsr.rag.stages.base import Preparation, stage
from lsr.rag.stages.chunking import windows
from lsr.rag.types import Passage, Passages
from lsr.schema import between

__all__ = ["Headers", "Parent"]

# Headings of Markdown and of wikis.
_HEADING = re.compile(r"(?:^|(?<=\n))#{1,6}[ \t]+([^\n]+)|(={2,6})[ \t]*([^=\n]{1,120}?)[ \t]*\2")
_PATHS = ("heading_path", "section", "headings")


@stage("prepare", "headers")
@dataclass(frozen=True)
class Headers(Preparation):
    """A passage is found by its document's title, the heading it stands under, and its text: a mechanical contextual
    header.

    The heading is the nearest before it in the document (of Markdown or a wiki), or what a field of its metadata says
    (heading_path, section). first: also the first sentence of the document.
    """

    first: bool = False

    def prepare(self, passages: Passages, resources: Resources) -> list[Passage]:
        return [self._with_header(passage, passages) for passage in passages]

    def _with_header(self, passage: Passage, passages: Passages) -> Passage:
        span = passage.spans[0]
        document = passages.documents[span.document]
        header = [passage.title]
        found = list(_HEADING.finditer(document.text, 0, span.start + 1))
        if found:
            header.append(found[-1][1] or found[-1][3])
        else:
            values = (document.metadata.get(name) for name in _PATHS)
            header.append(next((value for value in values if isinstance(value, str)), "").strip("= "))
        if self.first and span.start > 0:
            from lsr.corpus.passages import sentence_places

            places = sentence_places(document.text[:2000])
            header.append(document.text[slice(*places[0])] if places else "")
        said = ". ".join(part for part in header if part)
        return replace(passage, keys=(f"{said}. {passage.text}" if said else passage.text,))


@stage("prepare", "parent")
@dataclass(frozen=True)
class Parent(Preparation):
    """Small to big: a passage is found by windows of its words, the best of which gives its score, and is read whole."""

    words: int = field(default=50, metadata=between(5, 10_000))
    overlap: int = field(default=10, metadata=between(0, 5_000))

    def __post_init__(self) -> None:
        if self.overlap >= self.words:
            raise InvalidInput(f"overlap is {self.overlap}: it must be less than words, {self.words}")

    def prepare(self, passages: Passages, resources: Resources) -> list[Passage]:
        made = []
        for passage in passages:
            parts = [passage.text[slice(*place)] for place in windows(passage.text, self.words, self.overlap)]
            keys = tuple(f"{passage.title} {part}" if passage.title else part for part in parts)
            made.append(replace(passage, keys=keys))
        return made
