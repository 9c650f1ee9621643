r"""The group normalisation op.

The C channels of the last axis are cut into groups; the statistics of a group are taken over its channels and every
axis between batch and channels, for each sample on its own:

.. math:: \hat x = (x - \mu)\, s, \quad s = 1/\sqrt{v + \epsilon}, \quad y_{pc} = \gamma_c \hat x_{pc} + \beta_c

Wu and He (2018), https://arxiv.org/abs/1803.08494.

**Derivation.** As for layer normalisation, with the n values of a group instead of those of a row:
:math:`d\gamma_c = \sum dy\, \hat x` and :math:`d\beta_c = \sum dy` over samples and positions p, and with
:math:`g = \gamma\, dy`

.. math:: dx = s \Big(g - \frac1n \sum g - \hat x \frac1n \sum g \hat x\Big)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work


@dataclass(frozen=True)
class GroupNormOp(Op):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, statistics of each group of channels of a sample."""

    num_groups: int
    features: int
    eps: float = 1e-5
    name: ClassVar[str] = "group_norm"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.features,), "bias": (self.features,)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        x = self._groups(xs[0])
        mean, var = x.mean(axis=(1, 3), keepdims=True), x.var(axis=(1, 3), keepdims=True)
        rstd = 1 / np.sqrt(var + self.eps)
        x_hat = (x - mean) * rstd
        ctx.saved.update(x_hat=x_hat, rstd=rstd)
        y: Array = x_hat.reshape(xs[0].shape) * params["weight"] + params["bias"]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x_hat, rstd = ctx.saved["x_hat"], ctx.saved["rstd"]
        g = self._groups(dy * ctx.params["weight"])
        dx = rstd * (g - g.mean(axis=(1, 3), keepdims=True) - x_hat * (g * x_hat).mean(axis=(1, 3), keepdims=True))
        axes = tuple(range(dy.ndim - 1))
        return (dx.reshape(dy.shape),), {"weight": (dy * x_hat.reshape(dy.shape)).sum(axis=axes),
                                         "bias": dy.sum(axis=axes)}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        x = self._groups(xs[0])
        deviation = x - x.mean(axis=(1, 3), keepdims=True)
        rstd = 1 / np.sqrt(np.square(deviation).mean(axis=(1, 3), keepdims=True) + self.eps)
        x_hat, g = deviation * rstd, self._groups(dy * params["weight"])
        dx = rstd * (g - g.mean(axis=(1, 3), keepdims=True) - x_hat * (g * x_hat).mean(axis=(1, 3), keepdims=True))
        return np.reshape(dx, xs[0].shape)

    def _groups(self, x: Array) -> Array:
        """Return (B, positions, groups, C / groups)."""
        return x.reshape(x.shape[0], prod(x.shape[1:-1]), self.num_groups, self.features // self.num_groups)

    def native(self, *shapes: Shape) -> Native:
        (shape,) = shapes
        return Native(dims=(prod(shape[:-1]), self.num_groups, self.features // self.num_groups), attrs=(self.eps,),
                      params=("weight", "bias"), work={"gradient": Work(per_row=prod(shape[:-1]), units=self.features)},
                      saves=(Space(per_row=self.num_groups),) * 2)

    def formula(self) -> str:
        return (f"y = (x - mean) / √(var + {self.eps:g}) · weight + bias, statistics of each of {self.num_groups} "
                "groups of channels")
