"""Long documents: passages that are read whole and cover the text, and windows of one vector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsr import Document, Encoder, Index, load_encoder
from lsr.encoders import passages
from lsr.encoders.tokenizer import load_tokenizer
from lsr.errors import InvalidInput
from tests.encoders import families

LIMIT = 40
ROOM = LIMIT - 2  # [CLS] and [SEP]
LONGEST = 16  # tokens of the longest word of WORDS with its number
WORDS = ["dog", "retrieval", "naïve", "semi-colon;", "“quoted”", "漢字", "☃", "don't", "pneumonoultramicroscopic", "X"]
SPACES = st.sampled_from([" ", "  ", "\n", "\t", " \n\n "])
TITLES = ["", "A title", "Of the passages, with commas, that are cut"]


@cache
def short() -> Encoder:
    """The bundled encoder, which reads LIMIT tokens at a time."""
    return load_encoder(max_length=LIMIT)


@cache
def tokenizer() -> Any:
    return load_tokenizer(short().document_side.tokenizer_json)


def tokens(text: str) -> int:
    """Number of tokens that the network reads of a text, special ones included."""
    return len(tokenizer().encode(text).ids)


@cache
def single() -> list[str]:
    """Two hundred distinct words of one token each."""
    return [t for t in short().vocabulary.tokens if t.isascii() and t.isalpha() and len(t) > 5][:200]


def cut(text: str, title: str = "", stride: int | None = None) -> list[Document]:
    return list(passages([Document(id="d", text=text, title=title)], short(), stride))


def spans(text: str, pieces: list[Document]) -> list[tuple[int, int]]:
    """Where the passages lie in a text without repeated words."""
    starts = [text.index(piece.text) for piece in pieces]
    assert [text.count(piece.text) for piece in pieces] == [1] * len(pieces)
    return [(start, start + len(piece.text)) for start, piece in zip(starts, pieces, strict=True)]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """No word stands twice: each has its number before it."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=LIMIT, max_size=150))
    space = draw(SPACES)
    return space.join(f"{number:03}{word}" for number, word in enumerate(words))


# -- passages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["", "dog", "dog dog dog"])
def test_a_document_is_cut_only_when_it_does_not_fit(title: str) -> None:
    room = ROOM - len(title.split())
    fits = Document(id="d", text=" ".join(single()[:room]), title=title, metadata={"year": 1999})
    assert tokens(fits.content) == LIMIT
    assert list(passages([fits], short())) == [fits]
    assert len(cut(" ".join(single()[: room + 1]), title)) == 2


@pytest.mark.parametrize(("title", "text"), [("", ""), ("title", ""), ("", " \n")])
def test_a_document_without_words_stays_as_it_is(title: str, text: str) -> None:
    assert cut(text, title) == [Document(id="d", text=text, title=title)]


@settings(max_examples=40, deadline=None)
@given(text=texts(), title=st.sampled_from(TITLES), stride=st.none() | st.integers(LONGEST, ROOM))
def test_each_passage_is_read_whole_with_its_title(text: str, title: str, stride: int | None) -> None:
    for piece in cut(text, title, stride):
        assert piece.title == title
        assert 0 < tokens(piece.content) <= LIMIT


LONG_WORDS = {45: "retrieval", 47: "retrieval", 48: "retrieval", 50: "semi-colon;", 53: "pneumonoultramicroscopic"}
LONG_WORDS |= {54: LONG_WORDS[50], 55: LONG_WORDS[53]}
# The passage from the 50th word on is cut short, where the one before ends.
CUT_SHORT = " ".join(f"{number:03}{LONG_WORDS.get(number, 'dog')}" for number in range(56))


@settings(max_examples=40, deadline=None)
@given(text=texts(), title=st.sampled_from(TITLES), stride=st.none() | st.integers(LONGEST, ROOM))
@example(text=CUT_SHORT, title="Of the passages, with commas, that are cut", stride=16)
def test_passages_cover_the_text_and_begin_and_end_between_words(text: str, title: str, stride: int | None) -> None:
    found = spans(text, cut(text, title, stride))
    assert (found[0][0], found[-1][1]) == (0, len(text))
    for (start, end), (following, later) in pairwise(found):
        assert start < following <= end < later
    for place in {place for span in found for place in span} - {0, len(text)}:
        assert text[place - 1].isspace()
        assert not text[place].isspace()


