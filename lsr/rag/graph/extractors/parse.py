"""A parsed passage as plain lists, and the phrases in it.

What is read of a parse: words, fine-grained tags (Penn Treebank) and dependencies in the scheme of spaCy's English models
(ClearNLP). A phrase is what a noun heads, up to its left edge, without determiners and possessors; a name goes on over "of"
("University of Copenhagen") and a date over its year.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

__all__ = ["LONGEST_PHRASE", "Names", "Parse", "clean", "is_name", "is_noun", "names_hidden", "parts_of_title"]

LONGEST_PHRASE = 9  # words: what is longer is no phrase but a table or a list
_DROPPED = frozenset({"DT", "PDT", "WDT", "PRP$", "WP$", "POS", "PRP", "WP", "CC", "IN", "TO", "RB", "EX"})
_MODIFIERS = frozenset({"NN", "JJ", "RB", "VB"})
_EDGES = " \t\r\n\"'`.,;:!?()[]{}<>*_“”‘’«»…–—-/|"
_BORDERS = frozenset({"(", ")", "[", "]", '"', "``", "''", ";", ":", "|", "→"})
_PERSONS = frozenset({"he", "she", "it", "they", "him", "her", "them", "his", "its", "their", "hers", "theirs"})
_NAME_JOINS = frozenset({"of", "for", "de", "von", "van", "du", "di", "da", "del"})


def clean(text: str) -> str:
    """A phrase without white space, quotes and marks around it; empty where no letter and no digit is left."""
    found = " ".join(text.split()).strip(_EDGES)
    if found.endswith(("'s", "’s")):
        found = found[:-2]
    if found[-2:-1] == "." and f"{found}." in text:  # "U.S."
        found += "."
    if text.rstrip().endswith(")") and found.count("(") > found.count(")"):
        found += ")"
    return found if any(character.isalnum() for character in found) else ""


def without_qualifier(title: str) -> str:
    """A title without what stands in parentheses at its end: "Alien (film)" is "Alien"."""
    cut = title.rstrip()
    if cut.endswith(")") and "(" in cut:
        cut = cut[: cut.rindex("(")]
    return clean(cut) or clean(title)


def is_noun(tag: str) -> bool:
    return tag.startswith("NN")


def is_name(tag: str) -> bool:
    return tag.startswith("NNP")


@dataclass(frozen=True, slots=True)
class Parse:
    """Tokens of a passage: words and what follows them, tags, dependencies and heads (a root is its own) [n]."""

    words: Sequence[str]
    spaces: Sequence[str]
    tags: Sequence[str]
    deps: Sequence[str]
    heads: Sequence[int]
    children: Sequence[Sequence[int]]
    lefts: Sequence[int]  # the leftmost descendant of each token

    @classmethod
    def of(
        cls, words: Sequence[str], spaces: Sequence[str], tags: Sequence[str], deps: Sequence[str], heads: Sequence[int]
    ) -> Parse:
        children: list[list[int]] = [[] for _ in words]
        for token, head in enumerate(heads):
            if head != token:
                children[head].append(token)
        lefts = list(range(len(words)))
        for token in range(len(words)):
            # Each token pulls the left edge of those above it; a tree's depth bounds the work.
            above, steps = heads[token], 0
            while lefts[above] > token and steps < len(words):
                lefts[above] = token
                above, steps = heads[above], steps + 1
        return cls(words, spaces, tags, deps, heads, children, lefts)

    def text(self, first: int, last: int) -> str:
        """Tokens first ... last - 1 as they were written."""
        return "".join(
            word + space for word, space in zip(self.words[first:last], self.spaces[first:last], strict=True)
        )

    def having(self, token: int, *deps: str) -> list[int]:
        """The children of a token by one of these dependencies."""
        return [child for child in self.children[token] if self.deps[child] in deps]

    def spread(self, token: int) -> list[int]:
        """A token, and those that are coordinated with it."""
        found = [token]
        for one in found:
            found += self.having(one, "conj")
        return found

    def span(self, head: int) -> tuple[int, int]:
        """Tokens of the phrase that a noun or number heads: first, last + 1."""
        first = self._first(head)
        borders = [at for at in range(first, head) if self.words[at] in _BORDERS]
        return (borders[-1] + 1 if borders else first), self._last(head)

    def _first(self, head: int) -> int:
        first = self.lefts[head]
        named = is_name(self.tags[head])
        for child in self.children[head]:
            if child > head:
                break
            # A possessor is a phrase of its own ("Lennon's song"), but not in a name ("Schindler's List").
            possessor = self.deps[child] == "poss" and not (named and is_name(self.tags[child]))
            if possessor or self.deps[child] in (
                "prep",
                "relcl",
                "acl",
                "appos",
                "cc",
                "preconj",
                "nsubj",
                "mark",
                "cop",
            ):
                first = max(first, self._right_edge(child, head) + 1)
        while first < head and (self.tags[first] in _DROPPED or not self.words[first][0].isalnum()):
            if named and self.tags[first] == "PRP$" and self.words[first].istitle() and first > 0:
                break  # "Our World"
            first += 1
        return first

    def _right_edge(self, token: int, before: int) -> int:
        """The last token below `token`, and before another one."""
        edge, waiting = token, [token]
        while waiting:
            for child in self.children[waiting.pop()]:
                if child < before:
                    edge = max(edge, child)
                    waiting.append(child)
        return edge

    def _last(self, head: int, deep: int = LONGEST_PHRASE) -> int:
        """The end of what a noun heads. deep: names within names, as in "University of Copenhagen"."""
        end = head + 1
        while end + 1 < len(self.words) and self.words[end] == "-" and not (self.spaces[end - 1] or self.spaces[end]):
            end += 2  # "editor-in-chief"
        for child in self.children[head]:
            if child < head:
                continue
            dep, word = self.deps[child], self.words[child]
            if dep == "nummod" and self.tags[child] == "CD" and self._first_right(head, end, child):
                end = child + 1
            elif deep and dep == "prep" and child == end and word in _NAME_JOINS and is_name(self.tags[head]):
                joined = [one for one in self.having(child, "pobj") if is_name(self.tags[one])]
                if joined and all(self.tags[at] in ("DT", "NNP", "NNPS", "CD") for at in range(child + 1, joined[0])):
                    end = self._last(joined[0], deep - 1)
        return end

    def _first_right(self, head: int, end: int, child: int) -> bool:
        """Whether a number follows a name at once, or after a comma as a year does ("May 12, 1960")."""
        between = self.words[end:child]
        return is_name(self.tags[head]) and (not between or list(between) == [","])

    def joined(self, preposition: int, head: int) -> bool:
        """Whether a preposition is a part of the name that `head` heads."""
        return preposition < self._last(head)

    def name_start(self, first: int, head: int) -> int:
        """Where the name begins in a phrase such as "American singer Bob Dylan": after the last small word before it."""
        if not is_name(self.tags[head]):
            return first
        small = [at for at in range(first, head) if self.tags[at][:2] in _MODIFIERS and self.words[at][0].islower()]
        return small[-1] + 1 if small else first

    def names_within(self, first: int, head: int) -> list[str]:
        """Names in a phrase that a common noun heads: "Beatles" in "Beatles album"."""
        found, at = [], first
        while at < head:
            run = list(takewhile(lambda i: is_name(self.tags[i]), range(at, head)))
            if run:
                found.append(clean(self.text(run[0], run[-1] + 1)))
            at += len(run) + 1
        return [name for name in found if name]


STAND_IN = "Ulysses"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(rf"\b(?:\d{{1,2}} {_MONTH},? (\d{{4}})|{_MONTH} \d{{1,2}}, (\d{{4}})|{_MONTH},? (\d{{4}}))\b")
_QUOTED = re.compile(r'"([^"\n]{3,90})"|“([^”\n]{3,90})”|``([^`\n]{3,90}?)\'\'')
_JOINED = re.compile(r",? (?:of|in|at|from|for|by)(?: the)? |, ")


def names_hidden(text: str, title: str) -> tuple[str, dict[int, str]]:
    """A text in which what parsers take apart is one word, and what stands for what, by places in the new text: titles in
    quotes ("And I Found This Boy") and the title of the passage become a name, dates their year.
    """
    found: list[tuple[int, int, str, str]] = []
    for match in _QUOTED.finditer(text):
        inside = clean(match[match.lastindex or 0])
        words = inside.split()
        if len(words) > 1 and 2 * sum(word[0].isupper() or word[0].isdigit() for word in words) >= len(words):
            # A mark within the quotes stays in the text, and a quote that touches a word is parted from it.
            mark = match[0][-2] if match[0][-2] in ",.;!?" else ""
            parted = " " if text[match.end() : match.end() + 1].isalnum() else ""
            found.append((match.start(), match.end(), inside, f"{STAND_IN}{mark}{parted}"))
    name = without_qualifier(title)
    if " " in name and ("," not in name or " and " in name):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        found += [(match.start(), match.end(), name, STAND_IN) for match in re.finditer(pattern, text)]
    found += [(m.start(), m.end(), m[0], m[m.lastindex or 0]) for m in _DATE.finditer(text)]
    pieces, places, done, length = list[str](), dict[int, str](), 0, 0
    for start, end, what, instead in sorted(found):
        if start >= done:
            length += start - done
            places[length] = what
            pieces += [text[done:start], instead]
            length, done = length + len(instead), end
    return "".join([*pieces, text[done:]]), places


def parts_of_title(title: str) -> list[tuple[str, str]]:
    """Names in a title after a preposition or comma, with what joins them: ("of", "Wisconsin") in "Alcohol laws of
    Wisconsin"."""
    found, joints = [], list(_JOINED.finditer(title))
    for at, joint in enumerate(joints):
        end = joints[at + 1].start() if at + 1 < len(joints) else len(title)
        part = clean(title[joint.end() : end])
        if part[:1].isupper():
            words = joint[0].replace(",", " ").split()
            found.append((words[0] if words else "related to", part))
    return found


