"""How documents become vectors: which source and fields, which encoder, and what is read of a long document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.corpus import Document, given_documents, read_documents
from lsr.corpus.streams import shown
from lsr.errors import InvalidInput
from lsr.limits import Limits

if TYPE_CHECKING:
    from lsr.encoders import Encoder

__all__ = ["DUPLICATES", "LONG", "Reading", "Texts", "name_of"]

# What becomes of a document that is longer than its encoder reads.
LONG = ("truncate", "windows", "passages")

# What becomes of a document whose id came before. "last" would have to be known when the first is encoded and counted.
DUPLICATES = ("error", "first")

Texts = str | Path | Iterable[Document | Mapping[str, Any] | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What `Index.build` and `lsr encode` are told about it; see `Index.build`."""

    batch_size: int = 2048
    max_length: int | None = None
    long: str = "truncate"
    stride: int | None = None
    device: str | Sequence[str] | None = None
    precision: str | None = None
    id_field: str | None = None
    text_fields: tuple[str, ...] = ()
    duplicates: str = "error"
    limits: Limits = field(default_factory=Limits.default)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidInput(f"batch_size is {self.batch_size}: it must be at least 1")
        if self.long not in LONG:
            raise InvalidInput(f"long is {self.long!r}: it must be one of {', '.join(LONG)}")
        if self.duplicates not in DUPLICATES:
            raise InvalidInput(
                f"duplicates is {self.duplicates!r}: it must be one of {', '.join(DUPLICATES)}; for the last of several,"
                " build an index of those before and upsert the others"
            )
        if self.stride is not None and self.long == "truncate":
            raise InvalidInput(f"stride is {self.stride}: it goes with long='windows' or 'passages'")

    def encoder(self, given: str | Path | Encoder | None) -> Encoder:
        """The encoder meant: the bundled one by default."""
        from lsr.encoders import Encoder, load_encoder

        settings: dict[str, Any] = {"max_length": self.max_length, "device": self.device, "precision": self.precision}
        if self.long == "windows":
            settings |= {"long": "windows", "stride": self.stride}
        settings = {name: value for name, value in settings.items() if value is not None}
        if given is None:
            return load_encoder(**settings)
        if isinstance(given, str | Path):
            return load_encoder(given, **settings)
        if not isinstance(given, Encoder):
            raise InvalidInput(
                f"the encoder is a {type(given).__name__}: give a name, a folder or what load_encoder returns"
            )
        if settings:
            raise InvalidInput(f"{', '.join(settings)}: for an encoder given by name; load_encoder takes them too")
        return given

    def documents(
        self,
        source: Texts,
        encoder: Encoder,
        numbered: int | None = 0,
        select: Callable[[Iterator[Document]], Iterator[Document]] | None = None,
    ) -> Iterator[Document]:
        """The documents of the source that are selected, or their passages.

        Those without ids are numbered from `numbered`; for None they are refused with `InvalidInput`.
        """
        from lsr.encoders import passages

        fields: dict[str, Any] = {"id_field": self.id_field, "text_fields": self.text_fields}
        if isinstance(source, str | Path):
            documents = read_documents(source, **fields, limits=self.limits)
        else:
            documents = given_documents(source, **fields)
        if numbered != 0:
            documents = _numbered(documents, numbered)
        if select is not None:
            documents = select(documents)
        return passages(documents, encoder, self.stride) if self.long == "passages" else documents

    def facts(self, encoder: Encoder) -> dict[str, Any]:
        """What was read of the documents, to be kept with their vectors: `Encoder.reading`, or that they are passages."""
        found = encoder.reading
        if self.long == "passages":
            found |= {"long": "passages"} | ({} if self.stride is None else {"stride": self.stride})
        return found


def _numbered(documents: Iterator[Document], first: int | None) -> Iterator[Document]:
    for row, document in enumerate(documents):
        if not document.numbered:
            yield document
        elif first is None:
            raise InvalidInput(f"{document.where}: has no id, so it can replace no document; give ids, or add it")
        else:
            yield replace(document, id=str(first + row))


def name_of(source: Texts) -> str:
    """What a source is called in messages."""
    return shown(source) if isinstance(source, str | Path) else "the documents given"
