"""What the layouts have in common: from settings as they are written down to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lsr.encoders.layouts.hugging_face import transformer_side
from lsr.encoders.model import DenseLayer, VectorHead, VectorSide
from lsr.encoders.network import read_config
from lsr.encoders.tokenizer import load_tokenizer, special_token, tokenizing
from lsr.errors import EncoderError
from lsr.rerank.encoders.model import Expansion, MultiVectorModel, Skiplist

__all__ = ["Filling", "Said", "assembled"]


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Query expansion as written down; the token None is the mask, or where there is none the end of a text."""

    length: int
    attend: bool
    token: str | None = None
    fixed: bool = True


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a layout says of how texts are read. Lengths are None where only the tokenizer names one."""

    query_prompt: str
    document_prompt: str
    query_length: int | None
    document_length: int | None
    filling: Filling | None
    skiplist: Skiplist
    markers: tuple[str, ...] = ()  # beginnings of the prompts that must be one token
    similarity: str = "maxsim"
    tokenizer_limit: int | None = None  # read where a length is None, instead of what the tokenizer names
    lowercase: bool = False


def assembled(folder: Path, layers: Sequence[DenseLayer], unit: bool, said: Said, source: str) -> MultiVectorModel:
    """The model of a Hugging Face folder with those layers. Raises `EncoderError` where the parts do not fit each other."""
    side = transformer_side(folder, max_length=said.tokenizer_limit, lowercase=said.lowercase)
    _check_widths(folder, layers)
    tokenizer_json = _with_markers(side.tokenizer_json, said.markers, folder)
    head = VectorHead(layers=tuple(layers), unit=unit)
    document = VectorSide(**vars(replace(side, tokenizer_json=tokenizer_json)), head=head)
    expansion, query_length = None, said.query_length
    if (filling := said.filling) is not None:
        if query_length is not None and query_length < filling.length:
            raise EncoderError(
                f"{folder}: queries are cut to {query_length} tokens and filled up to {filling.length}; correct query_length"
            )
        _check_length(folder, "the length of queries", filling.length, side.positions)
        query_length = filling.length if filling.fixed else query_length
        token = filling.token or _filler(folder, tokenizer_json)
        expansion = Expansion(token=token, length=filling.length, attend=filling.attend, fixed=filling.fixed)
    limits = {}
    for name, length in (("query_length", query_length), ("document_length", said.document_length)):
        limits[name] = side.max_length if length is None else length
        _check_length(folder, name, limits[name], side.positions)
    return MultiVectorModel(
        name=source.rstrip("/").split("/")[-1].split("@")[0],
        source=source,
        query=replace(document, prompt=said.query_prompt, max_length=limits["query_length"]),
        document=replace(document, prompt=said.document_prompt, max_length=limits["document_length"]),
        expansion=expansion,
        skiplist=said.skiplist,
        similarity=said.similarity,
    )


def _check_length(folder: Path, name: str, length: int, positions: int) -> None:
    if not 3 <= length <= positions:
        raise EncoderError(f"{folder}: {name} is {length}: the network takes 3 to {positions} tokens")


def _check_widths(folder: Path, layers: Sequence[DenseLayer]) -> None:
    width = read_config(folder).size("hidden_size", "dim", "d_model")
    if (first := layers[0].weight.shape[1]) != width:
        raise EncoderError(
            f"{folder}: the projection takes vectors of {first} numbers, the transformer gives {width}; they are not of one "
            "model"
        )
    for layer, after in pairwise(layers):
        if len(layer.weight) != after.weight.shape[1]:
            raise EncoderError(
                f"{folder}: a layer of the projection takes {after.weight.shape[1]} numbers, the one before it gives "
                f"{len(layer.weight)}; they are not of one model"
            )


def _with_markers(tokenizer_json: str, markers: Sequence[str], folder: Path) -> str:
    """The tokenizer with each marker, or the marker without what follows its first space, as a token that texts may hold.

    The libraries that trained these models put the id of the marker in its place. As a special token that no normaliser
    touches, the text of the marker gives the same.
    """
    from tokenizers import AddedToken

    tokenizer = load_tokenizer(tokenizer_json)
    split = []
    with tokenizing:
        for marker in filter(str.strip, markers):
            token = next((t for t in (marker, marker.split()[0]) if tokenizer.token_to_id(t) is not None), None)
            if token is None:
                raise EncoderError(f"{folder}: the tokenizer has no token {marker!r}, which marks texts; copy it again")
            if tokenizer.encode(token, add_special_tokens=False).tokens != [token]:
                split.append(AddedToken(token, normalized=False, special=True))
        if not split:
            return tokenizer_json
        tokenizer.add_special_tokens(split)
        return str(tokenizer.to_str())


def _filler(folder: Path, tokenizer_json: str) -> str:
    tokenizer = load_tokenizer(tokenizer_json)
    for names in ((special_token(folder, "mask"), "[MASK]", "<mask>"), (special_token(folder, "eos"), "</s>")):
        for name in names:
            if name is not None and tokenizer.token_to_id(name) is not None:
                return name
    raise EncoderError(
        f"{folder}: queries are filled up, and its tokenizer has no mask token; name one in query_expansion"
    )
