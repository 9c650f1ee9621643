"""Text that users wrote (names of layers, variables, inputs), put into HTML, SVG, Markdown and LaTeX as text alone."""

from __future__ import annotations

import html as _html
import re
from collections.abc import Sequence

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;color:inherit"
_CELL = "text-align:{};padding:3px 14px 3px 0;border-bottom:1px solid rgba(128,128,128,{});white-space:nowrap"
# Control characters, line ends, signs that turn the direction of writing, and halves of surrogate pairs: no file format
# of ours takes them all, and none may act on what is drawn.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
_LATEX = {"\\": r"\backslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
          "^": r"\wedge{}", "~": r"\sim{}", "|": r"\vert{}", "`": r"\grave{}", "<": "{<}", ">": "{>}", " ": r"\ "}
# All of ASCII's punctuation but "-" and ".", which names are full of and which mean nothing within a line.
_MARKDOWN = re.compile(r"([!-,/:;=?@\[-`{-~])")


def printable(text: str) -> str:
    r"""Return a text on one line, with what cannot be seen written out.

    >>> printable("two\nlines")
    'two\\nlines'
    """
    return _UNSEEN.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def html(text: str) -> str:
    """Return a text for HTML and SVG, in elements and in attributes.

    >>> html("<b>")
    '&lt;b&gt;'
    """
    return _html.escape(printable(text))


def html_table(title: str, rows: Sequence[Sequence[str]], right: Sequence[int] = (), notes: Sequence[str] = ()) -> str:
    """Return a table for a notebook, which takes the colours of the page, light or dark.

    Parameters
    ----------
    title : str
    rows : sequence of sequences of str
        The first is the heading.
    right : sequence of int
        The columns that are set flush right: numbers.
    notes : sequence of str
        Lines below.

    Examples
    --------
    >>> "<td" in html_table("title", [("a", "b"), ("1", "2")], right=(1,))
    True
    """
    lines = [_row(cells, right, "td" if i else "th", 0.25 if i else 0.8) for i, cells in enumerate(rows)]
    below = "<br>".join(map(html, notes))
    return (f'<div style="line-height:1.4"><div style="font-weight:600;margin-bottom:4px">{html(title)}</div>'
            f'<table style="{_TABLE}">{"".join(lines)}</table>'
            f'<div style="opacity:0.75;margin-top:6px">{below}</div></div>')


def _row(cells: Sequence[str], right: Sequence[int], tag: str, line: float) -> str:
    parts = [f'<{tag} style="{_CELL.format("right" if i in right else "left", line)}">{html(cell)}</{tag}>'
             for i, cell in enumerate(cells)]
    return f'<tr style="background:none">{"".join(parts)}</tr>'


def latex(text: str) -> str:
    r"""Return a text for LaTeX's mathematics, also where that stands within Markdown or HTML.

    >>> latex("a_b $ <i>")
    'a\\_b\\ \\$\\ {<}i{>}'
    """
    return "".join(_LATEX.get(c, c) for c in printable(text))


def markdown(text: str) -> str:
    r"""Return a text for Markdown, in a paragraph or in a cell of a table.

    >>> markdown("2.weight_a|`<b>`")
    '2.weight\\_a\\|\\`&lt;b&gt;\\`'
    """
    escaped = _MARKDOWN.sub(r"\\\1", printable(text).replace("&", "\0"))
    return escaped.replace("\0", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
