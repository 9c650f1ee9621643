"""Text that users wrote (names of layers, variables, inputs), put into HTML, SVG, Markdown and LaTeX as text alone."""

from __future__ import annotations

import html as _html
import re

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


def html_lines(text: str) -> str:
    """Return a text of several lines for HTML.

    >>> html_lines("a < b\\nb < c")
    'a &lt; b\\nb &lt; c'
    """
    return "\n".join(map(html, text.split("\n")))


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
