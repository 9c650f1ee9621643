r"""The dropout op.

.. math:: y_i = m_i x_i / (1 - p)

in training, where :math:`m_i` is 0 with probability p (``rate``) and else 1; :math:`y = x` otherwise. The scale keeps
the expectation: :math:`E[y_i] = (1 - p)\, x_i / (1 - p) = x_i`.

The mask is a function of seed, step, node and element (:mod:`fastbp.ops.philox`): nothing is stored between steps, and
any backend, with any number of threads, draws the same one. Within a step the C twin keeps it, a byte an element.

**Derivation.** The mask does not depend on x, so the op is linear in it: :math:`dx_i = m_i\, dy_i / (1 - p)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space
from fastbp.ops.expression import call
from fastbp.ops.philox import keep_mask


@dataclass(frozen=True)
class DropoutOp(Op):
    """``y = mask * x / (1 - rate)`` in training, else ``y = x``."""

    rate: float
    name: ClassVar[str] = "dropout"
    takes_gate = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        return self._drop(ctx, x) if ctx.training else x

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (self._drop(ctx, dy) if ctx.training else dy,), {}

    def _drop(self, ctx: Context, x: Array) -> Array:
        kept = keep_mask(x.shape, self.rate, ctx.seed, ctx.step, ctx.node)
        return np.where(kept, x * (1 / (1 - self.rate)), 0).astype(x.dtype)

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        dx: Array = call(self, dy)              # grad keys its mask as that of this use
        return dx

    def native(self, *shapes: Shape) -> Native:
        size = prod(shapes[0])
        return Native(dims=(size,), attrs=(self.rate,), saves=(Space(size, kind="uint8", backward_only=True),))

    def formula(self) -> str:
        return f"y = m x / (1 - {self.rate:g}), m = 0 with probability {self.rate:g}, else 1"
