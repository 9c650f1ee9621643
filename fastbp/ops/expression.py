"""What the ops of expressions have in common: they work on whole arrays, and their backward rules are NumPy text.

Such an op treats its inputs as NumPy does, the batch axis as axis 0; an input may also be one array for the whole
batch. What shape comes out is found by running it on small arrays, so there is no second rule for shapes.

``gradient`` is the op's backward rule. It is written in NumPy functions and operators, which tensors take as well as
arrays do: on arrays it is the reference's backward pass, on tensors it is how :func:`fastbp.grad` builds the graph of
the derivative. :func:`call` is what makes one text do both.
"""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Op, Shape


class Expression(Op):
    """An op on whole arrays."""

    has_native: ClassVar[bool] = False
    calls_back: ClassVar[bool] = True
    on_arrays: ClassVar[bool] = True

    @abstractmethod
    def value(self, *xs: Array) -> Array:
        """Return y."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of a sample where every input has rows."""
        arrays = (np.zeros((2, *shape)) for shape in shapes)
        with np.errstate(all="ignore"):
            y: Array = self.forward(Context(rows=2), *arrays)
        return tuple(y.shape[1:])

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return _in_dtype(self.value(*_alike(ctx, xs)), ctx.dtype)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        assert ctx.output is not None
        xs = _alike(ctx, ctx.inputs)
        dxs = (self.gradient(i, dy, ctx.output, *xs) if x.dtype.kind == "f" else None for i, x in enumerate(ctx.inputs))
        return tuple(np.zeros_like(x) if dx is None else _in_dtype(np.asarray(dx), ctx.dtype)
                     for x, dx in zip(ctx.inputs, dxs, strict=True)), {}


def call(op: Op, *xs: Any) -> Any:
    """Apply an op: to tensors, which gives a tensor, or to arrays and numbers."""
    for x in xs:
        if hasattr(x, "__apply_op__"):
            return x.__apply_op__(op, xs)
    return op.forward(Context(), *map(np.asarray, xs))


def sum_like(dx: Any, x: Any) -> Any:
    """Undo broadcasting: the sum of dx over every axis along which x was repeated.

    **Derivation.** Where one element of x stands in many places of y, the chain rule adds up what comes from each.

    >>> sum_like(np.ones((2, 3)), np.zeros((3,)))
    array([2., 2., 2.])
    """
    extra = dx.ndim - x.ndim
    if extra:
        dx = dx.sum(axis=tuple(range(extra)))
    # a size may be the symbol for the number of rows, which is equal to itself alone
    repeated = tuple(i for i, size in enumerate(x.shape) if not _is(dx.shape[i], size))
    return dx.sum(axis=repeated, keepdims=True) if repeated else dx


def _is(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int) and isinstance(b, int) and a == b)


def integer(value: Any) -> int | None:
    """Return what is an integer as an int, and None for anything else, the symbol for the number of rows too."""
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


def sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return a shape as ops keep it: -1 stands for the number of rows.

    >>> sizes((2, 3))
    (2, 3)
    """
    return tuple(int(s) if isinstance(s, int | np.integer) else -1 for s in shape)


def with_rows(shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """Return a shape with the number of rows in the place of -1.

    >>> with_rows((-1, 3), 5)
    (5, 3)
    """
    return tuple(rows if s == -1 and rows else s for s in shape)


TIMES_ROWS = 2**40
"""How sizes are written that depend on the number of rows: as FBP_TIMES_ROWS for each time that it is in them."""


def elements(shape: Shape) -> int:
    """Return how many elements a shape has, in which the symbol for the number of rows may stand."""
    return prod(TIMES_ROWS if integer(size) is None else size for size in shape)


def _in_dtype(y: Array, dtype: str) -> Array:
    return y.astype(dtype) if dtype and y.dtype.kind == "f" and y.dtype != dtype else y


def _alike(ctx: Context, xs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Whole numbers beside real ones become real in the network's dtype, and not, as NumPy does it, in float64."""
    if not ctx.dtype or all(x.dtype == ctx.dtype for x in xs) or not any(x.dtype.kind == "f" for x in xs):
        return xs
    return tuple(x.astype(ctx.dtype) if x.dtype.kind == "i" and x.ndim == 0 else x for x in xs)
