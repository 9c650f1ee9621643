r"""The ops that give the elements of a sample another order of axes: reshape (no element moves) and permute.

**Derivation.** Every element goes to one place unchanged, so dx is dy with each element back where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape


@dataclass(frozen=True)
class ReshapeOp(Op):
    """``y = x`` under the shape (B, *shape); one size may be -1."""

    shape: Shape
    name: ClassVar[str] = "reshape"
    is_view: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (given,) = shapes
        elements, known = prod(given), prod(n for n in self.shape if n != -1)
        sizes = tuple(elements // known if n == -1 else n for n in self.shape)
        if prod(sizes) != elements or 0 in sizes:
            wanted, shape = (", ".join(map(str, ("B", *s))) for s in (self.shape, given))
            raise ValueError(f"Reshape: x has shape ({shape}), {elements} elements a sample, which do not fit "
                             f"({wanted}); expected a shape of as many")
        return sizes

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        return x.reshape(len(x), *self.output_shape(x.shape[1:]))

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (dy.reshape(ctx.inputs[0].shape),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return np.reshape(dy, xs[0].shape)

    def formula(self) -> str:
        return f"y = x under the shape {('B', *self.shape)}".replace("'", "")


@dataclass(frozen=True)
class PermuteOp(Op):
    """``y = x.transpose(0, *dims)``: axis i of y is axis dims[i] of x, the batch counted as axis 0."""

    dims: tuple[int, ...]
    name: ClassVar[str] = "permute"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != len(self.dims):
            raise ValueError(f"Permute: x has shape ({', '.join(map(str, ('B', *shape)))}), but dims is {self.dims}; "
                             f"expected the axes 1 to {len(shape)} in the order wanted")
        return tuple(shape[d - 1] for d in self.dims)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.ascontiguousarray(xs[0].transpose(0, *self.dims))

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (np.ascontiguousarray(dy.transpose(0, *(1 + int(i) for i in np.argsort(self.dims)))),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return np.transpose(dy, (0, *(1 + int(i) for i in np.argsort(self.dims))))

    def native(self, *shapes: Shape) -> Native:
        (shape,) = shapes
        axes = _joined([(shape[d - 1], prod(shape[d:])) for d in self.dims])
        sizes, steps = zip(*axes, strict=True)
        return Native(dims=(prod(shape), len(axes), *sizes, *steps))

    def formula(self) -> str:
        return f"y = x with its axes in the order {(0, *self.dims)}"


def _joined(axes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make one axis of those whose elements are as far apart as if they were one, and leave out those of one element.

    Parameters
    ----------
    axes : list of (int, int)
        For each axis its size, and how far apart in memory its neighbours are.

    Examples
    --------
    >>> _joined([(5, 1), (2, 15), (1, 15), (3, 5)])
    [(5, 1), (6, 5)]
    """
    made: list[tuple[int, int]] = []
    for size, step in axes:
        if made and made[-1][1] == size * step:
            made[-1] = made[-1][0] * size, step
        elif size > 1:
            made.append((size, step))
    return made or [(1, 1)]
