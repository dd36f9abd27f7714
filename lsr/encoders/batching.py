"""Which texts go through a network together, and on which threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

__all__ = ["FEW_TEXTS", "TEXTS_PER_TOKENIZATION", "Threads", "batches", "padded_lengths", "run_now", "start_of"]

IdArray = npt.NDArray[np.int64]

# Texts are padded to a multiple of this, whatever their company, so that a text's vector never depends on it.
LENGTH_STEP = 8
# Texts are cut after this many characters for each token that the model reads, before they are tokenised.
CHARACTERS_PER_TOKEN = 32
TEXTS_PER_TOKENIZATION = 512
# So few texts are not worth a thread.
FEW_TEXTS = 4


def padded_lengths(lengths: IdArray, limit: int) -> IdArray:
    """What texts of so many tokens are padded to, at most the limit."""
    return np.minimum(-(-lengths // LENGTH_STEP) * LENGTH_STEP, limit)


def batches(padded: IdArray, token_budget: int, *, mixes: bool, most: int | None = None) -> list[IdArray]:
    """Rows of at most `token_budget` tokens with their padding, longest first, and not more than `most` of them.

    Without `mixes` a batch holds texts of one padded length.
    """
    order = np.argsort(-padded, kind="stable")
    widths, found, first = padded[order], [], 0
    while first < len(order):
        width = int(widths[first])
        last = first + max(1, min(token_budget // width, most or len(order)))
        if not mixes:
            last = min(last, int(np.searchsorted(-widths, -width, side="right")))
        found.append(order[first:last])
        first = last
    return found


def start_of(text: str, tokens: int) -> str:
    """The text, or its start up to a space, as a rule of more than so many tokens: words stay whole, so it has the same
    tokens as far as it goes."""
    characters = tokens * CHARACTERS_PER_TOKEN
    if len(text) <= characters:
        return text
    end = text.rfind(" ", 0, characters)
    return text if end < 0 else text[:end]


class Threads(ThreadPoolExecutor):
    """Some threads. A failure, or Ctrl-C, drops what has not started."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)


def run_now(work: Callable[[], None]) -> Future[None]:
    """What a pool of threads does, without one."""
    done: Future[None] = Future()
    work()
    done.set_result(None)
    return done