BETWEEN = {31: "semi-colon;", 32: "pneumonoultramicroscopic", 39: "pneumonoultramicroscopic"}
# The passage that begins 16 tokens after another would end where that one does.
WITHIN = " ".join(f"{number:03}{BETWEEN.get(number, 'dog')}" for number in range(40))


@settings(max_examples=40, deadline=None)
@given(text=texts(), stride=st.integers(LONGEST, ROOM))
@example(text=WITHIN, stride=16)
def test_passages_begin_at_most_a_stride_apart_and_nearly_that(text: str, stride: int) -> None:
    words = [word.span() for word in re.finditer(r"\S+", text)]
    for (start, end), (following, _) in pairwise(spans(text, cut(text, stride=stride))):
        apart = tokens(text[start:following]) - 2
        assert stride - LONGEST < apart
        if apart > stride:  # only where one in between would hold no word more than the one before
            between = max(begin for begin, _ in words if start < begin and tokens(text[start:begin]) - 2 <= stride)
            one_more = min(stop for begin, stop in words if begin >= end)
            assert tokens(text[between:one_more]) > LIMIT


@pytest.mark.parametrize("stride", [None, 1, 7, ROOM])
def test_with_words_of_one_token_the_stride_counts_words(stride: int | None) -> None:
    words = single()
    found = [piece.text.split() for piece in cut(" ".join(words), stride=stride)]
    step = stride or 3 * ROOM // 4
    assert found == [words[first : first + ROOM] for first in range(0, len(words) - ROOM + step, step)]


def test_passages_without_overlap_are_the_text() -> None:
    text = "\n".join(single()) + " \n"
    assert "".join(piece.text for piece in cut(text, stride=ROOM)) == text


@pytest.mark.parametrize("stride", [-1, 0, ROOM + 1, 10_000])
def test_a_stride_out_of_range_is_refused(stride: int) -> None:
    with pytest.raises(InvalidInput, match=rf"stride is {stride}: a passage has {ROOM} tokens"):
        cut("word", stride=stride)


def test_passages_know_their_document() -> None:
    document = Document(
        id="d", text=" ".join(single()[:60]), title="Title", metadata={"year": 1999}, where="docs.jsonl:3"
    )
    found = list(passages([Document(id="a", text="short"), document, Document(id="z", text="last")], short()))
    assert [piece.id for piece in found] == ["a", "d#1", "d#2", "z"]
    for piece in found[1:3]:
        assert (piece.title, piece.metadata, piece.where) == ("Title", {"year": 1999, "parent": "d"}, "docs.jsonl:3")
    assert dict(document.metadata) == {"year": 1999}


def test_documents_are_read_as_they_are_asked_for() -> None:
    def endless() -> Iterator[Document]:
        number = 0
        while True:
            yield Document(id=str(number), text=" ".join(single()))
            number += 1

    found = passages(endless(), short())
    assert [next(found).id for _ in range(8)] == [f"0#{n}" for n in range(1, 8)] + ["1#1"]


@pytest.mark.parametrize("word", ["漢字" * 100, "/usr/share/doc" * 40, "a-" * 300, "1" * 99])
def test_a_word_without_end_is_cut_and_covered(word: str) -> None:
    pieces = [piece.text for piece in cut(word, stride=ROOM)]
    assert len(pieces) > 1
    assert "".join(pieces) == word
    for text in (f"short {word}", f"{word} short"):
        pieces = [piece.text for piece in cut(text, stride=ROOM)]
        assert "".join(pieces) == text
        assert len(pieces) > 1


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "xlm-roberta"])
def test_passages_of_every_tokenizer_are_read_whole(tmp_path: Path, family: str) -> None:
    """A word in its place may have another number of tokens than at the beginning of a passage."""
    pytest.importorskip("transformers")
    encoder = load_encoder(families.plain(tmp_path / "m", family), max_length=40)
    read = load_tokenizer(encoder.document_side.tokenizer_json)
    text = " ".join(families.SENTENCES * 4)
    for title in ("", "weather log"):
        pieces = list(passages([Document(id="d", text=text, title=title)], encoder, stride=38))
        assert len(pieces) > 3
        assert all(len(read.encode(piece.content).ids) <= 40 for piece in pieces)
        assert "".join(piece.text for piece in pieces).split() == text.split()


