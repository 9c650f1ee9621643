r"""The scale op: each feature times a number of its own, or, for an ensemble, one for each member.

.. math:: y_{gmi} = x_{gi}\, w_{mi}

over G groups of I features and M members; with one member its axis is left out. The factors of members are the adapters
of BatchEnsemble: nets that share all other weights differ by them. Wen, Tran and Ba (2020),
https://arxiv.org/abs/2002.06715.

**Derivation.** Each :math:`w_{mi}` meets feature i of every group of every row, each :math:`x_{gi}` reaches every
member:

.. math:: dw_{mi} = \sum_{r,g} x_{rgi}\, dy_{rgmi}, \qquad dx_{gi} = \sum_m dy_{gmi}\, w_{mi}
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work


@dataclass(frozen=True)
class ScaleOp(Op):
    """``y = x * weight``, the weight as large as the last axes of x, or with an axis of members before them."""

    features: tuple[int, ...]
    members: int = 0
    name: ClassVar[str] = "scale"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (self.members, *shape) if self.members else shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.members, *self.features) if self.members else self.features}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        y: Array = (x[:, None] if self.members else x) * params["weight"]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,), weight = ctx.inputs, ctx.params["weight"]
        if self.members:
            return ((dy * weight).sum(axis=1),), {"weight": (dy * x[:, None]).sum(axis=0)}
        groups = tuple(range(dy.ndim - weight.ndim))
        return (dy * weight,), {"weight": np.asarray((dy * x).sum(axis=groups))}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        dx = dy * params["weight"]
        return dx.sum(axis=1) if self.members else dx

    def native(self, *shapes: Shape) -> Native:
        size, members = prod(self.features), self.members or 1
        elements = members * size
        return Native(dims=(prod(shapes[0]) // size, members, size), params=("weight",),
                      work={"gradient": Work(per_row=0.1, units=elements, least=64)})

    def formula(self) -> str:
        return "y = x · w" + (f", for each of {self.members} members" if self.members else "")
