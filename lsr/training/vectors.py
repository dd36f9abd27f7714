"""The vectors of the texts of a step, computed in chunks of bounded size, and differentiated chunk by chunk.

The loss is a function of all vectors [n, V]; its gradient with respect to them is found first, and goes through the
network chunk by chunk after (GradCache, Gao et al. 2021). So what a step computes does not depend on how large the
chunks are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.errors import InvalidInput
from lsr.training.data.tokens import padded
from lsr.training.network import Side

__all__ = ["SMALLEST_CHUNK", "Texts", "Vectors", "chunks", "fitting"]

T = TypeVar("T")
Rows = npt.NDArray[np.int64]
SMALLEST_CHUNK = 512  # tokens at a time, where the memory is short


class Texts(Protocol):
    """Texts as tokens on a device (lsr.training.data.tokens)."""

    @property
    def lengths(self) -> Rows:
        """Tokens of each text, int64, on the host."""

    def batch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """ids int64 [B, L] and lengths int64 [B]."""


def chunks(lengths: Rows, tokens: int) -> Iterator[Rows]:
    """Places of texts of similar length, longest first, so many that they have at most `tokens` tokens with their padding."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        last = first + max(1, tokens // padded(int(lengths[order[first]]), tokens))
        yield order[first:last]
        first = last


def fitting(work: Callable[[int], T], tokens: int, device: torch.device) -> tuple[T, int]:
    """What `work` gives for so many tokens at a time, and how many these were: they are halved where the device has not
    the memory.

    Raises `InvalidInput` when the smallest chunk does not fit.
    """
    while True:
        try:
            return work(tokens), tokens
        except torch.cuda.OutOfMemoryError:
            pass
        torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors
        if tokens <= SMALLEST_CHUNK:
            raise InvalidInput(
                f"{device} has not the memory for {tokens:,} tokens at a time: set a smaller run.max_length, or take a "
                "smaller model"
            )
        tokens = max(tokens // 2, SMALLEST_CHUNK)


class Vectors:
    """The vectors of texts by a side: `values` float32 [n, V], without gradient until `backward` is given theirs."""

    def __init__(self, side: Side, texts: Texts, rows: Rows, tokens: int, *, recompute: bool) -> None:
        self._side, self._texts, self._rows = side, texts, rows
        self._learns = any(p.requires_grad for p in side.parameters())
        self._chunks: list[tuple[Tensor, Rows, Tensor | None, Tensor | None]] = []
        device = next(iter(side.buffers())).device
        self.values = torch.empty(len(rows), side.dim, device=device)
        again = recompute and self._learns
        for chosen in chunks(texts.lengths[rows], tokens):
            ids, lengths = texts.batch(rows[chosen])
            random = _random_state(device) if again and side.training else None
            with torch.set_grad_enabled(self._learns and not again):
                found = side(ids, lengths)
            places = torch.from_numpy(chosen).to(device, non_blocking=True)
            self.values[places] = found.detach()
            self._chunks.append((places, chosen, None if again or not self._learns else found, random))

    def backward(self, gradient: Tensor) -> None:
        """Adds to the gradients of the side's parameters what that of the values [n, V] means for them."""
        if not self._learns:
            return
        while self._chunks:
            places, chosen, found, random = self._chunks.pop()
            if found is None:
                with _replayed(random, gradient.device):
                    found = self._side(*self._texts.batch(self._rows[chosen]))
            found.backward(gradient[places])


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


class _replayed:
    """Dropout draws what it drew before; what comes after the block draws as if there had been none."""

    def __init__(self, state: Tensor | None, device: torch.device) -> None:
        self._state, self._device = state, device

    def __enter__(self) -> None:
        if self._state is not None:
            self._now = _random_state(self._device)
            self._set(self._state)

    def __exit__(self, *_: object) -> None:
        if self._state is not None:
            self._set(self._now)

    def _set(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)
