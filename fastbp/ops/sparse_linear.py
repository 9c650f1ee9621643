r"""The linear op for rows that are mostly 0: of each only what is not 0 is written down.

.. math:: y_r = \sum_{(c, v) \in x_r} v\, W_c + b

with row r of x given as columns c and values v, :math:`W` (I, O), :math:`b` (O,): compressed sparse rows, CSR. It takes
the place of :class:`~fastbp.ops.linear.LinearOp` where a network is given a sparse matrix, over the same parameters.

**Derivation.** That of the linear op, its sums without the terms that are 0. For a scalar loss E with
:math:`dy = \partial E/\partial y`:

.. math::
    \partial E/\partial W_{co} &= \sum_{r:\, (c, v) \in x_r} v\, dy_{ro} \\
    \partial E/\partial b_o    &= \sum_r dy_{ro}

Rows of W whose column no row of the batch has get the gradient 0. x itself gets none: most of it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from fastbp.ops.base import Array, Context, DType, Native, Op, Shape, Work

LIKELY_DENSITY = 1 / 64
"""The share of x that costs are estimated for."""


class SparseRows(np.ndarray[Any, np.dtype[np.int64]]):
    """Rows of a sparse matrix: an array (N, 2) of where each begins and ends in ``columns`` and ``values``.

    Its rows are taken as those of any array, without a copy of what they hold.

    Attributes
    ----------
    columns : array (E,) of int64
        The column of each entry, rising within a row.
    values : array (E,)
    features : int
        How many columns there are.
    """

    columns: Array
    values: Array
    features: int

    @classmethod
    def of(cls, spans: Array, columns: Array, values: Array, features: int) -> SparseRows:
        """Return rows of these entries."""
        rows = np.ascontiguousarray(spans, np.int64).view(cls)
        rows.columns, rows.values, rows.features = columns, values, features
        return rows

    def __array_finalize__(self, source: Any) -> None:
        for name in ("columns", "values", "features"):
            setattr(self, name, getattr(source, name, None))

    def entries(self) -> tuple[Array, Array, Array]:
        """Return the number of the row, the column and the value of each entry."""
        spans = np.asarray(self)
        counts = spans[:, 1] - spans[:, 0]
        places = np.repeat(spans[:, 0] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return np.repeat(np.arange(len(spans)), counts), self.columns[places], self.values[places]

    def toarray(self) -> Array:
        """Return the same as a dense array (N, features)."""
        dense = np.zeros((len(self), self.features), self.values.dtype)
        rows, columns, values = self.entries()
        dense[rows, columns] = values
        return dense


@dataclass(frozen=True)
class SparseLinearOp(Op):
    """``y = x @ W + b`` for rows of CSR."""

    in_features: int
    out_features: int
    bias: bool = True
    name: ClassVar[str] = "sparse_linear"
    takes_activation = updates = True

    def output_shape(self, *shapes: Shape) -> Shape:
        return (self.out_features,)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        return {**weight, "bias": (self.out_features,)} if self.bias else weight

    def input_dtype(self, index: int) -> DType | Literal["any"]:
        return "sparse"

    def has_gradient(self, which: int) -> bool:
        return False

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        x, weight = xs[0], params["weight"]
        assert isinstance(x, SparseRows)
        y = np.zeros((len(x), self.out_features), weight.dtype)
        y += params["bias"] if self.bias else 0
        rows, columns, values = x.entries()
        np.add.at(y, rows, values[:, None] * weight[columns])
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        x = ctx.inputs[0]
        assert isinstance(x, SparseRows)
        dweight = np.zeros_like(ctx.params["weight"])
        rows, columns, values = x.entries()
        np.add.at(dweight, columns, values[:, None] * dy[rows])
        return (None,), {"weight": dweight, "bias": dy.sum(axis=0)} if self.bias else {"weight": dweight}

    def native(self, *shapes: Shape) -> Native:
        features, outputs = self.in_features, self.out_features
        entries = LIKELY_DENSITY * features
        # a unit is a row of the weight; many make a task, as each task searches all rows for what is theirs
        units = Work(cost=outputs, per_row=0.05 * LIKELY_DENSITY * outputs + 20 / features, units=features,
                     least=min(max(features // 8, 64), 4096))
        return Native(dims=(1, features, outputs), params=("weight", "bias"),
                      work={"forward": Work(cost=0.1 * entries * outputs + outputs + 2), "gradient": units})

    def formula(self) -> str:
        return "y = x W + b" if self.bias else "y = x W"
