"""Replies kept on the disk."""

from __future__ import annotations

import logging
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lsr.errors import StorageError
from lsr.rag.generators import Adjusted, CachedGenerator, FunctionGenerator, Message, Replies, Reply, Request
from lsr.rag.types import Failure, Usage


def ask(text: str, **settings: Any) -> Request:
    return Request((Message("user", text),), **settings)


class Counting(FunctionGenerator):
    """Writes how often it was asked, and notes what."""

    def __init__(self, name: str = "counting") -> None:
        self.asked: list[str] = []
        super().__init__(self._write, name)

    def _write(self, text: str) -> str:
        self.asked.append(text)
        if text == "fail":
            raise ValueError("no")
        return f"{text} {len(self.asked)}"


def texts(results: Sequence[Reply | Failure]) -> list[str]:
    return [result.text if isinstance(result, Reply) else "failure" for result in results]


def test_what_was_written_once_is_not_asked_again(tmp_path: Path) -> None:
    generator = Counting()
    cached = CachedGenerator(generator, Replies(tmp_path))
    first = cached.generate([ask("a"), ask("b")])
    again = CachedGenerator(generator, Replies(tmp_path)).generate([ask("b"), ask("c"), ask("a")])
    assert texts(first) == ["a 1", "b 2"]
    assert texts(again) == ["b 2", "c 3", "a 1"]
    assert [each.cached for each in [*first, *again] if isinstance(each, Reply)] == [False, False, True, False, True]


def test_a_kept_reply_says_what_it_took_when_it_was_written(tmp_path: Path) -> None:
    cached = CachedGenerator(Counting(), Replies(tmp_path))
    (first,), (again,) = cached.generate([ask("a")]), cached.generate([ask("a")])
    assert again.usage == first.usage
    assert again.usage.calls == 1


def test_failures_are_not_kept(tmp_path: Path) -> None:
    generator = Counting()
    cached = CachedGenerator(generator, Replies(tmp_path))
    for _ in range(2):
        assert texts(cached.generate([ask("fail"), ask("a")])) == ["failure", "a 2"]
    assert generator.asked == ["fail", "a", "fail"]


def test_equal_requests_of_a_batch_are_asked_once(tmp_path: Path) -> None:
    generator = Counting()
    got = CachedGenerator(generator, Replies(tmp_path)).generate([ask("a"), ask("b"), ask("a")])
    assert texts(got) == ["a 1", "b 2", "a 1"]
    assert [each.cached for each in got if isinstance(each, Reply)] == [False, False, True]


@pytest.mark.parametrize(
    "other",
    [
        ask("a", max_tokens=7),
        ask("a", temperature=0.5),
        ask("a", stop=("x",)),
        Request((Message("system", "a"),)),
        Request((Message("user", "a"), Message("user", ""))),
    ],
)
def test_a_request_that_differs_in_anything_is_another(tmp_path: Path, other: Request) -> None:
    cached = CachedGenerator(Counting(), Replies(tmp_path))
    assert texts([*cached.generate([ask("a")]), *cached.generate([other])])[0] == "a 1"
    assert not any(each.cached for each in cached.generate([other])[1:] if isinstance(each, Reply))
    generator = Counting()
    CachedGenerator(generator, Replies(tmp_path / "other")).generate([ask("a"), other])
    assert len(generator.asked) == 2


def test_generators_that_write_differently_share_nothing(tmp_path: Path) -> None:
    one, other = Counting("one"), Counting("other")
    for generator in (one, other, Adjusted(one, temperature=0.5), Adjusted(one, thinking_tokens=9)):
        CachedGenerator(generator, Replies(tmp_path)).generate([ask("a")])
    assert (len(one.asked), len(other.asked)) == (3, 1)


def test_samples_are_kept_unless_that_is_not_wanted(tmp_path: Path) -> None:
    request = ask("a", temperature=1.0)
    kept = CachedGenerator(Counting(), Replies(tmp_path))
    assert texts(kept.generate([request]) + kept.generate([request])) == ["a 1", "a 1"]
    anew = CachedGenerator(Counting(), Replies(tmp_path / "other"), sampled=False)
    assert texts(anew.generate([request, request, ask("a")]) + anew.generate([request])) == ["a 1", "a 2", "a 3", "a 4"]
    always = CachedGenerator(Adjusted(Counting(), temperature=1.0), Replies(tmp_path / "third"), sampled=False)
    assert texts(always.generate([ask("a"), ask("a")])) == ["a 1", "a 2"]


