"""What formulas are made of: names with indices, numbers, and templates that join them, as text, LaTeX or HTML.

A :class:`Formula` is written once in plain text and once in LaTeX; ``@name`` in either stands for a
:class:`Quantity`, whose symbol or number is put in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from math import floor, isfinite, log10
from typing import Literal

from fastbp.views import markup

Kind = Literal["text", "latex", "html", "markdown"]

_SUBSCRIPT = str.maketrans("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋")
_SUPERSCRIPT = str.maketrans("0123456789+-()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾")
_GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi",
          "rho", "sigma", "tau", "phi", "chi", "psi", "omega"}
_LATEX = {"x̂": r"\hat{x}", "μ": r"\mu", "Σ": r"\Sigma", "ρ": r"\rho"}


def subscript(text: str) -> str:
    """Return digits as subscripts: ``"12"`` → ``"₁₂"``."""
    return text.translate(_SUBSCRIPT)


def superscript(text: str) -> str:
    """Return digits, signs and brackets as superscripts: ``"-1"`` → ``"⁻¹"``."""
    return text.translate(_SUPERSCRIPT)


def number(value: float, digits: int = 9, kind: Kind = "text") -> str:
    """Return a number to so many significant digits, with a true minus sign.

    >>> number(-0.022602540477475067, 6)
    '−0.0226025'
    >>> number(3.51e-05, 3, "latex")
    '3.51 \\\\times 10^{-5}'
    """
    if not isfinite(value):
        names = {"latex": (r"\mathrm{NaN}", r"\infty")}.get(kind, ("NaN", "∞"))
        return names[0] if value != value else ("−" if value < 0 and kind != "latex" else "-"[:value < 0]) + names[1]
    value = value or 0.0  # no -0
    text = f"{value:.{digits}g}" if digits < 17 else repr(float(value)).removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    if kind == "latex":
        return mantissa + (rf" \times 10^{{{int(exponent)}}}" if exponent else "")
    if exponent and kind == "html":
        mantissa += f" × 10<sup>{str(int(exponent)).replace('-', '−')}</sup>"
    elif exponent:
        mantissa += f"e{int(exponent):+03d}"
    return mantissa.replace("-", "−", 1) if mantissa.startswith("-") else mantissa


def whole(value: int, kind: Kind = "text") -> str:
    """Return a count: whole, or roughly where it has more than fifteen digits.

    >>> whole(2**40), whole(2**100)
    ('1,099,511,627,776', '≈ 1.27 × 10³⁰')
    """
    if value < 10**15:
        return f"{value:,}"
    exponent = floor(log10(value))
    mantissa = f"{10 ** (log10(value) - exponent):.3g}"
    if kind == "latex":
        return rf"\approx {mantissa} \times 10^{{{exponent}}}"
    return f"≈ {mantissa} × 10{superscript(str(exponent))}"


def factor_number(value: float, digits: int = 9, kind: Kind = "text", first: bool = False) -> str:
    """Return a number as it stands in a product: in brackets where it is negative and not the first."""
    shown = number(value, digits, kind)
    return shown if first or not shown.startswith(("−", "-")) else f"({shown})"


@dataclass(frozen=True)
class Symbol:
    """A name with an index below, the layer above in brackets and, where samples mix, the sample.

    ``plain`` marks what is no name but a number that stands in a formula as it is. Names may be the users' own: each
    form writes them so that they cannot act on it.

    >>> str(Symbol("z", "2", "1"))
    'z⁽¹⁾₂'
    >>> Symbol("z", "2", "1").latex()
    'z^{(1)}_{2}'
    """

    letter: str
    index: str = ""
    layer: str = ""
    sample: str = ""
    plain: bool = False

    @classmethod
    def parse(cls, name: str) -> Symbol:
        """Return the symbol for a user's own name: trailing digits become the index."""
        found = re.fullmatch(r"(.*?[^\W\d_])_?([0-9]+)", name)
        return cls(found[1], found[2]) if found else cls(name)

    @classmethod
    def number(cls, value: float) -> Symbol:
        """Return what stands for a plain number."""
        shown = number(value)
        return cls(f"({shown})" if value < 0 else shown, plain=True)

    def __str__(self) -> str:
        return markup.printable(self.letter) + self._marks()

    def _marks(self) -> str:
        layer = superscript(f"({self.layer})") if self.layer else ""
        return layer + subscript(self.index) + (f"⟨{self.sample}⟩" if self.sample else "")

    def latex(self) -> str:
        """Return it in LaTeX."""
        if self.plain:
            return self.letter.replace("−", "-")
        letter = _latex_letter(self.letter)
        above = (f"({self.layer})" if self.layer else "") + (rf"\langle {self.sample} \rangle" if self.sample else "")
        return letter + (f"^{{{above}}}" if above else "") + (f"_{{{self.index}}}" if self.index else "")

    def html(self) -> str:
        """Return it in HTML."""
        layer = f"<sup>({escape(self.layer)})</sup>" if self.layer else ""
        index = f"<sub>{escape(self.index)}</sub>" if self.index else ""
        sample = f"⟨{escape(self.sample)}⟩" if self.sample else ""
        return f"<i>{markup.html(self.letter)}</i>{layer}{index}{sample}"

    def markdown(self) -> str:
        """Return it in Markdown's running text."""
        return markup.markdown(self.letter) + self._marks()

    def render(self, kind: Kind) -> str:
        """Return it in one of the forms."""
        return {"text": self.__str__, "latex": self.latex, "html": self.html, "markdown": self.markdown}[kind]()


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter in _GREEK:
        return "\\" + letter
    escaped = markup.latex(letter)
    return escaped if len(letter) == 1 else rf"\mathrm{{{escaped}}}"


