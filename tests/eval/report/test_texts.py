"""Texts that others wrote stay texts: in HTML, in Markdown, in LaTeX, in links."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsr.eval.report import latex, markdown
from lsr.eval.report.markup import Markup, element, escaped, joined
from lsr.eval.report.texts import clean, command_line, file_link, line, middle, short, slug
from tests.eval.report.examples import HOSTILE
from tests.eval.report.pages import Page, render

# What means something to Markdown, LaTeX or HTML, among letters.
NASTY = st.text(st.sampled_from(list("ab1 _*`[]()<>|\\~$&#;:!-+=./\"'{}%^,\n\t")), max_size=30)
ANY = st.one_of(NASTY, st.text(max_size=30), st.just(HOSTILE))
# Direction marks that are not closed would turn the page around; controls end lines or terminals.
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.text(st.characters(exclude_categories=()), max_size=40))
@example("\u202eexe.txt\u2066 \x1b[31m \ud800 \x00")
def test_no_control_or_direction_mark_survives(text: str) -> None:
    assert not UNFIT.search(clean(text))
    assert not re.search(r"[\n\r\u2028\u2029]", line(text))
    kept = [c for c in text if not UNFIT.match(c) and not c.isspace() and c not in "\ufffe\uffff"]
    assert all(c in clean(text) for c in kept)


def test_right_to_left_scripts_stay_as_they_are() -> None:
    hebrew = "שלום עולם 123"
    assert line(hebrew) == hebrew
    assert {unicodedata.bidirectional(c) for c in hebrew} >= {"R"}


@given(ANY)
def test_html_shows_the_text_itself_in_content_and_attributes(text: str) -> None:
    page = Page(element("p", text, title=text))
    assert page.names == {"p"}
    shown = clean(text).replace("\r\n", "\n").replace("\r", "\n")
    assert page.text.replace("\r\n", "\n").replace("\r", "\n") == shown
    assert page.tags[0][1] == {"title": clean(text)}


def test_markup_is_escaped_once() -> None:
    assert escaped(escaped("<b>")) == "&lt;b&gt;"
    assert joined("<", Markup("<br/>"), by="|") == "&lt;|<br/>"


@given(ANY)
@example("1. one")
@example("- a")
@example("a |")
@example("trailing \\")
@example("www.example.org_x_ <https://a.b>")
@example("&copy; &#60;")
def test_markdown_shows_the_text_itself_in_a_line_and_in_a_cell(text: str) -> None:
    wanted = line(text)
    alone = render(markdown._block(text))
    assert alone.text.strip() == wanted
    assert alone.names <= {"p"}
    cell = render(f"| a | b |\n| --- | --- |\n| {markdown.escape(text)} | end |\n")
    assert cell.tables == [[["a", "b"], [wanted, "end"]]]
    assert cell.names <= {"table", "thead", "tbody", "tr", "th", "td"}


@given(ANY)
def test_a_command_with_any_words_stays_within_its_block_of_code(text: str) -> None:
    page = render("\n".join(markdown._code(command_line(["lsr", text]))))
    assert page.names == {"pre", "code"}
    assert page.text.rstrip("\n") == command_line(["lsr", text]).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


@given(ANY)
@example("--- ,, '' `` [x]* ?` !`")
def test_latex_holds_no_special_character_that_is_not_escaped(text: str) -> None:
    escaped_ = latex.escape(text)
    left = re.sub(r"\\text[a-z]+\{\}|\\ldots\{\}|\\[{}$&#%_]|\$-\$|\{[\[\]*,-]\}", "", escaped_)
    assert not re.search(r"[\\{}$&#%_^~<>|\"\[\]*]", left)
    assert "\n" not in escaped_


@given(st.one_of(ANY, st.text(st.sampled_from(list("a:/\\.%?#@C")), max_size=12)))
@example("//evil.org/x")
@example("javascript:alert(1)")
@example("runs/../../x")
@example("C:\\x")
@example("x?y#z")
def test_a_link_leads_to_a_file_beside_the_report_or_nowhere(path: str) -> None:
    link = file_link(path)
    if link is not None:
        assert urljoin("https://host/reports/report.html", link).startswith("https://host/reports/")
        assert not re.search(r"[\s()<>\"'|?#]", link.replace("%", ""))


def test_a_usual_path_is_linked() -> None:
    assert file_link("runs/my run.trec") == "runs/my%20run.trec"
    assert file_link(None) is None


@pytest.mark.parametrize("cut", [short, middle])
@given(text=ANY, longest=st.integers(3, 40))
def test_what_is_cut_is_at_most_so_long_and_says_that_it_is_cut(cut: object, text: str, longest: int) -> None:
    assert callable(cut)
    found = cut(text, longest)
    assert len(found) <= longest
    assert found == line(text) or "…" in found


def test_the_middle_goes_where_names_of_models_differ_at_the_end() -> None:
    assert middle("opensearch-neural-sparse-encoding-doc-v3", 15) == "opensea…-doc-v3"


def test_a_command_is_written_as_a_shell_takes_it() -> None:
    assert command_line(["lsr", "eval", "it's here"]) == """lsr eval 'it'"'"'s here'"""


@given(ANY)
def test_a_label_holds_letters_digits_and_hyphens(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", slug(text))
