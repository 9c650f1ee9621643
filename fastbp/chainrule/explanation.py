"""What an explanation holds: one derivative, every path of the chain rule that leads to it, and its check.

:class:`Explanation` is made by ``net.explain(…)`` and by ``z.explain(x)``; it is data alone. The modules ``text``,
``svg`` and ``page`` give it its forms, in English and Korean.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite, prod
from pathlib import Path as FilePath
from typing import Any, Literal

from fastbp.chainrule.symbols import Formula, Quantity, Symbol
from fastbp.core.checks import file_to_write

Language = Literal["en", "ko"]


@dataclass(frozen=True)
class Factor:
    """One local derivative of a path: ∂of/∂by.

    Attributes
    ----------
    of, by : Symbol
    value : float
    formula, spelled_out : Formula
        As it stands in a product, and at full length.
    box, source_box : str
        Which box of the diagram ``of`` and ``by`` are, empty where they are not drawn.
    """

    of: Symbol
    by: Symbol
    value: float
    formula: Formula
    spelled_out: Formula
    box: str = ""
    source_box: str = ""


@dataclass(frozen=True)
class Path:
    """One term of the sum: the factors from the loss back to the weight."""

    factors: tuple[Factor, ...]

    @property
    def value(self) -> float:
        """The product of the factors."""
        return prod(f.value for f in self.factors)


@dataclass(frozen=True)
class Use:
    """One place where the weight is at work: a sample of the batch, a position in it, a use of a shared layer.

    Attributes
    ----------
    sample, position, layer : int or str
        Counted from 1; 0 (or "") where there is only one.
    value : float
        What it adds to the gradient: the sum over its paths.
    paths : tuple of Path
        The largest ones.
    path_count : int
    reached : Quantity
        ∂E/∂u of the unit u that the weight acts on: what backpropagation has ready there.
    unit : Symbol
        That unit.
    local : Factor
        ∂u/∂w; None in scalar expressions.
    """

    sample: int
    position: int
    layer: str
    value: float
    paths: tuple[Path, ...]
    path_count: int
    reached: Quantity
    unit: Symbol
    local: Factor | None

    @property
    def rest(self) -> float:
        """The sum over the paths that are not shown."""
        return self.value - sum(p.value for p in self.paths)


@dataclass(frozen=True)
class Check:
    """The numerical twin of the derivative.

    Attributes
    ----------
    numerical : float
        The central difference (E(w + h) − E(w − h)) / 2h, in float64.
    h : float
    evaluations : int
        Forward passes that it took.
    one_sided : (float, float)
        The differences to the left and to the right: far apart at a kink.
    backward : float or None
        What the network's own backend and dtype give, if that is another run than the explanation's.
    backend : str
        Which one that is.
    """

    numerical: float
    h: float
    evaluations: int
    one_sided: tuple[float, float]
    backward: float | None = None
    backend: str = ""

    def difference(self, gradient: float) -> float:
        """Return |numerical − gradient|."""
        return abs(self.numerical - gradient)

    def relative(self, gradient: float) -> float:
        """Return the difference relative to the larger of the two; 0 where both are 0."""
        size = max(abs(self.numerical), abs(gradient))
        return self.difference(gradient) / size if size else 0.0

    @property
    def kink(self) -> bool:
        """Whether the slope to the left and to the right are not the same: no derivative exists there."""
        left, right = self.one_sided
        size = max(abs(left), abs(right))
        return bool(isfinite(size) and size > 0 and abs(left - right) > 1e-2 * size and abs(left - right) > 1e-7)


@dataclass(frozen=True)
class Update:
    """One step of gradient descent: after = before − lr · gradient."""

    lr: float
    before: float
    after: float


@dataclass(frozen=True)
class Line:
    """One equation of the forward pass: quantity = formula."""

    quantity: Quantity
    formula: Formula
    box: str = ""


@dataclass(frozen=True)
class Stage:
    """The forward pass through one tensor: some of its elements, and how many more there are."""

    name: str
    lines: tuple[Line, ...]
    more: int = 0


@dataclass(frozen=True)
class Note:
    """A remark, by its key in ``texts``."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """One derivative, explained.

    Attributes
    ----------
    target, source : Quantity
        What is differentiated and by what, with their values: E and w₇, or z and x.
    name : str
        The full name of the weight, such as ``"2.weight[0, 1]"``; empty for scalar expressions.
    gradient : float
        The derivative, as one backward pass gives it.
    uses : tuple of Use
        The largest summands, each with its largest paths.
    use_count, path_count, sample_count : int
        How many there are in all.
    forward : tuple of Stage
        The forward pass of the sample that is shown.
    check : Check
        The numerical gradient.
    update : Update or None
    diagram : Diagram
    notes : tuple of Note
    lang : {"en", "ko"}
    digits : int
        Significant digits in text; 17 shows a number whole.

    Examples
    --------
    >>> import fastbp.chainrule as cr
    >>> x, y = cr.Var("x", 3.0), cr.Var("y", 2.0)
    >>> t = (x + y).named("t")
    >>> e = (t**2).explain(x)
    >>> e.gradient
    10.0
    """

    target: Quantity
    source: Quantity
    name: str
    gradient: float
    uses: tuple[Use, ...]
    use_count: int
    path_count: int
    sample_count: int
    forward: tuple[Stage, ...]
    check: Check
    update: Update | None
    diagram: Any
    notes: tuple[Note, ...] = ()
    lang: Language = "en"
    digits: int = 9

    @property
    def numerical(self) -> float:
        """The numerical gradient."""
        return self.check.numerical

    @property
    def relative_difference(self) -> float:
        """Between the gradient and the numerical gradient."""
        return self.check.relative(self.gradient)

    @property
    def updated(self) -> float | None:
        """The weight after one step of gradient descent."""
        return None if self.update is None else self.update.after

    @property
    def paths(self) -> tuple[Path, ...]:
        """All paths that are shown."""
        return tuple(p for use in self.uses for p in use.paths)

    @property
    def hidden_paths(self) -> int:
        """How many paths are not shown one by one."""
        return self.path_count - len(self.paths)

    @property
    def rest(self) -> float:
        """What the paths that are not shown add up to."""
        return self.gradient - sum(p.value for p in self.paths)

    def shown(self, *, lang: Language | None = None, digits: int | None = None) -> Explanation:
        """Return it in another language, or with another number of digits."""
        new = replace(self, lang=_language(lang or self.lang), digits=self.digits if digits is None else digits)
        if not isinstance(new.digits, int) or not 1 <= new.digits <= 17:
            raise ValueError(f"digits is {digits!r}; expected 1 to 17")
        return new

    def _with_notes(self, notes: list[Note]) -> Explanation:
        return replace(self, notes=tuple(notes))

    def chain(self, **how: Any) -> str:
        """Return the chain of each path on one line, and no more."""
        from fastbp.chainrule.text import chain
        return chain(self.shown(**how))

    def text(self, **how: Any) -> str:
        """Return it as plain text. Keywords, here and below: ``lang``, ``digits``."""
        from fastbp.chainrule.text import plain_text
        return plain_text(self.shown(**how))

    def markdown(self, **how: Any) -> str:
        """Return it as Markdown, with formulas between dollar signs."""
        from fastbp.chainrule.text import markdown
        return markdown(self.shown(**how))

    def latex(self, **how: Any) -> str:
        """Return the chain as a LaTeX ``aligned`` block, without the surrounding delimiters."""
        from fastbp.chainrule.text import latex
        return latex(self.shown(**how))

    def svg(self, *, vertical: bool = False, **how: Any) -> str:
        """Return the computational graph as an SVG picture: values forward, derivatives backward, the chain marked."""
        from fastbp.chainrule.svg import picture
        return picture(self.shown(**how), vertical)

    def html(self, **how: Any) -> str:
        """Return one self-contained HTML page that steps through the explanation."""
        from fastbp.chainrule.page import page
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
        return self.text()

    def _repr_html_(self) -> str:
        from fastbp.chainrule.page import fragment
        return fragment(self)

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def _repr_markdown_(self) -> str:
        return self.markdown()


def _language(lang: str) -> Language:
    if lang not in ("en", "ko"):
        raise ValueError(f'lang is {lang!r}; expected "en" or "ko"')
    return "ko" if lang == "ko" else "en"
