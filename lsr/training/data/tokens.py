"""Texts as tokens, once: flat arrays that batches are gathered from, on the host or on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsr.encoders.tokenizer import load_tokenizer, special_ids, tokenizing, valid_text
from lsr.errors import InvalidInput

__all__ = ["DeviceTokens", "TokenStore"]

LENGTH_STEP = 8  # batches are padded to a multiple of this
TEXTS_AT_A_TIME = 4096
TEXTS_PER_COUNT = 20_000
# A text is cut after so many characters for each token that is kept, before it is tokenised.
CHARACTERS_PER_TOKEN = 32
PADDING = ("[PAD]", "<pad>", "<|padding|>")

Ids = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


class TokenStore:
    """The tokens of texts.

    ids int32 [tokens], one text after the other, special tokens included; starts int64 [texts + 1]: where each begins.
    `special` int64: ids that carry no term. `pad` fills batches up. `cut` counts the texts
    that were longer than `max_length`.
    """

    def __init__(self, ids: Ids, starts: Longs, special: Longs, *, max_length: int, pad: int = 0, cut: int = 0) -> None:
        self.ids, self.starts, self.special = ids, starts, special
        self.max_length, self.pad, self.cut = max_length, pad, cut

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        tokenizer_json: str,
        max_length: int,
        progress: Callable[[str, int, int | None], None] | None = None,
    ) -> TokenStore:
        """Tokenises texts with the text of a tokenizer.json, on all cores.

        Special tokens are added as its post-processor says; a longer text is cut to `max_length` tokens, special ones
        included and kept. Raises `EncoderError` for a tokenizer that is none, `InvalidInput` for a max_length that leaves no
        room for a token, or a text that is no str.
        """
        tokenizer = load_tokenizer(tokenizer_json)
        added = tokenizer.num_special_tokens_to_add(False)
        if max_length <= added:
            raise InvalidInput(f"max_length is {max_length}: it must be above {added}, the number of special tokens")
        with tokenizing:
            tokenizer.enable_truncation(max_length)
        parts: list[Ids] = []
        lengths = np.zeros(len(texts) + 1, np.int64)
        cut = 0
        for first in range(0, len(texts), TEXTS_AT_A_TIME):
            part = [valid_text(text) for text in texts[first : first + TEXTS_AT_A_TIME]]
            with tokenizing:
                encodings = tokenizer.encode_batch_fast([_head(text, max_length) for text in part])
                for row, (text, encoding) in enumerate(zip(part, encodings, strict=True)):
                    if not encoding.overflowing and len(text) > max_length * CHARACTERS_PER_TOKEN:
                        encodings[row] = tokenizer.encode(text)  # few tokens in many characters: read all of it
            cut += sum(bool(encoding.overflowing) for encoding in encodings)
            ids = [encoding.ids for encoding in encodings]
            lengths[first + 1 : first + 1 + len(ids)] = [len(one) for one in ids]
            parts.append(np.fromiter(chain.from_iterable(ids), np.int32))
            if progress is not None:
                progress("tokenising", first + len(ids), len(texts))
        pad = next((i for token in PADDING if (i := tokenizer.token_to_id(token)) is not None), 0)
        flat = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        special = np.array(sorted(special_ids(tokenizer)), np.int64)
        return cls(flat, np.cumsum(lengths), special, max_length=max_length, pad=pad, cut=cut)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Longs:
        """Tokens of each text, int64 [texts]."""
        return np.diff(self.starts)

    def batch(self, rows: npt.NDArray[np.integer[Any]]) -> tuple[Longs, Longs]:
        """(ids int64 [B, L], lengths int64 [B]) of the texts in these rows, int [B].

        L is the longest length rounded up to a multiple of 8, at most `max_length`.
        """
        begin = self.starts[rows]
        lengths = self.starts[np.asarray(rows) + 1] - begin
        columns = np.arange(padded(int(lengths.max(initial=1)), self.max_length))
        inside = columns < lengths[:, None]
        ids = np.full(inside.shape, self.pad, np.int64)
        ids[inside] = self.ids[(begin[:, None] + columns)[inside]]
        return ids, lengths

    def to(self, device: torch.device | str) -> DeviceTokens:
        """The same tokens on a device."""
        return DeviceTokens(self, torch.device(device))

    def document_frequencies(self, dim: int) -> Longs:
        """In how many texts each token occurs, int64 [dim]; special tokens count 0.

        Raises `InvalidInput` when a token is not below `dim`.
        """
        df = np.zeros(dim, np.int64)
        for first in range(0, len(self), TEXTS_PER_COUNT):
            starts = self.starts[first : first + TEXTS_PER_COUNT + 1]
            ids = self.ids[starts[0] : starts[-1]].astype(np.int64)
            if len(ids) and int(ids.max()) >= dim:
                raise InvalidInput(f"a text has token {int(ids.max())}: the vocabulary has {dim} terms")
            owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            df += np.bincount(np.unique(owners * dim + ids) % dim, minlength=dim)
        df[self.special[self.special < dim]] = 0
        return df

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `from_arrays` takes: what a cache keeps."""
        numbers = np.array([self.max_length, self.pad, self.cut], np.int64)
        return {"ids": self.ids, "starts": self.starts, "special": self.special, "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> TokenStore:
        """The store that gave these arrays, which may be memory-mapped. Raises `InvalidInput` when they do not fit."""
        try:
            ids, starts, special, numbers = (arrays[name] for name in ("ids", "starts", "special", "numbers"))
        except KeyError as error:
            raise InvalidInput(f"stored tokens have no array {error}: make them again") from None
        kinds = [(ids, np.int32), (starts, np.int64), (special, np.int64), (numbers, np.int64)]
        fits = all(array.ndim == 1 and array.dtype == kind for array, kind in kinds) and len(numbers) == 3
        if not fits or not len(starts) or starts[0] != 0 or starts[-1] != len(ids) or (np.diff(starts) < 0).any():
            raise InvalidInput("stored tokens are damaged (ids and starts do not fit together): make them again")
        max_length, pad, cut = numbers.tolist()
        return cls(ids, starts, special, max_length=max_length, pad=pad, cut=cut)


class DeviceTokens:
    """The tokens of a `TokenStore` on a device: batches are gathered there."""

    def __init__(self, store: TokenStore, device: torch.device) -> None:
        self.device, self.max_length, self.pad = device, store.max_length, store.pad
        # Not the arrays themselves: they may be read-only memory maps, which torch warns of.
        self._ids = torch.tensor(store.ids, device=device)
        self._starts = torch.tensor(store.starts, device=device)
        # On the host, so that the width of a batch is known without waiting for the device.
        self.lengths = store.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: Tensor | npt.NDArray[np.integer[Any]], longest: int | None = None) -> tuple[Tensor, Tensor]:
        """(ids int64 [B, L], lengths int64 [B]) on the device, of the texts in these rows, int64 [B]; L as in `TokenStore`.

        Rows in numpy or on the host give L without a word with the device; rows on a device wait for it, unless `longest`
        says how many tokens the longest text has.
        """
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows.astype(np.int64, copy=True))
        if longest is None:
            longest = int(self.lengths[rows.cpu().numpy()].max(initial=1))
        rows = rows.to(self.device, non_blocking=True)
        begin = self._starts[rows]
        lengths = self._starts[rows + 1] - begin
        columns = torch.arange(padded(longest, self.max_length), device=self.device)
        inside = columns < lengths[:, None]
        places = (begin[:, None] + columns).clamp_(max=max(len(self._ids) - 1, 0))
        ids = self._ids[places].long().masked_fill_(~inside, self.pad)
        return ids, lengths


def padded(longest: int, max_length: int) -> int:
    """The width of a batch whose longest text has so many tokens."""
    return min(-(-max(longest, 1) // LENGTH_STEP) * LENGTH_STEP, max(max_length, 1))


def _head(text: str, max_length: int) -> str:
    """The text, or as much of it as can matter, up to a space."""
    most = max_length * CHARACTERS_PER_TOKEN
    if len(text) <= most:
        return text
    end = text.rfind(" ", 0, most)
    return text if end < 0 else text[:end]
