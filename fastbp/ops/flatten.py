r"""The flatten op: all axes but the batch as one, (B, H, W, C) → (B, H·W·C).

**Derivation.** Every element goes to one place unchanged, so dx is dy under x's shape. The output is the input's own
memory; there is nothing to compute, and no C twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np

from fastbp.ops.base import Array, Context, DType, Op, Shape


@dataclass(frozen=True)
class FlattenOp(Op):
    """``y = x`` under the shape (B, n)."""

    name: ClassVar[str] = "flatten"
    is_view: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (prod(shape),)

    def input_dtype(self, index: int) -> Literal["any"]:
        return "any"

    def rearranges(self, index: int) -> bool:
        return True

    def output_dtype(self, *dtypes: DType) -> DType:
        return dtypes[0]

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        return x.reshape(len(x), prod(x.shape[1:]))

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (dy.reshape(ctx.inputs[0].shape),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return np.reshape(dy, xs[0].shape)

    def formula(self) -> str:
        return "y = x, as one row a sample"
