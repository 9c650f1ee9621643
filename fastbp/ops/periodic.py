r"""The periodic op: numbers through cosines of learnt frequencies, then a small linear map for each feature.

.. math:: c_{fi} = \cos 2\pi (x_i w_{fi} + p_{fi}), \qquad y_{oi} = \sum_f c_{fi} V_{foi} + b_{oi}

over F frequencies, O outputs and I features, which do not meet. Outputs lie side by side, all features of the first one
first: ``y[..., o * I + i]``. With x itself beside it this is the embedding "PBLD" of Holzmüller, Grinsztajn and
Steinwart (2024), https://arxiv.org/abs/2407.04491, after Gorishniy et al. (2022), https://arxiv.org/abs/2203.05556.

**Derivation.** With :math:`g_{fi} = \sum_o dy_{oi} V_{foi}`, the gradient of :math:`c_{fi}`, and
:math:`s_{fi} = -2\pi g_{fi} \sin 2\pi (x_i w_{fi} + p_{fi})`, that of the phase, sums over the rows r:

.. math:: dV_{foi} = \sum_r c_{rfi}\, dy_{roi}, \quad db_{oi} = \sum_r dy_{roi}, \quad dp_{fi} = \sum_r s_{rfi}, \quad
          dw_{fi} = \sum_r s_{rfi} x_{ri}, \quad dx_i = \sum_f s_{fi} w_{fi}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work, rows_and_features

MOST_OUTPUTS = 64


@dataclass(frozen=True)
class PeriodicOp(Op):
    """``y = cos(2π (x frequency + phase)) weight + bias``, for each feature on its own."""

    features: int
    frequencies: int
    outputs: int
    name: ClassVar[str] = "periodic"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape[:-1], self.outputs * self.features)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        wave = (self.frequencies, self.features)
        return {"frequency": wave, "phase": wave, "weight": (self.frequencies, self.outputs, self.features),
                "bias": (self.outputs, self.features)}

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        waves = np.cos(2 * np.pi * self._turns(x, params))
        y: Array = np.einsum("...fi,foi->...oi", waves, params["weight"]) + params["bias"]
        return y.reshape(*x.shape[:-1], self.outputs * self.features)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,), params = ctx.inputs, ctx.params
        rows, dy = x.reshape(-1, self.features), dy.reshape(-1, self.outputs, self.features)
        turns = 2 * np.pi * self._turns(rows, params)
        s = -2 * np.pi * np.sin(turns) * np.einsum("roi,foi->rfi", dy, params["weight"])
        dx = np.einsum("rfi,fi->ri", s, params["frequency"])
        return (dx.reshape(x.shape),), {
            "frequency": np.einsum("rfi,ri->fi", s, rows), "phase": s.sum(axis=0),
            "weight": np.einsum("rfi,roi->foi", np.cos(turns), dy), "bias": dy.sum(axis=0)}

    def _turns(self, x: Array, params: dict[str, Array]) -> Array:
        """Return x · frequency + phase without its whole part, which the cosine does not see: it keeps its digits."""
        turns = x[..., None, :].astype(np.float64) * params["frequency"] + params["phase"]
        return (turns - np.rint(turns)).astype(x.dtype)

    def native(self, *shapes: Shape) -> Native:
        groups, _ = rows_and_features(shapes[0])
        wave = 0.2 * groups * self.features * (self.outputs + 5)
        row = Work(cost=wave * self.frequencies)
        return Native(dims=(groups, self.features, self.frequencies, self.outputs),
                      params=("frequency", "phase", "weight", "bias"),
                      work={"forward": row, "backward": row,
                            "gradient": Work(per_row=2 * wave, units=self.frequencies)})

    def formula(self) -> str:
        return "y = cos(2π (x w + p)) V + b, for each feature"
