"""Systems by the words of `--system`."""

from __future__ import annotations

import re
from pathlib import Path

from lsr.disk import exists
from lsr.errors import EncoderNotFound, InvalidInput
from lsr.eval.systems.bm25 import Bm25System
from lsr.eval.systems.indexes import EncoderSystem, IndexSystem
from lsr.eval.systems.runs import RunSystem
from lsr.eval.systems.system import System
from lsr.index.storage.manifest import is_index

__all__ = ["open_system"]

_BM25 = re.compile(r"bm25(?:\((?P<settings>[^()]*)\))?", re.IGNORECASE)
_NAMED = re.compile(r"(?P<name>[^=()/\\]+)=(?P<what>.+)", re.DOTALL)


def open_system(spec: str, *, max_length: int | None = None, local_files_only: bool = False) -> System:
    """The system that a specification means, `NAME=` before it gives it a name for the report:

    - `bm25`, or `bm25(k1=1.2, b=0.75)`;
    - the folder of an index;
    - a file: a TREC run;
    - anything else: an encoder, by name, folder or hub id. `max_length` is the number of tokens of a document that it reads;
      with `local_files_only` nothing is fetched from the hub.

    Raises `InvalidInput` when it is none of these, and as opening an index or an encoder does.
    """
    name, what = None, spec.strip()
    if (named := _NAMED.fullmatch(what)) and not exists(Path(what)):
        name, what = named["name"].strip(), named["what"].strip()
    if not what or "\0" in what or name == "":
        raise InvalidInput(f"{spec!r} names no system: give bm25, an index, a TREC run or an encoder")
    if found := _BM25.fullmatch(what):
        return Bm25System(name or what.replace(" ", ""), **_settings(found["settings"] or "", spec))
    path = Path(what)
    if exists(path) and path.is_file():
        return RunSystem(name or _stem(path), path)
    if is_index(path):
        return IndexSystem(name or path.resolve().name, path)
    from lsr.encoders import load_encoder

    try:
        encoder = load_encoder(what, max_length=max_length, local_files_only=local_files_only)
    except EncoderNotFound as error:
        fetches = "; --download fetches what is not on this machine" if local_files_only and "/" in what else ""
        raise EncoderNotFound(f"{error}; a system may also be bm25, an index, or a TREC run{fetches}") from None
    return EncoderSystem(name or encoder.name, encoder)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".run") or path.name


def _settings(text: str, spec: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        key, _, value = part.partition("=")
        try:
            if key not in ("k1", "b") or key in found:
                raise ValueError
            found[key] = float(value)
        except ValueError:
            raise InvalidInput(f"{spec!r}: cannot read {part!r}; write bm25(k1=0.9, b=0.4)") from None
    return found
