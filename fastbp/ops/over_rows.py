r"""The ops between rows and what belongs to the whole batch: a reduction over all rows, and a number given to each row.

**Derivation.** :math:`y_j = \sum_r x_{rj}` has :math:`dx_{rj} = dy_j`, and :math:`y_{rj} = x_j` has :math:`dx_j =
\sum_r dy_{rj}`: each is what the other is backwards. A mean divides by the number of rows; the largest of the rows
shares dy out evenly among those that are it.

Plans make them of :class:`~fastbp.ops.reduce.ReduceOp` and of broadcasting.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Shape, Space, Work
from fastbp.ops.expression import TIMES_ROWS, Expression, elements
from fastbp.ops.reduce import ReduceOp

_CODES = {"sum": 0.0, "mean": 1.0, "max": 2.0, "min": 3.0}
REDUCED_OVER_ROWS = tuple(_CODES)
"""The functions that :class:`ReduceRowsOp` has."""


@dataclass(frozen=True)
class ReduceRowsOp(ReduceOp):
    """``y = sum(x, axis=0)``, or mean, max, min: one array for the whole batch."""

    name: ClassVar[str] = "reduce_rows"
    has_native = mixes_rows = True
    calls_back = False

    def native(self, *shapes: Shape) -> Native:
        columns = Work(cost=0, per_row=0.3, units=prod(shapes[0]))
        extreme = self.function in ("max", "min")
        return Native(dims=(prod(shapes[0]),), attrs=(_CODES[self.function],),
                      saves=(Space(fixed=prod(shapes[0]) * extreme, backward_only=True),),
                      work={"forward_reduce": columns, "backward_reduce": columns if extreme else Work(),
                            "backward": Work(cost=prod(shapes[0]))})


@dataclass(frozen=True)
class SpreadRowsOp(Expression):
    """``y[r] = x`` for every row r."""

    name: ClassVar[str] = "spread_rows"
    has_native = mixes_rows = True
    calls_back = False

    def value(self, *xs: Array) -> Array:
        return xs[0][None]

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.broadcast_to(xs[0], (ctx.rows, *xs[0].shape))

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy.sum(axis=0)

    def native(self, *shapes: Shape) -> Native:
        columns = elements(shapes[0])
        if columns >= TIMES_ROWS:       # of pairs of rows
            return Native(dims=(columns,), work={"forward": Work(cost=0, per_row=1.0),
                                                 "backward_reduce": Work(cost=0, per_row=30.0)})
        return Native(dims=(columns,), work={"forward": Work(cost=columns),
                                             "backward_reduce": Work(cost=0, per_row=0.3, units=columns)})

    def formula(self) -> str:
        return "y[r] = x"
