"""Replies kept on the disk, so that no text is paid for twice, nor waited for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lsr.rag.blobs import Blobs
from lsr.rag.generators.accounting import Wrapper
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.types import Failure, Usage

__all__ = ["CachedGenerator", "Replies"]

NAME = "replies.sqlite3"
_PARTS = 64  # requests that are asked for before their replies are written
_NEW = b"new "  # how the key of a request begins that is written anew each time


class Replies:
    """Replies by key (bytes) in `folder`/replies.sqlite3, which processes and threads may share.

    A damaged file is set aside, and where nothing can be written (a full disk) what is there is still read; both are said
    by logging and stop no work. limit: bytes that are kept; what was not used for the longest goes first. Raises
    `StorageError` for a folder that cannot be made.
    """

    def __init__(self, folder: str | Path, limit: int = 1 << 33) -> None:
        self._blobs = Blobs(Path(folder) / NAME, limit)

    @property
    def path(self) -> Path:
        return self._blobs.path

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """Those of the keys that there are replies for."""
        rows = {key: _read(data) for key, data in self._blobs.get(keys).items()}
        return {key: reply for key, reply in rows.items() if reply is not None}

    def put(self, replies: Mapping[bytes, Reply]) -> None:
        self._blobs.put({key: json.dumps(asdict(reply)).encode() for key, reply in replies.items()})

    def close(self) -> None:
        self._blobs.close()


class CachedGenerator(Wrapper):
    """A generator that is asked only for what `replies` does not hold; equal requests of a batch are asked once.

    Only texts are kept, never failures. sampled: also those of a temperature above 0, so that a run can be repeated; where
    False, each such request is written anew.
    """

    def __init__(self, generator: Generator, replies: Replies, *, sampled: bool = True) -> None:
        super().__init__(generator)
        self.replies, self._sampled = replies, sampled

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        identity = self.identity()
        keys = [self._key(request, at, identity) for at, request in enumerate(requests)]
        known: dict[bytes, Reply | Failure] = dict(self.replies.get([key for key in keys if not key.startswith(_NEW)]))
        kept = set(known)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        asked = list(missing)
        for start in range(0, len(asked), _PARTS):
            part = asked[start : start + _PARTS]
            new = dict(zip(part, self.generator.generate([missing[key] for key in part]), strict=True))
            self.replies.put({k: r for k, r in new.items() if isinstance(r, Reply) and not k.startswith(_NEW)})
            known.update(new)
        return list(_handed_out(keys, known, kept))

    def _key(self, request: Request, at: int, identity: Mapping[str, Any]) -> bytes:
        if identity.get("temperature", request.temperature) > 0 and not self._sampled:
            return _NEW + str(at).encode()
        said = json.dumps([identity, asdict(request)], sort_keys=True)
        return hashlib.sha256(said.encode()).digest()


def _handed_out(
    keys: Sequence[bytes], known: Mapping[bytes, Reply | Failure], kept: set[bytes]
) -> Iterator[Reply | Failure]:
    """The reply of each key, marked where it was there before."""
    seen = set(kept)
    for key in keys:
        reply = known[key]
        yield replace(reply, cached=True) if key in seen and isinstance(reply, Reply) else reply
        seen.add(key)


def _read(data: bytes) -> Reply | None:
    """A reply as it was written; None where these bytes are none."""
    try:
        values = json.loads(data)
        text, usage, cut = values["text"], Usage(**values["usage"]), bool(values["cut"])
    except (ValueError, TypeError, KeyError):
        return None
    return Reply(text, usage, cut=cut, cached=True) if isinstance(text, str) else None
