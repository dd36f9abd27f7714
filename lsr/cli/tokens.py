"""What commands that change an index do about its token vectors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.cli.run import fail, note
from lsr.errors import InvalidInput, LsrError, OutputExists

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.rerank import MultiVectorEncoder, TokenStore, TokenSyncReport

__all__ = ["begun", "bring_up", "make_tokens", "model_of", "say_made", "token_facts"]


def begun(path: Path, source: str, encoder: str | None, overwrite: bool) -> Index | None:
    """The index at `path`, where it is built and only its token vectors are missing, or not all there; None where it has to
    be built first. With `overwrite` that is unless an interrupted run had begun with them.

    Raises `OutputExists` for an index of another source, or of another encoder than the one that is asked for.
    """
    from lsr.index import Index
    from lsr.index.new_segment import name_of_source
    from lsr.index.storage.folder import partial_of
    from lsr.index.storage.manifest import is_index
    from lsr.index.storage.token_files import TOKENS

    if not is_index(path) or (overwrite and not partial_of(path / TOKENS).is_dir()):
        return None
    index = Index.open(path)
    name = index.manifest.source.get("name")
    if name != name_of_source(source):
        raise OutputExists(
            f"{path}: an index of {str(name)[:200]} is there already; give that SOURCE to go on with its token"
            " vectors, or another output path"
        )
    made = index.manifest.encoder
    if encoder is not None and made is not None and not _is_named(encoder, made.source):
        raise OutputExists(
            f"{path}: an index made with {made.source[:200]} is there already; give that --encoder to go on with its token"
            " vectors, or another output path"
        )
    return index


def _is_named(encoder: str, source: str) -> bool:
    """Whether the source of an encoder is what somebody typed: a bundled one, a folder, or a hub id of any commit."""
    folder = Path(encoder)
    with suppress(RuntimeError):  # ~somebody who is not known here
        folder = folder.expanduser()
    return source in (encoder, str(folder.absolute())) or source.partition("@")[0] == encoder.partition("@")[0]


def make_tokens(index: Index, encoder: MultiVectorEncoder, codec: str, pool: int, *, resume: bool) -> None:
    """Makes the token vectors of an index; brings up those that it has."""
    from lsr.cli.progress import showing_progress
    from lsr.rerank.living import index_tokens, open_tokens, sync_tokens

    try:
        with showing_progress() as progress:
            if _has_tokens(index):
                made = open_tokens(index).manifest
                if (made.codec, made.pool) != (codec, pool):
                    raise InvalidInput(
                        f"{index.path}: has token vectors kept as {made.codec}, pooled by {made.pool}; give"
                        f" --codec {made.codec} --pool-tokens {made.pool}"
                    )
                sync_tokens(index, encoder, progress=progress)
            else:
                index_tokens(index, encoder, codec=codec, pool=pool, resume=resume, progress=progress)
    except KeyboardInterrupt:
        note(
            f"{index.path} is there, without all of its token vectors: the same command with --resume goes on with them"
        )
        raise
    say_made(index, open_tokens(index))


def say_made(index: Index, store: TokenStore) -> None:
    """What there is now, and what to do with it."""
    facts = store.info()
    note(f"{facts['tokens']:,} token vectors of {facts['documents']:,} documents, {facts['bytes'] / 1e6:,.1f} MB")
    note(f'Next: lsr search {index.path} "your question" --rerank maxsim')


def token_facts(index: Index) -> dict[str, Any] | None:
    """What `lsr info` says of the token vectors of an index; None where it has none."""
    if not _has_tokens(index):
        return None
    from lsr.rerank.living import open_tokens

    facts = open_tokens(index).info()
    kept = {name: facts[name] for name in ("documents", "tokens", "bytes", "codec", "dim", "pool")}
    return {**kept, "encoder": None if facts["encoder"] is None else facts["encoder"]["name"]}


def model_of(index: Index, device: str | None) -> MultiVectorEncoder | None:
    """The model that made the token vectors of an index, to make those of more texts; None where it has none."""
    if not _has_tokens(index):
        return None
    if not index.manifest.texts:
        raise InvalidInput(f"{index.path}: keeps no texts, of which token vectors are made")
    from lsr.rerank.living import encoder_of, open_tokens

    return encoder_of(open_tokens(index), device)


def bring_up(
    index: Index, what: str, encoder: MultiVectorEncoder | None = None, *, encode: bool = True
) -> TokenSyncReport | None:
    """Brings the token vectors of an index up to a change that is done; what: it, in words. None where there are none.

    An error is one line, which also says that the index has changed.
    """
    if not _has_tokens(index):
        return None
    from lsr.cli.progress import showing_progress
    from lsr.rerank.living import sync_tokens

    try:
        with showing_progress() as progress:
            return sync_tokens(index, encoder, encode=encode, progress=progress)
    except KeyboardInterrupt:
        note(f"{what}, but not all token vectors are those of {index.path}: its next change goes on with them")
        raise
    except LsrError as error:
        fail(f"{what}, but its token vectors are as they were ({error}); its next change brings them up to it", error)


def _has_tokens(index: Index) -> bool:
    from lsr.index.storage.token_files import has_tokens  # storage takes long to load, and lsr --help loads this file

    return has_tokens(index.path)
