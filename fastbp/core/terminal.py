"""Text where characters are few, and output where there is no terminal.

Formulas have letters that not every terminal can show: what stands in for them is here, once.
"""

from __future__ import annotations

import codecs
import os
import sys
from unicodedata import normalize

_PLAIN = {
    "→": "->", "←": "<-", "⇒": "=>", "×": "x", "·": "*", "⊙": "*", "−": "-", "–": "-", "…": "...", "∂": "d", "Σ": "sum",
    "∑": "sum", "√": "sqrt", "≈": "~", "≤": "<=", "≥": ">=", "⟨": "<", "⟩": ">", "│": "|", "─": "-", "├": "|", "└": "`",
    "′": "'", "ᵀ": "^T", "∞": "inf", "½": "1/2", "“": '"', "”": '"', "’": "'", "█": "#", "■": "#"}
_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
          "xi", "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega")
_PLAIN |= {chr(0x3B1 + i): name for i, name in enumerate(_GREEK)}


def plain(text: str) -> str:
    """Return text in ASCII: arrows, Greek letters and raised digits as they are typed.

    Examples
    --------
    >>> plain("∂E/∂w₁ → η × x²")
    'dE/dw1 -> eta x x2'
    """
    return "".join(c if c.isascii() else _PLAIN.get(c) or normalize("NFKD", c).encode("ascii", "ignore").decode() or "?"
                   for c in text)


def printable(text: str) -> str:
    """Return text as it is, or in ASCII where standard output could not show it."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return plain(text)
    return text


def open_output() -> None:
    """Make all that is printed arrive: without a stream nowhere, and without a character as ASCII.

    Programs without a window of text have no ``sys.stdout`` and ``sys.stderr``.
    """
    codecs.register_error("fastbp.plain", _replaced)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the program runs
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="fastbp.plain")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start:error.end]), error.end
