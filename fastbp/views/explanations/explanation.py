"""What users hold of an explanation: its data (``parts``), and every form of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Self

from fastbp.core.checks import file_to_write
from fastbp.core.terminal import printable
from fastbp.views.explanations.page import fragment, page
from fastbp.views.explanations.parts import Derivation
from fastbp.views.explanations.phrases import Language, language
from fastbp.views.explanations.picture import picture
from fastbp.views.explanations.text import chain, headline, latex, markdown, plain_text


@dataclass(frozen=True, repr=False)
class Explanation(Derivation):
    """One derivative, explained by the chain rule; made by ``net.explain(…)`` and by ``z.explain(x)``.

    Printed, it is text; :meth:`html`, :meth:`svg`, :meth:`latex` and :meth:`markdown` are its other forms, in English
    and Korean. Attributes are those of :class:`~fastbp.views.explanations.parts.Derivation`: ``gradient``, ``paths``,
    ``numerical``, ``updated``, …

    Examples
    --------
    >>> import fastbp.chainrule as cr
    >>> x, y = cr.Var("x", 3.0), cr.Var("y", 2.0)
    >>> t = (x + y).named("t")
    >>> e = (t**2).explain(x)
    >>> e.gradient
    10.0
    >>> e
    Explanation(∂z/∂x = 10, 1 path, numerical gradient 10, relative difference ...)
    """

    def shown(self, *, lang: Language | None = None, digits: int | None = None) -> Self:
        """Return it in another language, or with another number of digits."""
        new = replace(self, lang=language(lang or self.lang), digits=self.digits if digits is None else digits)
        if isinstance(new.digits, bool) or not isinstance(new.digits, int) or not 1 <= new.digits <= 17:
            raise ValueError(f"digits is {digits!r}; expected 1 to 17")
        return new

    def chain(self, **how: Any) -> str:
        """Return the chain of each path on one line, and no more."""
        return chain(self.shown(**how))

    def text(self, **how: Any) -> str:
        """Return it as plain text. Keywords, here and below: ``lang``, ``digits``."""
        return plain_text(self.shown(**how))

    def markdown(self, **how: Any) -> str:
        """Return it as Markdown, with formulas between dollar signs."""
        return markdown(self.shown(**how))

    def latex(self, **how: Any) -> str:
        """Return the chain as a LaTeX ``aligned`` block, without the surrounding delimiters."""
        return latex(self.shown(**how))

    def svg(self, *, vertical: bool = False, **how: Any) -> str:
        """Return the computational graph as an SVG picture: values forward, derivatives backward, the chain marked."""
        return picture(self.shown(**how), vertical)

    def html(self, **how: Any) -> str:
        """Return one self-contained HTML page that steps through the explanation."""
        return page([self.shown(**how)])

    def save(self, path: str | FilePath, **how: Any) -> None:
        """Write it to a file: ``.html``, ``.svg``, ``.md``, ``.tex`` or ``.txt``."""
        forms = {".html": self.html, ".svg": self.svg, ".md": self.markdown, ".tex": self.latex, ".txt": self.text}
        file = FilePath(path)
        if file.suffix not in forms:
            raise ValueError(f"path is {str(path)!r}; expected a name that ends in {', '.join(forms)}")
        file_to_write("path", file)
        file.write_text(forms[file.suffix](**how).rstrip("\n") + "\n", encoding="utf-8")

    def __str__(self) -> str:
        return printable(self.text())

    def __repr__(self) -> str:
        return printable(headline(self))

    def _repr_html_(self) -> str:
        return fragment(self)

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def _repr_markdown_(self) -> str:
        return self.markdown()
