r"""The grouped linear op: a linear map of its own for each group of features.

.. math:: y_{gj} = \sum_i x_{gi} W_{gij} + b_{gj}

The groups may be the members of an ensemble, each with its own head, or the columns of a table.

**Derivation.** The groups do not meet, so each is a linear map (:mod:`fastbp.ops.linear`):
:math:`dx_{gi} = \sum_j dy_{gj} W_{gij}`, :math:`dW_{gij} = \sum_r x_{rgi}\, dy_{rgj}`,
:math:`db_{gj} = \sum_r dy_{rgj}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, Native, Op, Shape, Space, Work


@dataclass(frozen=True)
class GroupedLinearOp(Op):
    """``y[..., g, :] = x[..., g, :] @ W[g] + b[g]``."""

    groups: int
    in_features: int
    out_features: int
    bias: bool = True
    name: ClassVar[str] = "grouped_linear"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.out_features)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.groups, self.in_features, self.out_features)}
        return {**weight, "bias": (self.groups, self.out_features)} if self.bias else weight

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        y: Array = np.matmul(xs[0][..., None, :], params["weight"])[..., 0, :]
        return y + params["bias"] if self.bias else y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        weight = ctx.params["weight"]
        dx = np.matmul(dy[..., None, :], weight.swapaxes(-1, -2))[..., 0, :]
        x, flat = (a.reshape(-1, self.groups, a.shape[-1]) for a in (ctx.inputs[0], dy))
        dparams = {"weight": np.einsum("rgi,rgj->gij", x, flat)}
        if self.bias:
            dparams["bias"] = flat.sum(axis=0)
        return (dx,), dparams

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        dx: Array = np.matmul(dy[..., None, :], np.swapaxes(params["weight"], -1, -2))[..., 0, :]
        return dx

    def native(self, *shapes: Shape) -> Native:
        repeats, elements = prod(shapes[0][:-2]), self.in_features * self.out_features
        row = Work(cost=0.012 * repeats * self.groups * elements + 2)
        return Native(dims=(repeats, self.groups, self.in_features, self.out_features), params=("weight", "bias"),
                      scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"forward": row, "backward": row,
                            "gradient": Work(cost=elements, per_row=0.012 * repeats * elements, units=self.groups)})

    def formula(self) -> str:
        return "y_g = x_g W_g + b_g" if self.bias else "y_g = x_g W_g"
