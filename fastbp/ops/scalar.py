r"""The scalar functions: one table of values and derivatives, and the op that applies a function to every element.

A row has the value, in NumPy, and the derivative by each operand, as NumPy text in the value y and the operands. That
text is written once and read by all: the reference evaluates it on arrays, :func:`fastbp.grad` builds with it on
tensors, plans compile what it built, and the lesson prints it.

**Derivation.** With :math:`dy = \partial E/\partial y`, :math:`y = f(a, b)` element by element, the chain rule gives
:math:`da = dy\, \partial f/\partial a`, summed over wherever a was repeated by broadcasting. At a kink the derivative
is what a central difference finds: 0 for the absolute value, ½ each for the larger of two equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log as ln
from math import pi, sqrt
from typing import Any

import numpy as np

from fastbp.ops import special
from fastbp.ops.base import Array
from fastbp.ops.expression import Expression, call, sum_like

Derivative = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Scalar:
    """A row of the table; called on arrays or tensors it applies the function.

    Attributes
    ----------
    name, formula : str
    value : callable
        ``value(a, …)`` on arrays.
    derivatives : tuple of callable or None
        ``derivative(y, a, …)`` by each operand, on arrays or tensors; a plain 1 or -1 where it is that; None where the
        function is constant in between its jumps, or the operand is a condition.
    """

    name: str
    formula: str
    value: Callable[..., Array]
    derivatives: tuple[Derivative | None, ...]

    @property
    def operands(self) -> int:
        """How many it takes."""
        return len(self.derivatives)

    def __call__(self, *xs: Any) -> Any:
        return call(ScalarOp(self.name), *xs)


def _share(y: Any, mine: Any, other: Any) -> Any:
    """Return 1 where mine was chosen, 0 where the other was, ½ where they are equal, NaN where y is."""
    return np.where(mine == other, 0.5, np.where(y == mine, 1.0, np.where(y == other, 0.0, y)))


def _one(y: Any, *xs: Any) -> float:
    return 1.0


def _minus_one(y: Any, *xs: Any) -> float:
    return -1.0


def _by_base(y: Any, a: Any, b: Any) -> Any:
    # b = 0 makes y constant in a, also at a = 0, where the formula would say 0 · ∞
    return np.where(b == 0, 0.0, b * np.power(a, b - 1))


def _by_exponent(y: Any, a: Any, b: Any) -> Any:
    return np.where((a == 0) & (b > 0), 0.0, y * np.log(a))


def _length(y: Any, a: Any, b: Any) -> Any:
    """Return √(a² + b²), and 1 at the origin, where neither arctan2 nor hypot has a slope: 0 / 1 is what they get."""
    length = np.hypot(a, b)
    return np.where(length == 0, 1.0, length)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), of an array or a tensor."""
    return call(ScalarOp("sigmoid"), x)


def softplus(x: Any) -> Any:
    """Return ln(1 + exp(x)), of an array or a tensor."""
    return call(ScalarOp("softplus"), x)


def normal_cdf(x: Any) -> Any:
    """Return Φ(x), of an array or a tensor."""
    return call(ScalarOp("normal_cdf"), x)


