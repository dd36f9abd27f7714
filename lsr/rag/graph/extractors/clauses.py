"""Facts of a parsed passage: who does what to whom, what is what, what belongs to what.

The rules, on dependencies (in the spirit of ClausIE, Del Corro and Gemulla 2013, and of the dependency-based graphs that
stand in for a language model's, Min et al. 2025):

- a verb with its subjects and objects; prepositions join the predicate ("published by"), and so do nouns on the way to
  a further object ("received degree from"); coordinated subjects, objects and verbs are spread; participles, relative
  clauses and infinitives take the subject of what they depend on;
- a copula: "X is a Y of Z" says (X, is, Y) and (X, is Y of, Z); an apposition says the same;
- a possessive: "X's Y is Z" says (Y, of, X) and (X, Y is, Z);
- a noun with a preposition: (editor, of, Journal).
"""

from __future__ import annotations

from collections.abc import Iterator

from lsr.rag.graph.extractors.parse import (
    LONGEST_PHRASE,
    Names,
    Parse,
    clean,
    is_name,
    is_noun,
    parts_of_title,
    without_qualifier,
)
from lsr.rag.graph.types import Fact

__all__ = ["found_in"]

_SUBJECTS = ("nsubj", "nsubjpass")
_OBJECTS = ("dobj", "attr", "oprd", "dative")
_NUMBERS = frozenset({"pobj", "dobj", "attr", "npadvmod", "appos", "conj", "ROOT"})
_RELATIVE = frozenset({"WDT", "WP"})
_DEEPEST = 3  # prepositions between a verb and its furthest object; clauses between a verb and its subject
_BE = frozenset({"is", "are", "was", "were", "'s", "’s", "am"})
_BECOME = _BE | {"be", "been", "being", "become", "becomes", "became", "remain", "remains", "remained"}
_LONGEST = 100  # characters of a phrase


def found_in(parse: Parse, title: str, most: int) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
    """The phrases of a passage in the order in which they first stand there, the title first, and its facts, at most so
    many: those of clauses before those of nouns."""
    return _Reader(parse, title).read(most)


