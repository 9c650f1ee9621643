r"""The piecewise linear op: a learnt function of each feature, linear between whole numbers.

.. math:: y_{io} = \sum_{t=0}^{T-1} \min(\max(x_i - t, 0), 1)\, W_{ito}

over T bins, O outputs and I features, which do not meet: bin t adds :math:`W_{ito}` once x is past it, in part while x
is inside. x is a place among the edges of bins, 0 at the first edge and T at the last, as
``np.interp(values, edges, range(T + 1))`` gives it; the function is constant outside. Outputs of a feature lie side by
side: ``y[..., i * O + o]``. Gorishniy, Rubachev and Babenko (2022), https://arxiv.org/abs/2203.05556.

**Derivation.** With k the bin that x lies in and :math:`u = x - k`, the bins before k count in full:
:math:`y = \sum_{t<k} W_t + u W_k`. Hence :math:`dx_i = \sum_o dy_{io} W_{iko}` inside and 0 outside, and over rows r

.. math:: dW_{ito} = \sum_{r:\, k_{ri} > t} dy_{rio} + \sum_{r:\, k_{ri} = t} u_{ri}\, dy_{rio}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work, rows_and_features

MOST_WEIGHTS = 4096


@dataclass(frozen=True)
class PiecewiseLinearOp(Op):
    """``y = clip(x - t, 0, 1) @ weight`` over the bins t = 0, 1, …, for each feature on its own."""

    features: int
    bins: int
    outputs: int
    name: ClassVar[str] = "piecewise_linear"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.features * self.outputs)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.features, self.bins, self.outputs)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        y: Array = np.einsum("...it,ito->...io", self._parts(x), params["weight"])
        return y.reshape(*x.shape[:-1], self.outputs * self.features)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,), weight = ctx.inputs, ctx.params["weight"]
        rows, dy = x.reshape(-1, self.features), dy.reshape(-1, self.features, self.outputs)
        inside = ((self._past(rows) >= 0) & (self._past(rows) < 1)).astype(x.dtype)
        dx = np.einsum("rit,ito,rio->ri", inside, weight, dy)
        return (dx.reshape(x.shape),), {"weight": np.einsum("rit,rio->ito", self._parts(rows), dy)}

    def _past(self, x: Array) -> Array:
        past: Array = x[..., None] - np.arange(self.bins, dtype=x.dtype)
        return past

    def _parts(self, x: Array) -> Array:
        return np.clip(self._past(x), 0, 1)

    def native(self, *shapes: Shape) -> Native:
        groups, _ = rows_and_features(shapes[0])
        own = self.bins * self.outputs
        return Native(dims=(groups, self.features, self.bins, self.outputs), params=("weight",),
                      saves=(Space(fixed=self.features * own),), scratch=Space(fixed=own),
                      work={"forward_reduce": Work(cost=own, units=self.features),
                            "forward": Work(cost=3.0 * groups * self.features),
                            "gradient": Work(cost=own, per_row=4.0 * groups, units=self.features)})

    def formula(self) -> str:
        return f"y = Σ min(max(x - t, 0), 1) W_t over t from 0 to {self.bins - 1}, for each feature"
