"""Stanford's ColBERT (Khattab and Zaharia 2020, Santhanam et al. 2022): `linear.weight` beside the weights of the backbone.

artifact.metadata holds the settings of training as JSON; where it is silent, the defaults of the library count.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np

from lsr.encoders.layouts import checked
from lsr.encoders.layouts.modules import optional_object
from lsr.encoders.model import DenseLayer
from lsr.encoders.network import Checkpoint, read_config
from lsr.errors import EncoderError
from lsr.rerank.encoders.layouts.assembly import Filling, Said, assembled
from lsr.rerank.encoders.model import MultiVectorModel, Skiplist

__all__ = ["METADATA", "read_stanford"]

METADATA, ARCHITECTURE, PROJECTION = "artifact.metadata", "HF_ColBERT", "linear.weight"
DEFAULTS = {
    "query_maxlen": 32,
    "doc_maxlen": 220,
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "dim": None,
}


def read_stanford(folder: Path, source: str) -> MultiVectorModel:
    """The model of such a folder. Raises `EncoderError` that names what is missing."""
    config = read_config(folder)
    named = config.get("architectures")
    known = isinstance(named, list) and ARCHITECTURE in named
    if not known and not (folder / METADATA).is_file():
        raise EncoderError(
            f"{config.path}: no multivector model: neither modules.json nor {METADATA} is beside it; give a ColBERT of "
            "Stanford, PyLate or sentence-transformers 6"
        )
    found = {name: value for name, value in optional_object(folder / METADATA).items() if value is not None}
    weights = Checkpoint(folder, description=METADATA)
    if PROJECTION not in weights:
        raise EncoderError(
            f"{folder}: its weights have no projection ({PROJECTION}), so it is no ColBERT; copy it again"
        )
    with checked.described(folder / METADATA):
        entry = DEFAULTS | found
        lengths = {name: checked.count(entry, name) for name in ("query_maxlen", "doc_maxlen")}
        query, document = (f"{checked.text(entry, name)} " for name in ("query_token_id", "doc_token_id"))
        weight = weights.tensor(PROJECTION, checked.count(entry, "dim"), None)
        words = tuple(string.punctuation) if checked.boolean(entry, "mask_punctuation") else ()
        attend = checked.boolean(entry, "attend_to_mask_tokens")
    said = Said(
        query_prompt=query,
        document_prompt=document,
        markers=(query, document),
        query_length=None,
        document_length=lengths["doc_maxlen"],
        filling=Filling(length=lengths["query_maxlen"] or 32, attend=attend),
        skiplist=Skiplist(words=words),
    )
    return assembled(folder, [DenseLayer(weight=weight, bias=np.zeros(len(weight), np.float32))], True, said, source)
