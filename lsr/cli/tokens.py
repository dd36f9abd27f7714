"""What commands that change an index do about its token vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr.cli.run import fail, note
from lsr.errors import LsrError

if TYPE_CHECKING:
    from lsr.index import Index
    from lsr.rerank import MultiVectorEncoder, TokenSyncReport

__all__ = ["bring_up", "model_of"]


def model_of(index: Index, device: str | None) -> MultiVectorEncoder | None:
    """The model that made the token vectors of an index; None where it has none."""
    if not _has_tokens(index):
        return None
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
    """As `lsr.rerank.living.has_tokens`, which loads all of the second stage."""
    from lsr.index.storage.token_files import TOKENS

    return (index.path / TOKENS).is_dir()
