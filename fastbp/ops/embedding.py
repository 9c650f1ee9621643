r"""The embedding op.

.. math:: y_t = W_{i_t}

with ids :math:`i` of shape (B, …), integers from 0 to N − 1, :math:`W` (N, C) and y (B, …, C): a row of W for each id.
Where the id is ``padding_idx``, y is 0 instead.

With several ``tables`` of :math:`N_k` rows, W holds them one below the other, ids are (B, …, K), each column from 0 to
:math:`N_k - 1`, and :math:`y_{t,k} = W_{i_{t,k} + N_1 + … + N_{k-1}}`. The K vectors stand side by side, (B, …, K·C).

**Derivation.** It is a linear op of vectors that are 1 at the id and 0 elsewhere: :math:`y_t = \sum_v [i_t = v] W_v`.
For a scalar loss E with :math:`dy = \partial E/\partial y`, each row of W sums over the places t where it was taken:

.. math:: \partial E/\partial W_v = \sum_{t:\, i_t = v} dy_t

The ids themselves cannot be changed a little: they have no gradient. The row ``padding_idx`` is never taken, and its
gradient is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import ROW_UNITS, Among, Array, Context, DType, Native, Op, Shape, Space, Work


@dataclass(frozen=True)
class EmbeddingOp(Op):
    """``y = W[ids]``, and 0 where an id is ``padding_idx``."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    tables: tuple[int, ...] = ()
    touched_rows: bool = False
    name: ClassVar[str] = "embedding"
    updates = True
    row_roles = ("weight",)

    def by_touched_rows(self) -> Op:
        return replace(self, touched_rows=True)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not self.tables:
            return (*shape, self.embedding_dim)
        if shape[-1] != len(self.tables):
            raise ValueError(f"Embedding: ids have {shape[-1]} columns; expected {len(self.tables)}, one for each "
                             "table")
        return (*shape[:-1], shape[-1] * self.embedding_dim)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where in W each table begins; that of the only one."""
        return tuple(sum(self.tables[:k]) for k in range(max(1, len(self.tables))))

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def input_dtype(self, index: int) -> DType:
        return "int64"

    def among(self, index: int) -> Among:
        return tuple(map(range, self.tables)) if self.tables else range(self.num_embeddings)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (ids,) = xs
        y: Array = params["weight"][ids + np.array(self.offsets)]
        if self.padding_idx is not None:
            y[ids == self.padding_idx] = 0
        return y if not self.tables else y.reshape(*ids.shape[:-1], y.shape[-2] * y.shape[-1])

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[None], dict[str, Array]]:
        (ids,) = ctx.inputs
        dweight = np.zeros_like(ctx.params["weight"])
        rows = (ids + np.array(self.offsets)).reshape(-1)
        np.add.at(dweight, rows, dy.reshape(-1, self.embedding_dim))
        if self.padding_idx is not None:
            dweight[[start + self.padding_idx for start in self.offsets]] = 0
        return (None,), {"weight": dweight}

    def native(self, *shapes: Shape) -> Native:
        ids, rows, features = prod(shapes[0]), self.num_embeddings, self.embedding_dim
        places = Space(per_row=ids, kind="int64", backward_only=True)
        gradient = Work(cost=2 + 0.2 * features, per_row=0.2 * ids * features / rows, units=rows)
        if self.touched_rows:
            gradient = Work(cost=0, per_row=(5 + 0.5 * features) * ids / ROW_UNITS, units=ROW_UNITS)
        return Native(dims=(ids, rows, features, -1 if self.padding_idx is None else self.padding_idx,
                            len(self.offsets), int(self.touched_rows)), integers=self.offsets, params=("weight",),
                      saves=(Space(fixed=rows, kind="int64", backward_only=True), places,
                             replace(places, fixed=1), places),
                      touched=2 if self.touched_rows else None,
                      work={"forward": Work(cost=ids * (5 + 0.2 * features)),
                            "backward_reduce": Work(cost=0, per_row=5 * ids), "gradient": gradient})

    def formula(self) -> str:
        return "y = W[id]"
