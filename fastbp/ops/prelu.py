r"""The PReLU op: a leaky ReLU whose slopes are learnt.

.. math:: y_{rc} = \max(0, x_{rc}) + a_c \min(0, x_{rc})

with one slope a for each channel (the last axis), or one for all.

**Derivation.** :math:`\partial y/\partial x` is 1 for :math:`x > 0`, else a: :math:`dx = dy` or :math:`a_c\, dy`. A
slope reaches every y of its channel with :math:`\min(0, x)`: :math:`da_c = \sum_r dy_{rc} \min(0, x_{rc})`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work, rows_and_features


@dataclass(frozen=True)
class PReLUOp(Op):
    """``y = x`` for x > 0, else ``weight * x``."""

    num_parameters: int
    name: ClassVar[str] = "prelu"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.num_parameters,)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        return np.where(x > 0, x, params["weight"] * x)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,) = ctx.inputs
        d = np.where(x > 0, 0, dy * x).reshape(-1, x.shape[-1]).sum(axis=0)
        dweight = d if self.num_parameters > 1 or len(d) == 1 else d.sum(keepdims=True)
        return (np.where(x > 0, dy, ctx.params["weight"] * dy),), {"weight": dweight}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return np.where(xs[0] > 0, dy, params["weight"] * dy)

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        unit = Work(per_row=groups * features / self.num_parameters, units=self.num_parameters)
        return Native(dims=(groups, features, self.num_parameters), params=("weight",), work={"gradient": unit})

    def formula(self) -> str:
        return "y = x if x > 0 else weight x"
