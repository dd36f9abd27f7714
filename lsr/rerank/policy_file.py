"""The policy that was chosen for a token store, in its folder: `lsr tune --save` writes it, `MaxSimReranker.of` reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from lsr.disk import atomic_write
from lsr.errors import CorruptIndex, InvalidInput, UnsupportedVersion
from lsr.index.storage.regular import open_regular, unopened
from lsr.rerank.policies import Policy

__all__ = ["FILE", "save_policy", "saved_policy"]

FILE = "policy.json"  # in the folder of the store
MAGIC = "lsr-rerank-policy"
VERSION = 1
LIMIT = 1 << 16  # bytes
REMEDY = "remove the file, or write it again with lsr tune --save"


def save_policy(store: Path, policy: Policy, tuned: Mapping[str, Any] | None = None) -> None:
    """Keeps a policy in the folder of a token store, in place of the one that is there.

    tuned: what it was chosen by, which is kept for people to read. Raises `StorageError`.
    """
    if policy.alpha == float("inf"):  # prunes nothing, and JSON has no word for it
        policy = replace(policy, alpha=None)
    body: dict[str, Any] = {"magic": MAGIC, "version": VERSION, "policy": asdict(policy), "tuned": dict(tuned or {})}
    body["checksum"] = _checksum(body)
    with atomic_write(store / FILE) as file:
        file.write(json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n")


def saved_policy(store: Path) -> Policy | None:
    """The policy in the folder of a token store, None where there is none.

    Raises `CorruptIndex` for a file that is damaged, `UnsupportedVersion` for one of a newer lsr, `StorageError` for one
    that cannot be read.
    """
    path = store / FILE
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unopened(path, error, REMEDY) from None
    try:
        body = json.loads(data)
        if len(data) > LIMIT or body.pop("magic") != MAGIC:
            raise ValueError
        told = body.pop("checksum")
        if isinstance(body["version"], int) and body["version"] > VERSION:
            raise UnsupportedVersion(f"{path}: written by a newer lsr; install that, or {REMEDY}")
        if told != _checksum({"magic": MAGIC, **body}):
            raise ValueError
        return _policy(body["policy"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # InvalidInput is a ValueError
        raise CorruptIndex(f"{path}: damaged, so the policy for reranking is not known; {REMEDY}") from None


def _policy(values: Mapping[str, Any]) -> Policy:
    for name in ("alpha", "weight"):
        if isinstance(values[name], bool) or not isinstance(values[name], int | float | None):
            raise InvalidInput(f"{name} is {values[name]!r}")
    return Policy(**values)


def _checksum(body: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(
        json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