class Names:
    """Whom pronouns, classes and parts of names stand for, as far as a passage was read.

    A pronoun of the third person is the last subject of a sentence that is a name; before there is one, the title. A bare
    definite noun ("the film") is what was said to be one, or whose name ends so; at the head of a passage, the title. A
    single word is the longer name before it that ends with it ("Rogers": "Carl Rogers"), or the title that begins with it.
    A title "Salem, Oregon" is "Salem" where the text calls it so.
    """

    def __init__(self, title: str, text: str) -> None:
        self.title = without_qualifier(title)
        place, comma, _ = self.title.partition(",")
        if comma and self.title not in text and place in text:
            self.title = place
        self.subject = self.title
        self._classes: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self.learn(self.title)
        words = self.title.split()
        if 1 < len(words) < 4 and all(word[0].isupper() for word in words) and "," not in self.title:
            self._parts.setdefault(words[0].casefold(), self.title)

    def learn(self, name: str) -> None:
        """A name that was read."""
        words = name.split()
        if len(words) > 1 and words[-1][0].isupper() and "," not in name:
            self._parts.setdefault(words[-1].casefold(), name)

    def is_a(self, name: str, kind: str) -> None:
        """It was said what a name is: `kind` is a common noun."""
        self._classes.setdefault(kind.casefold(), name)

    def pronoun(self, word: str) -> str:
        return self.subject if word.casefold() in _PERSONS else ""

    def bare(self, word: str, *, leading: bool) -> str:
        """Whom "the word" stands for, empty where nobody said."""
        key = word.casefold()
        return self._classes.get(key) or self._parts.get(key) or (self.title if leading else "")

    def full(self, name: str) -> str:
        """A name, or the longer one that it is a part of."""
        return self._parts.get(name.casefold(), name) if " " not in name and name[:1].isupper() else name
