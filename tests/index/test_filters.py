"""A filtered search gives what an unfiltered one would give, were the other documents not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr import Hits, Index, SparseVectors
from lsr.errors import InvalidInput
from lsr.index.exact import ExactEngine
from lsr.index.storage.segment import WINDOW
from tests.conftest import random_vectors
from tests.index.fields import index_with

Metadata = Mapping[str, Any]


def found(hits: Hits) -> list[tuple[int, float]]:
    return list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))


def expected(index: Index, query: SparseVectors, k: int, allows: Callable[[int], bool]) -> list[tuple[int, float]]:
    """The hits of an unfiltered search over everything, filtered in Python."""
    return [(row, score) for row, score in found(index.search(query, 10_000)[0]) if allows(row)][:k]


@pytest.fixture(params=["postings", "documents", "either"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of searching with a filter, wherever the choice between them would fall."""
    if request.param != "either":
        cost = 0.0 if request.param == "postings" else float("inf")
        monkeypatch.setattr(ExactEngine, "nanoseconds", lambda *_: cost)
    return str(request.param)


# -- the same hits -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """3,000 documents with many ties, numbered by their metadata."""
    vectors = random_vectors(3_000, 500, 20, seed=1, levels=4)
    return index_with(vectors, [{"n": row} for row in range(3_000)], tmp_path_factory.mktemp("collection"))


@pytest.mark.parametrize("documents", [0, 1, 3, 30, 300, 2_999, 3_000])
@pytest.mark.parametrize("k", [1, 10, 100, 5_000])
@pytest.mark.usefixtures("way")
def test_every_selectivity_gives_the_exact_hits(collection: Index, documents: int, k: int) -> None:
    """Scattered documents, and a run of them."""
    queries = random_vectors(20, 500, 6, seed=2, levels=3)
    scattered = {int(row) for row in np.random.default_rng(3).permutation(3_000)[:documents]}
    for chosen, given_filter in (
        (scattered, {"n": scattered}),
        (set(range(documents)), {"n": {"<": documents}}),
        (scattered, [str(row) for row in scattered]),
    ):
        answers = collection.search(queries, k, filter=given_filter)
        for i, hits in enumerate(answers):
            assert found(hits) == expected(collection, queries[i : i + 1], k, chosen.__contains__)


@pytest.mark.usefixtures("way")
def test_scores_are_those_of_an_unfiltered_search_to_the_last_bit(tmp_path: Path) -> None:
    """Weights and query weights that no float32 sum holds exactly, in 16 bits too."""
    for seed, outlier in ((4, 3.0), (5, 5e4)):
        vectors = random_vectors(900, 300, 25, seed=seed)
        values = vectors.values.copy()
        values[0] = outlier
        vectors = SparseVectors(indptr=vectors.indptr, indices=vectors.indices, values=values, dim=300)
        index = index_with(vectors, [{"n": row % 10} for row in range(900)], tmp_path)
        assert index.info()["weight_bits"] == (8 if outlier == 3.0 else 16)
        queries = random_vectors(30, 300, 12, seed=6)
        for i, hits in enumerate(index.search(queries, 50, filter="n == 3")):
            assert found(hits) == expected(index, queries[i : i + 1], 50, lambda row: row % 10 == 3)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, SparseVectors]:
    """Documents of several windows: all have the first term, a tenth the second, few the third."""
    n = 2 * WINDOW + 700
    generator = np.random.default_rng(7)
    tenth, rare = generator.random(n) < 0.1, generator.random(n) < 0.001
    has = np.stack([np.ones(n, bool), tenth, rare], axis=1)
    indptr = np.concatenate([[0], np.cumsum(has.sum(axis=1))])
    indices = np.nonzero(has)[1]
    vectors = SparseVectors(indptr=indptr, indices=indices, values=generator.integers(1, 4, len(indices)), dim=3)
    return index_with(vectors, [{"n": row} for row in range(n)], tmp_path_factory.mktemp("windows")), vectors


