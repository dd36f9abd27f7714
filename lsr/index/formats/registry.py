"""The formats of sparse vectors: one table, how a file's format is found, and the functions that read and write."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lsr.corpus.streams import COMPRESSED, shown
from lsr.disk import atomic_write, exists
from lsr.errors import CorpusError, InvalidInput, OutputExists
from lsr.index.formats.bigann import open_bigann, write_bigann
from lsr.index.formats.ciff import open_ciff, write_ciff
from lsr.index.formats.outgoing import Outgoing
from lsr.index.formats.scipy_npz import open_npz, write_scipy_npz
from lsr.index.formats.seismic_bin import open_seismic_bin, write_seismic_bin
from lsr.index.formats.tensors import open_safetensors, open_torch, write_safetensors
from lsr.index.formats.terms import Terms
from lsr.index.formats.vector_file import ReadOptions, VectorFile
from lsr.index.formats.vector_jsonl import compressed, open_vector_jsonl, write_anserini, write_seismic_jsonl
from lsr.index.formats.whole_numbers import WholeNumbers
from lsr.sparse import SparseVectors

if TYPE_CHECKING:
    from lsr.index.index import Index
    from lsr.index.segment_writer import Progress

__all__ = ["FORMATS", "Format", "Written", "format_named", "open_vectors", "read_vectors", "write_vectors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: what its files are called, and who reads and writes them.

    `write` is for weights as they are, `write_numbers` for formats of whole numbers; neither for a format that is only read.
    `loses` says what of an index is not in its files, weights aside.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, ReadOptions], VectorFile]
    write: Callable[[BinaryIO, Outgoing], None] | None = None
    write_numbers: Callable[[BinaryIO, Outgoing, WholeNumbers], None] | None = None
    tokens: bool = False  # terms are words in it
    compressed: bool = False  # .gz, .xz and .bz2 are read, .gz is written
    loses: str = ""

    @property
    def writes(self) -> bool:
        return self.write is not None or self.write_numbers is not None


_TABLE = (
    Format(name="scipy", suffixes=(".npz",), open=open_npz, write=write_scipy_npz, loses="texts"),
    Format(
        name="bigann",
        suffixes=(".csr",),
        open=open_bigann,
        write=write_bigann,
        loses="ids (a document is its row) and texts",
    ),
    Format(
        name="seismic-jsonl",
        suffixes=(".jsonl", ".json"),
        open=open_vector_jsonl,
        write=write_seismic_jsonl,
        tokens=True,
        compressed=True,
        loses="metadata and terms that no document has",
    ),
    Format(
        name="seismic-bin",
        suffixes=(".bin",),
        open=open_seismic_bin,
        write=write_seismic_bin,
        loses="ids (a document is its row), texts and the number of dimensions",
    ),
    Format(
        name="ciff",
        suffixes=(".ciff",),
        open=open_ciff,
        write_numbers=write_ciff,
        tokens=True,
        loses="texts and terms that no document has",
    ),
    Format(
        name="anserini",
        suffixes=(),  # .jsonl, too: read as Seismic's
        open=open_vector_jsonl,
        write_numbers=write_anserini,
        tokens=True,
        compressed=True,
        loses="metadata and terms that no document has",
    ),
    Format(
        name="safetensors", suffixes=(".safetensors",), open=open_safetensors, write=write_safetensors, loses="texts"
    ),
    Format(name="torch", suffixes=(".pt", ".pth"), open=open_torch),
)
FORMATS: Mapping[str, Format] = {entry.name: entry for entry in _TABLE}


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: documents, and of formats of whole numbers the weight that became 1, the largest number, and the
    weights that were nearest to 0 and are not in the file."""

    documents: int
    nnz: int
    scale: float | None = None
    largest: int | None = None
    dropped: int = 0


# -- which format ------------------------------------------------------------------------------------------------------


