r"""The ops that add up: sums, means, extremes, products and running sums over axes, products of matrices, einsum.

**Derivation.** :math:`y = \sum_i x_i` has the derivative 1 by each :math:`x_i`, so dx is dy, repeated; a mean divides
by the count. The largest of some numbers has the derivative 1 by the one that is it, shared out evenly where several
are; that of a product by one factor is the product of the others. :math:`y_i = \sum_{j \le i} x_j` has :math:`dx_j =
\sum_{i \ge j} dy_i`: the running sum from the other end. For products of matrices see :mod:`fastbp.ops.linear`; a sum
over products, as einsum writes it, is linear in each operand: its gradient is the sum over products of dy and the other
operand, with the letters exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array
from fastbp.ops.expression import Expression, call, sum_like

REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "argmax": np.argmax, "argmin": np.argmin,
              "any": np.any, "all": np.all}


@dataclass(frozen=True)
class ReduceOp(Expression):
    """``y = sum(x, axis, keepdims)``, or mean, max, min, argmax, argmin, any, all."""

    function: str
    axis: tuple[int, ...]
    keepdims: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's name; ``reduce_max`` for that of one array."""
        return f"reduce_{self.function}" if self.function in ("max", "min") else self.function

    def value(self, *xs: Array) -> Array:
        axis = self.axis[0] if self.function.startswith("arg") else self.axis
        return np.asarray(REDUCTIONS[self.function](xs[0], axis=axis, keepdims=self.keepdims))  # type: ignore[operator]

    def has_gradient(self, which: int) -> bool:
        return self.function in ("sum", "mean", "max", "min")

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        (x,) = xs
        if not self.has_gradient(which):
            return None
        if not self.keepdims:
            dy, y = np.expand_dims(dy, self.axis), np.expand_dims(y, self.axis)
        if self.function == "mean":
            dy = dy / _count(x, self.axis)
        if self.function in ("max", "min"):
            chosen = np.where(x == y, 1.0, 0.0)
            return chosen * (dy / chosen.sum(axis=self.axis, keepdims=True))
        return np.broadcast_to(dy, x.shape)

    def formula(self) -> str:
        return f"y = {self.function}(x) over axes {', '.join(map(str, self.axis))}"


def _count(x: Any, axis: tuple[int, ...]) -> Any:
    count: Any = 1
    for a in axis:
        count = count * x.shape[a]
    return count


@dataclass(frozen=True)
class ProductOp(Expression):
    """``y = prod(x, axis, keepdims=True)``."""

    axis: int
    name: ClassVar[str] = "prod"

    def value(self, *xs: Array) -> Array:
        return np.asarray(np.prod(xs[0], axis=self.axis, keepdims=True))

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        # the others are multiplied anew for each factor: y / x would be wrong where a factor is 0
        (x,), axis = xs, self.axis
        place = np.cumsum(np.ones_like(x), axis=axis)
        own = np.expand_dims(place, axis) == np.expand_dims(place, axis + 1)
        others = np.where(own, 1.0, np.expand_dims(x, axis))
        return dy * np.squeeze(call(ProductOp(axis + 1), others), axis=axis + 1)

    def formula(self) -> str:
        return f"y = product of x along axis {self.axis}"


@dataclass(frozen=True)
class CumsumOp(Expression):
    """``y = cumsum(x, axis)``, from the end if reverse."""

    axis: int
    reverse: bool = False
    name: ClassVar[str] = "cumsum"

    def value(self, *xs: Array) -> Array:
        if not self.reverse:
            return np.cumsum(xs[0], axis=self.axis)
        return np.flip(np.cumsum(np.flip(xs[0], self.axis), axis=self.axis), self.axis)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return call(CumsumOp(self.axis, not self.reverse), dy)

    def formula(self) -> str:
        return f"y = running sums of x along axis {self.axis}" + (", from the end" if self.reverse else "")


@dataclass(frozen=True)
class MatmulOp(Expression):
    """``y = a @ b``, both of two axes or more; the others are broadcast."""

    name: ClassVar[str] = "matmul"

    def value(self, *xs: Array) -> Array:
        return np.asarray(xs[0] @ xs[1])

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        a, b = xs
        if which == 0:
            return sum_like(dy @ np.swapaxes(b, -1, -2), a)
        if b.ndim == 2 and a.ndim > 2:          # one product instead of a sum of many
            letters = "".join(chr(ord("A") + i) for i in range(a.ndim - 2))
            return call(EinsumOp(f"{letters}ij,{letters}ik->jk"), a, dy)
        return sum_like(np.swapaxes(a, -1, -2) @ dy, b)

    def formula(self) -> str:
        return "y = a b"


@dataclass(frozen=True)
class EinsumOp(Expression):
    """``y = einsum(subscripts, a, b)``; each letter stands once in an operand, and in the other or in y as well."""

    subscripts: str
    name: ClassVar[str] = "einsum"

    def value(self, *xs: Array) -> Array:
        return np.asarray(np.einsum(self.subscripts, *xs, optimize=len(xs) > 1))

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        given, out = self.subscripts.split("->")
        a, b = given.split(",")
        mine, other = (a, b) if which == 0 else (b, a)
        return call(EinsumOp(f"{out},{other}->{mine}"), dy, xs[1 - which])

    def formula(self) -> str:
        return f"y = einsum({self.subscripts})"