@dataclass(frozen=True)
class Quantity:
    """A symbol and its value."""

    symbol: Symbol
    value: float


@dataclass(frozen=True)
class Formula:
    """A formula over quantities, in text and LaTeX; ``@name`` stands for a quantity.

    >>> t = Quantity(Symbol("t"), 5.0)
    >>> f = Formula("2@t", "2@t", {"t": t})
    >>> f.render("text"), f.numbers(9, "text")
    ('2t', '2 · 5')
    """

    text: str
    latex: str
    quantities: Mapping[str, Quantity] = field(default_factory=dict)

    def render(self, kind: Kind) -> str:
        """Return the formula with symbols."""
        return self._fill(kind, lambda q: q.symbol.render(kind), self._template(kind))

    def numbers(self, digits: int, kind: Kind) -> str:
        """Return the formula with numbers in the place of symbols."""
        dot = r" \cdot " if kind == "latex" else " · "
        template = re.sub(r"(?<=[\d)½])(?=@)", lambda _: dot, self._template(kind))
        # In brackets of its own, or between braces that no exponent follows, a negative number needs no others.
        template = re.sub(r"([({])@([a-z]+[0-9]*)([)}])(?!(?<=\})\^)",
                          lambda m: m[1] + number(self.quantities[m[2]].value, digits, kind) + m[3], template)
        filled = self._fill(kind, lambda q: factor_number(q.value, digits, kind), template)
        filled = re.sub(r"\(\(([−-][^()]+)\)(?= \S+ [\d−(])", r"(\1", filled)
        # A bracketed number that begins the formula needs no brackets.
        return filled if kind == "latex" else re.sub(r"^\((−[\d.e+−]+)\)(?![²³⁰-⁹^])", r"\1", filled)

    @property
    def has_symbols(self) -> bool:
        """Whether it is more than a constant."""
        return "@" in self.text

    def _template(self, kind: Kind) -> str:
        if kind == "latex":
            return self.latex
        return escape(self.text, quote=False) if kind == "html" else self.text

    def _fill(self, kind: Kind, show: Callable[[Quantity], str], template: str) -> str:
        return re.sub(r"@([a-z]+[0-9]*)", lambda m: show(self.quantities[m[1]]), template)


def derivative(of: Symbol, by: Symbol, kind: Kind) -> str:
    """Return ∂of/∂by."""
    if kind == "latex":
        return rf"\frac{{\partial {of.latex()}}}{{\partial {by.latex()}}}"
    if kind == "html":
        return (f'<span class="frac" role="math" aria-label="∂{escape(str(of))}/∂{escape(str(by))}">'
                f"<span>∂{of.html()}</span><span>∂{by.html()}</span></span>")
    return f"∂{of.render(kind)}/∂{by.render(kind)}"
