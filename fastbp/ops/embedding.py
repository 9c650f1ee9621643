r"""The embedding op.

.. math:: y_t = W_{i_t}

with ids :math:`i` of shape (B, …), integers from 0 to N − 1, :math:`W` (N, C) and y (B, …, C): a row of W for each id.
Where the id is ``padding_idx``, y is 0 instead.

**Derivation.** It is a linear op of vectors that are 1 at the id and 0 elsewhere: :math:`y_t = \sum_v [i_t = v] W_v`.
For a scalar loss E with :math:`dy = \partial E/\partial y`, each row of W sums over the places t where it was taken:

.. math:: \partial E/\partial W_v = \sum_{t:\, i_t = v} dy_t

The ids themselves cannot be changed a little: they have no gradient. The row ``padding_idx`` is never taken, and its
gradient is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, DType, Native, Op, Shape, Space, Work


@dataclass(frozen=True)
class EmbeddingOp(Op):
    """``y = W[ids]``, and 0 where an id is ``padding_idx``."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    name: ClassVar[str] = "embedding"
    updates = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (*shape, self.embedding_dim)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def input_dtype(self, index: int) -> DType:
        return "int64"

    def among(self, index: int) -> range:
        return range(self.num_embeddings)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (ids,) = xs
        y: Array = params["weight"][ids]
        if self.padding_idx is not None:
            y[ids == self.padding_idx] = 0
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[None], dict[str, Array]]:
        (ids,) = ctx.inputs
        dweight = np.zeros_like(ctx.params["weight"])
        np.add.at(dweight, ids.reshape(-1), dy.reshape(-1, self.embedding_dim))
        if self.padding_idx is not None:
            dweight[self.padding_idx] = 0
        return (None,), {"weight": dweight}

    def native(self, *shapes: Shape) -> Native:
        ids, rows, features = prod(shapes[0]), self.num_embeddings, self.embedding_dim
        return Native(dims=(ids, rows, features, -1 if self.padding_idx is None else self.padding_idx),
                      params=("weight",),
                      saves=(Space(fixed=rows, kind="int64", backward_only=True),
                             Space(per_row=ids, kind="int64", backward_only=True)),
                      work={"forward": Work(cost=ids * (5 + 0.2 * features)),
                            "backward_reduce": Work(cost=rows, per_row=3 * ids),
                            "gradient": Work(cost=2 + 0.2 * features, per_row=0.2 * ids * features / rows,
                                             units=rows)})

    def formula(self) -> str:
        return "y = W[id]"
