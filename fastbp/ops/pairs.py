r"""The ops of all pairs of rows: their products, and rows as one array that all rows look at.

**Derivation.** :math:`y_{rs} = \sum_d a_{rd} b_{sd}`, so :math:`da = dy\, b` and :math:`db = dy^T a`.

Plans make them of a product with a transpose, ``a @ b.T``, of ``x[None]`` and of :func:`fastbp.special.arange`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import PRODUCT_SCRATCH, ROW_UNITS, Array, Context, Native, Shape, Space, Work
from fastbp.ops.expression import Expression

# A guess, for estimates of time, of how many rows a batch has.
_ROWS = 128


@dataclass(frozen=True)
class PairProductOp(Expression):
    """``y = a @ b.T``, with a and b of two axes: a number for each pair of rows."""

    name: ClassVar[str] = "pair_product"
    has_native = mixes_rows = True
    calls_back = False

    def value(self, *xs: Array) -> Array:
        return np.asarray(xs[0] @ xs[1].T)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy @ xs[1] if which == 0 else np.swapaxes(dy, 0, 1) @ xs[0]

    def native(self, *shapes: Shape) -> Native:
        (features,) = shapes[0]
        row = Work(cost=0.012 * features * _ROWS)
        return Native(dims=(features,), saves=(Space(per_row=features),),
                      scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"forward_reduce": Work(cost=0, per_row=0.5, units=features), "forward": row,
                            "backward_reduce": Work(cost=0, per_row=row.cost / ROW_UNITS, units=ROW_UNITS, least=16),
                            "backward": row})

    def formula(self) -> str:
        return "y = a bᵗ"


@dataclass(frozen=True)
class AllRowsOp(Expression):
    """``y = x[None]``, one array for the whole batch; of real numbers, or of integers."""

    integers: bool = False
    name: ClassVar[str] = "all_rows"
    has_native = mixes_rows = True
    calls_back = False

    def value(self, *xs: Array) -> Array:
        return xs[0][None]

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy[0]

    def native(self, *shapes: Shape) -> Native:
        return Native(dims=(prod(shapes[0]), int(self.integers)),
                      work={"forward_reduce": Work(cost=0, per_row=0.2), "backward": Work(cost=0.2 * prod(shapes[0]))})

    def formula(self) -> str:
        return "y = x[None]"


@dataclass(frozen=True)
class RowNumberOp(Expression):
    """``y = 0, 1, …``, the number of each row, as integers."""

    name: ClassVar[str] = "row_number"
    has_native = mixes_rows = True
    calls_back = False

    def value(self, *xs: Array) -> Array:
        return np.arange(1)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.arange(ctx.rows)

    def native(self, *shapes: Shape) -> Native:
        return Native(work={"forward": Work(cost=0.5)})

    def formula(self) -> str:
        return "y = the number of the row"