def test_a_stride_shorter_than_a_word_steps_to_the_next_word() -> None:
    text = " ".join(f"{i:03}pneumonoultramicroscopic" for i in range(10))
    assert all(piece.text[:3].isdigit() for piece in cut(text, stride=2))


@pytest.mark.parametrize(("limit", "title"), [(10, ""), (10, "dog garden"), (LIMIT, "dog garden river " * 15)])
def test_neither_a_small_limit_nor_a_long_title_loses_text(limit: int, title: str) -> None:
    encoder = load_encoder(max_length=limit)
    text = "the dog sleeps in the garden " * 20 + "volcano"
    pieces = list(passages([Document(id="d", text=text, title=title)], encoder, stride=limit - 2))
    assert all(0 < tokens(piece.content) <= limit for piece in pieces)
    assert "".join(piece.text for piece in pieces) == text
    assert all(title.startswith(piece.title) for piece in pieces)


def test_pairs_of_surrogates_do_not_move_the_cuts() -> None:
    text = " ".join(f"\ud83d\ude00 {word}" for word in single()[:100])
    pieces = [piece.text.split() for piece in cut(text)]
    assert set(chain.from_iterable(pieces)) == {"\U0001f600", *single()[:100]}


# -- in an index -------------------------------------------------------------------------------------------------------

FILLER = "the dog sleeps in the garden " * 20
LONG_DOCUMENT = {"id": "long", "title": "Animals", "text": FILLER + "until a volcano erupts"}


def built(path: Path, **options: Any) -> Index:
    documents = [LONG_DOCUMENT, *({"id": f"s{i}", "title": "", "text": f"short text {i}"} for i in range(5))]
    return Index.build(documents, path / "my.idx", max_length=LIMIT, **options)


@pytest.mark.parametrize("stride", [None, 20])
def test_an_index_of_passages_finds_the_passage_and_its_parent(tmp_path: Path, stride: int | None) -> None:
    index = built(tmp_path, long="passages", stride=stride)
    best = index.search("volcano")[0]
    last = max(row for row in range(len(index)) if index.id_of(row).startswith("long#"))
    assert best.row == last
    assert best.title == "Animals"
    assert best.metadata == {"parent": "long"}
    assert (best.text or "").endswith("until a volcano erupts")
    assert tokens(f"{best.title} {best.text}") <= LIMIT
    reading = {"max_length": LIMIT, "long": "passages"} | ({} if stride is None else {"stride": stride})
    assert index.info()["encoder"]["reading"] == reading
    assert index.build_report is not None
    assert (index.build_report.documents, index.build_report.truncated) == (last + 6, 0)


def test_windows_find_what_truncation_leaves_out(tmp_path: Path) -> None:
    windows = built(tmp_path / "windows", long="windows")
    assert windows.search("volcano").ids == ["long"]
    assert len(windows) == 6
    assert windows.info()["encoder"]["reading"]["long"] == "windows"
    truncated = built(tmp_path / "truncated")
    assert truncated.search("volcano").ids == []
    assert truncated.search("dog").ids == ["long"]
    assert truncated.info()["encoder"]["reading"]["long"] == "truncate"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"long": "window"}, "long is 'window': it must be one of truncate, windows, passages"),
        ({"long": ""}, "long is ''"),
        ({"long": None}, "long is None"),
        ({"stride": 5}, "stride is 5: it goes with long='windows' or 'passages'"),
        ({"long": "passages", "stride": 0}, f"stride is 0: a passage has {ROOM} tokens"),
        ({"long": "passages", "stride": ROOM + 1}, f"stride is {ROOM + 1}: a passage has {ROOM} tokens"),
        ({"long": "windows", "stride": 0}, f"stride is 0: .* 1 to {ROOM}"),
        ({"long": "windows", "stride": ROOM + 1}, f"stride is {ROOM + 1}: .* 1 to {ROOM}"),
    ],
)
def test_nonsense_about_long_documents_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        built(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
