"""`lsr demo`: the documentation installed with Python itself, indexed and searched."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.run import note

__all__ = ["cache_folder", "demo"]

QUESTIONS = (
    "compress a file",
    "run a function at exit",
    "how do I rotate a log file?",
    "smallest eigenvalues of a sparse matrix",
    "what does the with statement do",
)
MAX_LENGTH = 128  # tokens of an entry that are encoded: what it is for stands at its beginning


def cache_folder() -> Path:
    """Where lsr may keep what it can make again: `LSR_CACHE`, or the user's cache folder of the system."""
    if given := os.environ.get("LSR_CACHE"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lsr"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local"))) / "lsr" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lsr"


def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Build the index again, also when it is there.")] = False,
) -> None:
    """Index the documentation installed with Python, and search it."""
    from lsr.cli.index import say_built
    from lsr.cli.progress import showing_progress
    from lsr.cli.show import show_hits
    from lsr.encoders import load_encoder
    from lsr.errors import StorageError
    from lsr.index import Index

    encoder = load_encoder(max_length=MAX_LENGTH)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    path = cache_folder() / f"demo-python{version}-{encoder.hash[:8]}.idx"
    index = None
    if not fresh:
        try:
            index = Index.open(path, encoder)
            note(f"{len(index):,} entries of Python's own documentation, indexed before: {path}")
        except StorageError:
            pass  # none yet, or one to be made again
    if index is None:
        from lsr.corpus import python_documentation

        note("gathering the documentation of Python and the packages beside it")
        documents = list(python_documentation())
        with showing_progress(total_documents=len(documents)) as progress:
            index = Index.build(documents, path, encoder=encoder, overwrite=True, progress=progress)
        say_built(index)
    for number, hits in enumerate(index.search(list(QUESTIONS), k=3)):
        show_hits(hits, explain=False, index=index, first=number == 0)
    note(f'\nNow you: lsr search {path} "your question" --explain')
    note("Your own documents: lsr index FILE_OR_FOLDER -o my.idx")
