r"""The ops that join two tensors of one shape, element by element.

**Derivation.** :math:`y_i = a_i + b_i`: both derivatives are 1, so :math:`da = db = dy`.
:math:`y_i = a_i b_i`: :math:`\partial y_i/\partial a_i = b_i` and :math:`\partial y_i/\partial b_i = a_i`, so
:math:`da = dy \cdot b`, :math:`db = dy \cdot a`. Where a and b are one tensor the graph adds the two up, and finds
:math:`2a\, dy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from fastbp.ops.base import Array, Context, Native, Op, Shape


class _TwoAlike(Op):
    label: ClassVar[str]

    def output_shape(self, *shapes: Shape) -> Shape:
        a, b = shapes
        if a != b:
            batch = [("B", *s) for s in (a, b)]
            written = " and ".join(f"({', '.join(map(str, s))})" for s in batch)
            raise ValueError(f"{self.label}: the inputs have shapes {written}; expected one shape. Bring them to one "
                             "with a Linear layer, or use Concat")
        return a

    def native(self, *shapes: Shape) -> Native:
        return Native(dims=(prod(shapes[0]),))


@dataclass(frozen=True)
class AddOp(_TwoAlike):
    """``y = a + b``."""

    name: ClassVar[str] = "add"
    passes_gradient = True
    label: ClassVar[str] = "Add"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        a, b = xs
        return a + b

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (dy, dy), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return dy

    def formula(self) -> str:
        return "y = a + b"


@dataclass(frozen=True)
class MulOp(_TwoAlike):
    """``y = a * b``."""

    name: ClassVar[str] = "mul"
    label: ClassVar[str] = "Multiply"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        a, b = xs
        return a * b

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        a, b = ctx.inputs
        return (dy * b, dy * a), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return dy * xs[1 - which]

    def formula(self) -> str:
        return "y = a b"