def format_named(name: str) -> Format:
    """Raises `InvalidInput` for a name that is not in the table."""
    if name not in FORMATS:
        raise InvalidInput(f"format {name!r} is not known: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _format_of(path: Path) -> Format | None:
    """By the ending of the name."""
    name = path.name.lower()
    plain = name.removesuffix(path.suffix.lower()) if path.suffix.lower() in COMPRESSED else name
    return next((entry for entry in _TABLE if plain.endswith(entry.suffixes)), None)


def _check_compression(path: Path, found: Format) -> None:
    if path.suffix.lower() in COMPRESSED and not found.compressed and not path.is_dir():
        raise InvalidInput(
            f"{shown(path)}: {found.name} is read and written as it is; unpack the file, or leave {path.suffix} out"
        )


def _recognised(path: Path) -> Format:
    """The format of a file that is there, by its name or else its first bytes. Raises `CorpusError` when neither tells."""
    if path.is_dir():
        return FORMATS["anserini"]
    found = _format_of(path)
    if found is not None:
        return found
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                arrays = any(name.endswith(".npy") for name in archive.namelist())
            return FORMATS["scipy" if arrays else "torch"]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise CorpusError(f"{shown(path)}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    if start.lstrip()[:1] in (b"{", b"["):
        return FORMATS["seismic-jsonl"]
    raise CorpusError(f"{shown(path)}: its format is not to be seen; name it with --format: {', '.join(FORMATS)}")


# -- reading -----------------------------------------------------------------------------------------------------------


def open_vectors(
    path: str | Path,
    format: str | None = None,
    *,
    vocabulary: Sequence[str] | Mapping[str, int] | None = None,
    dim: int | None = None,
    scale: float = 1.0,
    drop_unknown: bool = False,
) -> VectorFile:
    """Opens a file of vectors that another program wrote, to be read in batches, or given to `Index.build`.

    path: a file; for "anserini" and "seismic-jsonl" also a folder of .jsonl files.
    format: a name of `FORMATS`; by default the ending of the file's name tells, or its first bytes.
    vocabulary: the token of each term (an encoder's `vocabulary.tokens`, an index's `tokens`), or the term of each token, for
      formats that have words. Without one, terms are the file's own distinct tokens in sorted order (`VectorFile.tokens`),
      or the tokens themselves where all of them are whole numbers, as `lsr export` writes terms that have no words.
    dim: number of terms, for files that do not tell, or fewer than there are.
    scale: what weights are multiplied by: those of CIFF and Anserini are whole numbers.
    drop_unknown: leave tokens out that the vocabulary lacks; otherwise they are refused.

    Terms that are out of order are sorted, repeated ones summed, weights of 0 dropped; Seismic's .bin promises rising terms,
    and is held to it. Files are read as streams or mapped; those of scipy, ciff, safetensors and torch are held
    in memory.

    Raises `CorpusError` naming file and place for one that cannot be read as given (also while batches are read),
    `InvalidInput` for the other arguments, `MissingExtra` for .pt without torch.
    """
    path = Path(path)
    if dim is not None and not 1 <= dim <= 1 << 32:
        raise InvalidInput(f"dim is {dim}: it must be between 1 and {1 << 32:,}")
    if not 0 < scale < float("inf"):
        raise InvalidInput(f"scale is {scale}: it must be a number above 0")
    if not exists(path):
        raise CorpusError(f"{shown(path)}: no such file")
    found = format_named(format) if format is not None else _recognised(path)
    _check_compression(path, found)
    terms = None
    if vocabulary is not None and found.tokens:
        terms = Terms.given(vocabulary, dim, drop=drop_unknown)
    elif vocabulary is not None and dim is None:
        dim = len(vocabulary)
    return found.open(path, ReadOptions(terms=terms, dim=dim, scale=scale))


def read_vectors(
    path: str | Path,
    format: str | None = None,
    *,
    vocabulary: Sequence[str] | Mapping[str, int] | None = None,
    dim: int | None = None,
    scale: float = 1.0,
    drop_unknown: bool = False,
) -> SparseVectors:
    """All vectors of a file that another program wrote, in memory; see `open_vectors`."""
    opened = open_vectors(path, format, vocabulary=vocabulary, dim=dim, scale=scale, drop_unknown=drop_unknown)
    return opened.vectors()


# -- writing -----------------------------------------------------------------------------------------------------------


def write_vectors(
    source: SparseVectors | Index,
    path: str | Path,
    format: str | None = None,
    *,
    vocabulary: Sequence[str] | None = None,
    scale: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Writes vectors, or those of an index with its texts, for another program. The file appears whole or not at all.

    format: a name of `FORMATS`; by default the ending of the path tells. A .jsonl.gz is compressed.
    vocabulary: the token of each term [dim], for formats that have words; by default those of the index, or the number of
      each term where it has none.
    scale: the weight that becomes 1 in formats of whole numbers (ciff, anserini): weight = number * scale, rounded. By
      default that of the index, which loses nothing; see `WholeNumbers` for other vectors.

    Raises `InvalidInput` for a format that is not written, `OutputExists`, `StorageError` when the disk does not take it.
    """
    path = Path(path)
    found = format_named(format) if format is not None else _format_of(path)
    if found is None:
        raise InvalidInput(f"{path}: its ending is that of no format; name one: {', '.join(FORMATS)}")
    _check_compression(path, found)
    if not found.writes:
        raise InvalidInput(f"{found.name} is only read, for its files are pickles; write safetensors")
    if scale is not None and found.write_numbers is None:
        raise InvalidInput(f"scale is for formats of whole numbers: {found.name} holds the weights as they are")
    if exists(path) and path.is_dir():
        raise OutputExists(f"{path}: a folder; give the name of a file")
    if exists(path) and not overwrite:
        raise OutputExists(f"{path}: a file is there already; --overwrite (overwrite=True) replaces it")
    out = Outgoing.of(source, vocabulary, progress or (lambda stage, done, total: None))
    numbers = WholeNumbers(out, scale) if found.write_numbers is not None else None
    with atomic_write(path) as file, compressed(file) if path.suffix == ".gz" else nullcontext(file) as target:
        if found.write_numbers is not None and numbers is not None:
            found.write_numbers(target, out, numbers)
        elif found.write is not None:
            found.write(target, out)
    if numbers is None:
        return Written(out.documents, out.nnz)
    return Written(out.documents, out.nnz - numbers.dropped, numbers.scale, numbers.largest, numbers.dropped)
