"""Questions drafted from a corpus, for when nobody has asked any yet: by a generator, or without one by cloze.

What is drafted from a passage has that passage as gold. It says less than questions that somebody asked: whoever drafts
from a passage uses its words, which favours what matches words, and does not know which other passages answer too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from lsr.corpus import Document
from lsr.corpus.passages import sentence_places
from lsr.corpus.stop_words import STOP_WORDS
from lsr.errors import EvaluationError, InvalidInput
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.questions import Question
from lsr.rag.templates import Templates, as_data
from lsr.rag.types import Found, Span

__all__ = ["CLOZE", "GAP", "draft_questions"]

CLOZE = "cloze"  # what a question made without a generator is marked as
GAP = "___"
PASSAGE = (80, 1500)  # characters of a passage that questions are drafted from
SENTENCE = (8, 40)  # words of a sentence that becomes a cloze
_TRIES = 2  # passages that a generator is shown for each question, at most
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+(?:[-'’]\w+)*")
# A sentence that points at something outside it cannot be asked alone.
_POINTING = re.compile(
    r"^(?:it|its|he|she|his|her|they|their|that|this|these|those|such|and|but|or|so|also|then|thus|however|therefore|here|there"
    r"|you|we|our|i|if|otherwise)\b|\b(?:this|these|following|above|below|previous)\b",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"[A-Z0-9].*[.!?][\"')\]]*")
_DRAFT = re.compile(r"\s*QUESTION:[ \t]*(?P<question>\S.*?)\s*\n\s*ANSWER:[ \t]*(?P<answer>\S.*?)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Piece:
    document: Document
    span: Span

    @property
    def text(self) -> str:
        return self.document.text[self.span.start : self.span.end]


def draft_questions(
    documents: Iterable[Document],
    n: int,
    *,
    generator: Generator | None = None,
    prompts: Templates | None = None,
    seed: int = 0,
) -> list[Question]:
    """At most n questions, each of another passage drawn at random; fewer where the corpus or the generator gives no more.

    generator: is shown a passage and writes question and answer (template draft-question); replies in another form are
    passed over, and at most twice as many passages are tried as there are questions. Without one, a sentence becomes a
    cloze: its rarest name, number or else word is the answer, and a gap in its place. `Question.drafted` is the name of
    the generator, or "cloze". The same seed gives the same passages.

    Raises `InvalidInput` for n below 1, `EvaluationError` when no question could be made, with the reason.
    """
    if n < 1:
        raise InvalidInput(f"{n} questions to draft: it must be 1 or more")
    pieces = [piece for document in documents for piece in _pieces(document)]
    order = np.random.default_rng(seed).permutation(len(pieces))
    shuffled = [pieces[at] for at in order]
    if generator is None:
        drafted, reason = list(_clozes(shuffled, n)), "no passage has a sentence that could become a cloze"
    else:
        drafted, reason = _generated(shuffled, n, generator, prompts or Templates())
    if not drafted:
        raise EvaluationError(f"no question could be drafted from {len(pieces):,} passages: {reason}")
    return drafted


def _pieces(document: Document) -> Iterator[_Piece]:
    """Passages of a document: what blank lines part, longer ones cut after sentences."""
    start = 0
    for blank in [*_BLANK.finditer(document.text), None]:
        end = len(document.text) if blank is None else blank.start()
        for first, last in _cut(document.text[start:end]):
            if last - first >= PASSAGE[0]:
                yield _Piece(document, Span(document.id, start + first, start + last))
        start = end if blank is None else blank.end()


def _cut(text: str) -> Iterator[tuple[int, int]]:
    first = last = None
    for start, end in sentence_places(text):
        if first is not None and last is not None and end - first > PASSAGE[1]:
            yield first, last
            first = None
        first, last = start if first is None else first, end
    if first is not None and last is not None:
        yield first, last


def _question(piece: _Piece, text: str, answer: str, by: str, number: int) -> Question:
    return Question(f"drafted-{number}", text, (answer,), (piece.span,), drafted=by, where=piece.document.where)


def _generated(
    pieces: Sequence[_Piece], n: int, generator: Generator, prompts: Templates
) -> tuple[list[Question], str]:
    """Questions, and why there are none if there are none."""
    drafted: list[Question] = []
    reason, tried = "the corpus has no passage that is long enough", 0
    while len(drafted) < n and tried < min(_TRIES * n, len(pieces)):
        batch = pieces[tried : min(tried + n - len(drafted), _TRIES * n)]
        tried += len(batch)
        requests = [
            Request(prompts.render("draft-question", passage=as_data([_shown(piece)], "passage")), max_tokens=256)
            for piece in batch
        ]
        for piece, reply in zip(batch, generator.generate(requests), strict=True):
            if not isinstance(reply, Reply):
                reason = reply.message
            elif (found := _DRAFT.fullmatch(reply.text)) is None:
                reason = f"{generator.name} does not write the two lines QUESTION: and ANSWER:"
            else:
                drafted.append(_question(piece, found["question"], found["answer"], generator.name, len(drafted) + 1))
    return drafted, reason


def _shown(piece: _Piece) -> Found:
    return Found(piece.text, piece.document.title, (piece.span,), 0.0, ())


def _clozes(pieces: Sequence[_Piece], n: int) -> Iterator[Question]:
    passages: Counter[str] = Counter()
    for piece in pieces:
        passages.update({word.casefold() for word in _WORD.findall(piece.text)})
    made = 0
    for piece in pieces:
        best = max(_gaps(piece.text, passages, len(pieces)), default=None)
        if best is not None:
            _, question, answer = best
            made += 1
            yield _question(piece, question, answer, CLOZE, made)
        if made == n:
            return


def _gaps(text: str, passages: Counter[str], total: int) -> Iterator[tuple[tuple[bool, float], str, str]]:
    """(how good it is, sentence with a gap, what stood there) for each sentence that can be asked alone.

    Names and numbers are better than other words, then rare words than frequent ones.
    """
    for start, end in sentence_places(text):
        sentence = " ".join(text[start:end].split())
        words = list(_WORD.finditer(sentence))
        if not SENTENCE[0] <= len(words) <= SENTENCE[1] or _POINTING.search(sentence) or not _WHOLE.fullmatch(sentence):
            continue
        keys = [
            ((i > 0 and not w[0][0].islower(), log(total / passages[w[0].casefold()])), -i)
            for i, w in enumerate(words)
            if len(w[0]) > 2 and w[0].casefold() not in STOP_WORDS
        ]
        if not keys:
            continue
        worth, at = max(keys)
        first, last = _named(sentence, words, -at)
        answer = sentence[words[first].start() : words[last].end()]
        # Elsewhere in the sentence it would give itself away.
        asked = re.sub(rf"\b{re.escape(answer)}\b", GAP, sentence, flags=re.IGNORECASE)
        if len(_WORD.findall(asked.replace(GAP, ""))) >= SENTENCE[0] // 2:
            yield worth, asked, answer


def _named(sentence: str, words: Sequence[re.Match[str]], at: int) -> tuple[int, int]:
    """The first and last word of the name that the word at a place belongs to: capitalised words with one space between."""
    first = last = at
    if sentence[words[at].start()].isupper():
        while first > 1 and _adjoin(words[first - 1], words[first]) and words[first - 1][0][0].isupper():
            first -= 1
        while last + 1 < len(words) and _adjoin(words[last], words[last + 1]) and words[last + 1][0][0].isupper():
            last += 1
    return first, last


def _adjoin(one: re.Match[str], other: re.Match[str]) -> bool:
    return other.start() == one.end() + 1
