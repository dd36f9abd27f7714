"""The documentation that is installed with Python, as documents: real text on every machine, for a demonstration.

Python sources are parsed, not imported; only modules of the standard library that are written in C, and numpy, are
imported, because their documentation exists nowhere else.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lsr.corpus.blocks import rst_blocks
from lsr.corpus.passages import passages
from lsr.corpus.pydocs_compiled import imported
from lsr.corpus.pydocs_names import SKIPPED, Found, found_in, length
from lsr.corpus.pydocs_source import Sources, public
from lsr.corpus.records import Document

__all__ = ["python_documentation"]

FEWEST_WORDS = 4
# The first parameter of methods, and of functions in C, which callers do not give.
_RECEIVER = re.compile(r"^\((?:\$\w+|self|cls)\b(?:, /)?(?:, )?")
_TEMPLATE = re.compile(r"%\(\w+\)s\n*")
SHORTEST = 25  # characters: "Return the square root of x." is worth finding, "Initialize self." is not
# Large toolkits: their methods would fill the library's share, and few ask for them.
TOOLKITS = ("tkinter", "turtle", "curses")


def python_documentation(
    packages: Sequence[str] = ("numpy", "scipy", "numba"), *, limit: int | None = 12_000
) -> Iterator[Document]:
    """The documentation of Python and of those `packages` that are installed: at most `limit` texts, all distinct.

    pydoc's topics on the language, and the docstrings of public modules, functions, classes and methods, each under the
    name that users know. The most useful come first: topics; modules, functions and classes of the standard library;
    their methods; then modules, functions and classes of the packages; and their methods.

    id and title are the dotted name ("gzip.open"); a topic is cut in passages with the id "topic:for#0". metadata is
    {"module", "kind": "topic", "module", "class", "function" or "method", "signature" where known}. Order and texts depend
    only on what is installed.

    Nothing is raised for sources that are missing or cannot be parsed: there are then fewer documents.
    """
    return islice(_documents(packages), limit)


def _documents(packages: Sequence[str]) -> Iterator[Document]:
    texts: set[str] = set()
    ids: set[str] = set()
    for document in _topics():
        texts.add(document.text)
        yield document
    for found in sorted(_found(packages), key=lambda item: (item[0], length(item[1].name))):
        document = _document(found[1])
        long_enough = len(document.text) >= SHORTEST and len(document.text.split()) >= FEWEST_WORDS
        if long_enough and document.text not in texts and document.id not in ids:
            texts.add(document.text)
            ids.add(document.id)
            yield document


def _found(packages: Sequence[str]) -> Iterator[tuple[int, Found]]:
    """(rank, found thing): low ranks come first."""
    tops = [name for name in sorted(sys.stdlib_module_names) if public(name) and name not in SKIPPED]
    for found in found_in(tops, Sources(Path(sysconfig.get_path("stdlib")))):
        if found.entry.kind != "method":
            yield 0, found
        else:
            yield 4 if found.module.split(".")[0] in TOOLKITS else 1, found
    for package in packages:
        for folder in _folders(package):
            for found in found_in([package], Sources(Path(folder).parent)):
                yield 3 if found.entry.kind == "method" else 2, found


def _folders(package: str) -> Sequence[str]:
    """Where a package is installed, without importing it; nothing when it is not."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ()
    return list((spec.submodule_search_locations if spec else None) or ())


def _document(found: Found) -> Document:
    # A docstring may hold anything that Python's escapes can say; a document may not. %(example)s is scipy's, filled
    # in when it is imported.
    text = found.entry.doc.replace("\0", " ").encode("utf-8", "replace").decode()
    text = _TEMPLATE.sub("", text).strip()
    metadata = {"module": found.module, "kind": found.entry.kind}
    if found.entry.signature:
        metadata["signature"] = _RECEIVER.sub("(", found.entry.signature)
    return Document(found.name, text, found.name, metadata, where=found.name)


def _topics() -> Iterator[Document]:
    """pydoc's pages on the language, as passages. Long pages repeat short ones: what was said is not said again."""
    topics: dict[str, str] = getattr(imported("pydoc_data.topics"), "topics", {})
    said: set[str] = set()
    for name, page in sorted(topics.items(), key=lambda item: (len(item[1]), item[0])):
        blocks = [block for block in rst_blocks(enumerate(page.splitlines())) if block.text not in said]
        said.update(block.text for block in blocks if block.kind != "heading")
        if all(block.kind == "heading" for block in blocks):
            continue
        for number, passage in enumerate(passages(blocks)):
            metadata = {"module": "pydoc_data.topics", "kind": "topic"}
            yield Document(
                f"topic:{name}#{number}", passage.text, passage.title or name, metadata, where=f"topic {name}"
            )
