"""HTML and SVG, built such that a text cannot become markup: what is not `Markup` is escaped, everywhere."""

from __future__ import annotations

import html
import math

from lsr.eval.report.texts import clean

__all__ = ["Markup", "element", "escaped", "joined", "number"]

_VOID = frozenset({"br", "circle", "col", "hr", "line", "link", "meta", "path", "polygon", "polyline", "rect"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """A text as HTML, fit for content and for attributes; `Markup` as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(clean(text), quote=True))


def joined(*parts: str, by: str = "") -> Markup:
    """Parts one after the other; empty ones are left out."""
    return Markup(escaped(by).join(escaped(part) for part in parts if part))


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """<name attribute="...">children</name>. `class_` is class, `stroke_width` stroke-width; None leaves one out."""
    words = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        written = value if isinstance(value, str) else number(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{escaped(written)}"')
    opening = " ".join(words)
    if name in _VOID and not children:
        # SVG wants its empty elements closed, HTML does not mind.
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{joined(*children)}</{name}>")


def number(value: float) -> str:
    """A coordinate: two digits after the point are a fiftieth of a pixel, and keep the file small."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
