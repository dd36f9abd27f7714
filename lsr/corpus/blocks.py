"""Text with markup, cut into headings, prose and code: Markdown, reStructuredText and plain paragraphs.

Not parsers of these languages: they find what a passage needs, never fail, and hold one block at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["BLOCK_READERS", "Block"]

NumberedLines = Iterator[tuple[int, str]]

# A block of code or prose that goes on for longer is handed on in pieces, so that none outgrows memory.
LONGEST_BLOCK = 400  # lines
LARGEST_BLOCK = 1 << 17  # characters


@dataclass(frozen=True, slots=True)
class Block:
    """A heading of a level (1 is the highest, 0 a title in the front matter), a paragraph or a block of code."""

    kind: Literal["heading", "prose", "code"]
    line: int
    text: str
    level: int = 0


class _Lines:
    """Numbered lines with one line of foresight, and the paragraph under collection."""

    def __init__(self, lines: NumberedLines) -> None:
        self._lines = lines
        self._ahead: list[tuple[int, str]] = []
        self.paragraph: list[str] = []
        self.start = self._size = 0

    def next(self) -> tuple[int, str] | None:
        """The next line, or None at the end."""
        if self._ahead:
            return self._ahead.pop(0)
        return next(self._lines, None)

    def peek(self, steps: int = 0) -> str:
        """The text of the next line (or one `steps` further on) without taking it; "" at the end."""
        while len(self._ahead) <= steps:
            line = next(self._lines, None)
            if line is None:
                return ""
            self._ahead.append(line)
        return self._ahead[steps][1]

    def collect(self, number: int, line: str) -> Iterator[Block]:
        """Adds a line to the paragraph; hands on a paragraph that has become too long."""
        if not self.paragraph:
            self.start, self._size = number, 0
        self.paragraph.append(line)
        self._size += len(line)
        if len(self.paragraph) >= LONGEST_BLOCK or self._size >= LARGEST_BLOCK:
            yield from self.flush()

    def flush(self, clean: Callable[[str], str] = str) -> Iterator[Block]:
        """The paragraph collected so far, if any."""
        text = clean("\n".join(self.paragraph)).strip()
        if text:
            yield Block("prose", self.start, text)
        self.paragraph = []

    def code(self, start: int, ends: Callable[[str], bool], *, drop_end: bool) -> Iterator[Block]:
        """Blocks of code from the next line to the one that `ends`, or the end of the file."""
        kept, size = list[str](), 0
        while (line := self.next()) is not None:
            if ends(line[1]):
                if not drop_end:
                    self._ahead.insert(0, line)
                break
            kept.append(line[1])
            size += len(line[1])
            if len(kept) >= LONGEST_BLOCK or size >= LARGEST_BLOCK:
                yield from _code(start, kept)
                start, kept, size = line[0] + 1, [], 0
        yield from _code(start, kept)


def _code(start: int, lines: list[str]) -> Iterator[Block]:
    margin = min((_indent(line) for line in lines if line.strip()), default=0)
    text = "\n".join(line[margin:].rstrip() for line in lines).rstrip()
    if text:
        blank = len(text) - len(text.lstrip("\n"))
        yield Block("code", start + blank, text[blank:])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# -- plain text --------------------------------------------------------------------------------------------------


def plain_blocks(lines: NumberedLines) -> Iterator[Block]:
    """Paragraphs, parted by blank lines."""
    text = _Lines(lines)
    while (line := text.next()) is not None:
        yield from text.collect(*line) if line[1].strip() else text.flush()
    yield from text.flush()


# -- Markdown ----------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?=\s|$)")
_SETEXT = re.compile(r" {0,3}(?:=+|-+)\s*$")
_NO_TITLE = re.compile(r"\s*(?:[-*+>|]|\d+[.)]\s)")
_FRONT_TITLE = re.compile(r"title:\s*(.*)")
FRONT_LINES = 200


def markdown_blocks(lines: NumberedLines) -> Iterator[Block]:
    """Headings with # or underlined, fenced code, paragraphs. Front matter gives its title and is left out otherwise."""
    text = _Lines(lines)
    yield from _front_matter(text)
    while (line := text.next()) is not None:
        number, content = line
        if fence := _FENCE.match(content):
            yield from text.flush()
            yield from text.code(number + 1, _closes(fence[1]), drop_end=True)
        elif atx := _ATX.match(content):
            yield from text.flush()
            title = content[atx.end() :].strip()
            bare = title.rstrip("#")
            yield from _heading(number, title if bare and not bare[-1].isspace() else bare, len(atx[1]))
        elif len(text.paragraph) == 1 and _SETEXT.match(content) and not _NO_TITLE.match(text.paragraph[0]):
            title, text.paragraph = text.paragraph[0], []
            yield from _heading(text.start, title, 1 if "=" in content else 2)
        elif not content.strip() or (content.startswith("<!--") and content.rstrip().endswith("-->")):
            yield from text.flush()
        else:
            yield from text.collect(number, content)
    yield from text.flush()


