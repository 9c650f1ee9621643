r"""The softmax op.

.. math:: y_c = \frac{e^{x_c}}{\sum_k e^{x_k}}

over the last axis; every other axis is a batch axis. The largest x is subtracted first, which changes nothing but
keeps the exponentials within [0, 1].

**Derivation.** :math:`\partial y_k/\partial x_c = y_k (\delta_{kc} - y_c)`: each x reaches every y through the sum.
The chain rule adds up over them:

.. math:: \partial E/\partial x_c = \sum_k dy_k\, y_k (\delta_{kc} - y_c) = y_c \Big(dy_c - \sum_k dy_k\, y_k\Big)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, rows_and_features


@dataclass(frozen=True)
class SoftmaxOp(Op):
    """``y = exp(x) / sum(exp(x))`` over the last axis."""

    name: ClassVar[str] = "softmax"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y: Array = e / e.sum(axis=-1, keepdims=True)
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        y = ctx.output
        assert y is not None
        return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        dx: Array = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
        return dx

    def native(self, *shapes: Shape) -> Native:
        return Native(dims=rows_and_features(shapes[0]))

    def formula(self) -> str:
        return "y_c = exp(x_c) / Σ_k exp(x_k)"
