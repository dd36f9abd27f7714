"""Why a hit has its score by token vectors: which tokens matched, how well, and where they stand in the text."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

import lsr
from lsr.hits import TokenMatch, TokenMatches
from lsr.rerank import MaxSimReranker, MultiVectorEncoder, index_tokens, load_multivector_encoder
from tests.cli import commands
from tests.rerank.encoders import forms
from tests.rerank.living_index import NEW, QUERY, TEXTS, lines


def test_matches_are_those_of_the_definition_and_add_up(index: lsr.Index, encoder: MultiVectorEncoder) -> None:
    hits = index.search(QUERY, k=3, rerank=MaxSimReranker.of(index, encoder=encoder))
    query = encoder.encode_queries([QUERY])
    for hit in hits[:3]:
        content = f"{hit.id.upper()} {TEXTS[hit.id]}"
        document = encoder.encode_documents([content])
        found = hit.explain().matches
        assert found is not None
        assert found.text == content
        products = query.of(0) @ document.of(0).T
        assert [match.similarity for match in found.matches] == products.max(1).tolist()
        assert found.score == pytest.approx(hit.score, rel=1e-5)
        assert found.stored == pytest.approx(hit.score, rel=1e-5)
        best = document.tokens_of(0)[products.argmax(1)].tolist()
        assert [match.document for match in found.matches] == [encoder.token(token) for token in best]
        assert [match.query for match in found.matches] == [
            encoder.token(token) for token in query.tokens_of(0).tolist()
        ]
        for match in found.matches:
            for token, span, text in ((match.document, match.span, content), (match.query, match.query_span, QUERY)):
                if span is not None:
                    assert text[slice(*span)].lower() == token.removeprefix("##")
        assert any(match.span for match in found.matches)
        assert "".join(piece for piece, _ in found.pieces()) == content
        assert max(strength for _, strength in found.pieces()) == 1


def test_sparse_terms_are_explained_as_before_and_only_maxsim_has_matches(
    index: lsr.Index, encoder: MultiVectorEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index.search(QUERY, k=3)
    assert first[0].explain().matches is None
    index.upsert(lines({"a": NEW}))
    hits = index.search(QUERY, k=9, rerank=MaxSimReranker.of(index, encoder=encoder))
    explained = {hit.id: hit.explain() for hit in hits}
    assert explained.pop("a").matches is None, "it was not scored by its vectors"
    assert all(found.matches is not None for found in explained.values())
    for hit in index.search(QUERY, k=9):
        assert hit.id == "a" or explained[hit.id].terms == hit.explain().terms
    with monkeypatch.context() as patch:
        patch.setattr(MultiVectorEncoder, "encode_documents", None)
        assert hits[0].snippet.text
        assert hits._repr_html_()


def test_what_a_codec_changes_is_said(tmp_path: Path, encoder: MultiVectorEncoder) -> None:
    index = lsr.Index.build(lines(TEXTS), tmp_path / "my.idx")
    index_tokens(index, encoder, codec="int4")
    hits = index.search(QUERY, k=5, rerank=MaxSimReranker.of(index, encoder=encoder))

    def change(hit: lsr.Hit) -> float:
        matches = hit.explain().matches
        return 0.0 if matches is None else abs(matches.score - hit.score)

    hit = max(hits, key=change)  # of the model, which is another in each run, one document may be kept nearly as it was
    explanation = hit.explain()
    found = explanation.matches
    assert found is not None
    assert found.stored == pytest.approx(hit.score, rel=1e-6)
    assert abs(found.score - hit.score) > 1e-3
    assert f"maxsim {found.score:.4f} = ({hit.score:.4f} as stored, in int4)" in str(explanation)
    assert f"{hit.score:.4f} as stored, in int4" in explanation._repr_html_()


def test_markup_in_texts_is_escaped_and_strengths_are_shares() -> None:
    found = TokenMatches(
        "<b>ab</b> cd",
        (
            TokenMatch("<q>", "ab", 0.5, None, (3, 5)),
            TokenMatch("x", "ab", 0.3, (0, 1), (3, 5)),
            TokenMatch("y", "cd", 0.4, (1, 2), (10, 12)),
            TokenMatch("z", "[D]", 0.9, (2, 3), None),
            TokenMatch("w", "cd", -0.2, (3, 4), (10, 12)),
        ),
        1.9,
        "f32",
    )
    pieces = list(found.pieces())
    assert [piece for piece, _ in pieces] == ["<b>", "ab", "</b> ", "cd"]
    assert [strength for _, strength in pieces] == pytest.approx([0, 1, 0, 0.5])
    page = found._repr_html_()
    assert "<b>ab" not in page
    assert "<q>" not in page
    assert "rgba(255,190,0,0.50)'>cd</mark>" in page


def without_accents(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one))


@pytest.mark.parametrize("layout", forms.LAYOUTS)
def test_every_vector_has_its_token_and_its_place(layout: str, tmp_path: Path) -> None:
    encoder = load_multivector_encoder(forms.colbert(tmp_path / layout, layout, tmp_path / "backbone"))
    for task, encode, tokens in (
        ("query", encoder.encode_queries, encoder.query_tokens),
        ("document", encoder.encode_documents, encoder.document_tokens),
    ):
        for text in (*forms.TEXTS, "  the   quick fox ", "the fox \ud800 jumps"):
            vectors, found = encode([text]), tokens(text)
            assert [encoder.token(token) for token in vectors.tokens_of(0).tolist()] == [token.token for token in found]
            whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            spans = [token.span for token in found if token.span is not None]
            assert spans == sorted(spans), task
            for token, span in found:
                if span is not None and token.strip("#").isascii() and token.strip("#").isalpha():
                    assert without_accents(whole[slice(*span)].lower()) == token.removeprefix("##"), (task, text)
            if text == "  the   quick fox ":
                assert [whole[slice(*span)] for span in spans] == ["the", "quick", "fox"]
        assert tokens("the fox")[0].span is None, "a marker, or a special token"


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line_shows_matches(index: lsr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("search", index.path, QUERY, "-k", 2, "--rerank", "maxsim", "--explain")
    done = commands.lsr(*asked)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ +query +document +similarity$", done.stdout, re.M)
    assert re.search(r"^ +maxsim +[\d.]+$", done.stdout, re.M)
    hits = json.loads(commands.lsr(*asked, "--json").stdout)["hits"]
    for hit in hits:
        matches = hit["matches"]
        assert sum(token["similarity"] for token in matches["tokens"]) == pytest.approx(matches["maxsim"])
        assert matches["stored"] == pytest.approx(hit["score"], rel=1e-6)
        assert matches["text"] == f"{hit['title']} {hit['text']}"
        assert {"query", "document", "similarity", "span"} == set(matches["tokens"][0])
        assert hit["explanation"], "of the first stage"
    plain = json.loads(commands.lsr(*asked[:-1], "--json").stdout)["hits"]
    assert "matches" not in plain[0]


def test_a_terminal_shows_texts_by_how_well_they_match() -> None:
    from lsr.cli.show import _heat

    long = "word " * 400
    found = TokenMatches(
        f"{long}log file {long}",
        (TokenMatch("log", "log", 0.9, None, (2000, 2003)), TokenMatch("file", "file", 0.3, None, (2004, 2008))),
        1.2,
        "f32",
    )
    text = _heat(found)
    assert isinstance(text, Text)
    assert "log file" in text.plain
    assert text.plain.startswith("…")
    assert text.plain.endswith("…")
    console = Console(force_terminal=True, color_system="truecolor", width=100, highlight=False)
    with console.capture() as capture:
        console.print(text)
    colours = re.findall(r"48;2;(\d+);\d+;0m(\w+)", capture.get())
    assert [word for _, word in colours] == ["log", "file"]
    assert int(colours[0][0]) == 255 > int(colours[1][0]) > 80
    assert np.isclose(found.score, 1.2)