class _Reader:
    def __init__(self, parse: Parse, title: str) -> None:
        self.parse = parse
        self.title = without_qualifier(title)
        self.names = Names(title, parse.text(0, len(parse.words)))
        # Phrases of tokens, made in the order of the text, for later ones depend on what was read before.
        self.phrases: list[str] = [""] * len(parse.words)
        self.all: dict[str, None] = dict.fromkeys(filter(None, (self.title, self.names.title)))

    def read(self, most: int) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
        for token in range(len(self.parse.words)):
            self._name(token)
        clauses: dict[Fact, None] = {}
        nouns: dict[Fact, None] = {Fact(self.names.title, way, part): None for way, part in parts_of_title(self.title)}
        for token, tag in enumerate(self.parse.tags):
            if tag.startswith("VB") and self.parse.deps[token] not in ("aux", "auxpass", "amod", "compound"):
                clauses.update(dict.fromkeys(self._clause(token)))
            elif self.phrases[token]:
                clauses.update(dict.fromkeys(self._appositions(token)))
                nouns.update(dict.fromkeys(self._nominal(token)))
        facts = [fact for fact in [*clauses, *nouns] if fact.subject.casefold() != fact.object.casefold()]
        facts = list(dict.fromkeys(facts))[:most]
        phrases = dict.fromkeys([*self.all, *(phrase for fact in facts for phrase in (fact.subject, fact.object))])
        return tuple(phrases), tuple(facts)

    # -- phrases -------------------------------------------------------------------------------------------------------

    def _name(self, token: int) -> None:
        """Finds what a token stands for, if it heads a phrase, and what it says of later ones."""
        parse, names = self.parse, self.names
        tag, dep = parse.tags[token], parse.deps[token]
        if tag in ("PRP", "PRP$"):
            self.phrases[token] = names.pronoun(parse.words[token])
            return
        if dep == "npadvmod" and tag == "NN":  # "peer" in "peer-reviewed"
            return
        if dep == "poss" and is_name(tag) and is_name(parse.tags[parse.heads[token]]):  # "Schindler's List" is one name
            return
        if not (is_noun(tag) or self._is_number(token)) or dep in ("compound", "nmod", "amod", "quantmod"):
            return
        first, end = parse.span(token)
        start = parse.name_start(first, token)
        phrase = clean(parse.text(start, end))
        if not phrase or len(phrase) > _LONGEST or phrase.count(" ") >= LONGEST_PHRASE:
            return
        if end == start + 1 and self._definite(token):
            leading = not any(self.phrases[:token])
            phrase = names.bare(phrase, leading=leading and dep in _SUBJECTS) or phrase
        else:
            phrase = names.full(phrase)  # taggers take "Rogers" for a plural
            if is_name(tag):
                names.learn(phrase)
        self.phrases[token] = phrase
        self.all[phrase] = None
        if kind := self._kind(first, start):
            names.is_a(phrase, kind.split()[-1])
        elif not is_name(tag):
            self.all.update(dict.fromkeys(names.full(name) for name in parse.names_within(first, token)))
        if dep in _SUBJECTS and is_name(tag):
            if parse.deps[parse.heads[token]] == "ROOT":
                names.subject = phrase
        elif dep in ("attr", "appos") and not is_name(tag):
            self._class_of(token)

    def _is_number(self, token: int) -> bool:
        """Whether it is one that names something: a year, an amount. "one" is none."""
        parse = self.parse
        if parse.tags[token] != "CD" or parse.deps[token] not in _NUMBERS:
            return False
        return any(character.isdigit() for character in parse.words[token])

    def _kind(self, first: int, start: int) -> str:
        """What stands before a name and says what it names: "American singer"."""
        return clean(self.parse.text(first, start)) if start > first and is_noun(self.parse.tags[start - 1]) else ""

    def _class_of(self, token: int) -> None:
        parse = self.parse
        above = parse.heads[token]
        whom = [above] if parse.deps[token] == "appos" else parse.having(above, *_SUBJECTS)
        for one in whom:
            if self.phrases[one] and self.phrases[one][0].isupper():
                self.names.is_a(self.phrases[one], parse.words[token])

    def _definite(self, token: int) -> bool:
        """Whether it is one word after "the", with nothing that says which one."""
        parse = self.parse
        others = [
            child for child in parse.children[token] if parse.deps[child] not in ("det", "punct", "cc", "conj", "appos")
        ]
        return not others and any(
            parse.deps[child] == "det" and parse.words[child].casefold() in ("the", "this")
            for child in parse.children[token]
        )

    def _phrase(self, token: int) -> str:
        """What a token stands for; a relative pronoun for what its clause is about. Empty where it is nothing."""
        parse = self.parse
        if parse.tags[token] not in _RELATIVE and parse.tags[token] != "WP$":
            return self.phrases[token]
        at, steps = token, 0
        while parse.deps[at] != "relcl" and parse.heads[at] != at and steps < 2 * _DEEPEST:
            at, steps = parse.heads[at], steps + 1
        return self.phrases[parse.heads[at]] if parse.deps[at] == "relcl" else ""

    # -- clauses -------------------------------------------------------------------------------------------------------

    def _clause(self, verb: int) -> Iterator[Fact]:
        objects = list(self._objects(verb))
        if not objects:
            # "wrote and directed the film": what the next verb does it to.
            shared = [one for one in self.parse.having(verb, "conj") if not self.parse.having(one, *_SUBJECTS)]
            objects = list(self._objects(shared[0])) if shared else []
        if not objects:
            return
        predicate = self._predicate(verb)
        for subject in self._subjects(verb, _DEEPEST):
            owners = self._owners(subject) or self._implied_owner(subject, verb)
            for way, thing in objects:
                said, what = " ".join(filter(None, (predicate, way))), self._phrase(thing)
                for who in self._instances(subject):
                    yield Fact(who, said, what)
                for owner in owners:
                    yield Fact(owner, f"{self.phrases[subject]} {said}", what)

    def _instances(self, noun: int) -> list[str]:
        """Who does what a noun is said to do: the names of which it was said what they are, else the noun itself."""
        parse = self.parse
        above = parse.heads[noun]
        if not is_name(parse.tags[noun]):
            if called := self._called(noun):
                return [self.phrases[one] for one in called]
            whom = []
            if parse.deps[noun] == "attr" and parse.words[above].casefold() in _BECOME:
                whom = self._subjects(above, 1)
            elif parse.deps[noun] == "appos":
                whom = [above]
            named = [self._phrase(one) for one in whom if self._phrase(one)[:1].isupper()]
            if named:
                return named
        return [self._phrase(noun)] if self._phrase(noun) else []

    def _called(self, noun: int) -> list[int]:
        """The names after a common noun that it is the class of: "his wife, Mary Howe"."""
        parse = self.parse
        return [one for one in parse.having(noun, "appos") if is_name(parse.tags[one]) and self.phrases[one]]

    def _implied_owner(self, noun: int, verb: int) -> list[str]:
        """Whose "the editor" is, where nobody says so: of what the passage is about."""
        parse = self.parse
        definite = any(parse.words[one].casefold() == "the" for one in parse.having(noun, "det"))
        alone = not parse.having(noun, "prep", "relcl", "acl", "poss", "appos")
        copula = parse.words[verb].casefold() in _BECOME and parse.having(verb, "attr")
        title = self.names.title
        return [title] if definite and alone and copula and title and self.phrases[noun][:1].islower() else []

    def _subjects(self, verb: int, deep: int) -> list[int]:
        parse = self.parse
        found = [one for subject in parse.having(verb, *_SUBJECTS) for one in parse.spread(subject)]
        if found or not deep:
            return found
        dep, above = parse.deps[verb], parse.heads[verb]
        if dep == "acl":
            return [above]
        if dep in ("conj", "xcomp", "advcl", "pcomp") and above != verb:
            while dep == "pcomp" and parse.tags[above] in ("IN", "TO") and parse.heads[above] != above:
                above = parse.heads[above]
            return self._subjects(above, deep - 1) if parse.tags[above].startswith("VB") else []
        return []

    def _predicate(self, verb: int, deep: int = _DEEPEST) -> str:
        parse = self.parse
        words = []
        if parse.deps[verb] == "xcomp" and deep and parse.tags[parse.heads[verb]].startswith("VB"):
            words.append(self._predicate(parse.heads[verb], deep - 1))
        for child in parse.children[verb]:
            if child > verb:
                break
            if parse.deps[child] == "neg" or (parse.deps[child] == "aux" and parse.tags[child] == "TO" and words):
                words.append(parse.words[child].casefold())
        words.append(parse.words[verb].casefold())
        words += [parse.words[child].casefold() for child in parse.having(verb, "prt")]
        if parse.words[verb].casefold() in _BE:
            words += [parse.words[child].casefold() for child in parse.having(verb, "neg") if child > verb]
        return " ".join(words)

    def _objects(self, verb: int) -> Iterator[tuple[str, int]]:
        """What a verb leads to: the words on the way, and the token."""
        parse = self.parse
        for child in parse.children[verb]:
            dep = parse.deps[child]
            if dep in ("prep", "agent") or (dep == "dative" and parse.tags[child] in ("IN", "TO")):
                yield from self._prepositional(child, _DEEPEST)
            elif dep in _OBJECTS or (dep == "xcomp" and is_noun(parse.tags[child])):
                for one in parse.spread(child):
                    yield from self._reached(one, _DEEPEST)
            elif dep == "npadvmod" and self.phrases[child] and self.phrases[child][-1].isdigit():
                yield "", child  # "born 10 May 1971"
            elif dep in ("acomp", "advmod"):
                for prep in parse.having(child, "prep"):
                    for way, thing in self._prepositional(prep, _DEEPEST - 1):
                        yield f"{parse.words[child].casefold()} {way}", thing
        if parse.deps[verb] == "relcl" and self.phrases[parse.heads[verb]]:
            yield from self._relativised(verb)

    def _relativised(self, verb: int) -> Iterator[tuple[str, int]]:
        """The noun that a relative clause is about, where the clause does not name it: "the song Lennon wrote", "where"."""
        parse = self.parse
        about = parse.heads[verb]
        within = range(parse.lefts[verb], verb)
        if any(parse.words[at].casefold() == "where" for at in within):
            yield "in", about
        elif not any(
            parse.tags[at] in _RELATIVE or parse.tags[at] in ("WRB", "WP$") for at in within
        ) and not parse.having(verb, "dobj", "attr"):
            stranded = [one for one in parse.having(verb, "prep") if not parse.children[one]]
            yield (parse.words[stranded[0]].casefold() if stranded else ""), about

    def _prepositional(self, prep: int, deep: int) -> Iterator[tuple[str, int]]:
        parse = self.parse
        word = parse.words[prep].casefold()
        for child in parse.children[prep]:
            if parse.deps[child] == "pobj":
                for one in parse.spread(child):
                    for way, thing in self._reached(one, deep - 1):
                        yield f"{word} {way}".rstrip(), thing
            elif parse.deps[child] == "prep" and deep:
                for way, thing in self._prepositional(child, deep - 1):
                    yield f"{word} {way}", thing
            elif parse.deps[child] == "conj" and parse.tags[child] in ("IN", "TO"):
                yield from self._prepositional(child, deep)

    def _reached(self, noun: int, deep: int) -> Iterator[tuple[str, int]]:
        """A noun, and what it leads on to where it is no name: "degree", and "degree from" Harvard."""
        parse = self.parse
        phrase = self._phrase(noun)
        if phrase:
            yield "", noun
            if not is_name(parse.tags[noun]):
                yield from (("", one) for one in self._called(noun))
        elif parse.tags[noun] not in ("CD", "DT"):
            return
        if deep < 1 or is_name(parse.tags[noun]) or parse.tags[noun] in _RELATIVE:
            return
        for prep in parse.having(noun, "prep"):
            for way, thing in self._prepositional(prep, deep - 1):
                yield f"{phrase or parse.words[noun].casefold()} {way}", thing

    # -- nouns ---------------------------------------------------------------------------------------------------------

    def _owners(self, noun: int) -> list[str]:
        """Whose a thing is: of whom, or before 's."""
        parse = self.parse
        if is_name(parse.tags[noun]) or not is_noun(parse.tags[noun]):
            return []
        whose = parse.having(noun, "poss")
        for prep in parse.having(noun, "prep"):
            if parse.words[prep].casefold() == "of":
                whose += [one for child in parse.having(prep, "pobj") for one in parse.spread(child)]
        return [owner for owner in map(self._phrase, whose) if owner]

    def _appositions(self, noun: int) -> Iterator[Fact]:
        parse = self.parse
        first = parse.span(noun)[0]
        if kind := self._kind(first, parse.name_start(first, noun)):
            yield Fact(self.phrases[noun], "is", kind)
        for child in parse.having(noun, "appos"):
            for one in parse.spread(child):
                if not self.phrases[one]:
                    continue
                for owner in self._owners(noun):  # "his wife, Mary"
                    yield Fact(owner, f"has {parse.words[noun].casefold()}", self.phrases[one])
                # Names side by side are as often a list, or a place and what it lies in, as two names of one thing.
                verb = "related to" if is_name(parse.tags[one]) and is_name(parse.tags[noun]) else "is"
                for way, thing in self._reached(one, _DEEPEST - 1):
                    yield Fact(self.phrases[noun], f"{verb} {way}".rstrip(), self._phrase(thing))

    def _nominal(self, noun: int) -> Iterator[Fact]:
        parse = self.parse
        if not is_noun(parse.tags[noun]):
            return
        for child in parse.having(noun, "poss"):
            if (owner := self._phrase(child)) and not is_name(parse.tags[noun]):
                yield Fact(self.phrases[noun], "of", owner)
        for prep in parse.having(noun, "prep"):
            if not parse.joined(prep, noun):
                for way, thing in self._prepositional(prep, 1):
                    yield Fact(self.phrases[noun], way, self._phrase(thing))