def _fill(folder: Path, first: int) -> None:
    Replies(folder).put({b"%d" % number: Reply(f"{number}", Usage(1)) for number in range(first, first + 200)})


def test_threads_and_processes_share_the_file(tmp_path: Path) -> None:
    shared = Replies(tmp_path)
    shared.put({b"mine": Reply("of the parent", Usage())})
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 100)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: shared.put({b"thread %d" % n: Reply(str(n), Usage())}), range(100)))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    keys = [b"mine", *(b"%d" % n for n in range(300)), *(b"thread %d" % n for n in range(100))]
    assert len(shared.get(keys)) == 401
    assert shared.get([b"250"])[b"250"].text == "250"


# -- trouble with the disk ---------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    if how == "no database":
        path.write_bytes(b"this was never SQLite" * 100)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])
    else:
        data = bytearray(path.read_bytes())
        data[100 : len(data)] = b"\xa5" * (len(data) - 100)
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["no database", "cut", "overwritten"])
def test_a_damaged_file_is_set_aside_and_work_goes_on(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = Replies(tmp_path)
    before.put({b"%d" % number: Reply(random.Random(number).randbytes(400).hex(), Usage()) for number in range(200)})
    before.close()
    damage(before.path, how)
    generator = Counting()
    with caplog.at_level(logging.WARNING):
        replies = Replies(tmp_path)
        assert texts(CachedGenerator(generator, replies).generate([ask("a")])) == ["a 1"]
        replies.get([b"%d" % number for number in range(200)])
        assert texts(CachedGenerator(generator, replies).generate([ask("b")])) == ["b 2"]
        replies.close()
    assert [path.name for path in tmp_path.glob("*.damaged*")] == ["replies.sqlite3.damaged"]
    assert len([record for record in caplog.records if "set aside" in record.message]) == 1
    assert texts(CachedGenerator(generator, Replies(tmp_path)).generate([ask("b")])) == ["b 2"]


def test_of_many_that_find_it_damaged_one_sets_it_aside_and_no_reply_is_lost(tmp_path: Path) -> None:
    (tmp_path / "replies.sqlite3").write_bytes(b"this was never SQLite" * 100)
    together = threading.Barrier(4)

    def put(number: int) -> None:
        replies = Replies(tmp_path)
        together.wait()
        replies.put({b"%d" % number: Reply("x", Usage())})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert len(list(tmp_path.glob("*.damaged*"))) == 1
    assert set(Replies(tmp_path).get([b"0", b"1", b"2", b"3"])) == {b"0", b"1", b"2", b"3"}


@pytest.mark.parametrize("value", [b"", b"garbage", zstandard.compress(b"{}"), zstandard.compress(b'{"text": 3}')])
def test_what_is_no_reply_is_asked_for_again(tmp_path: Path, value: bytes) -> None:
    cached = CachedGenerator(Counting(), Replies(tmp_path))
    cached.generate([ask("a")])
    with sqlite3.connect(cached.replies.path) as file:
        file.execute("UPDATE entries SET value = ?", (value,))
    file.close()
    assert texts(cached.generate([ask("a")]) + cached.generate([ask("a")])) == ["a 2", "a 2"]


FULL = """
import logging, random, resource, sys
from lsr.rag.generators import CachedGenerator, FunctionGenerator, Message, Replies, Request
logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
cached = CachedGenerator(FunctionGenerator(lambda text: random.Random(text).randbytes(2500).hex(), "f"), Replies(sys.argv[1]))
def ask(n): return [Request((Message("user", str(n)),))]
for n in range(3):
    cached.generate(ask(n))
resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, resource.RLIM_INFINITY))
got = [cached.generate(ask(n))[0] for n in range(60)]
assert all(len(reply.text) == 5000 for reply in got)
assert [reply.cached for reply in got[:3]] == [True] * 3
again = [cached.generate(ask(n))[0].cached for n in range(60)]
assert all(again[:3]) and not all(again)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
def test_where_nothing_can_be_written_work_goes_on_with_one_warning(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    warnings = done.stderr.strip().splitlines()
    assert len(warnings) == 1
    assert "nothing more is stored" in warnings[0]


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cache folder cannot be made"):
        Replies(tmp_path / "file" / "cache")
