"""Text files, pages with headings, and folders of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr.corpus import Document, Query, read_documents, read_queries
from lsr.errors import CorpusError, InvalidInput
from lsr.limits import Limits


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def words(count: int, name: str = "word") -> str:
    return " ".join(f"{name}{i}" for i in range(count))


def sentences(count: int, name: str = "S") -> str:
    """Sentences of ten words."""
    return " ".join(f"{name}{i} {words(8)} end." for i in range(count))


# -- text files --------------------------------------------------------------------------------------------------


def test_a_text_file_without_blank_lines_is_read_by_line(tmp_path: Path) -> None:
    path = put(tmp_path / "d.txt", "\n one \ntwo\r\n\n\n")
    documents = list(read_documents(path))
    assert documents == [Document("0", "one"), Document("1", "two")]
    assert [d.where for d in documents] == [f"{path}:2", f"{path}:3"]


def test_a_text_file_with_blank_lines_is_read_by_paragraph(tmp_path: Path) -> None:
    path = put(tmp_path / "d.txt", "\none\n  two\n \t\n\nthree\n")
    documents = list(read_documents(path))
    assert documents == [Document("0", "one\n  two"), Document("1", "three")]
    assert [d.where for d in documents] == [f"{path}:2", f"{path}:6"]


def test_queries_of_a_text_file_are_its_lines_numbered_from_one(tmp_path: Path) -> None:
    assert list(read_queries(put(tmp_path / "q.txt", "a\n\nb\n"))) == [Query("1", "a"), Query("2", "b")]


def test_a_line_of_text_that_is_no_text(tmp_path: Path) -> None:
    path = put(tmp_path / "d.txt", "a\nb\0\n")
    with pytest.raises(CorpusError, match=r"d\.txt:2: character 2 is NUL; is this a text file\?"):
        list(read_documents(path))
    long = put(tmp_path / "e.txt", "a\n\nxx\nxx\n")
    assert len(list(read_documents(long, limits=Limits(text=5)))) == 2
    with pytest.raises(
        CorpusError, match=r"e\.txt:3: the text that starts here is longer than 3 bytes; part it with blank"
    ):
        list(read_documents(long, limits=Limits(text=3)))


def test_text_has_no_fields(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="leave out --id-field and --text-field"):
        read_documents(put(tmp_path / "d.txt", "a"), id_field="id")


# -- pages -------------------------------------------------------------------------------------------------------

PAGE = """\
---
title: "The log book"
tags: [a]
---
# The log book

Before all.

## Rotating `files`

Text of it.

```python
# no heading

print("hi")
```

After code.

### With [links](http://x)
Deep.

Setext
------
Under two.
"""


def test_markdown_is_cut_at_headings_and_the_trail_is_the_title(tmp_path: Path) -> None:
    path = put(tmp_path / "log.md", PAGE)
    documents = list(read_documents(path))
    assert [(d.id, d.title, d.text) for d in documents] == [
        ("log.md#0", "The log book", "Before all."),
        ("log.md#1", "The log book › Rotating files", 'Text of it.\n\n# no heading\n\nprint("hi")\n\nAfter code.'),
        ("log.md#2", "The log book › Rotating files › With links", "Deep."),
        ("log.md#3", "The log book › Setext", "Under two."),
    ]
    assert [d.metadata for d in documents] == [{"path": "log.md", "line": line} for line in (7, 11, 22, 26)]
    assert documents[1].where == f"{path}:11"


def test_underlined_headings_of_markdown_have_two_levels(tmp_path: Path) -> None:
    path = put(tmp_path / "a.md", "One\n===\na\n\nTwo\n---\nb\n\nThree\n=====\nc\n\n- no heading\n---\n")
    assert [d.title for d in read_documents(path)] == ["One", "One › Two", "Three"]


def test_rst_titles_take_their_level_from_their_order(tmp_path: Path) -> None:
    text = """\
.. _label:

=====
Guide
=====

Intro with :func:`gzip.open` and ``code``::

    literal = 1

    more = 2

Part
====

.. index:: hidden

.. code-block:: python

   x = 1

Text.

Sub
---

.. note:: Mind this.

Other
=====

