"""An index that is added to, deleted from, compacted and opened again, in any order, beside a dictionary that is too."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lsr import Index, disk
from lsr.errors import DuplicateId, InvalidInput
from lsr.index import policy, segments
from lsr.index.storage.check import check_index
from tests.reliability.collections import DIM, Doc, expected, source, vectors_of
from tests.reliability.report import report, scaled

IDS = [f"d{number}" for number in range(40)]
# Never deleted: with a weight of 1 the step of the weights is 1, and all others are multiples of it.
ANCHOR = Doc("anchor", {DIM - 1: 1})
# 300 does not fit in 8 bits.
weights = st.dictionaries(st.integers(0, DIM - 2), st.sampled_from([1, 2, 3, 5, 200, 300]), max_size=6)
metadata = st.fixed_dictionaries(
    {},
    optional={"year": st.integers(2018, 2022), "lang": st.sampled_from(["en", "de", 7]), "tags": st.just(["a", "b"])},
)
documents = st.builds(Doc, st.sampled_from(IDS), weights, metadata)
several = st.lists(documents, min_size=1, max_size=9, unique_by=lambda one: one.id)
queries = st.dictionaries(st.integers(0, DIM - 1), st.integers(1, 4), max_size=4)


class Living(RuleBasedStateMachine):
    engine = "exact"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, Doc] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(first=several)
    def build(self, first: list[Doc]) -> None:
        self.model = {one.id: one for one in [ANCHOR, *first]}
        self.index = Index.build(source(list(self.model.values())), self.folder / "my.idx", engine=self.engine)

    @rule(new=several)
    def add(self, new: list[Doc]) -> None:
        twice = [one.id for one in new if one.id in self.model]
        if twice:
            generation = self.index.generation
            with pytest.raises(DuplicateId, match="in the index already") as caught:
                self.index.add(source(new))
            assert any(repr(identifier) in str(caught.value) for identifier in twice)
            assert self.index.generation == generation
        else:
            assert self.index.add(source(new)).documents == len(new)
            self.model.update({one.id: one for one in new})

    @rule(new=several)
    def upsert(self, new: list[Doc]) -> None:
        report = self.index.upsert(source(new))
        assert report.replaced == sum(one.id in self.model for one in new)
        for one in new:
            self.model.pop(one.id, None)
            self.model[one.id] = one

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=12), missing_ok=st.booleans())
    def delete(self, ids: list[str], missing_ok: bool) -> None:
        there = {identifier for identifier in ids if identifier in self.model}
        if len(there) < len(set(ids)) and not missing_ok:
            with pytest.raises(InvalidInput, match="nothing was deleted"):
                self.index.delete(ids)
        else:
            assert self.index.delete(ids, missing_ok=missing_ok) == len(there)
            self.model = {identifier: one for identifier, one in self.model.items() if identifier not in there}

    @rule(refresh=st.booleans())
    def compact(self, refresh: bool) -> None:
        self.index.compact(refresh=refresh)
        assert self.index.info()["segments"] == 1
        assert self.index.info()["deleted"] == 0
        assert self.index.info()["engine"] == self.engine

    @precondition(lambda self: hasattr(os, "fork"))
    @rule(new=several, step=st.integers(0, 90))
    def a_process_that_upserts_is_killed(self, new: list[Doc], step: int) -> None:
        generation = self.index.generation
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking beside threads: the child uses none
            child = os.fork()
        if child == 0:
            try:
                disk.hook = dying_after(step)
                Index.open(self.folder / "my.idx").upsert(source(new))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        if self.index.refresh():
            assert self.index.generation == generation + 1
            for one in new:
                self.model.pop(one.id, None)
                self.model[one.id] = one

    @rule()
    def open_again(self) -> None:
        self.index = Index.open(self.folder / "my.idx")

    @rule()
    def check(self) -> None:
        list(check_index(self.folder / "my.idx", full=True))

    @rule(asked=st.lists(queries, min_size=1, max_size=3), k=st.sampled_from([1, 3, 50]))
    def search(self, asked: list[dict[int, int]], k: int) -> None:
        hits = self.index.search(vectors_of(asked), k, recall=1)
        assert [answer(one) for one in hits] == [expected(self._documents, query, k) for query in asked]
        for found in hits:
            for hit in found:
                assert hit.explain().score == hit.score
                assert hit.text == self.model[hit.id].text
                assert hit.metadata == self.model[hit.id].metadata
                assert list(self.model)[hit.row] == hit.id
        for found, query in zip(self.index.search(vectors_of(asked), k), asked, strict=True):  # as fast as it may be
            truth = dict(expected(self._documents, query, len(self.model)))
            assert all(truth[name] == score for name, score in answer(found))

    @precondition(lambda self: any("year" in one.metadata for one in self.model.values()))
    @rule(query=queries, k=st.sampled_from([1, 3, 50]), year=st.integers(2017, 2023))
    def search_with_a_filter(self, query: dict[int, int], k: int, year: int) -> None:
        (found,) = self.index.search(vectors_of([query]), k, recall=1, filter={"year": {">=": year}})
        wanted = expected(self._documents, query, k, lambda one: one.metadata.get("year", 0) >= year)
        assert answer(found) == wanted

    @rule(query=queries, ids=st.lists(st.sampled_from(IDS), max_size=12))
    def search_among_ids(self, query: dict[int, int], ids: list[str]) -> None:
        (found,) = self.index.search(vectors_of([query]), 50, recall=1, filter=ids)
        assert answer(found) == expected(self._documents, query, 50, lambda one: one.id in ids)

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        index = self.index
        stored = [one for batch in index.batches(10) for one in zip(batch.ids or (), batch, strict=True)]
        assert [identifier for identifier, _ in stored] == list(self.model)
        assert len(index) == len(self.model)
        assert index.nnz == sum(len(one.weights) for one in self.model.values())
        lengths, frequencies = index.statistics()
        assert lengths.tolist() == [len(one.weights) for one in self.model.values()]
        assert [int(count) for count in frequencies] == [
            sum(term in one.weights for one in self.model.values()) for term in range(DIM)
        ]
        fields = {name: facts["documents"] for name, facts in index.info()["fields"].items() if facts["documents"]}
        assert fields == {
            name: count
            for name in ("year", "lang", "tags")
            if (count := sum(name in one.metadata for one in self.model.values()))
        }

    @property
    def _documents(self) -> list[Doc]:
        return list(self.model.values())


def answer(hits: Any) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def dying_after(steps: int) -> Callable[[str, Path, disk.Detail], None]:
    """A hook that kills the process at a step."""
    left = steps

    def die(step: str, path: Path, detail: disk.Detail) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


class LivingInBlocks(Living):
    engine = "blocked"


class LivingInSegments(Living):
    """Additions take up nothing but what is as small, and what is deleted is met at once."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = [patch.object(policy, "SMALL", 0), patch.object(segments, "MORE", 0)]
        for one in self.patches:
            one.start()

    def teardown(self) -> None:
        for one in self.patches:
            one.stop()
        super().teardown()


QUICK = settings(max_examples=17, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=scaled(170), stateful_step_count=50)


def run(machine: type[Living], how: settings) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=how)


@pytest.mark.parametrize("machine", [Living, LivingInBlocks, LivingInSegments])
def test_an_index_holds_what_a_dictionary_would(machine: type[Living]) -> None:
    run(machine, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Living, LivingInBlocks, LivingInSegments])
def test_an_index_holds_what_a_dictionary_would_for_long(machine: type[Living]) -> None:
    run(machine, LONG)
    report("machine", machine=machine.__name__, examples=LONG.max_examples, steps=LONG.stateful_step_count)