@pytest.mark.usefixtures("way")
def test_documents_in_several_windows(windows: tuple[Index, SparseVectors]) -> None:
    """Windows with all, few and none of the allowed documents, read densely and through their postings."""
    index, vectors = windows
    n = len(vectors)
    queries = SparseVectors(indptr=[0, 1, 2, 3, 6], indices=[0, 1, 2, 0, 1, 2], values=[1, 1, 1, 1, 2, 3], dim=3)
    scores = (queries.to_scipy() @ vectors.to_scipy().T).toarray()
    rows = np.arange(n)
    for text, allowed in (
        (f"n >= {WINDOW - 5} and n < {WINDOW + 5}", (rows >= WINDOW - 5) & (rows < WINDOW + 5)),
        (f"n >= {2 * WINDOW}", rows >= 2 * WINDOW),
        (f"n < {WINDOW} or n == {n - 1}", (rows < WINDOW) | (rows == n - 1)),
        (f"not n == {WINDOW}", rows != WINDOW),
    ):
        for k in (3, 50):
            for hits, line in zip(index.search(queries, k, recall=1, filter=text), scores, strict=True):
                order = np.lexsort((rows, -line))
                order = order[allowed[order] & (line[order] > 0)][:k]
                assert hits.rows.tolist() == order.tolist()
                assert hits.scores.tolist() == line[order].tolist()


@pytest.mark.usefixtures("way")
def test_the_number_of_threads_changes_nothing(collection: Index) -> None:
    queries = random_vectors(100, 500, 6, seed=8)
    filters = [{"n": {"<": limit}} for limit in (5, 60, 700, 2_500)]
    alone = [[found(hits) for hits in collection.search(queries, 20, filter=one, threads=1)] for one in filters]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda i: collection.search(queries, 20, filter=filters[i % 4], threads=3), range(24))
        for i, answer in enumerate(answers):
            assert [found(hits) for hits in answer] == alone[i % 4]


def test_a_search_without_a_filter_is_not_changed_by_one_with_it(collection: Index) -> None:
    queries = random_vectors(10, 500, 6, seed=9)
    before = [found(hits) for hits in collection.search(queries, 50)]
    collection.search(queries, 50, filter={"n": {"<": 1_500}})
    assert [found(hits) for hits in collection.search(queries, 50)] == before


# -- any expression over any metadata, against an oracle in plain Python -----------------------------------------------

NAMES = {
    "n": "integers",
    "f": "numbers",
    "s": "strings",
    "b": "bools",
    "m x": "mixed",
    "IN": "integers",
    "o.`x`": "strings",
}
INTEGERS = st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1])
STRINGS = st.sampled_from(["", "a", "ab", "b", 'q"\\', "'", "é", "\uffff", "𝄞", "2"])
NUMBERS = INTEGERS | st.sampled_from([0.5, -1.0, 2.0, -0.0, 1e300, float(2**53), 5e-324])
KINDS = {
    "integers": INTEGERS,
    "numbers": NUMBERS,
    "strings": STRINGS,
    "bools": st.booleans(),
    "mixed": st.integers(-3, 3) | STRINGS | st.booleans(),
}
# What a field may be compared with: other numbers than those that it can hold, too.
ASKED = {**KINDS, "integers": NUMBERS | st.sampled_from([2**63, -(2**70)]), "numbers": NUMBERS | st.just(10**350)}
ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """A dotted name as an object, which is what it stands for."""
    result = dict(flat)
    if "o.`x`" in result:
        result["o"] = [{"`x`": result.pop("o.`x`")}, {}]
    return result


def of_field(name: str, values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return values[NAMES[name]]


def documents() -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = {
        name: of_field(name, KINDS) | st.none() | st.lists(of_field(name, KINDS) | st.none(), max_size=3)
        for name in NAMES
    }
    return st.lists(st.fixed_dictionaries({}, optional=fields).map(nested), min_size=1, max_size=25)


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    def condition(name: str) -> st.SearchStrategy[dict[str, Any]]:
        value = of_field(name, ASKED)
        ordered = value.filter(lambda found: not isinstance(found, bool))
        equal = value | st.none()
        choices = [
            equal,
            st.lists(equal, min_size=1, max_size=7),
            st.fixed_dictionaries({"==": equal}),
            st.fixed_dictionaries({"!=": equal}),
            st.fixed_dictionaries({"in": st.lists(equal, min_size=1, max_size=7)}),
        ]
        if NAMES[name] != "bools":
            choices.append(st.dictionaries(st.sampled_from(list(ORDERINGS)), ordered, min_size=1, max_size=2))
        return st.one_of(choices).map(lambda found: {name: found})

    ids = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=5).map(lambda found: {"id": found})
    return st.sampled_from(list(NAMES)).flatmap(condition) | ids