ROWS = (
    Scalar("add", "y = a + b", np.add, (_one, _one)),
    Scalar("sub", "y = a - b", np.subtract, (_one, _minus_one)),
    Scalar("mul", "y = a b", np.multiply, (lambda y, a, b: b, lambda y, a, b: a)),
    Scalar("div", "y = a / b", np.true_divide, (lambda y, a, b: 1 / b, lambda y, a, b: -y / b)),
    Scalar("neg", "y = -a", np.negative, (_minus_one,)),
    Scalar("pow", "y = a ** b", np.power, (_by_base, _by_exponent)),
    Scalar("square", "y = a²", np.square, (lambda y, a: 2 * a,)),
    Scalar("reciprocal", "y = 1 / a", np.reciprocal, (lambda y, a: -np.square(y),)),
    Scalar("sqrt", "y = √a", np.sqrt, (lambda y, a: 0.5 / y,)),
    Scalar("exp", "y = exp(a)", np.exp, (lambda y, a: y,)),
    Scalar("expm1", "y = exp(a) - 1", np.expm1, (lambda y, a: np.exp(a),)),
    Scalar("exp2", "y = 2 ** a", np.exp2, (lambda y, a: ln(2) * y,)),
    Scalar("log", "y = ln(a)", np.log, (lambda y, a: 1 / a,)),
    Scalar("log1p", "y = ln(1 + a)", np.log1p, (lambda y, a: 1 / (1 + a),)),
    Scalar("log2", "y = ln(a) / ln(2)", np.log2, (lambda y, a: 1 / (ln(2) * a),)),
    Scalar("log10", "y = ln(a) / ln(10)", np.log10, (lambda y, a: 1 / (ln(10) * a),)),
    Scalar("sin", "y = sin(a)", np.sin, (lambda y, a: np.cos(a),)),
    Scalar("cos", "y = cos(a)", np.cos, (lambda y, a: -np.sin(a),)),
    Scalar("tan", "y = tan(a)", np.tan, (lambda y, a: 1 + np.square(y),)),
    Scalar("arctan", "y = arctan(a)", np.arctan, (lambda y, a: 1 / (1 + np.square(a)),)),
    Scalar("arcsin", "y = arcsin(a)", np.arcsin, (lambda y, a: 1 / np.sqrt((1 - a) * (1 + a)),)),
    Scalar("arccos", "y = arccos(a)", np.arccos, (lambda y, a: -1 / np.sqrt((1 - a) * (1 + a)),)),
    Scalar("arctan2", "y = the angle of (b, a)", np.arctan2,
           (lambda y, a, b: b / _length(y, a, b) / _length(y, a, b),
            lambda y, a, b: -a / _length(y, a, b) / _length(y, a, b))),
    Scalar("hypot", "y = √(a² + b²)", np.hypot,
           (lambda y, a, b: a / _length(y, a, b), lambda y, a, b: b / _length(y, a, b))),
    Scalar("arcsinh", "y = arcsinh(a)", np.arcsinh, (lambda y, a: 1 / np.hypot(a, 1.0),)),
    Scalar("arccosh", "y = arccosh(a)", np.arccosh, (lambda y, a: 1 / (np.sqrt(a - 1) * np.sqrt(a + 1)),)),
    Scalar("arctanh", "y = arctanh(a)", np.arctanh, (lambda y, a: 1 / ((1 - a) * (1 + a)),)),
    Scalar("cbrt", "y = ∛a", np.cbrt, (lambda y, a: 1 / (3 * np.square(y)),)),
    Scalar("sinh", "y = sinh(a)", np.sinh, (lambda y, a: np.cosh(a),)),
    Scalar("cosh", "y = cosh(a)", np.cosh, (lambda y, a: np.sinh(a),)),
    Scalar("tanh", "y = tanh(a)", np.tanh, (lambda y, a: 1 - np.square(y),)),
    Scalar("erf", "y = erf(a)", special.erf, (lambda y, a: 2 / sqrt(pi) * np.exp(-np.square(a)),)),
    Scalar("normal_cdf", "y = Φ(a)", special.normal_cdf,
           (lambda y, a: 1 / sqrt(2 * pi) * np.exp(-0.5 * np.square(a)),)),
    Scalar("sigmoid", "y = 1 / (1 + exp(-a))", special.sigmoid, (lambda y, a: y * (1 - y),)),
    Scalar("softplus", "y = ln(1 + exp(a))", special.softplus, (lambda y, a: sigmoid(a),)),
    Scalar("logaddexp", "y = ln(exp(a) + exp(b))", np.logaddexp,
           (lambda y, a, b: sigmoid(a - b), lambda y, a, b: sigmoid(b - a))),
    Scalar("abs", "y = |a|", np.abs, (lambda y, a: np.sign(a),)),
    Scalar("max", "y = max(a, b)", np.maximum, (_share, lambda y, a, b: _share(y, b, a))),
    Scalar("min", "y = min(a, b)", np.minimum, (_share, lambda y, a, b: _share(y, b, a))),
    Scalar("clip", "y = a between b and c", lambda a, b, c: np.minimum(np.maximum(a, b), c),
           (lambda y, a, b, c: np.where((a < b) | (a > c), 0.0, 1.0),
            lambda y, a, b, c: np.where((a < b) & (b <= c), 1.0, 0.0),
            lambda y, a, b, c: np.where((a > c) | (b > c), 1.0, 0.0))),
    Scalar("where", "y = a if the condition holds, else b", np.where,
           (None, lambda y, c, a, b: np.where(c, 1.0, 0.0), lambda y, c, a, b: np.where(c, 0.0, 1.0))),
    Scalar("sign", "y = a / |a|", np.sign, (None,)),
    Scalar("floor", "y = a rounded down", np.floor, (None,)),
    Scalar("ceil", "y = a rounded up", np.ceil, (None,)),
    Scalar("rint", "y = a rounded", np.rint, (None,)),
    Scalar("trunc", "y = a rounded towards 0", np.trunc, (None,)),
    Scalar("nan_to_num", "y = a if it is finite, else 0 or the largest number", np.nan_to_num,
           (lambda y, a: np.where(np.isfinite(a), 1.0, 0.0),)),
    Scalar("floor_div", "y = a // b", np.floor_divide, (None, None)),
    Scalar("mod", "y = a mod b", np.remainder, (_one, lambda y, a, b: -np.floor(a / b))),
    Scalar("less", "y = a < b", np.less, (None, None)),
    Scalar("less_equal", "y = a ≤ b", np.less_equal, (None, None)),
    Scalar("greater", "y = a > b", np.greater, (None, None)),
    Scalar("greater_equal", "y = a ≥ b", np.greater_equal, (None, None)),
    Scalar("equal", "y = (a = b)", np.equal, (None, None)),
    Scalar("not_equal", "y = (a ≠ b)", np.not_equal, (None, None)),
    Scalar("and", "y = a and b", np.logical_and, (None, None)),
    Scalar("or", "y = a or b", np.logical_or, (None, None)),
    Scalar("xor", "y = a or b but not both", np.logical_xor, (None, None)),
    Scalar("not", "y = not a", np.logical_not, (None,)),
    Scalar("isnan", "y = a is NaN", np.isnan, (None,)),
    Scalar("isfinite", "y = a is finite", np.isfinite, (None,)),
)
SCALARS = {row.name: row for row in ROWS}


