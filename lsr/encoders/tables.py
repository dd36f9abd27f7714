"""Tables of query weights, float32 [dim]: read, computed from a corpus, baked from a trained model, written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.idf import TokenCounts, idf
from lsr.encoders.tokenizer import load_tokenizer, valid_text
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import EncoderError, InvalidInput

__all__ = [
    "binary",
    "corpus_idf",
    "idf_json_text",
    "li_lsr",
    "read_idf_json",
    "read_token_weights_txt",
    "token_weights_text",
]

Table = npt.NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)


def binary(vocabulary: Vocabulary) -> Table:
    """Every token weighs 1, special and unknown ones 0: presence alone (SPLADE-doc, Formal et al. 2021)."""
    table = np.ones(vocabulary.dim, np.float32)
    table[sorted(vocabulary.special)] = 0
    return table


def corpus_idf(texts: Iterable[str], vocabulary: Vocabulary, batch_size: int = 2048) -> Table:
    """Inverse document frequencies of a corpus in one pass over its texts, without a model, in bounded memory.

    The form of lsr.encoders.idf; all of a text is read, however long. Special tokens weigh 0.
    """
    counts = token_counts(texts, vocabulary, batch_size)
    table = idf(counts.df, counts.documents)
    table[sorted(vocabulary.special)] = 0
    return table


def token_counts(texts: Iterable[str], vocabulary: Vocabulary, batch_size: int = 2048) -> TokenCounts:
    """In how many texts each token occurs."""
    tokenizer = load_tokenizer(vocabulary.tokenizer_json)
    special = np.array(sorted(vocabulary.special), np.int64)
    counts = TokenCounts(vocabulary.dim)
    rest: Iterator[str] = iter(texts)
    while batch := [valid_text(text) for text in islice(rest, batch_size)]:
        found = [np.array(e.ids, np.int64) for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        counts.add([ids[~np.isin(ids, special)] for ids in found])
    return counts


def li_lsr(embeddings: npt.ArrayLike, weight: npt.ArrayLike, bias: float) -> Table:
    """The learned table of Li-LSR: log(1 + relu(w . E[t] + b)) of each token's static embedding, baked once.

    embeddings [dim, hidden], weight [hidden]. Nardini et al., "Effective Inference-Free Retrieval for Learned Sparse
    Representations" (2025), section 3. Raises `InvalidInput` when the shapes do not fit or a number is not finite.
    """
    table, direction = np.asarray(embeddings, np.float32), np.asarray(weight, np.float32).ravel()
    if table.ndim != 2 or table.shape[1] != len(direction):
        raise InvalidInput(f"embeddings have shape {table.shape}, the weight {direction.shape}: they do not fit")
    with np.errstate(all="ignore"):  # what is not finite is refused
        products = table @ direction + np.float32(bias)
    if not (np.isfinite(table).all() and np.isfinite(products).all()):
        raise InvalidInput("embeddings, weight or bias hold a number that is not finite, or are too large")
    baked: Table = np.log1p(np.maximum(products, 0)).astype(np.float32)
    return baked


def read_idf_json(path: Path, vocabulary: Vocabulary, *, missing: float) -> Table:
    """Weights in the order of the vocabulary from a JSON object {token: weight}; what it lacks weighs `missing`.

    OpenSearch counts a token that the file lacks 1, sentence-transformers 0. Raises `EncoderError` when the file is
    unreadable, a weight is no number, or hardly a token is in the vocabulary.
    """
    try:
        found: Any = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: must be a JSON object of token: weight")
    return _table(path, found, vocabulary, missing)


def read_token_weights_txt(path: Path, vocabulary: Vocabulary, *, missing: float = 1.0) -> Table:
    """The same from a file of OpenSearch's first models: a line for each token, a tab, its weight."""
    found: dict[str, Any] = {}
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        token, tab, weight = line.rstrip("\r").rpartition("\t")
        try:
            found[token] = float(weight)
        except ValueError:
            tab = ""
        if not tab:
            raise EncoderError(f"{path}:{number}: must be a token, a tab and a number")
    return _table(path, found, vocabulary, missing)


def idf_json_text(table: Table, vocabulary: Vocabulary) -> str:
    """The content of an idf.json; float32 survives the round trip."""
    weights = {vocabulary.token(i): float(str(weight)) for i, weight in enumerate(table)}
    return json.dumps(weights, ensure_ascii=False)


def token_weights_text(table: Table, vocabulary: Vocabulary) -> str:
    """The content of a query_token_weights.txt."""
    return "".join(f"{vocabulary.token(i)}\t{weight}\n" for i, weight in enumerate(table))


def _table(path: Path, found: Mapping[str, Any], vocabulary: Vocabulary, missing: float) -> Table:
    for token, weight in found.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) <= LARGEST:
            raise EncoderError(f"{path}: the weight of {token!r} is {weight!r}: it must be a finite number")
    known = sum(token in found for token in vocabulary.tokens)
    if known < len(found) / 2 or not known:
        raise EncoderError(
            f"{path}: only {known} of its {len(found)} tokens are in the vocabulary: is it for another model?"
        )
    return np.array([found.get(token, missing) for token in vocabulary.tokens], np.float32)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EncoderError(f"{path}: cannot be read ({error})") from None