def expressions() -> st.SearchStrategy[dict[str, Any]]:
    def joined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        several = st.lists(inner, min_size=1, max_size=3)
        return (
            several.map(lambda parts: {"and": parts})
            | several.map(lambda parts: {"or": parts})
            | inner.map(lambda part: {"not": part})
        )

    return st.recursive(conditions(), joined, max_leaves=6)


class Oracle:
    """What an expression means, one document at a time."""

    def __init__(self, metadata: Sequence[Metadata]) -> None:
        self._flat = [self._values(one) for one in metadata]
        self.kinds: dict[str, set[str]] = {}
        for flat in self._flat:
            for name, values in flat.items():
                self.kinds.setdefault(name, set()).update(map(self._kind, values))

    @staticmethod
    def _values(metadata: Metadata) -> dict[str, list[Any]]:
        flat: dict[str, list[Any]] = {}

        def walk(name: str, value: Any) -> None:
            if isinstance(value, dict):
                for inner, part in value.items():
                    walk(f"{name}.{inner}", part)
            elif isinstance(value, list):
                for part in value:
                    walk(name, part)
            elif value is not None:
                flat.setdefault(name, []).append(value)

        for name, value in metadata.items():
            walk(name, value)
        return flat

    @staticmethod
    def _kind(value: Any) -> str:
        if isinstance(value, bool):
            return "bool"
        return "string" if isinstance(value, str) else "number"

    def valid(self, expression: Metadata) -> bool:
        """Whether every field is there, with values of the kinds that it is compared with."""
        for name, condition in expression.items():
            if name == "not":
                if not self.valid(condition):
                    return False
            elif name in ("and", "or"):
                if not all(map(self.valid, condition)):
                    return False
            elif name != "id":
                values = list(condition.values()) if isinstance(condition, dict) else [condition]
                flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
                if name not in self.kinds or any(v is not None and self._kind(v) not in self.kinds[name] for v in flat):
                    return False
        return True

    def allows(self, expression: Metadata, row: int) -> bool:
        return all(self._meets(name, condition, row) for name, condition in expression.items())

    def _meets(self, name: str, condition: Any, row: int) -> bool:
        if name == "not":
            return not self.allows(condition, row)
        if name in ("and", "or"):
            return (all if name == "and" else any)(self.allows(part, row) for part in condition)
        values = [str(row)] if name == "id" else self._flat[row].get(name, [])
        if isinstance(condition, dict):
            return all(self._compares(values, operator, value) for operator, value in condition.items())
        return self._compares(values, "in" if isinstance(condition, list) else "==", condition)

    def _compares(self, values: list[Any], operator: str, asked: Any) -> bool:
        if operator == "!=":
            return not self._compares(values, "==", asked)
        if operator == "in":
            return any(self._compares(values, "==", one) for one in asked)
        if asked is None:
            return not values
        alike = [value for value in values if self._kind(value) == self._kind(asked)]
        if operator == "==":
            return any(value == asked for value in alike)
        return any(ORDERINGS[operator](value, asked) for value in alike)


def as_text(expression: Metadata) -> str:
    """The text form of a mapping."""

    def value(found: Any) -> str:
        if found is None or isinstance(found, bool):
            return {None: "null", True: "true", False: "False"}[found]
        if isinstance(found, str):
            return '"' + found.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return repr(found)

    def listed(found: list[Any]) -> str:
        return "(" + ", ".join(map(value, found)) + ")"

    def condition(name: str, found: Any) -> str:
        field = name if name.isidentifier() and name.lower() != "in" else "`" + name.replace("`", "``") + "`"
        if isinstance(found, dict):
            return " and ".join(
                f"{field} in {listed(v)}" if op == "in" else f"{field}{op}{value(v)}" for op, v in found.items()
            )
        return f"{field} IN {listed(found)}" if isinstance(found, list) else f"{field} = {value(found)}"

    parts = []
    for name, found in expression.items():
        if name == "not":
            parts.append(f"not ({as_text(found)})")
        elif name in ("and", "or"):
            parts.append("(" + f") {name} (".join(map(as_text, found)) + ")")
        else:
            parts.append(condition(name, found))
    return " and ".join(parts)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(metadata=documents(), asked=st.lists(expressions(), min_size=1, max_size=6), k=st.integers(1, 12))
