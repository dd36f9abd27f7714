"""Every error that lsr raises on purpose, as one tree.

    LsrError                       one line: what is wrong, where, and what to do
    ├── InvalidInput               a value given by the caller is out of range or of a wrong kind (also a ValueError)
    │   └── InvalidVectors         vectors break a rule of SparseVectors or TokenVectors
    ├── CorpusError                a file of documents, vectors of others or queries cannot be read as given; names the place
    │   └── DuplicateId            two documents carry the same id
    ├── EncoderError               a model cannot be used
    │   ├── EncoderNotFound        no encoder by that name or at that path (also a FileNotFoundError)
    │   └── EncoderMismatch        an index is searched with another encoder than the one that made it
    ├── StorageError               an index or a vectors file cannot be read or written
    │   ├── IndexNotFound          no index at that path (also a FileNotFoundError)
    │   ├── OutputExists           something is already there, and nobody said to overwrite it (also a FileExistsError)
    │   ├── IndexLocked            someone else is changing the index at this moment
    │   ├── UnsupportedVersion     the index was written by an lsr too new, or too old
    │   ├── StoreMismatch          a token store or graph is of another index, other texts or another encoder
    │   └── CorruptIndex           files are missing, truncated, altered, or contradict each other
    ├── EvaluationError            a collection, judgments or a run cannot be evaluated; names file and line
    │   └── DatasetNotFound        no collection by that name or at that path (also a FileNotFoundError)
    ├── GeneratorError             what is to write text cannot: an endpoint is down or refuses, a model cannot be opened
    └── MissingExtra               an optional package is not installed; names the pip command (also an ImportError)

Callers that want to catch everything catch `LsrError`. The message of each is one line and fit to be shown to a person as
it stands; the command line prints it and exits with status 1.
"""

from __future__ import annotations

import re

__all__ = [
    "CorpusError",
    "CorruptIndex",
    "DatasetNotFound",
    "DuplicateId",
    "EncoderError",
    "EncoderMismatch",
    "EncoderNotFound",
    "EvaluationError",
    "GeneratorError",
    "IndexLocked",
    "IndexNotFound",
    "InvalidInput",
    "InvalidVectors",
    "LsrError",
    "MissingExtra",
    "OutputExists",
    "StorageError",
    "StoreMismatch",
    "UnsupportedVersion",
    "one_line",
]

_LONGEST = 2000  # characters of a message


class LsrError(Exception):
    """Base of every error raised on purpose by lsr. Its text is one line, whatever the names and values in it hold."""

    def __str__(self) -> str:
        return _shown(super().__str__())


class InvalidInput(LsrError, ValueError):
    """A value given by the caller is out of range or of the wrong kind."""


class InvalidVectors(InvalidInput):
    """Vectors break one of the rules that `SparseVectors` or `TokenVectors` promises."""


class CorpusError(LsrError):
    """A file of documents, of vectors that another program wrote, or of queries cannot be read as given."""


class DuplicateId(CorpusError):
    """Two documents carry the same id."""


class EncoderError(LsrError):
    """A model cannot be used."""


class EncoderNotFound(EncoderError, FileNotFoundError):
    """There is no encoder by that name or at that path."""


class EncoderMismatch(EncoderError):
    """An index is used with another encoder than the one that made it."""


class StorageError(LsrError):
    """An index or a vectors file cannot be read or written."""


class IndexNotFound(StorageError, FileNotFoundError):
    """There is no index at that path."""


class OutputExists(StorageError, FileExistsError):
    """Something is already at the output path, and nobody said to overwrite it."""


class IndexLocked(StorageError):
    """Another process, or another part of this one, is changing the index at this moment."""


class UnsupportedVersion(StorageError):
    """The index was written in a format newer, or older, than this version of lsr reads."""


class StoreMismatch(StorageError):
    """A store of token vectors, or a graph, was made for another index or other texts than those that it is used with, or by
    another encoder or extractor."""


class CorruptIndex(StorageError):
    """Files of an index are missing, truncated, altered, or contradict each other."""


class EvaluationError(LsrError):
    """A collection, judgments or a run cannot be evaluated."""


class DatasetNotFound(EvaluationError, FileNotFoundError):
    """There is no collection by that name or at that path, or its files are not on this machine."""


class GeneratorError(LsrError):
    """What is to write text cannot do it: an endpoint is down or refuses, or a local model cannot be opened."""


class MissingExtra(LsrError, ImportError):
    """An optional package is not installed.

    `extra` is the name of the extra in the package's metadata that brings it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'lsr-engine[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str, str]]:
        return type(self), (self.package, self.extra, self.purpose)  # the default would call it with the message alone


def _shown(text: str) -> str:
    """A text whose unprintable characters are escaped; the middle of a very long one is left out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(error: BaseException) -> str:
    """The message of an error of another library, fit to be a part of ours: in one line, without colours, never empty."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()) or type(error).__name__
