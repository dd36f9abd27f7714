"""Processes that read an index while another changes it: `python -m tests.reliability.readers INDEX READERS`.

Each says "ready" on a line when it has read once, reads until there is a file "done" beside the index, and says on a line of
JSON what it did. What is wrong ends it with a traceback.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lsr import Hits, Index
from tests.reliability.collections import Doc, expected, vectors_of
from tests.reliability.history import History

PUBLISHED, DONE = "published", "done"
HELD = 24  # answers that are kept, and read again later


class Asked(NamedTuple):
    """A search: what is asked, and which documents may be hits."""

    queries: list[Mapping[int, int]]
    k: int
    recall: float | None
    filter: Any
    allowed: Callable[[Doc], bool]


class Reader:
    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.history = History()
        self.chosen = random.Random(number)
        self.count: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.latest = 0
        self.held: deque[tuple[int, Asked, list[Hits]]] = deque(maxlen=HELD)
        self.oldest = 0

    # -- opening -------------------------------------------------------------------------------------------------------

    def published(self) -> int:
        """A generation whose change has returned: whoever opens the index now sees it, or a later one."""
        return int((self.path.parent / PUBLISHED).read_text())

    def opened(self) -> Index:
        least = self.published()
        index = Index.open(self.path)
        self.arrived(index.generation, least)
        self.count["opened"] += 1
        return index

    def refreshed(self, index: Index) -> None:
        least, before = self.published(), index.generation
        moved = index.refresh()
        assert moved == (index.generation > before)
        self.arrived(index.generation, least)
        self.count["refreshed"] += 1

    def arrived(self, generation: int, least: int) -> None:
        assert generation >= max(self.latest, least), f"generation {generation} after {self.latest}, with {least} there"
        self.latest = generation
        self.seen.add(generation)

    # -- reading -------------------------------------------------------------------------------------------------------

    def asked(self) -> Asked:
        queries = self.chosen.sample(self.history.queries, self.chosen.randint(1, 4))
        k, recall = self.chosen.choice([1, 5, 100]), self.chosen.choice([1.0, 1.0, None])
        if recall is None or self.chosen.random() < 0.6:
            return Asked(queries, k, recall, None, lambda one: True)
        if self.chosen.random() < 0.5:
            year = self.latest - self.chosen.randint(0, 12)
            filter = {"generation": {">=": year}}
            return Asked(queries, k, recall, filter, lambda one: one.metadata["generation"] >= year)
        ids = {one.id for one in self.chosen.sample(self.history.documents(max(1, self.latest - 3)), 20)}
        return Asked(queries, k, recall, sorted(ids), lambda one: one.id in ids)

    def search(self, index: Index, asked: Asked) -> list[Hits]:
        self.count["searched"] += 1
        return index.search(vectors_of(asked.queries), asked.k, recall=asked.recall, filter=asked.filter)

    def fault(self, generation: int, asked: Asked, answers: list[Hits]) -> str | None:
        """Why answers are not those of a generation; None where they are."""
        documents = self.history.documents(generation)
        by_id = {one.id: one for one in documents}
        for query, hits in zip(asked.queries, answers, strict=True):
            found = [(hit.id, hit.score) for hit in hits]
            wanted = expected(documents, query, asked.k, asked.allowed)
            if asked.recall is None:  # as many, and as they are there: which ones, recall says
                all_hits = dict(expected(documents, query, len(documents)))
                if len(found) != len(wanted) or any(all_hits.get(name) != score for name, score in found):
                    return f"{found} instead of {wanted}"
            elif found != wanted:
                return f"{found} instead of {wanted}"
            for hit in hits:
                one = by_id[hit.id]
                if (hit.text, hit.metadata) != (one.text, one.metadata) or documents[hit.row : hit.row + 1] != [one]:
                    return f"{hit.id}: {hit.text!r} {hit.metadata} in row {hit.row}"
                if hit.explain().score != hit.score:
                    return f"{hit.id}: {hit.score} is explained as {hit.explain().score}"
        return None

    def check(self, generation: int, asked: Asked, answers: list[Hits]) -> None:
        fault = self.fault(generation, asked, answers)
        assert fault is None, f"generation {generation}: {asked}: {fault}"

    def check_whole(self, index: Index) -> None:
        """Counts and contents of all of an index that nobody refreshes meanwhile."""
        documents = self.history.documents(index.generation)
        assert len(index) == len(documents)
        assert index.nnz == sum(len(one.weights) for one in documents)
        assert [index.id_of(row) for row in range(len(index))] == [one.id for one in documents]
        records = [index.record_of(row) for row in range(len(index))]
        assert [record and record.text for record in records] == [one.text for one in documents]
        assert index.info()["documents"] == len(documents)
        self.count["read whole"] += 1

    def hold(self, generation: int, asked: Asked, answers: list[Hits]) -> None:
        """Keeps answers, whose texts nobody has read, and now and then reads older ones."""
        self.held.append((generation, asked, answers))
        if len(self.held) == HELD:
            old = self.held[self.chosen.randrange(HELD // 2)]
            self.check(*old)
            self.oldest = max(self.oldest, self.latest - old[0])
            self.count["read later"] += 1

    # -- kinds of readers ----------------------------------------------------------------------------------------------

    def step(self, index: Index) -> Index:
        """One reading, by a handle of its own: most are refreshed, some opened anew."""
        if self.number % 4 == 1 or self.chosen.random() < 0.1:
            index = self.opened()
        else:
            self.refreshed(index)
        asked = self.asked()
        answers = self.search(index, asked)
        if self.chosen.random() < 0.5:
            self.check(index.generation, asked, answers)
        self.hold(index.generation, asked, answers)
        if self.chosen.random() < 0.05:
            self.check_whole(index)
        return index

    def step_shared(self, index: Index) -> None:
        """One reading by a handle that another thread refreshes: all of the answer is of one generation that it had."""
        asked = self.asked()
        before = index.generation
        answers = self.search(index, asked)
        after = index.generation
        faults = {generation: self.fault(generation, asked, answers) for generation in range(before, after + 1)}
        fitting = [generation for generation, fault in faults.items() if fault is None]
        assert fitting, f"{asked}: {faults}"
        self.count["while refreshed"] += after > before
        self.hold(fitting[0], asked, answers)

    def run(self, ready: Callable[[], None]) -> dict[str, Any]:
        done = self.path.parent / DONE
        index = self.step(self.opened())
        ready()
        if self.number % 4 == 3:
            stop, failed = threading.Event(), []

            def refreshing() -> None:
                try:
                    while not stop.is_set():
                        self.refreshed(index)
                except BaseException as error:
                    failed.append(error)

            thread = threading.Thread(target=refreshing)
            thread.start()
            try:
                while not done.exists() and not failed:
                    self.step_shared(index)
            finally:
                stop.set()
                thread.join()
            if failed:
                raise failed[0]
        while not done.exists():
            index = self.step(index)
        last = int(done.read_text())
        self.refreshed(index)
        assert index.generation == self.opened().generation == last
        self.check_whole(index)
        for old in self.held:
            self.check(*old)
        facts = {"generations": len(self.seen), "oldest": self.oldest, "first": min(self.seen), "last": last}
        return {"reader": self.number, **facts, **self.count}


def say(line: str) -> None:
    """A line at once: others write, too."""
    os.write(1, f"{line}\n".encode())


def fork(path: Path, number: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        facts = Reader(path, number).run(lambda: say("ready"))
        say(json.dumps(facts))
    except BaseException:
        os.write(2, f"reader {number}: {traceback.format_exc()}\n".encode())
        os._exit(1)
    os._exit(0)


def main(path: Path, readers: int) -> int:
    """Forks them when the kernels are loaded, once for all, and waits. Returns how many failed."""
    first = Reader(path, 0)
    for _ in range(30):
        first.step(Index.open(path))
    first.held.clear()
    children = [fork(path, number) for number in range(readers)]
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
