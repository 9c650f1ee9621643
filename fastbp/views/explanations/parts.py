"""What an explanation is made of: data alone, which the forms (text, formulas, pictures, pages) read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import frexp, fsum, isfinite, ldexp
from typing import Any

from fastbp.views.explanations.phrases import Language
from fastbp.views.explanations.symbols import Formula, Quantity, Symbol

# Factors of a product that are written out; of a longer one, so many at each end.
_WRITTEN_OUT, _ENDS = 16, 6


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
    operand : int
        Which operand of its op the source is.
    """

    of: Symbol
    by: Symbol
    value: float
    formula: Formula
    spelled_out: Formula
    box: str = ""
    source_box: str = ""
    operand: int = 0

    @property
    def edge(self) -> str:
        """The line of the diagram that it belongs to; "" for one that is not drawn."""
        return edge_name(self.source_box, self.box, self.operand) if self.box and self.source_box else ""


@dataclass(frozen=True)
class Path:
    """One term of the sum: the factors from the loss back to the weight."""

    factors: tuple[Factor, ...]

    @property
    def value(self) -> float:
        """The product of the factors."""
        return product(f.value for f in self.factors)

    @property
    def middle(self) -> slice:
        """The factors that are not written out one by one: none, unless the product is a long one."""
        count = len(self.factors)
        return slice(_ENDS, count - _ENDS) if count > _WRITTEN_OUT else slice(count, count)


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
        return remainder(self.value, self.paths)


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
class ParameterUpdate:
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
class Box:
    """One quantity of the picture: its value, and the derivative of the target by it (None: not wanted)."""

    id: str
    symbol: Symbol
    value: float
    gradient: float | None
    kind: str
    chain: bool = False


@dataclass(frozen=True)
class Edge:
    """How one quantity enters another: through a weight or directly.

    ``local`` is the derivative of the one by the other, on the chain; ``gradient`` that of the weight asked for. A
    quantity that enters twice, as in x · x, has a line for each operand.
    """

    source: str
    target: str
    weight: Quantity | None = None
    local: float | None = None
    gradient: float | None = None
    operand: int = 0

    @property
    def name(self) -> str:
        """What steps call it."""
        return edge_name(self.source, self.target, self.operand)

    @property
    def chain(self) -> bool:
        """Whether a path of the chain rule leads through it."""
        return self.local is not None


@dataclass(frozen=True)
class DiagramColumn:
    """Quantities of one depth; ``more`` are left out."""

    boxes: tuple[Box, ...]
    more: int = 0


@dataclass(frozen=True)
class Diagram:
    """Columns from the inputs to the target, and the lines between."""

    columns: tuple[DiagramColumn, ...]
    edges: tuple[Edge, ...]

    @property
    def boxes(self) -> list[Box]:
        """All of them, column by column."""
        return [box for column in self.columns for box in column.boxes]


@dataclass(frozen=True)
class Derivation:
    """One derivative, taken apart.

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
    update : ParameterUpdate or None
    diagram : Diagram
    notes : tuple of Note
    lang : {"en", "ko"}
    digits : int
        Significant digits in text; 17 shows a number whole.
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
    update: ParameterUpdate | None
    diagram: Diagram
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
        """What the paths that are not shown add up to: the gradient without those that are, rounded once."""
        return remainder(self.gradient, self.paths)


def edge_name(source: str, target: str, operand: int) -> str:
    """Return what a line from one box to another is called."""
    return f"{source}>{target}" + (f"#{operand}" if operand else "")


def product(values: Iterable[float]) -> float:
    """Return the product, which may pass through numbers too small or too large for a float on its way.

    >>> product([2.0**-600, 2.0**-600, 2.0**600, 2.0**600])
    1.0
    """
    mantissa, exponent = 1.0, 0
    for value in values:
        mantissa, shift = frexp(mantissa * value)
        exponent += shift
    try:
        return ldexp(mantissa, exponent)
    except OverflowError:
        return mantissa * float("inf")


def remainder(total: float, paths: Iterable[Path]) -> float:
    """Return what is left of a sum over paths without these, as the one float that is nearest to it."""
    values = [total, *(-p.value for p in paths)]
    try:
        return fsum(values)
    except (OverflowError, ValueError):  # not finite on the way, or infinities that cancel
        return float("nan")
