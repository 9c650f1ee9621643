r"""The linear (affine) op.

.. math:: y = x W + b

with :math:`x` of shape (B, …, I), :math:`W` (I, O), :math:`b` (O,). Every axis but the last is a batch axis.

**Derivation.** :math:`y_{ro} = \sum_i x_{ri} W_{io} + b_o`. For a scalar loss E with :math:`dy = \partial E/\partial y`
the chain rule sums over every y that a quantity reaches:

.. math::
    \partial E/\partial x_{ri} &= \sum_o dy_{ro} W_{io}   &&\Rightarrow dx = dy\, W^T \\
    \partial E/\partial W_{io} &= \sum_r x_{ri} dy_{ro}   &&\Rightarrow dW = x^T dy \\
    \partial E/\partial b_o    &= \sum_r dy_{ro}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastbp.ops.base import Array, Context, Native, Op, Shape, rows_and_features


@dataclass(frozen=True)
class LinearOp(Op):
    """``y = x @ W + b`` over the last axis."""

    in_features: int
    out_features: int
    bias: bool = True
    name: ClassVar[str] = "linear"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.out_features)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        return {**weight, "bias": (self.out_features,)} if self.bias else weight

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        y = x @ params["weight"]
        return y + params["bias"] if self.bias else y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x = ctx.inputs[0].reshape(-1, self.in_features)
        rows = dy.reshape(-1, self.out_features)
        dparams = {"weight": x.T @ rows}
        if self.bias:
            dparams["bias"] = rows.sum(axis=0)
        return (dy @ ctx.params["weight"].T,), dparams

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        return Native(dims=(groups, features, self.out_features))

    def formula(self) -> str:
        return "y = x W + b" if self.bias else "y = x W"
