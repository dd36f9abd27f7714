"""Why a document has its MaxSim score: for each token of the query the token of the document that it was compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lsr.encoders.tokenizer import valid_text
from lsr.hits import HitSource, TokenMatch, TokenMatches
from lsr.rerank.stage import content_of

if TYPE_CHECKING:
    from lsr.rerank.encoders import MultiVectorEncoder
    from lsr.rerank.store.snapshot import StoreSnapshot

__all__ = ["matches_of"]


def matches_of(
    store: StoreSnapshot, encoder: MultiVectorEncoder, source: HitSource, query: str, row: int
) -> TokenMatches | None:
    """The matches of a query with the document in a row of an index, from the encoder's own vectors of both texts, which are
    encoded for it; None where the document has no vector, or the index keeps no texts.

    store: says what the score is by the vectors that it keeps, which must be those of this document.
    """
    if source.record_of(row) is None:
        return None
    text = valid_text(content_of(source, row))
    asked, document = encoder.encode_queries([query]).of(0), encoder.encode_documents([text]).of(0)
    if not len(document):
        return None
    products = asked @ document.T
    best = np.argmax(products, axis=1)
    told, read = encoder.query_tokens(query), encoder.document_tokens(text)
    matches = [
        TokenMatch(token.token, read[place].token, float(products[i, place]), token.span, read[place].span)
        for i, (token, place) in enumerate(zip(told, best.tolist(), strict=True))
    ]
    stored = store.scorer(asked)(store.rows([source.id_of(row)]))[0]
    return TokenMatches(text, tuple(matches), float(stored), store.manifest.codec)
