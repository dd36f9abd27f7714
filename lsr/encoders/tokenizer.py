"""Tokenizers as lsr uses them: from the text of a tokenizer.json, never truncating or padding on their own."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lsr.errors import EncoderError, InvalidInput, LsrError, one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "check_numbers",
    "load_tokenizer",
    "model_max_length",
    "read_tokenizer_json",
    "special_ids",
    "special_token",
    "tokenizing",
    "unknown_id",
    "valid_text",
]

GAPS = 1 << 16  # ids that no token has; those of the hub have some hundreds
BYTE_LEVEL_TOKENS = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}


class _Tokenizing:
    """What the tokenizers library raises in the block becomes `EncoderError`: bare Exceptions, and the panics of Rust, which
    are none. A tokenizer.json may be well formed and fail only when it meets a text."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, LsrError):
            return
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            what = f"the tokenizer cannot be read ({one_line(error)[:200]})"
            raise EncoderError(f"{what}; it must be a tokenizer.json") from None


tokenizing = _Tokenizing()


def load_tokenizer(tokenizer_json: str) -> Tokenizer:
    """The tokenizer described by the text of a tokenizer.json. Raises `EncoderError` when it is none."""
    from tokenizers import Tokenizer

    with tokenizing:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def check_numbers(tokens: int, size: int) -> None:
    """Raises `EncoderError` when so many tokens have ids up to `size`: what is made of a vocabulary has a place for each id,
    and a file of few bytes could ask for all memory."""
    if size > 2 * tokens + GAPS:
        raise EncoderError(f"the tokenizer numbers its {tokens:,} tokens up to {size - 1:,}; it is damaged")


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that carry no term: tokens marked as special, and the token of unknown words."""
    ids = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    unknown = unknown_id(tokenizer)
    return frozenset(ids if unknown is None else ids | {unknown})


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the token of unknown words, where there is one."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None


def read_tokenizer_json(folder: Path) -> str:
    """The tokenizer of a Hugging Face folder as the text of a tokenizer.json, made from older files where there is none.

    Raises `EncoderError` when the folder has no tokenizer that can be read without code of its own.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        return _read(path)
    settings = _settings(folder)
    if (folder / "vocab.txt").is_file():
        return _word_piece(folder, settings)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _byte_level(folder, settings)
    raise EncoderError(
        f"{folder}: has no tokenizer.json, vocab.txt, or vocab.json with merges.txt; save its tokenizer with transformers"
    )


def model_max_length(folder: Path) -> int | None:
    """The most tokens that tokenizer_config.json allows; None when it says nothing, or "endless" by a huge number."""
    found = _settings(folder).get("model_max_length")
    return found if type(found) is int and 0 < found < 1 << 30 else None


def special_token(folder: Path, kind: str) -> str | None:
    """The token that the tokenizer's settings name as its "mask", "eos" ...; None when they name none."""
    found = _settings(folder, "special_tokens_map.json") | _settings(folder)
    return _named(found, f"{kind}_token", "") or None


def _settings(folder: Path, name: str = "tokenizer_config.json") -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {}
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: not JSON ({one_line(error)})") from None
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise EncoderError(f"{path}: not UTF-8; copy it again") from None
    except OSError as error:
        raise EncoderError(f"{path}: cannot be read ({error.strerror or error})") from None


def _named(settings: dict[str, Any], key: str, default: str) -> str:
    """The text of a special token, which may be given with its settings."""
    found = settings.get(key, default)
    found = found.get("content", default) if isinstance(found, dict) else found
    return found if isinstance(found, str) else default


def _word_piece(folder: Path, settings: dict[str, Any]) -> str:
    """BERT's: one token a line of vocab.txt."""
    ids = {token: i for i, token in enumerate(_read(folder / "vocab.txt").rstrip("\n").split("\n"))}
    names = [_named(settings, f"{kind}_token", f"[{kind.upper()}]") for kind in ("pad", "unk", "cls", "sep", "mask")]
    if missing := [name for name in names[:4] if name not in ids]:
        raise EncoderError(
            f"{folder / 'vocab.txt'}: has no {', '.join(missing)}, so it is no vocabulary of BERT's kind"
        )
    switches = {
        name: _switch(folder, settings, key, default)
        for name, key, default in (
            ("lowercase", "do_lower_case", True),
            ("strip_accents", "strip_accents", None),
            ("handle_chinese_chars", "tokenize_chinese_chars", True),
        )
    }
    with tokenizing:
        return _word_piece_json(ids, names, switches)


def _word_piece_json(ids: dict[str, int], names: list[str], switches: dict[str, bool | None]) -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=names[1], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**switches)  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([name for name in names if name in ids])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[2]} $A {names[3]}",
        special_tokens=[(names[2], ids[names[2]]), (names[3], ids[names[3]])],
    )
    return str(tokenizer.to_str())


def _switch(folder: Path, settings: dict[str, Any], key: str, default: bool | None) -> bool | None:
    found = settings.get(key, default)
    if found is not None and not isinstance(found, bool):
        raise EncoderError(f"{folder / 'tokenizer_config.json'}: {key} is {found!r}: it must be true or false")
    return default if found is None else found


def _byte_level(folder: Path, settings: dict[str, Any]) -> str:
    """RoBERTa's: byte pairs over bytes, from vocab.json and merges.txt."""
    try:
        ids = json.loads(_read(folder / "vocab.json"))
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{folder / 'vocab.json'}: not JSON ({one_line(error)})") from None
    if not isinstance(ids, dict) or not all(type(number) is int and number >= 0 for number in ids.values()):
        raise EncoderError(f"{folder / 'vocab.json'}: must be an object of tokens and their ids")
    check_numbers(len(ids), max(ids.values(), default=-1) + 1)
    with tokenizing:
        return _byte_level_json(folder, settings)


def _byte_level_json(folder: Path, settings: dict[str, Any]) -> str:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    space = bool(settings.get("add_prefix_space", False))
    try:
        model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise EncoderError(f"{folder}: vocab.json and merges.txt make no tokenizer ({one_line(error)})") from None
    tokenizer = Tokenizer(model)
    names = [_named(settings, f"{kind}_token", text) for kind, text in BYTE_LEVEL_TOKENS.items()]
    begin, pad, end, unknown, mask = names
    if missing := [name for name in names[:4] if tokenizer.token_to_id(name) is None]:
        raise EncoderError(
            f"{folder / 'vocab.json'}: has no {', '.join(missing)}, so it is no vocabulary of RoBERTa's kind"
        )
    tokenizer.model.unk_token = unknown
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.add_special_tokens([begin, pad, end, unknown])
    if tokenizer.token_to_id(mask) is not None:
        tokenizer.add_special_tokens([AddedToken(mask, lstrip=True)])
    ids = {name: tokenizer.token_to_id(name) or 0 for name in (begin, end)}
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, ids[end]), (begin, ids[begin]), add_prefix_space=space
    )
    return str(tokenizer.to_str())


def valid_text(text: str) -> str:
    """The text with lone surrogates, which JSON can carry and tokenizers refuse, replaced; pairs of them are joined."""
    if not isinstance(text, str):
        raise InvalidInput(f"a text to encode is a {type(text).__name__}: it must be a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