def _front_matter(text: _Lines) -> Iterator[Block]:
    if text.peek().rstrip() != "---":
        return
    end = next((i for i in range(1, FRONT_LINES) if text.peek(i).rstrip() in ("---", "...")), None)
    if end is None:
        return
    for _ in range(end + 1):
        number, line = text.next() or (0, "")
        if found := _FRONT_TITLE.match(line):
            yield from _heading(number, found[1].strip().strip("\"'"), 0)


def _closes(fence: str) -> Callable[[str], bool]:
    def ends(line: str) -> bool:
        bare = line.strip()
        return len(bare) >= len(fence) and not bare.strip(fence[0])

    return ends


_MARKS = re.compile(
    r"!?\[([^\[\]]*)\]\([^()]*\)|[`*]+|</?(?:a|b|br|code|em|i|img|kbd|p|small|span|strong|sub|sup)\b[^<>]*>"
    r"|\{#[^{}]*\}|\\(?=\W)"
)


def _heading(number: int, title: str, level: int) -> Iterator[Block]:
    """A heading without the marks of emphasis, code, links and anchors."""
    bare = " ".join(_MARKS.sub(lambda found: found[1] or "", title[:400]).split())
    if bare:
        yield Block("heading", number, bare, level)


# -- reStructuredText --------------------------------------------------------------------------------------------

_ADORNMENT = re.compile(r"([=\-~^\"'`#*+.:_<>!$%&,])\1{2,}\s*$")
# Repeats are bounded: on hostile text an unbounded one would try every start with every end.
_ROLE = re.compile(r"(?::[\w:+.-]{1,40}:)?`[~!]?([^`<>]{0,300}?)(?:\s{0,20}<[^`<>]{0,500}>)?`_{0,2}")
_DIRECTIVE = re.compile(r"^([ \t]{0,40})\.\. [\w:-]{1,40}:: ?", re.MULTILINE)
_LABEL = re.compile(r"\s*\.\. (?:_[^:]*:|\|)")
_CODE = re.compile(r"\s*\.\. (?:code-block|code|sourcecode|doctest|testcode|parsed-literal)::")
# Directives whose content is for the machine that lays out the page.
_MACHINE = re.compile(
    r"\s*\.\. (?:index|toctree|contents|highlight|currentmodule|sectionauthor|moduleauthor|raw|image|testsetup)::"
)


def rst_blocks(lines: NumberedLines) -> Iterator[Block]:
    """Titles (underlined, or with a line above too), literal blocks, paragraphs without the marks of roles.

    Levels of titles are given by the order in which their adornments first come, as docutils does.
    """
    text, levels = _Lines(lines), dict[str, int]()
    while (line := text.next()) is not None:
        number, content = line
        bare = content.strip()
        if not bare:
            literal = bool(text.paragraph) and text.paragraph[-1].rstrip().endswith("::")
            margin = _indent(text.paragraph[0]) if text.paragraph else 0
            yield from text.flush(_plain)
            if literal:
                yield from text.code(number + 1, _dedents(margin), drop_end=False)
        elif _CODE.match(content) or _MACHINE.match(content):
            yield from text.flush(_plain)
            block = text.code(number + 1, _dedents(_indent(content)), drop_end=False)
            yield from block if _CODE.match(content) else _dropped(block)
        elif _LABEL.match(content):
            yield from text.flush(_plain)
        elif not text.paragraph and _ADORNMENT.match(content) and _is_overline(bare, text):
            title = (text.next() or (0, ""))[1]
            text.next()
            yield from _heading(number + 1, _plain(title), levels.setdefault(bare[0] * 2, len(levels) + 1))
        elif not text.paragraph and not content[0].isspace() and _is_underline(text.peek(), bare):
            adornment = (text.next() or (0, "="))[1]
            yield from _heading(number, _plain(bare), levels.setdefault(adornment[0], len(levels) + 1))
        else:
            yield from text.collect(number, content)
    yield from text.flush(_plain)


def _is_underline(line: str, title: str) -> bool:
    return bool(_ADORNMENT.match(line)) and len(line.rstrip()) >= min(len(title), 4) and not _ADORNMENT.match(title)


def _is_overline(adornment: str, text: _Lines) -> bool:
    return bool(text.peek().strip()) and text.peek(1).strip() == adornment


def _dedents(margin: int) -> Callable[[str], bool]:
    return lambda line: bool(line.strip()) and _indent(line) <= margin


def _dropped(blocks: Iterator[Block]) -> Iterator[Block]:
    for _ in blocks:
        pass
    return iter(())


def _plain(text: str) -> str:
    """Prose without roles, literal marks and names of directives: :func:`gzip.open` and ``gzip.open`` are gzip.open."""
    text = text.replace("``", "`")
    if "`" in text:
        text = _ROLE.sub(r"\1", text)
    if ".. " in text:
        text = _DIRECTIVE.sub(r"\1", text)
    return text[:-1] if text.endswith("::") else text


BLOCK_READERS: dict[str, Callable[[NumberedLines], Iterator[Block]]] = {
    ".txt": plain_blocks,
    ".md": markdown_blocks,
    ".markdown": markdown_blocks,
    ".rst": rst_blocks,
}
