r"""The layer normalisation op.

Over the C features of the last axis, for each row on its own:

.. math::
    \mu = \frac1C \sum_c x_c, \quad v = \frac1C \sum_c (x_c - \mu)^2, \quad s = 1/\sqrt{v + \epsilon}, \quad
    \hat x_c = (x_c - \mu)\, s, \quad y_c = \gamma_c \hat x_c + \beta_c

**Derivation.** As for batch normalisation, with the sums over a row instead of a column. γ and β are shared by all rows
r: :math:`d\gamma_c = \sum_r dy_{rc} \hat x_{rc}`, :math:`d\beta_c = \sum_r dy_{rc}`. With
:math:`g_c = \gamma_c\, dy_c`, the gradient of :math:`\hat x_c`, each :math:`x_i` reaches every :math:`\hat x_c` of its
row, by itself, through μ and through s:

.. math:: dx_i = s \Big(g_i - \frac1C \sum_c g_c - \hat x_i \frac1C \sum_c g_c \hat x_c\Big)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work, rows_and_features


@dataclass(frozen=True)
class LayerNormOp(Op):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, statistics over the last axis."""

    features: int
    eps: float = 1e-5
    name: ClassVar[str] = "layer_norm"
    takes_activation = takes_gate = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.features,), "bias": (self.features,)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        rstd = 1 / np.sqrt(var + self.eps)
        x_hat = (x - mean) * rstd
        ctx.saved.update(x_hat=x_hat, rstd=rstd)
        y: Array = x_hat * params["weight"] + params["bias"]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x_hat, rstd = ctx.saved["x_hat"], ctx.saved["rstd"]
        g = dy * ctx.params["weight"]
        dx = rstd * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
        batch_axes = tuple(range(dy.ndim - 1))
        return (dx,), {"weight": (dy * x_hat).sum(axis=batch_axes), "bias": dy.sum(axis=batch_axes)}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        deviation = x - x.mean(axis=-1, keepdims=True)
        rstd = 1 / np.sqrt(np.square(deviation).mean(axis=-1, keepdims=True) + self.eps)
        x_hat, g = deviation * rstd, dy * params["weight"]
        dx: Array = rstd * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
        return dx

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        return Native(dims=(groups, features), attrs=(self.eps,), params=("weight", "bias"),
                      saves=(Space(groups), Space(groups)),
                      work={"gradient": Work(cost=0, per_row=0.5 * groups, units=features)})

    def formula(self) -> str:
        return f"y = (x - mean) / √(var + {self.eps:g}) · weight + bias, statistics of each row over its features"
