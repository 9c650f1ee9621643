r"""The ops of scalar expressions, beside those that networks use: sub, div, neg, pow, exp, log, sqrt, sin, cos, max.

They work element by element on arrays of one shape, and serve the lessons in ``fastbp.chainrule``. They are written in
NumPy alone (``has_native`` is False): a network that holds one runs on the reference backend.

**Derivation.** With :math:`dy = \partial E/\partial y` the chain rule gives :math:`da = dy\,\partial y/\partial a` for
each operand; the local derivatives are

========  ====================  =============================================
op        y                     ∂y/∂a (and ∂y/∂b)
========  ====================  =============================================
sub       a − b                 1, −1
div       a / b                 1/b, −a/b²
neg       −a                    −1
pow       a^b                   b·a^(b−1), a^b·ln a
exp       e^a                   y
log       ln a                  1/a
sqrt      √a                    1/(2y)
sin       sin a                 cos a
cos       cos a                 −sin a
max       max(a, b)             1 for the larger one, 0 for the other, ½ each where they are equal
========  ====================  =============================================
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Op, Shape


class ScalarOp(Op):
    """An elementwise op, given by its value and its local derivatives."""

    has_native: ClassVar[bool] = False
    operands: ClassVar[int] = 1

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes) != self.operands:
            raise TypeError(f"{self.name}: got {len(shapes)} operands; expected {self.operands}")
        if len(set(shapes)) > 1:
            raise ValueError(f"{self.name}: the operands have shapes {shapes[0]} and {shapes[1]}; expected one shape")
        return shapes[0]

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return self.value(*xs)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        assert ctx.output is not None
        return tuple(dy * d for d in self.derivatives(ctx.output, *ctx.inputs)), {}

    @abstractmethod
    def value(self, *xs: Array) -> Array:
        """Return y."""

    @abstractmethod
    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        """Return ∂y/∂x for each operand."""


@dataclass(frozen=True)
class SubOp(ScalarOp):
    """``y = a - b``."""

    name: ClassVar[str] = "sub"
    operands: ClassVar[int] = 2

    def value(self, *xs: Array) -> Array:
        return xs[0] - xs[1]

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return np.ones_like(y), -np.ones_like(y)

    def formula(self) -> str:
        return "y = a - b"


@dataclass(frozen=True)
class DivOp(ScalarOp):
    """``y = a / b``."""

    name: ClassVar[str] = "div"
    operands: ClassVar[int] = 2

    def value(self, *xs: Array) -> Array:
        return xs[0] / xs[1]

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return 1 / xs[1], -y / xs[1]

    def formula(self) -> str:
        return "y = a / b"


@dataclass(frozen=True)
class NegOp(ScalarOp):
    """``y = -a``."""

    name: ClassVar[str] = "neg"

    def value(self, *xs: Array) -> Array:
        return -xs[0]

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (-np.ones_like(y),)

    def formula(self) -> str:
        return "y = -a"


@dataclass(frozen=True)
class PowOp(ScalarOp):
    """``y = a ** b``; the derivative by b exists where a > 0 (and is 0 at a = 0 for b > 0), elsewhere it is NaN."""

    name: ClassVar[str] = "pow"
    operands: ClassVar[int] = 2

    def value(self, *xs: Array) -> Array:
        return np.power(xs[0], xs[1])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        a, b = xs
        # b = 0 makes y constant in a, also at a = 0, where the formula would say 0 · ∞.
        by_base = np.where(b == 0, 0.0, b * np.power(a, b - 1))
        by_exponent = np.where((a == 0) & (b > 0), 0.0, y * np.log(a))
        return by_base, by_exponent

    def formula(self) -> str:
        return "y = a ** b"


@dataclass(frozen=True)
class ExpOp(ScalarOp):
    """``y = exp(a)``."""

    name: ClassVar[str] = "exp"

    def value(self, *xs: Array) -> Array:
        return np.exp(xs[0])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (y,)


@dataclass(frozen=True)
class LogOp(ScalarOp):
    """``y = ln(a)``, for a > 0."""

    name: ClassVar[str] = "log"

    def value(self, *xs: Array) -> Array:
        return np.log(xs[0])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (1 / xs[0],)


@dataclass(frozen=True)
class SqrtOp(ScalarOp):
    """``y = √a``, for a ≥ 0; its derivative is infinite at 0."""

    name: ClassVar[str] = "sqrt"

    def value(self, *xs: Array) -> Array:
        return np.sqrt(xs[0])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (0.5 / y,)


@dataclass(frozen=True)
class SinOp(ScalarOp):
    """``y = sin(a)``, a in radians."""

    name: ClassVar[str] = "sin"

    def value(self, *xs: Array) -> Array:
        return np.sin(xs[0])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (np.cos(xs[0]),)


@dataclass(frozen=True)
class CosOp(ScalarOp):
    """``y = cos(a)``, a in radians."""

    name: ClassVar[str] = "cos"

    def value(self, *xs: Array) -> Array:
        return np.cos(xs[0])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        return (-np.sin(xs[0]),)


@dataclass(frozen=True)
class MaxOp(ScalarOp):
    """``y = max(a, b)``; where both are equal each gets half of the derivative, as a central difference says."""

    name: ClassVar[str] = "max"
    operands: ClassVar[int] = 2

    def value(self, *xs: Array) -> Array:
        return np.maximum(xs[0], xs[1])

    def derivatives(self, y: Array, *xs: Array) -> tuple[Array, ...]:
        by_a = np.where(xs[0] == xs[1], 0.5, xs[0] > xs[1]).astype(y.dtype)
        return by_a, 1 - by_a

    def formula(self) -> str:
        return "y = max(a, b)"
