r"""The linear (affine) op.

.. math:: y = x W + b

with :math:`x` of shape (B, …, I), :math:`W` (I, O), :math:`b` (O,). Every axis but the last is a batch axis.

**Derivation.** :math:`y_{ro} = \sum_i x_{ri} W_{io} + b_o`. For a scalar loss E with :math:`dy = \partial E/\partial y`
the chain rule sums over every y that a quantity reaches:

.. math::
    \partial E/\partial x_{ri} &= \sum_o dy_{ro} W_{io}   &&\Rightarrow dx = dy\, W^T \\
    \partial E/\partial W_{io} &= \sum_r x_{ri} dy_{ro}   &&\Rightarrow dW = x^T dy \\
    \partial E/\partial b_o    &= \sum_r dy_{ro}

**bfloat16.** With ``compute_dtype="bfloat16"`` the operands of the three products are rounded to bfloat16, and the
products added up in float32; all else stays float32. Layers with fewer outputs than :data:`LEAST_BF16_OUTPUTS` do
without it: they are the network's last as a rule, where rounding hurts most and saves least.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, Native, Op, Shape, Space, Work, rows_and_features
from fastbp.ops.bfloat16 import round_to_bfloat16
from fastbp.ops.sparse_linear import SparseLinearOp

LEAST_BF16_OUTPUTS = 12

LARGEST_TRANSPOSED = 2**18
"""Weights of more elements are transposed as they are read."""


@dataclass(frozen=True)
class LinearOp(Op):
    """``y = x @ W + b`` over the last axis."""

    in_features: int
    out_features: int
    bias: bool = True
    name: ClassVar[str] = "linear"
    takes_activation = takes_affine = takes_gate = updates = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.out_features)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        return {**weight, "bias": (self.out_features,)} if self.bias else weight

    def rounds(self, compute_dtype: str) -> bool:
        """Return whether the operands of its products are rounded to bfloat16."""
        return compute_dtype == "bfloat16" and self.out_features >= LEAST_BF16_OUTPUTS

    def _operands(self, ctx: Context, *arrays: Array) -> list[Array]:
        return [round_to_bfloat16(a) if self.rounds(ctx.compute_dtype) else a for a in arrays]

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        x, weight = self._operands(ctx, *xs, params["weight"])
        y = x @ weight
        return y + params["bias"] if self.bias else y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x, weight, dz = self._operands(ctx, ctx.inputs[0], ctx.params["weight"], dy)
        dparams = {"weight": x.reshape(-1, self.in_features).T @ dz.reshape(-1, self.out_features)}
        if self.bias:
            dparams["bias"] = dy.reshape(-1, self.out_features).sum(axis=0)
        return (dz @ weight.T,), dparams

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return dy @ np.swapaxes(params["weight"], 0, 1)

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        elements = features * self.out_features
        row = Work(cost=0.012 * groups * elements + 2)
        # a unit is a row of the weight; enough of them for tiles, few enough to share
        copied = Work(cost=self.out_features, units=features, least=min(max(features // 8, 64), 192))
        return Native(dims=(groups, features, self.out_features), params=("weight", "bias"),
                      prepared=elements if elements <= LARGEST_TRANSPOSED else 0,
                      scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"prepare": copied, "forward": row, "backward": row,
                            "gradient": replace(copied, per_row=0.012 * groups * self.out_features)})

    def for_sparse(self) -> Op:
        return SparseLinearOp(self.in_features, self.out_features, self.bias)

    def formula(self) -> str:
        return "y = x W + b" if self.bias else "y = x W"


@dataclass(frozen=True)
class LinearBackOp(Op):
    r"""``y = x @ W.T`` over the last axis: what a linear layer does backwards, as an op of its own.

    **Derivation.** :math:`y_{ri} = \sum_o x_{ro} W_{io}`, so :math:`dx = dy\, W` and :math:`dW = dy^T x`.
    """

    in_features: int
    out_features: int
    name: ClassVar[str] = "linear_back"
    updates = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.in_features)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.in_features, self.out_features)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return xs[0] @ params["weight"].T

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        dw = dy.reshape(-1, self.in_features).T @ ctx.inputs[0].reshape(-1, self.out_features)
        return (dy @ ctx.params["weight"],), {"weight": dw}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return dy @ params["weight"]

    def native(self, *shapes: Shape) -> Native:
        groups, _ = rows_and_features(shapes[0])
        return LinearOp(self.in_features, self.out_features, bias=False).native((groups, self.in_features))

    def formula(self) -> str:
        return "y = x Wᵀ"
