"""Prompt templates: text files, which the user can replace by files of the same names in a folder.

    # Lines before the first section say what the placeholders are; they are not sent.
    --- system
    You answer questions from documents.
    --- user
    {context}

    Question: {question}

A line `--- system`, `--- user` or `--- assistant` begins a message. `{name}` is a placeholder: its values are put in at
once, so that braces in them mean nothing. Braces around anything but a word of small letters are braces.

Retrieved text goes into a prompt through `as_data` alone: numbered blocks, which nothing in the text can close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import xxhash

from lsr.errors import InvalidInput
from lsr.rag.generators.base import Message
from lsr.rag.types import Found, Passage

__all__ = ["Templates", "as_data"]

BUILT_IN = Path(__file__).parent / "prompts"
_SECTION = re.compile(r"^--- *(system|user|assistant) *$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
BLOCKS = ("document", "passage", "answer", "review")
# What could be read as the beginning or end of a block, however it is spaced; also with the wide forms of "<".
_DELIMITER = re.compile(rf"[<＜﹤](?=[\s/\u200b\\]*(?:{'|'.join(BLOCKS)})\b)", re.IGNORECASE)


def as_data(pieces: Iterable[Found | Passage | str], block: str = "document") -> str:
    """Texts that others wrote, as numbered blocks: `<document 1> ... </document 1>`. The system message calls them data.

    block: one of `BLOCKS`. A "<" in a text or title that stands before such a name becomes "‹", so that no text can close
    its block or open another. Raises `InvalidInput` for another block.
    """
    if block not in BLOCKS:
        raise InvalidInput(f"there is no block {block!r}: there are {', '.join(BLOCKS)}")
    blocks = []
    for number, piece in enumerate(pieces, 1):
        title, text = ("", piece) if isinstance(piece, str) else (piece.title, piece.text)
        inside = f"{' '.join(title.split())}\n{text.strip()}" if title else text.strip()
        blocks.append(f"<{block} {number}>\n{_DELIMITER.sub('‹', inside)}\n</{block} {number}>")
    return "\n".join(blocks)


class Templates:
    """folder: the user's own templates; those that are not in it are the built-in ones (`lsr/rag/prompts/NAME.txt`).

    Raises `InvalidInput`, with the name of the file, for a folder that is not there, a file whose name is no template's,
    and a template without a user message, or whose placeholders are not those of the built-in one.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._own: dict[str, tuple[Message, ...]] = {}
        if self.folder is None:
            return
        if not self.folder.is_dir():
            raise InvalidInput(f"{self.folder}: there is no such folder of prompt templates")
        for path in sorted(self.folder.glob("*.txt")):
            _check_name(path.stem, str(path))
            self._own[path.stem] = _compared(path, _built_in(path.stem))

    @property
    def own(self) -> tuple[str, ...]:
        """The names of those that are the user's own."""
        return tuple(self._own)

    def messages(self, name: str) -> tuple[Message, ...]:
        """A template with its placeholders. Raises `InvalidInput` for an unknown name."""
        return self._own[name] if name in self._own else _built_in(name)

    def render(self, name: str, **values: str) -> tuple[Message, ...]:
        """The messages of a template. Raises `InvalidInput` for an unknown name, or values that are not its
        placeholders'."""
        messages = self.messages(name)
        wanted = _placeholders(messages)
        if wanted != set(values):
            raise InvalidInput(f"template {name!r} is given {_listed(values)}: it has {_listed(wanted)}")
        return tuple(Message(m.role, _PLACEHOLDER.sub(lambda found: values[found[1]], m.content)) for m in messages)

    def fingerprint(self, name: str) -> str:
        """xxh3-128 in hex over the template's messages."""
        digest = xxhash.xxh3_128()
        for message in self.messages(name):
            digest.update(f"{message.role}\0{message.content}\0".encode())
        return digest.hexdigest()


@cache
def _built_in(name: str) -> tuple[Message, ...]:
    _check_name(name, "prompt templates")
    return _read(BUILT_IN / f"{name}.txt")


def _check_name(name: str, where: str) -> None:
    known = sorted(path.stem for path in BUILT_IN.glob("*.txt"))
    if name not in known:
        close = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise InvalidInput(f"{where}: there is no prompt template {name!r}; {hint}")


def _read(path: Path) -> tuple[Message, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InvalidInput(f"{path}: the prompt template cannot be read ({reason})") from None
    before, *parts = _SECTION.split(text)
    if any(line.strip() and not line.startswith("#") for line in before.splitlines()):
        raise InvalidInput(f"{path}: begin the template with a line '--- system' or '--- user' (comments with #)")
    messages = tuple(
        Message(role, content.strip()) for role, content in zip(parts[::2], parts[1::2], strict=True) if content.strip()
    )
    if not any(message.role == "user" for message in messages):
        raise InvalidInput(f"{path}: the template has no text after a line '--- user'")
    return messages


def _compared(path: Path, built_in: tuple[Message, ...]) -> tuple[Message, ...]:
    messages = _read(path)
    have, wanted = _placeholders(messages), _placeholders(built_in)
    if unknown := sorted(have - wanted):
        raise InvalidInput(f"{path}: unknown placeholder {{{unknown[0]}}}; it may have {_listed(wanted)}")
    if missing := sorted(wanted - have):
        raise InvalidInput(f"{path}: placeholder {{{missing[0]}}} is missing; it must have {_listed(wanted)}")
    return messages


def _placeholders(messages: Iterable[Message]) -> set[str]:
    return {name for message in messages for name in _PLACEHOLDER.findall(message.content)}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names)) or "none"
