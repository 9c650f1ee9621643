r"""The upsample op: images and sequences made larger by a whole factor, channel by channel.

**nearest** repeats: output o is input ⌊o / f⌋. **linear** interpolates (bilinear over two axes): output o lies at
:math:`u = (o + ½)/f - ½` among the inputs, clipped to where there are any, and is
:math:`(1 - t)\, x_{⌊u⌋} + t\, x_{⌊u⌋+1}` with :math:`t = u - ⌊u⌋`.

**Derivation.** Along each axis the op is a product with a fixed matrix A (outputs, inputs), :math:`y = A x`; so
:math:`dx = A^T dy`, axis by axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work
from fastbp.ops.window import spatial, two


@dataclass(frozen=True)
class UpsampleOp(Op):
    """``y = A x`` along each axis but batch and channels."""

    scale_factor: tuple[int, ...]
    mode: Literal["nearest", "linear"] = "nearest"
    name: ClassVar[str] = "upsample"

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes, channels = spatial("Upsample", shapes[0], len(self.scale_factor))
        return (*(n * f for n, f in zip(sizes, self.scale_factor, strict=True)), channels)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        y = xs[0]
        for axis, factor in enumerate(self.scale_factor, start=1):
            low, high, share = self._between(xs[0].shape[axis], factor, axis, y)
            if self.mode == "nearest":
                y = y.take(low, axis=axis)
            else:
                below = y.take(low, axis=axis)
                y = np.where(share > 0, (1 - share) * below + share * y.take(high, axis=axis), below)
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        dx = dy
        for axis, factor in enumerate(self.scale_factor, start=1):
            n = ctx.inputs[0].shape[axis]
            low, high, share = self._between(n, factor, axis, dx)
            total = np.zeros((*dx.shape[:axis], n, *dx.shape[axis + 1:]), dx.dtype)
            before: Any = (slice(None),) * axis
            np.add.at(total, (*before, low), (1 - share) * dx)
            np.add.at(total, (*before, high), share * dx)
            dx = total
        return (dx,), {}

    def _between(self, n: int, factor: int, axis: int, x: Array) -> tuple[Array, Array, Array]:
        """Return, for each output along an axis, the inputs below and above it, and the share of the one above."""
        o = np.arange(factor * n)
        u = o // factor if self.mode == "nearest" else np.clip((o + 0.5) / factor - 0.5, 0, n - 1)
        low = u.astype(int)
        share = (u - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
        return low, np.minimum(low + 1, n - 1), share

    def native(self, *shapes: Shape) -> Native:
        (shape,) = shapes
        row = Work(cost=6 * prod(self.output_shape(shape)))
        return Native(dims=(*two(shape[:-1], 1), shape[-1], *two(self.scale_factor, 1), int(self.mode == "linear")),
                      work={"forward": row, "backward": row})

    def matrix(self, n: int, factor: int, dtype: np.dtype[np.generic]) -> Array:
        """Return A (factor · n, n)."""
        columns = np.eye(n, dtype=dtype)[None]
        matrix: Array = UpsampleOp((factor,), self.mode).forward(Context(), columns)[0]
        return matrix

    def formula(self) -> str:
        return f"y = x, {'×'.join(map(str, self.scale_factor))} as large, {self.mode}"
