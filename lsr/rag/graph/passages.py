"""The graph of the passages of a pipeline: made once for a corpus, and kept beside its indexes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xxhash

import lsr
from lsr.errors import GeneratorError, InvalidInput
from lsr.rag.graph.arrays import build_arrays
from lsr.rag.graph.dense import DenseLikeness
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.files import load_arrays, save_arrays
from lsr.rag.graph.matching import FactMatches, Likeness
from lsr.rag.graph.search import GraphSearch
from lsr.rag.graph.synonyms import SynonymSearch
from lsr.rag.graph.types import Extracted, Text
from lsr.rag.searching import SparseKeys
from lsr.rag.types import Failure, Passages, Query

if TYPE_CHECKING:
    from lsr.rag.resources import Resources

__all__ = ["SparseFirst", "passage_graph"]

_MOST_FAILED = 0.1  # of the passages: a graph with more holes misleads

logger = logging.getLogger(__name__)


class SparseFirst:
    """Sparse retrieval as the first stage of a graph."""

    def __init__(self, keys: SparseKeys) -> None:
        self._keys = keys

    def first(self, questions: Sequence[str], k: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        found = self._keys.search([Query(question) for question in questions], k)
        return [(np.array(list(one), np.int64), np.array(list(one.values()), np.float64)) for one in found]


def passage_graph(
    resources: Resources, passages: Passages, extractor: str, encoder: str, folder: Path, *, dense: str | None = None
) -> GraphSearch:
    """The search of the graph of passages, which is made and kept in a folder where it is not there. dense: a model of
    sentence-transformers by which facts are like a question, in place of the encoder. Raises as extractors and models do,
    and `GeneratorError` where a generator failed on more than a tenth of the passages."""
    opened = resources.encoder(encoder)
    finder = open_extractor(extractor, generator=resources.generator, prompts=resources.prompts)
    synonyms = SynonymSearch(opened)
    about = [lsr.__version__, passages.key, finder.identity(), synonyms.identity()["encoded"], opened.hash]
    name = xxhash.xxh3_128_hexdigest(json.dumps(about, sort_keys=True, default=str).encode())
    place = folder / f"{name}.graph"
    resources.hold(place)
    try:
        arrays = load_arrays(place)
    except InvalidInput:  # not there, or not whole
        texts = [Text(passage.id, passage.text, passage.title) for passage in passages]
        found = list(finder.extract(texts))
        failed = [one for one in found if isinstance(one, Failure)]
        if len(failed) > _MOST_FAILED * len(texts):
            raise GeneratorError(
                f"{finder.name}: failed on {len(failed):,} of {len(texts):,} passages, the first: {failed[0].message}"
            ) from None
        if failed:
            logger.warning("%s: %s of %s passages are without facts", finder.name, len(failed), len(texts))
        read = (one for one in found if isinstance(one, Extracted))
        arrays = build_arrays(read, [text.id for text in texts], synonyms=synonyms)
        if failed:  # a place of its own, that nobody opens: the next time these passages are asked for again
            holes = [text.id for text, one in zip(texts, found, strict=True) if isinstance(one, Failure)]
            place = place.with_name(f"{name}-{xxhash.xxh3_64_hexdigest(json.dumps(holes).encode())}.graph")
            resources.hold(place)
        save_arrays(arrays, place)
    with contextlib.suppress(OSError):  # of another user
        os.utime(place)  # the last time it was of use
    keys = resources.sparse(passages, encoder)
    facts: Likeness
    if dense is None:
        facts = FactMatches(arrays, opened, place / "facts.idx", keys.encode)
    else:
        model = resources.dense_model(dense)
        facts = DenseLikeness(arrays, model.encode, place / f"facts-{model.fingerprint}.npy")
    return GraphSearch(arrays, facts, SparseFirst(keys))
