r"""The positions op: a learnt vector for each place in a sequence, added to what stands there.

.. math:: y_{btc} = x_{btc} + w_{tc}

x is (B, T, C), w (most, C) with T ≤ most.

**Derivation.** :math:`dx = dy`; a vector reaches its place in every sample: :math:`dw_{tc} = \sum_b dy_{btc}`, 0 for
places beyond T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work


@dataclass(frozen=True)
class PositionsOp(Op):
    """``y = x + weight[:T]``."""

    max_length: int
    name: ClassVar[str] = "positions"
    passes_gradient = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 2 or shape[0] > self.max_length:
            written = ", ".join(map(str, ("B", *shape)))
            raise ValueError(f"Positions: x has shape ({written}); expected (B, T, C) with at most {self.max_length} "
                             "steps, as max_length says")
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.max_length, shapes[0][-1])}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        y: Array = xs[0] + params["weight"][:xs[0].shape[1]]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        dweight = np.zeros_like(ctx.params["weight"])
        dweight[:dy.shape[1]] = dy.sum(axis=0)
        return (dy,), {"weight": dweight}

    def native(self, *shapes: Shape) -> Native:
        steps, features = shapes[0]
        return Native(dims=(steps, features, self.max_length), params=("weight",),
                      work={"forward": Work(cost=0.3 * steps * features), "backward": Work(cost=0.3 * steps * features),
                            "gradient": Work(cost=features, per_row=0.3 * features, units=self.max_length)})

    def formula(self) -> str:
        return "y = x + weight of each position"
