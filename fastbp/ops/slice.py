r"""The slice op: some neighbouring elements along one axis.

**Derivation.** An element of y is an element of x unchanged, so dx is dy where it was taken from, and 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape


@dataclass(frozen=True)
class SliceOp(Op):
    """``y = x[start:stop]`` along ``axis``, which is counted with the batch axis as 0."""

    axis: int
    start: int
    stop: int
    name: ClassVar[str] = "slice"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not 0 <= self.start < self.stop <= shape[self.axis - 1]:
            raise ValueError(f"slice {self.start}:{self.stop} of axis {self.axis}, where x has {shape[self.axis - 1]}")
        return (*shape[:self.axis - 1], self.stop - self.start, *shape[self.axis:])

    def _at(self) -> tuple[slice, ...]:
        return (*(slice(None),) * self.axis, slice(self.start, self.stop))

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.ascontiguousarray(xs[0][self._at()])

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        dx = np.zeros_like(ctx.inputs[0])
        dx[self._at()] = dy
        return (dx,), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        x = xs[0]
        before, after = self.start, x.shape[self.axis] - self.stop
        return np.pad(dy, [(before, after) if axis == self.axis else (0, 0) for axis in range(x.ndim)])

    def native(self, *shapes: Shape) -> Native:
        (shape,) = shapes
        inner = prod(shape[self.axis:])
        return Native(dims=(prod(shape[:self.axis - 1]), shape[self.axis - 1] * inner, self.start * inner,
                            (self.stop - self.start) * inner))

    def formula(self) -> str:
        return f"y = x from {self.start} to {self.stop} along axis {self.axis}"