def test_any_expression_over_any_metadata(
    tmp_path: Path, metadata: list[dict[str, Any]], asked: list[dict[str, Any]], k: int
) -> None:
    vectors = random_vectors(len(metadata), 12, 5, seed=len(metadata), levels=3)
    query = random_vectors(1, 12, 6, seed=k, levels=3)
    index = index_with(vectors, metadata, tmp_path)
    oracle = Oracle(metadata)
    for expression in asked:
        for form in (expression, as_text(expression)):
            if oracle.valid(expression):
                wanted = expected(index, query, k, lambda row, e=expression: oracle.allows(e, row))  # type: ignore[misc]
                assert found(index.search(query, k, filter=form)[0]) == wanted, form
            else:
                with pytest.raises(InvalidInput, match=r"no field|of type"):
                    index.search(query, k, filter=form)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab \t\"'`\\()=<>!,.-+0123eandorinull𝄞"), max_size=40))
def test_any_text_is_an_expression_or_an_error_in_one_line(collection: Index, text: str) -> None:
    said = ""
    try:
        collection.search(SparseVectors(indptr=[0], indices=[], values=[], dim=500), filter=text)
    except InvalidInput as error:
        said = str(error)
    assert "\n" not in said


# -- what it means, by example -----------------------------------------------------------------------------------------

BOOKS: list[dict[str, Any]] = [
    {"id": "a", "text": "log files", "year": 2019, "lang": "en", "tags": ["x", "y"], "price": 9.5, "draft": False},
    {"id": "b", "text": "log files", "year": 2020, "lang": "de", "tags": ["y"], "price": 10, "author": {"name": "Ann"}},
    {"id": "c", "text": "log files", "year": 2021, "lang": "fr", "tags": [], "price": 10.5, "draft": True},
    {
        "id": "d",
        "text": "log files",
        "lang": "en",
        "year": None,
        "tags": "z",
        "author": [{"name": "Bo"}, {"name": "Cy"}],
    },
    {"id": "e", "text": "log files", "code": 7},
    {"id": "f", "text": "log files", "code": "7"},
]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(BOOKS, tmp_path_factory.mktemp("books") / "my.idx", corpus_idf=False)


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"year": {">=": 2020}}, "bc"),
        ("year >= 2020", "bc"),
        ({"year": {">": 2019, "<": 2021}}, "b"),
        ({"year": 2020.0}, "b"),
        ({"year": {">": 2019.5}}, "bc"),
        ({"year": 2020, "lang": "en"}, ""),
        ({"lang": ["en", "de"]}, "abd"),
        ("lang in ('en', \"de\") and not draft", "abd"),
        ("lang >= 'en'", "acd"),
        ({"price": {"<=": 10}}, "ab"),
        ({"draft": True}, "c"),
        ("draft", "c"),
        ("draft == false", "a"),
        ("not draft", "abdef"),
        ({"year": {"!=": 2020}}, "acdef"),
        ({"year": None}, "def"),
        ("year != null", "abc"),
        ({"year": [2019, None]}, "adef"),
        ("tags == 'y'", "ab"),
        ("tags != 'y'", "cdef"),
        ("tags == 'x' and tags == 'y'", "a"),
        ({"tags": None}, "cef"),
        ({"author.name": ["Cy", "Ann"]}, "bd"),
        ("code == 7", "e"),
        ("code == '7'", "f"),
        ("code in (7, '7')", "ef"),
        (["a", "f", "nobody"], "af"),
        ({"a", "f"}, "af"),
        (("b",), "b"),
        ([], ""),
        ({"id": "c"}, "c"),
        ("id not in ('a', 'b')", "cdef"),
        ({"or": [{"id": "a"}, {"year": {">": 2020}}]}, "ac"),
        ("id == 'a' or year > 2020 and draft", "ac"),
        ("(id == 'a' or year > 2020) and draft", "c"),
        ({"not": {"or": [{"lang": "en"}, {"code": 7}]}}, "bcf"),
        ("NOT (lang = 'en' OR code = 7)", "bcf"),
        ({}, "abcdef"),
        ({"and": []}, "abcdef"),
        ({"or": []}, ""),
        ({"year": []}, ""),
        ({"year": np.int64(2020)}, "b"),
        ({"price": np.float32(9.5)}, "a"),
        ({"year": np.array([2019, 2021])}, "ac"),
        ({"draft": np.bool_(True)}, "c"),
        ("year > 1e300 or year < -99999999999999999999", ""),
        ("`year` == 2019", "a"),
    ],
)
def test_examples(books: Index, asked: Any, ids: str) -> None:
    assert "".join(sorted(books.search("files", filter=asked).ids)) == ids
    assert "".join(sorted(books.search(["files"], k=3, filter=asked)[0].ids)) == ids[:3]


