"""Filters as a line of text: `year >= 2020 and lang in ("en", "de") and not draft`.

    filter      alternative, or alternatives joined by `or`
    alternative part, or parts joined by `and`
    part        `not` part | `(` filter `)` | condition
    condition   field OPERATOR value | field [`not`] `in` `(` value `,` value ... `)` | field, which says that it is true
    OPERATOR    == (or =)  !=  <  <=  >  >=
    value       number | true | false | null (the document has no value) | "string" | 'string'

A backslash in a string takes the next character as it is. Names of fields are letters, digits and _ . -, others stand in
backquotes. `id` is the id of the document. Words of the language may be in capitals.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from lsr.errors import InvalidInput
from lsr.index.filters.expression import (
    MAX_DEPTH,
    Expression,
    Not,
    among,
    compare,
    conjunction,
    disjunction,
)

__all__ = ["parse"]

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_WORDS = {"and", "or", "not", "in", *_CONSTANTS}
_OPERATORS = {"=": "==", "==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<name>[^\W\d][\w.-]*)
    | `(?P<quoted>(?:[^`]|``)+)`
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | '(?P<single>(?:[^'\\]|\\.)*)'
    | (?P<sign>==|!=|<=|>=|[=<>(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_DIGITS = 400  # a longer number is beyond what a float holds
_A_VALUE = 'a value (a number, true, false, null or a "string" in quotes)'


class _Token(NamedTuple):
    """kind: "word" (of the language), "name", "value", "sign", "end", or "unknown"; at: where it begins in the text."""

    kind: str
    value: Any
    at: int


def parse(text: str) -> Expression:
    """The expression that a text stands for. Raises `InvalidInput` that names the place of what cannot be read."""
    return _Parser(text).parse()


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0  # of the token ahead
        self._ahead = self._next()

    def parse(self) -> Expression:
        found = self._alternatives(0)
        if self._ahead.kind != "end":
            self._fail("'and', 'or' or the end")
        return found

    def _alternatives(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"the filter is nested deeper than {MAX_DEPTH} levels; flatten it")
        found = [self._joined(depth)]
        while self._takes("word", "or"):
            found.append(self._joined(depth))
        return disjunction(found)

    def _joined(self, depth: int) -> Expression:
        found = [self._part(depth)]
        while self._takes("word", "and"):
            found.append(self._part(depth))
        return conjunction(found)

    def _part(self, depth: int) -> Expression:
        turned = False
        while self._takes("word", "not"):
            turned = not turned
        if self._takes("sign", "("):
            found = self._alternatives(depth + 1)
            if not self._takes("sign", ")"):
                self._fail("'and', 'or' or ')'")
        else:
            found = self._condition()
        return Not(found) if turned else found

    def _condition(self) -> Expression:
        if self._ahead.kind != "name":
            self._fail("a field, 'not' or '('")
        field: str = self._take().value
        if self._takes("word", "not"):
            if not self._takes("word", "in"):
                self._fail("'in'")
            return Not(among(field, self._list()))
        if self._takes("word", "in"):
            return among(field, self._list())
        if self._ahead.kind == "sign" and self._ahead.value in _OPERATORS:
            operator = _OPERATORS[self._take().value]
            return compare(field, operator, self._value())
        return among(field, (True,))

    def _list(self) -> list[Any]:
        if not self._takes("sign", "("):
            self._fail("'(' and a list of values")
        found = [self._value()]
        while self._takes("sign", ","):
            found.append(self._value())
        if not self._takes("sign", ")"):
            self._fail("',' or ')'")
        return found

    def _value(self) -> Any:
        if self._ahead.kind == "value":
            return self._take().value
        if not (self._ahead.kind == "word" and self._ahead.value in _CONSTANTS):
            self._fail(_A_VALUE)
        return _CONSTANTS[self._take().value]

    # -- tokens --------------------------------------------------------------------------------------------------------

    def _take(self) -> _Token:
        found, self._ahead = self._ahead, self._next()
        return found

    def _takes(self, kind: str, value: str) -> bool:
        """Takes the token ahead if it is this one."""
        if (self._ahead.kind, self._ahead.value) != (kind, value):
            return False
        self._take()
        return True

    def _next(self) -> _Token:
        match = _TOKEN.match(self._text, self._end)
        if match is None:
            rest = self._text[self._end :]
            at = len(self._text) - len(rest.lstrip())
            return _Token("unknown" if rest.strip() else "end", None, at)
        self._end = match.end()
        kind = match.lastgroup
        assert kind is not None
        found, at = match[kind], match.start() + len(match[0]) - len(match[0].lstrip())
        if kind == "number":
            return _Token("value", self._number(found, at), at)
        if kind in ("double", "single"):
            return _Token("value", _ESCAPE.sub(r"\1", found), at)
        if kind == "quoted":
            return _Token("name", found.replace("``", "`"), at)
        if kind == "name" and found.casefold() in _WORDS:
            return _Token("word", found.casefold(), at)
        return _Token(kind, found, at)

    def _number(self, digits: str, at: int) -> int | float:
        if len(digits) > _DIGITS:
            raise InvalidInput(f"filter: the number at character {at + 1} has more than {_DIGITS} digits")
        try:
            return int(digits)
        except ValueError:
            return float(digits)

    def _fail(self, wanted: str) -> NoReturn:
        """Raises `InvalidInput` at the token ahead."""
        at = self._ahead.at
        if self._ahead.kind == "end":
            raise InvalidInput(f"filter: {wanted} is missing at the end, after {self._text.strip()[-30:]!r}")
        rest = self._text[at : at + 30]
        remedy = "; its quote is never closed" if rest[0] in "\"'`" and self._ahead.kind == "unknown" else ""
        raise InvalidInput(f"filter: {wanted} belongs at character {at + 1}, before {rest!r}{remedy}")
