"""What a graph is made by: its extractor and what finds its synonyms, by what the manifest keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from lsr.errors import InvalidInput, StoreMismatch
from lsr.index.query_side import check_encoder, document_encoder
from lsr.index.storage.graph_files import GRAPH
from lsr.rag.graph.arrays import Synonyms
from lsr.rag.graph.extractors import open_extractor
from lsr.rag.graph.store.manifest import ExtractorEntry, GraphManifest, as_json
from lsr.rag.graph.store.syncing import SynonymsWithIdentity
from lsr.rag.graph.synonyms import SynonymSearch
from lsr.rag.graph.types import Extractor

if TYPE_CHECKING:
    from lsr.encoders import Encoder
    from lsr.index import Index

__all__ = [
    "BY_ENCODER",
    "FREE",
    "SynonymFinder",
    "check_finder",
    "check_made_by",
    "encoder_of",
    "extractor_of",
    "finder_again",
    "finder_of",
    "graph_of",
    "update_command",
]

BY_ENCODER: Final = "encoder"
FREE = ("rules", "entities", "names")  # extractors that need nothing but their name


class SynonymFinder(Synonyms, Protocol):
    """Finds synonyms, and says what that depends on, as `SynonymSearch` does."""

    def identity(self) -> Mapping[str, Any]: ...


def graph_of(index: Index) -> Path:
    """Where the graph of an index is kept."""
    return Path(index.path) / GRAPH


def update_command(path: Path, manifest: GraphManifest) -> str:
    """The command that brings the graph of the index at `path` up to it."""
    kind = manifest.extractor.kind
    needed = {"llm": " --extractor llm --config FILE.yaml", "given": " --extractor given --triples FILE.jsonl"}
    if kind in FREE or kind in needed:
        return f"`lsr graph build {path} --resume{needed.get(kind, '')}`"
    return f"Graph.sync(index, extractor), with {manifest.extractor.name[:200]},"


# -- extractors ------------------------------------------------------------------------------------------------------------


def check_made_by(path: Path, manifest: GraphManifest, extractor: Extractor) -> None:
    """Raises `StoreMismatch` for an extractor that did not make the graph at `path`."""
    mine = ExtractorEntry.of(extractor)
    if mine.identity != manifest.extractor.identity:
        raise StoreMismatch(
            f"{path}: made by {manifest.extractor.name[:200]}, and {mine.name[:200]} is another, or has other settings, files"
            f" or versions; give that one, or `lsr graph build {path.parent} --overwrite` makes the graph again"
        )


def extractor_of(index: Index, manifest: GraphManifest) -> Extractor:
    """The extractor that made a graph, opened by its name. Raises `InvalidInput` where that takes more, `StoreMismatch` where
    it is another one by now, `MissingExtra`."""
    made = manifest.extractor
    if made.kind not in FREE:
        raise InvalidInput(
            f"{graph_of(index)}: {made.name[:200]} made it, and must be given to read more;"
            f" {update_command(index.path, manifest)} brings it up"
        )
    extractor = open_extractor(made.kind)
    check_made_by(graph_of(index), manifest, extractor)
    return extractor


# -- synonyms --------------------------------------------------------------------------------------------------------------


def finder_of(synonyms: SynonymFinder | str | None, encoder: Callable[[], Encoder]) -> SynonymsWithIdentity:
    """What is to find synonyms, and what a manifest keeps of it. Raises `InvalidInput`, and as loading an encoder does."""
    if synonyms is None:
        return None, None
    if isinstance(synonyms, str):
        if synonyms != BY_ENCODER:
            raise InvalidInput(f"synonyms are {synonyms!r}: give what finds them, {BY_ENCODER!r} or None")
        synonyms = SynonymSearch(encoder())
    return synonyms, as_json(synonyms.identity())


def finder_again(index: Index, manifest: GraphManifest, mine: Callable[[], Encoder]) -> SynonymFinder | None:
    """What found the synonyms of a graph, opened by what the manifest keeps of it; mine: what encodes facts. Raises
    `InvalidInput` where that is not enough, `StoreMismatch` where it is another by now, and as loading an encoder does."""
    identity = manifest.synonyms
    if identity is None:
        return None
    try:
        made, threshold, most = identity["encoder"], identity["threshold"], identity["most"]
        source, wanted = made["source"], made["hash"]
    except (KeyError, TypeError):
        raise InvalidInput(f"{graph_of(index)}: what found its synonyms must be given (synonyms=)") from None
    encoder = mine()
    if encoder.hash != wanted:
        from lsr.encoders import load_encoder

        encoder = load_encoder(source, local_files_only=True)
    finder = SynonymSearch(encoder, threshold, most)
    check_finder(graph_of(index), manifest, finder)
    return finder


def check_finder(path: Path, manifest: GraphManifest, finder: SynonymFinder) -> None:
    """Raises `StoreMismatch` for what did not find the synonyms of the graph at `path`."""
    if _bare(manifest.synonyms) != _bare(as_json(finder.identity())):
        raise StoreMismatch(
            f"{path}: its synonyms were found by another encoder, or otherwise; `lsr graph build {path.parent} --overwrite`"
            " makes the graph again"
        )


def _bare(identity: dict[str, Any] | None) -> Any:
    """An identity without where its encoder lies."""
    if identity is None or not isinstance(identity.get("encoder"), dict):
        return identity
    return {**identity, "encoder": identity["encoder"].get("hash")}


def encoder_of(index: Index, given: Encoder | None) -> Encoder:
    """What encodes phrases and facts: the encoder of an index; for an index of bare vectors the one that is given, or the
    bundled one. Raises `EncoderMismatch` where another than that of the index is given, and as loading does."""
    made = index.manifest.encoder
    if made is not None and made.reading is not None:
        return document_encoder(Path(index.path), made, given)
    if given is not None:
        check_encoder(Path(index.path), made, given, index.dim)
        return given
    from lsr.encoders import load_encoder

    return load_encoder()