def test_true_and_1_are_not_the_same(books: Index) -> None:
    """Python holds them to be equal, and the last filters are remembered."""
    assert books.search("files", filter={"draft": True}).ids == ["c"]
    with pytest.raises(InvalidInput, match="number 1"):
        books.search("files", filter={"draft": 1})


# -- mistakes ----------------------------------------------------------------------------------------------------------


def mistakes() -> Iterator[tuple[Any, str]]:
    names = r"author\.name \(string\), code \(int or string\), draft \(bool\), lang \(string\), price \(float or int\)"
    yield {"yaer": 2020}, rf"no field 'yaer'; the fields are {names}, tags \(string\), year \(int\)$"
    yield "yaer >= 2020 and lang == 'en'", "no field 'yaer'"
    yield {"or": [{"lang": "en"}, {"yaer": []}]}, "no field 'yaer'"
    yield (
        {"year": "2020"},
        r"'year' is of type int and cannot be compared with the string '2020'; a number .* without quotes",
    )
    yield "lang > 7", r"'lang' is of type string and cannot be compared with the number 7; .* in quotes"
    yield "lang", r"'lang' is of type string and cannot be compared with the bool True"
    yield {"year": {">": None}}, "None has no order"
    yield {"draft": {">": True}}, "True has no order"
    yield {"id": {">": "a"}}, "ids have no order"
    yield {"id": 7}, "ids are strings, not 7"
    yield [1, 2], "ids are strings, not 1"
    yield {"year": {"~": 1}}, r"'~' is no operator; they are ==, !=, <, <=, >, >=, in"
    yield {"year": {}}, "no condition for 'year'"
    yield {"year": {"in": 2020}}, "'in' is followed by 2020; give a list"
    yield {"year": math.nan}, "'year' is compared with nan; give a finite number"
    yield {"year": object()}, "'year' is compared with a object; give a string, a number"
    yield {"and": {"year": 1}}, "'and' joins a list of mappings, not a dict"
    yield {"or": ["year"]}, "a str stands where a mapping"
    yield {7: 1}, "7 is no name of a field"
    yield 7, "the filter is a int: give a mapping, a text, or a list of ids"
    deep: dict[str, Any] = {"year": 1}
    for _ in range(200):
        deep = {"not": deep}
    yield deep, "nested deeper than 100 levels"
    yield "(" * 200 + "year" + ")" * 200, "nested deeper than 100 levels"
    # The place of what cannot be read.
    yield "", "a field, 'not' or '\\(' is missing at the end"
    yield "year >=", r"a value .* is missing at the end, after 'year >='"
    yield "year >= and lang", "a value .* belongs at character 9, before 'and lang'"
    yield "year >= 2020 lang", "'and', 'or' or the end belongs at character 14, before 'lang'"
    yield "(year >= 2020", r"'and', 'or' or '\)' is missing at the end"
    yield "year >= 2020)", r"the end belongs at character 13, before '\)'"
    yield "year >= 2020-01-01", "belongs at character 13, before '-01-01'"
    yield "lang == en", r"a value \(.*\"string\" in quotes\) belongs at character 9, before 'en'"
    yield "lang == 'en", r"character 9, before \"'en\"; its quote is never closed"
    yield "lang in 'en'", r"'\(' and a list of values belongs at character 9"
    yield "lang in ('en' 'de')", r"',' or '\)' belongs at character 15"
    yield "lang in ()", r"a value .* belongs at character 10"
    yield "year not 7", "'in' belongs at character 10"
    yield "year ? 7", r"belongs at character 6, before '\? 7'"
    yield "year == " + "7" * 500, "more than 400 digits"


@pytest.mark.parametrize(("asked", "says"), list(mistakes()))
def test_a_mistake_says_what_and_where(books: Index, asked: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        books.search("files", filter=asked)
    assert "\n" not in str(caught.value)


def test_an_index_without_metadata_says_so_and_knows_its_ids(tmp_path: Path) -> None:
    index = Index.build(random_vectors(30, 50, 20, levels=3), tmp_path / "my.idx")
    query = random_vectors(1, 50, 20, levels=3)
    with pytest.raises(
        InvalidInput, match="no field 'year': this index has none; build it from documents with metadata"
    ):
        index.search(query, filter="year == 2020")
    assert sorted(index.search(query, filter=["3", "17"])[0].ids) == ["17", "3"]
