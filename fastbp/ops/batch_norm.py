r"""The batch normalisation op.

Over the R values that a feature has in a batch (every axis but the last):

.. math::
    \mu = \frac1R \sum_r x_r, \quad v = \frac1R \sum_r (x_r - \mu)^2, \quad s = 1/\sqrt{v + \epsilon}, \quad
    \hat x_r = (x_r - \mu)\, s, \quad y_r = \gamma \hat x_r + \beta

In training μ and v are the batch's, and the running ones follow them:
:math:`running \leftarrow (1 - momentum)\, running + momentum \cdot batch`, with the unbiased variance
:math:`v R/(R-1)`; but a feature whose μ or v is not finite keeps its running ones. Otherwise the running ones are used.

**Derivation** for one feature. γ (``weight``) and β (``bias``) are reached by every row:
:math:`d\gamma = \sum_r dy_r \hat x_r`, :math:`d\beta = \sum_r dy_r`. For x, write :math:`g_r = \gamma\, dy_r` for the
gradient of :math:`\hat x_r`. Each :math:`x_i` reaches every :math:`\hat x_r`, by itself, through μ and through s:

.. math::
    \partial \hat x_r/\partial x_i = s\,\delta_{ri} - s/R + (x_r - \mu)\, \partial s/\partial x_i, \qquad
    \partial s/\partial x_i = -\tfrac12 s^3 \cdot \tfrac2R (x_i - \mu) = -s^2 \hat x_i / R

(μ in v drops out because :math:`\sum_r (x_r - \mu) = 0`.) Summed over r:

.. math:: dx_i = s \Big(g_i - \frac1R \sum_r g_r - \hat x_i \frac1R \sum_r g_r \hat x_r\Big)
              = \gamma s \Big(dy_i - \frac{d\beta}{R} - \hat x_i \frac{d\gamma}{R}\Big)

With running statistics μ and s are constants, and :math:`dx = \gamma s\, dy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work, rows_and_features


@dataclass(frozen=True)
class BatchNormOp(Op):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, statistics over every axis but the last."""

    features: int
    momentum: float = 0.1
    eps: float = 1e-5
    name: ClassVar[str] = "batch_norm"
    mixes_rows = adds_up = affine_outside_training = takes_activation = takes_gate = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.features,), "bias": (self.features,)}

    def buffer_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"running_mean": (self.features,), "running_var": (self.features,)}

    def check_training_rows(self, values: int) -> None:
        """Raise ValueError unless a feature has the two values or more that a variance needs."""
        if values < 2:
            raise ValueError(f"BatchNorm: the batch has {values} value{'s' * (values != 1)} a feature; expected at "
                             "least 2 in training. Use larger batches, or LayerNorm")

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        rows = x.reshape(-1, self.features)
        if ctx.training:
            count = float(ctx.over_all_rows(np.ones(len(rows))))
            mean = ctx.over_all_rows(rows) / count
            var = ctx.over_all_rows(np.square(rows - mean)) / count
            ctx.saved["count"] = count
            unbiased = var * (count / (count - 1))
            finite = np.isfinite(mean) & np.isfinite(unbiased)
            for name, batch in (("running_mean", mean), ("running_var", unbiased)):
                running = ctx.buffers[name]
                np.copyto(running, (1 - self.momentum) * running + self.momentum * batch, where=finite)
        else:
            mean, var = ctx.buffers["running_mean"], ctx.buffers["running_var"]
        rstd = 1 / np.sqrt(var + self.eps)
        x_hat = (x - mean) * rstd
        ctx.saved.update(x_hat=x_hat, rstd=rstd)
        y: Array = x_hat * params["weight"] + params["bias"]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x_hat, rstd, weight = ctx.saved["x_hat"], ctx.saved["rstd"], ctx.params["weight"]
        by_weight, by_bias = (values.reshape(-1, self.features) for values in (dy * x_hat, dy))
        if ctx.training:
            R, dweight, dbias = ctx.saved["count"], ctx.over_all_rows(by_weight), ctx.over_all_rows(by_bias)
            dx = weight * rstd * (dy - dbias / R - x_hat * (dweight / R))
        else:
            dx = weight * rstd * dy
        return (dx,), {"weight": by_weight.sum(axis=0), "bias": by_bias.sum(axis=0)}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        axes, trains, g = tuple(range(x.ndim - 1)), params["training"], dy * params["weight"]
        mean = np.where(trains, x.mean(axis=axes), params["running_mean"])
        var = np.where(trains, x.var(axis=axes), params["running_var"])
        rstd = 1 / np.sqrt(var + self.eps)
        x_hat = (x - mean) * rstd
        dx: Array = rstd * (g - np.where(trains, g.mean(axis=axes) + x_hat * (g * x_hat).mean(axis=axes), 0.0))
        return dx

    def native(self, *shapes: Shape) -> Native:
        groups, features = rows_and_features(shapes[0])
        columns = Work(cost=0, per_row=0.5 * groups, units=features)
        return Native(dims=(groups, features), attrs=(self.momentum, self.eps), params=("weight", "bias"),
                      buffers=("running_mean", "running_var"), saves=(Space(fixed=features),) * 4,
                      work={"prepare": Work(units=features), "forward_reduce": columns, "backward_reduce": columns})

    def formula(self) -> str:
        return f"y = (x - mean) / √(var + {self.eps:g}) · weight + bias, statistics of each feature over the batch"