@dataclass(frozen=True)
class ScalarOp(Expression):
    """A function of the table, applied element by element to arrays that are broadcast as NumPy does it."""

    function: str

    def __post_init__(self) -> None:
        if self.function not in SCALARS:
            raise ValueError(f"ScalarOp: function is {self.function!r}; expected one of {', '.join(SCALARS)}")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's name."""
        return self.function

    @property
    def row(self) -> Scalar:
        """Its row of the table."""
        return SCALARS[self.function]

    def value(self, *xs: Array) -> Array:
        if len(xs) != self.row.operands:
            raise TypeError(f"{self.name}: got {len(xs)} operands; expected {self.row.operands}")
        y = np.asarray(self.row.value(*xs))
        if y.dtype == np.float16:       # which is what NumPy makes of truth values
            y = np.asarray(self.row.value(*(x.astype(np.float64) for x in xs)))
        return y

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        """Return ∂y/∂x for each operand, as arrays of y's shape."""
        slopes = (0.0 if d is None else d(y, *xs) for d in self.row.derivatives)
        return tuple(np.broadcast_to(slope, y.shape).astype(y.dtype) for slope in slopes)

    def has_gradient(self, which: int) -> bool:
        return self.row.derivatives[which] is not None

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        derivative = self.row.derivatives[which]
        if derivative is None:
            return None
        if self.function == "where":
            dx = np.where(xs[0], dy, 0.0) if which == 1 else np.where(xs[0], 0.0, dy)
        elif derivative is _one or derivative is _minus_one:
            dx = dy if derivative is _one else -dy
        else:
            dx = dy * derivative(y, *xs)
        return sum_like(dx, xs[which])

    def formula(self) -> str:
        return self.row.formula
