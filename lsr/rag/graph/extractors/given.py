"""Triples that somebody else extracted: a .jsonl, an object a passage.

{"passage_id": "m0001", "triples": [["Paris", "is capital of", "France"]], "entities": ["Eiffel Tower"]}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lsr.corpus.jsonlines import parsed_lines
from lsr.corpus.streams import file_source, shown
from lsr.encoders.tokenizer import valid_text
from lsr.errors import CorpusError, InvalidInput
from lsr.limits import Limits
from lsr.rag.graph.types import Extracted, Fact, Text

__all__ = ["GivenTriples"]

_IDS = ("passage_id", "id", "_id")
_SHOWN = 3  # ids in a message


class GivenTriples:
    """The triples of a file by passage. skip_bad: lines that are no triples are counted (`skipped`), not refused.
    `missing` counts the passages that were asked for and have none.

    Raises `CorpusError` with file and line for what cannot be read as given, and for a passage that comes twice.
    """

    def __init__(self, path: str | Path, *, skip_bad: bool = False) -> None:
        self.name = f"triples of {Path(path).name}"
        self._path, self.skipped, self.missing = Path(path), 0, 0
        self._found: dict[str, Extracted] = {}
        if not self._path.is_file():
            raise CorpusError(f"{shown(self._path)}: no such file of triples; check the path")
        source = file_source(self._path, Limits.default())
        for record, where in parsed_lines(source.lines(), source.name):
            try:
                one = _read(record, where)
                if one.passage in self._found:
                    raise CorpusError(f"{where}: the passage {one.passage!r} came before; keep one line for each")
            except CorpusError:
                if not skip_bad:
                    raise
                self.skipped += 1
                continue
            self._found[one.passage] = one
        if not self._found:
            raise CorpusError(f"{shown(self._path)}: no triples in it; is it the right file?")

    def identity(self) -> Mapping[str, Any]:
        import xxhash

        return {"extractor": "given", "file": xxhash.xxh3_128_hexdigest(self._path.read_bytes())}

    def check(self, passages: Iterable[str]) -> None:
        """Raises `InvalidInput` where none of these passages, by their ids, is in the file: it is of another corpus."""
        asked: list[str] = []
        for passage in passages:
            if passage in self._found:
                return
            if len(asked) < _SHOWN:
                asked.append(passage)
        if asked:
            others = ", ".join(islice(self._found, _SHOWN))
            raise InvalidInput(
                f"{shown(self._path)}: has none of the passages ({', '.join(asked)}, ...), and others instead ({others},"
                " ...); are these triples of another corpus?"
            )

    def extract(self, texts: Sequence[Text]) -> Iterator[Extracted]:
        for text in texts:
            found = self._found.get(text.id)
            self.missing += found is None
            yield found or Extracted(text.id, ())


def _read(record: Mapping[str, Any], where: str) -> Extracted:
    name = next((record[key] for key in _IDS if key in record), None)
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise CorpusError(f"{where}: no id of a passage; give it as passage_id")
    triples, entities = record.get("triples", []), record.get("entities", [])
    if not isinstance(triples, list) or not isinstance(entities, list):
        raise CorpusError(f"{where}: triples and entities must be lists")
    facts = []
    for triple in triples:
        if not isinstance(triple, list) or len(triple) != 3 or not all(isinstance(part, str) for part in triple):
            raise CorpusError(
                f"{where}: {str(triple)[:60]!r} is no triple: give subject, predicate and object as texts"
            )
        facts.append(Fact(*triple))
    if not all(isinstance(entity, str) for entity in entities):
        raise CorpusError(f"{where}: entities must be texts")
    for text in (*entities, *(part for fact in facts for part in (fact.subject, fact.predicate, fact.object))):
        if valid_text(text) != text:
            raise CorpusError(f"{where}: {text[:60]!r} holds half a surrogate pair, which UTF-8 cannot say; replace it")
    phrases = dict.fromkeys([*entities, *(end for fact in facts for end in (fact.subject, fact.object))])
    return Extracted(str(name), tuple(phrases), tuple(facts))
