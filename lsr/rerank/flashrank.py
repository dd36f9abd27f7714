"""Cross-encoders of the package FlashRank: small ONNX models, without torch."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.errors import EncoderError, EncoderNotFound, InvalidInput, MissingExtra, one_line
from lsr.rerank.stage import FunctionReranker

__all__ = ["FlashRankReranker"]


class FlashRankReranker(FunctionReranker):
    """A cross-encoder of FlashRank; scores are its probabilities, 0 to 1.

    model: the folder of one, whose name FlashRank has to know, or such a name ("ms-marco-MiniLM-L-12-v2"): found in
    `cache_dir`, or else downloaded to it from the hub by FlashRank, unless `local_files_only`. cache_dir: the user's cache
    folder when None (FlashRank's own choice, /tmp, is everybody's). batch: pairs at a time. max_length: tokens of a pair that
    are read, 512 at most.

    Raises `EncoderNotFound` for a name that is not known, or cannot be downloaded, `EncoderError` for a folder that cannot be
    opened and for models that give no scores, `InvalidInput`, `MissingExtra`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        cache_dir: str | Path | None = None,
        batch: int = 32,
        max_length: int = 512,
        candidates: int = 50,
        fusion: str = "replace",
        weight: float = 0.5,
        local_files_only: bool = False,
    ) -> None:
        try:
            import flashrank
            from flashrank.Config import listwise_rankers, model_file_map
        except ImportError:
            raise MissingExtra("flashrank", "flashrank", "a FlashRank model") from None
        for what, value in (("batch", batch), ("max_length", max_length)):
            if value < 1:
                raise InvalidInput(f"{what} is {value}: it must be 1 or more")
        folder = _folder(model, cache_dir)
        name = folder.name
        scoring = [each for each in model_file_map if each not in listwise_rankers]
        if name in listwise_rankers:
            raise EncoderError(f"{name}: orders a list and gives no scores; there are {', '.join(scoring)}")
        if name not in scoring:
            raise EncoderNotFound(
                f"no FlashRank model {str(model)[:200]!r}: there are {', '.join(scoring)}, or a folder named so"
            )
        there = folder.is_dir()
        if local_files_only and not there:
            raise EncoderNotFound(
                f"{name}: is not in {folder.parent}, and nothing is to be downloaded; unpack its zip there"
            )
        self._folder = folder
        try:
            with _logging_as_it_was():
                self._ranker: Any = flashrank.Ranker(name, str(folder.parent), max_length, "WARNING")
        except Exception as error:  # of requests, zipfile, json, tokenizers, ONNX Runtime
            told = one_line(error)[:200]
            if there:
                raise EncoderError(f"{folder}: cannot be opened as a FlashRank model ({told})") from None
            raise EncoderNotFound(
                f"{name}: cannot be downloaded ({told}); unpack its zip in {folder.parent}, or give cache_dir"
            ) from None
        self._request, self._batch = flashrank.RerankRequest, batch
        super().__init__(self._scores_of, name, candidates=candidates, fusion=fusion, weight=weight)

    @cached_property
    def fingerprint(self) -> str:
        """xxh3-128 in hex over the files of the model."""
        digest = xxhash.xxh3_128()
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(self._folder).as_posix().encode() + path.read_bytes())
        return digest.hexdigest()

    def _scores_of(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        scores = np.zeros(len(texts))
        for first in range(0, len(texts), self._batch):
            passages = [{"id": first + i, "text": text} for i, text in enumerate(texts[first : first + self._batch])]
            for passage in self._ranker.rerank(self._request(query, passages)):
                scores[passage["id"]] = passage["score"]
        return scores


def _folder(model: str | Path, cache_dir: str | Path | None) -> Path:
    """Where the files of a model are, or will be."""
    if cache_dir is not None:
        return Path(cache_dir) / model
    if isinstance(model, Path) or os.sep in model or Path(model).is_dir():
        return Path(model).absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "flashrank" / model


@contextlib.contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """FlashRank sets up logging for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
