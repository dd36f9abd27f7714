"""Small indexes of every kind, to be damaged and forged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from lsr import Document, Index, SparseVectors
from lsr.index import policy
from lsr.index.formats.vector_file import Batch, VectorFile
from tests.reliability.forging import Forged

__all__ = ["SAMPLES", "build_samples", "sample_queries", "some_documents"]

DIM = 60
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(DIM - 4))]


@dataclass(frozen=True)
class Made:
    """Documents with vectors, texts and metadata; see `some_documents`."""

    vectors: SparseVectors
    documents: Sequence[Document]
    tokens: tuple[str, ...] | None = None

    def source(self) -> VectorFile:
        def read() -> Iterator[Batch]:
            for first in range(0, len(self.documents), 50):
                part = slice(first, first + 50)
                yield Batch(self.vectors[part], self.documents[part])

        return VectorFile(name="made", dim=self.vectors.dim, read=read, tokens=self.tokens, texts=True)


def some_documents(first: int, count: int, *, dim: int = DIM, terms: int = 8, largest: int = 9, seed: int = 0) -> Made:
    """Documents d<first>... with whole weights: many ties, every score exact. Some are empty."""
    rng = random.Random(f"{seed}-{first}-{dim}")
    common = min(dim, DIM)
    rows: list[dict[int, int]] = []
    for _ in range(count):
        size = min(common, rng.choice([0, 1, terms, terms, terms, 2 * terms]))
        chosen = {min(int(rng.expovariate(0.08)), common - 1) for _ in range(size)}
        if rng.random() < 0.05:  # 32 terms or more are searched otherwise
            chosen = set(rng.sample(range(common), common * 3 // 4))
        rows.append({term if dim == common else dim - common + term: rng.randint(1, largest) for term in chosen})
    metadata: list[dict[str, Any]] = []
    for number in range(first, first + count):
        one: dict[str, Any] = {"year": 2000 + number % 20, "open": number % 3 == 0}
        if number % 2:
            one |= {"lang": rng.choice(["en", "de", "fr"]), "share": number / 8}
        if number % 5 == 0:
            one |= {"tags": ["a", f"t{number % 7}"], "of": {"name": "x" * (number % 4)}, "mixed": 7}
        if number % 7 == 0:
            one |= {"mixed": "seven"}
        metadata.append(one)
    documents = [
        Document(f"d{number}", f"w{number % 50} and w{number % 7} äö w3", f"title {number}", metadata[number - first])
        for number in range(first, first + count)
    ]
    return Made(_vectors(rows, dim, [one.id for one in documents]), documents)


def _vectors(rows: Sequence[Mapping[int, int]], dim: int, ids: list[str] | None = None) -> SparseVectors:
    terms = [sorted(row) for row in rows]
    return SparseVectors(
        indptr=np.cumsum([0, *map(len, terms)]),
        indices=np.array([term for row in terms for term in row], np.int64),
        values=np.array([row[term] for row, found in zip(rows, terms, strict=True) for term in found], np.float32),
        dim=dim,
        ids=ids,
    )


def sample_queries(dim: int, seed: int = 1) -> SparseVectors:
    """An empty query, short ones and long ones."""
    rng = random.Random(seed)
    common = min(dim, DIM)
    rows = [{}, *({dim - 1 - rng.randrange(common): rng.randint(1, 4) for _ in range(size)} for size in (1, 3, 20, 40))]
    rows[2] |= {dim - common + term: 1 for term in range(3)}  # the most frequent
    return _vectors(rows, dim)


# -- the kinds ---------------------------------------------------------------------------------------------------------


def _exact(path: Path) -> None:
    Index.build(some_documents(0, 90).source(), path, engine="exact")


def _blocks(path: Path) -> None:
    Index.build(some_documents(0, 150).source(), path, engine="blocked", block_size=32)
    _with_curves(path)


def _large_blocks(path: Path) -> None:
    Index.build(some_documents(0, 400, terms=4).source(), path, engine="blocked", block_size=128)
    _with_curves(path)


def _segments(path: Path) -> None:
    """Blocks, two exact segments, one of them with 16-bit codes; documents of each are deleted."""
    with patch.object(policy, "SMALL", 0):
        index = Index.build(some_documents(0, 100).source(), path, engine="blocked", block_size=64)
        index.add(some_documents(100, 40, seed=1).source())
        index.add(some_documents(140, 20, largest=600, seed=2).source())
    index.delete([f"d{number}" for number in (3, 50, 99, 101, 120, 141)])
    _with_curves(path)


def _wide(path: Path) -> None:
    """Terms of 32 bits, codes of 16, no texts."""
    made = some_documents(0, 80, dim=70_000, largest=900)
    Index.build(made.vectors, path, engine="blocked", block_size=32)
    _with_curves(path)


def _words(path: Path) -> None:
    made = some_documents(0, 70)
    Index.build(Made(made.vectors, made.documents, tuple(WORDS)).source(), path, engine="exact")


def _encoder(path: Path) -> None:
    """With the query side of an encoder, whose network is nowhere."""
    Index.build(some_documents(0, 70).source(), path, engine="exact")
    forged = Forged(path)
    weights = np.linspace(0, 3, DIM).astype(np.float32)
    files = [
        forged.add_file("encoder/tokenizer.json", json.dumps(TOKENIZER).encode()),
        forged.add_file("encoder/term_weights", weights.tobytes(), "<f4"),
    ]
    policy = {"unknown": "drop", "special": "drop", "repeated": "once", "max_length": None, "top_k": 30, "prompt": ""}
    forged.body["encoder"] = {
        "name": "made",
        "source": str(path / "nowhere"),
        "hash": "0" * 32,
        "vocabulary_hash": "0" * 32,
        "reading": {"max_length": 128, "long": "truncate", "precision": "fp32"},
        "term_weights": "of the encoder",
        "policy": policy,
        "files": files,
    }
    forged.save()


def _windows(path: Path) -> None:
    """More than one window of 65,536 documents, with lists long enough to be left out."""
    rng = np.random.default_rng(3)
    count = 92_000
    indices = np.sort(rng.permuted(np.tile(np.arange(DIM), (count, 1)), axis=1)[:, :4], axis=1)
    vectors = SparseVectors(
        indptr=np.arange(count + 1) * 4, indices=indices.ravel(), values=rng.integers(1, 9, 4 * count), dim=DIM
    )
    Index.build(vectors, path, engine="exact")


SAMPLES: dict[str, Callable[[Path], None]] = {
    "exact": _exact,
    "blocks": _blocks,
    "large_blocks": _large_blocks,
    "segments": _segments,
    "wide": _wide,
    "words": _words,
    "encoder": _encoder,
    "windows": _windows,
}


def build_samples(folder: Path, names: Sequence[str] = tuple(SAMPLES)) -> dict[str, Path]:
    """Builds some kinds below a folder. Of each only the newest generation is kept."""
    paths = {}
    for name in names:
        paths[name] = folder / name
        SAMPLES[name](paths[name])
        for old in sorted(paths[name].glob("manifest-*.json"))[:-1]:
            old.unlink()
        (paths[name] / "LOCK").unlink(missing_ok=True)
    return paths


def _with_curves(path: Path) -> None:
    """Curves as a larger index would have them, so that searches take the blocked engine."""
    forged = Forged(path)
    settings = (
        {"query_cut": 0.8, "n_blocks": 2, "candidates": 8},
        {"query_cut": 1.0, "n_blocks": 40, "candidates": 40},
    )
    points = [
        {"recall": recall, "microseconds": 5.0, "settings": one}
        for recall, one in zip((0.8, 0.99), settings, strict=True)
    ]
    for segment in forged.body["segments"]:
        if segment["block_size"]:
            segment["curves"] = [
                {"short": short, "k": 10, "exact_microseconds": 9.0, "points": points} for short in (True, False)
            ]
    forged.save()


TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": number,
            "content": WORDS[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number in range(4)
    ],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: number for number, word in enumerate(WORDS)},
    },
}
