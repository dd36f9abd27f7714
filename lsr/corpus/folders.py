"""A page, or a folder of pages, as passages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.corpus.blocks import BLOCK_READERS
from lsr.corpus.passages import passages
from lsr.corpus.plaintext import no_nul
from lsr.corpus.records import Document
from lsr.corpus.streams import file_source, reason, shown
from lsr.errors import CorpusError
from lsr.limits import Limits, raising

__all__ = ["folder_documents", "page_documents", "pages_of"]


def page_documents(path: Path, relative: str, limits: Limits) -> Iterator[Document]:
    """The passages of one page; see `folder_documents`."""
    source = file_source(path, limits)
    try:
        longest = len(relative.encode()) + 12
    except UnicodeEncodeError:
        raise CorpusError(f"{source.name}: the file's name is not UTF-8, so it cannot be an id; rename it") from None
    if longest > limits.id:
        raise CorpusError(
            f"{source.name}: the path makes ids of more than {limits.id} bytes; index a folder further down, or raise"
            f" {raising('id')}"
        )
    blocks = BLOCK_READERS[path.suffix.lower()](no_nul(source.lines(), source.name))
    for number, passage in enumerate(passages(blocks)):
        yield Document(
            id=f"{relative}#{number}",
            text=passage.text,
            title=passage.title or shown(relative),
            metadata={"path": relative, "line": passage.line},
            where=f"{source.name}:{passage.line}",
        )


def folder_documents(folder: Path, pages: list[Path], limits: Limits) -> Iterator[Document]:
    """The passages of the pages of a folder.

    id is "relative/path.md#0", title the trail of headings (the relative path where there is none), metadata the path and
    the line where the passage starts. Raises `CorpusError` for pages that are no UTF-8 text.
    """
    for page in pages:
        yield from page_documents(page, page.relative_to(folder).as_posix(), limits)


def pages_of(folder: Path) -> list[Path]:
    """The .txt, .md, .markdown and .rst files below a folder, sorted by name.

    Hidden files and folders are left out. A link to a folder is not followed, a link to a file only within the folder.
    Raises `CorpusError` for a folder that may not be read.
    """
    root = folder.resolve()
    found: list[Path] = []
    waiting = [folder]
    while waiting:  # a stack of our own: a deep tree would exhaust Python's
        here = waiting.pop()
        try:
            for entry in here.iterdir():
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink():
                        waiting.append(entry)
                elif _is_page(entry, root):
                    found.append(entry)
        except OSError as error:
            raise CorpusError(
                f"{shown(here)}: the folder cannot be read ({reason(error)}); allow it or move it"
            ) from None
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _is_page(path: Path, root: Path) -> bool:
    if path.suffix.lower() not in BLOCK_READERS or not path.is_file():
        return False
    return not path.is_symlink() or path.resolve().is_relative_to(root)
