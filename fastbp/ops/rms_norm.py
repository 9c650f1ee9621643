r"""The root-mean-square normalisation op.

Over the C features of the last axis, for each row on its own:

.. math:: s = 1\Big/\sqrt{\frac1C \sum_c x_c^2 + \epsilon}, \quad \hat x_c = x_c s, \quad y_c = \gamma_c \hat x_c

Zhang and Sennrich (2019), https://arxiv.org/abs/1910.07467.

**Derivation.** γ is shared by all rows r: :math:`d\gamma_c = \sum_r dy_{rc} \hat x_{rc}`. With :math:`g_c = \gamma_c\,
dy_c`, the gradient of :math:`\hat x_c`, each :math:`x_i` reaches every :math:`\hat x_c` of its row, by itself and
through s, where :math:`\partial s/\partial x_i = -\tfrac12 s^3 \cdot \tfrac2C x_i = -s^2 \hat x_i / C`:

.. math:: dx_i = s\, g_i + \sum_c g_c x_c \cdot \Big(-\frac{s^2 \hat x_i}{C}\Big)
              = s \Big(g_i - \hat x_i \frac1C \sum_c g_c \hat x_c\Big)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work, rows_and_features


@dataclass(frozen=True)
class RMSNormOp(Op):
    """``y = x / sqrt(mean(x²) + eps) * weight``, the mean over the last axis."""

    features: int
    eps: float = 1e-6
    name: ClassVar[str] = "rms_norm"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.features,)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        rstd = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps)
        ctx.saved.update(x_hat=x * rstd, rstd=rstd)
        y: Array = x * rstd * params["weight"]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x_hat, rstd = ctx.saved["x_hat"], ctx.saved["rstd"]
        g = dy * ctx.params["weight"]
        dx = rstd * (g - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
        return (dx,), {"weight": (dy * x_hat).sum(axis=tuple(range(dy.ndim - 1)))}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        rstd = 1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self.eps)
        x_hat, g = x * rstd, dy * params["weight"]
        dx: Array = rstd * (g - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
        return dx

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        return Native(dims=(groups, features), attrs=(self.eps,), params=("weight",),
                      saves=(Space(per_row=groups),) * 2,
                      work={"gradient": Work(cost=0, per_row=0.5 * groups, units=features)})

    def formula(self) -> str:
        return f"y = x / √(mean of x² + {self.eps:g}) · weight"