Last `link <http://x>`_.
"""
    documents = list(read_documents(put(tmp_path / "g.rst", text)))
    assert [(d.title, d.text) for d in documents] == [
        ("Guide", "Intro with gzip.open and code:\n\nliteral = 1\n\nmore = 2"),
        ("Guide › Part", "x = 1\n\nText."),
        ("Guide › Part › Sub", "Mind this."),
        ("Guide › Other", "Last link."),
    ]


def test_long_sections_become_passages_of_whole_sentences(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.md", "# A\n\n" + "\n\n".join(sentences(12) for _ in range(5)) + "\n\n" + sentences(60, "Q")
    )
    texts = [d.text for d in read_documents(path)]
    assert all(100 <= len(text.split()) <= 200 for text in texts)
    assert all(text.endswith("end.") for text in texts)
    joined = " ".join(" ".join(texts).split())
    assert joined == " ".join(path.read_text().split()[2:])


def test_a_small_rest_joins_the_passage_before_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a.md", f"# A\n\n{words(190)}\n\n{words(20)}\n\n# B\n\nshort\n")
    assert [len(d.text.split()) for d in read_documents(path)] == [210, 1]


def test_code_stays_with_the_text_before_it(tmp_path: Path) -> None:
    code = "\n".join(f"line {i} of code" for i in range(40))  # 160 words
    path = put(tmp_path / "a.md", f"# A\n\n{sentences(15)}\n\n```\n{code}\n```\n")
    assert [d.text.count("of code") for d in read_documents(path)] == [40]


def test_what_has_no_sentences_is_cut_at_lines_or_words(tmp_path: Path) -> None:
    lines = "\n".join(words(9, f"l{i}_") for i in range(50))
    texts = [d.text for d in read_documents(put(tmp_path / "a.md", lines))]
    assert len(texts) > 1
    assert "\n".join(texts) == lines
    endless = put(tmp_path / "b.md", "x" * 100_000)
    assert "".join(d.text for d in read_documents(endless)) == "x" * 100_000


def test_line_numbers_of_the_pieces_of_a_long_paragraph(tmp_path: Path) -> None:
    path = put(tmp_path / "a.md", "# A\n\n" + "\n".join(sentences(1, f"L{i}x") for i in range(3, 60)))
    lines = path.read_text().splitlines()
    for document in read_documents(path):
        assert lines[document.metadata["line"] - 1] == document.text.splitlines()[0]


def test_a_page_of_headings_alone_is_one_document(tmp_path: Path) -> None:
    assert list(read_documents(put(tmp_path / "a.md", "# One\n## Two\n"))) == [
        Document("a.md#0", "One\nTwo", "a.md", {"path": "a.md", "line": 1})
    ]


def test_a_fence_that_is_never_closed_is_code_to_the_end(tmp_path: Path) -> None:
    path = put(tmp_path / "a.md", "```\n" + "code goes on\n" * 5000)
    assert sum(d.text.count("code goes on") for d in read_documents(path)) == 5000


# -- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    put(tmp_path / "f/b.md", "# B\n\nb")
    put(tmp_path / "f/a/z.txt", "one\n\ntwo")
    put(tmp_path / "f/a.rst", "A\n===\n\nrst")
    put(tmp_path / "f/.git/x.md", "hidden")
    put(tmp_path / "f/.x.md", "hidden")
    put(tmp_path / "f/data.bin", "no page")
    found = list(read_documents(tmp_path / "f"))
    assert [(d.id, d.title, d.text) for d in found] == [
        ("a/z.txt#0", "a/z.txt", "one\n\ntwo"),
        ("a.rst#0", "A", "rst"),
        ("b.md#0", "B", "b"),
    ]
    assert found[0].metadata == {"path": "a/z.txt", "line": 1}


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret/s.md", "secret")
    page = put(tmp_path / "f/a.md", "text")
    (tmp_path / "f/out.md").symlink_to(tmp_path / "secret/s.md")
    (tmp_path / "f/folder").symlink_to(tmp_path / "secret")
    (tmp_path / "f/loop").symlink_to(tmp_path / "f")
    (tmp_path / "f/broken.md").symlink_to(tmp_path / "nothing")
    (tmp_path / "f/inside.md").symlink_to(page)
    assert [d.id for d in read_documents(tmp_path / "f")] == ["a.md#0", "inside.md#0"]


def test_a_deep_folder(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    for _ in range(300):
        folder = folder / "d"
    put(folder / "a.md", "text")
    found = list(read_documents(tmp_path / "f", limits=Limits(id=5000)))
    assert [d.text for d in found] == ["text"]
    with pytest.raises(CorpusError, match=r"ids of more than 512 bytes; index a folder further down"):
        list(read_documents(tmp_path / "f"))


def test_a_folder_with_nothing_to_read_says_what_would_be(tmp_path: Path) -> None:
    put(tmp_path / "x.pdf", "")
    with pytest.raises(CorpusError, match=r"no corpus\.jsonl \(BEIR\) and no \.txt, \.md, \.markdown or \.rst"):
        read_documents(tmp_path)


def test_a_page_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"# A\n\nb\xe9\n")
    with pytest.raises(CorpusError, match=r"a\.md:3: byte 2 \(0xe9\) is not valid UTF-8"):
        list(read_documents(tmp_path))
