r"""The concat op: two tensors side by side along one axis.

**Derivation.** Every element of a and of b goes to one place of y unchanged, so (da, db) is dy cut where they meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape


@dataclass(frozen=True)
class ConcatOp(Op):
    """``y = [a, b]`` along ``axis``, which is counted with the batch axis as 0."""

    axis: int = -1
    name: ClassVar[str] = "concat"

    def output_shape(self, *shapes: Shape) -> Shape:
        a, b = shapes
        i = self._sample_axis(a)
        if len(a) != len(b) or a[:i] != b[:i] or a[i + 1:] != b[i + 1:]:
            written = " and ".join(f"({', '.join(map(str, ('B', *s)))})" for s in (a, b))
            raise ValueError(f"Concat: the inputs have shapes {written}; expected the same but for axis {self.axis}")
        return (*a[:i], a[i] + b[i], *a[i + 1:])

    def _sample_axis(self, shape: Shape) -> int:
        """Return the axis with the batch axis left out."""
        axis = self.axis if self.axis > 0 else self.axis + len(shape) + 1
        if not 1 <= axis <= len(shape):
            raise ValueError(f"Concat: axis is {self.axis}, but the inputs have shape "
                             f"({', '.join(map(str, ('B', *shape)))}); expected 1 to {len(shape)}, or -1 for the last")
        return axis - 1

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.concatenate(xs, axis=self.axis)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        da, db = np.split(dy, [ctx.inputs[0].shape[self.axis]], axis=self.axis)
        return (da, db), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        axis, cut = self.axis % dy.ndim, xs[0].shape[self.axis]
        part = slice(cut) if which == 0 else slice(cut, None)
        return dy[(*(slice(None),) * axis, part)]

    def native(self, *shapes: Shape) -> Native:
        a, b = shapes
        i = self._sample_axis(a)
        return Native(dims=(prod(a[:i]), prod(a[i:]), prod(b[i:])))

    def formula(self) -> str:
        return f"y = [a, b] along axis {self.axis}"
