"""The embedding layer: rows of a table for ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fastbp.core.checks import count, integer
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, checked_initializer, one_input
from fastbp.ops.base import Array, Shape
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.reduce import ReduceOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import CastOp, ConstantOp
from fastbp.optim.initializers import Normal

__all__ = ["Embedding"]

# A tensor's elements are counted in int64 by the plan, in bytes by the allocator.
_MOST_ELEMENTS = 2**60


class Embedding(Layer):
    r"""A trained vector for each id: ``y = W[ids]``; or one for a bag of ids, their sum or mean.

    Parameters
    ----------
    num_embeddings : int or sequence of int
        N: ids are integers from 0 to N - 1. Of several numbers, one table each: then the last axis of ids has as many
        columns, and their vectors stand side by side in y.
    embedding_dim : int
        C: the size of the vectors.
    padding_idx : int, optional
        An id, -1 being the last, for which y is 0, whatever else is trained. In a bag it does not count.
    mode : {"sum", "mean"}, optional
        The last axis of ids is a bag: y is the sum or the mean of its vectors, and 0 for a bag of padding alone.
    weight_init : initializer, optional
        Default: normal with standard deviation 1.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError
        For sizes that are not positive integers, a padding_idx that is no id, or when called on a tensor of real
        numbers. Ids out of range are an error when they are given to the network.
    TypeError
        For an initializer that is none.

    Notes
    -----
    Shapes: ids ``(B, …)``, weight ``(N, C)``, y ``(B, …, C)``. Ids come in by an input of integers,
    ``fb.Input(…, dtype="int64")``. With ``mode`` ids are ``(B, …, L)``, and y is ``(B, …, C)``. With K tables ids are
    ``(B, …, K)``, y is ``(B, …, K · C)``, and the weight has the tables one below the other.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(100, 4), fb.Flatten(), fb.Linear(None, 1), seed=0)
    >>> net.predict([[5, 7, 5], [0, 99, 1]]).shape
    (2, 1)
    >>> net.params["0.weight"].shape
    (100, 4)
    >>> both = fb.Sequential(fb.Input(2, dtype="int64"), fb.Embedding([10, 3], 4), fb.Linear(8, 1), seed=0)
    >>> both.predict([[9, 2]]).shape
    (1, 1)
    """

    takes = "int64"
    def __init__(self, num_embeddings: int | Sequence[int], embedding_dim: int, padding_idx: int | None = None, *,
                 mode: Literal["sum", "mean"] | None = None, weight_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"Embedding({num_embeddings!r}, {embedding_dim!r})"
        self.tables: tuple[int, ...] = ()
        if isinstance(num_embeddings, list | tuple):
            self.tables = tuple(count(label, "num_embeddings", n) for n in num_embeddings)
            if not self.tables:
                raise ValueError(f"{label}: num_embeddings is empty; expected at least one number")
        self.num_embeddings = sum(self.tables) or count(label, "num_embeddings", num_embeddings)
        self.embedding_dim = count(label, "embedding_dim", embedding_dim)
        if mode not in (None, "sum", "mean"):
            raise ValueError(f'{label}: mode is {mode!r}; expected "sum", "mean" or None')
        if mode and self.tables:
            raise ValueError(f"{label}: mode is {mode!r} with several tables; a bag is of one table: use a layer each")
        self.mode = mode
        if self.num_embeddings * self.embedding_dim > _MOST_ELEMENTS:
            raise ValueError(f"{label}: the weight would have more elements than can be addressed; use a smaller layer")
        self.padding_idx = None if padding_idx is None else self._place(label, padding_idx)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, Normal(std=1.0))

    def _place(self, label: str, padding_idx: Any) -> int:
        n, place = min(self.tables, default=self.num_embeddings), integer(padding_idx)
        if self.tables and (place or 0) < 0:
            raise ValueError(f"{label}: padding_idx is {padding_idx!r}; expected an id that all tables have")
        if place is None or not -n <= place < n:
            raise ValueError(f"{label}: padding_idx is {padding_idx!r}; expected an integer from {-n} to {n - 1}, or "
                             "None")
        return place % n

    @property
    def each_step(self) -> bool:  # type: ignore[override]
        """Whether the last axis of ids is time."""
        return not self.tables and self.mode is None

    def lower(self, *inputs: Tensor) -> Tensor:
        ids = one_input(self, inputs)
        if self.tables and ids.shape[-1:] != (len(self.tables),):
            raise ValueError(f"{self!r}: ids have shape (B, {', '.join(map(str, ids.shape))}); expected "
                             f"{len(self.tables)} columns in the last axis, one for each table")
        op = EmbeddingOp(self.num_embeddings, self.embedding_dim, self.padding_idx, self.tables)
        init = self.weight_init
        if self.padding_idx is not None:
            init = _WithoutRows(init, tuple(start + self.padding_idx for start in op.offsets))
        y = self.apply(op, ids, initializers={"weight": init})
        return y if self.mode is None else self._bag(ids, y)

    def _input_shapes(self) -> Sequence[Shape]:
        return ((max(1, len(self.tables)),),)

    def _bag(self, ids: Tensor, y: Tensor) -> Tensor:
        """Return the sum or mean over the last axis of ids."""
        axis = len(ids.shape)
        if not axis:
            raise ValueError(f"{self!r}: ids have shape (B,); expected (B, L), bags of ids")
        if self.padding_idx is None or self.mode == "sum":
            return self.apply(ReduceOp(str(self.mode), (axis,)), y)
        counts = self.apply(ScalarOp("not_equal"), ids, self.apply(ConstantOp(np.array(self.padding_idx))))
        number = self.apply(ReduceOp("sum", (axis,), True), self.apply(CastOp("real"), counts))
        least = self.apply(ScalarOp("max"), number, self.apply(ConstantOp(np.array(1.0))))
        return self.apply(ScalarOp("div"), self.apply(ReduceOp("sum", (axis,)), y), least)

    def hyperparameters(self) -> dict[str, Any]:
        return {"num_embeddings": list(self.tables) or self.num_embeddings, "embedding_dim": self.embedding_dim,
                "padding_idx": self.padding_idx, "mode": self.mode}

    def __repr__(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        mode = "" if self.mode is None else f", mode={self.mode!r}"
        return f"Embedding({list(self.tables) or self.num_embeddings}, {self.embedding_dim}{padding}{mode})"


@dataclass(frozen=True)
class _WithoutRows:
    """Another initializer's values, but 0 in some rows."""

    initializer: Initializer
    rows: tuple[int, ...]

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        values = np.array(self.initializer(shape, rng, dtype))
        values[list(self.rows)] = 0
        return values
