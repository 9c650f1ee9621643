"""The embedding layer: rows of a table for ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.core.checks import count, integer
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, checked_initializer, one_input
from fastbp.ops.base import Array, Shape
from fastbp.ops.embedding import EmbeddingOp
from fastbp.optim.initializers import Normal

__all__ = ["Embedding"]

# A tensor's elements are counted in int64 by the plan, in bytes by the allocator.
_MOST_ELEMENTS = 2**60


class Embedding(Layer):
    r"""A trained vector for each id: ``y = W[ids]``.

    Parameters
    ----------
    num_embeddings : int
        N: ids are integers from 0 to N - 1.
    embedding_dim : int
        C: the size of the vectors.
    padding_idx : int, optional
        An id, -1 being the last, for which y is 0, whatever else is trained.
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
    ``fb.Input(…, dtype="int64")``.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(100, 4), fb.Flatten(), fb.Linear(None, 1), seed=0)
    >>> net.predict([[5, 7, 5], [0, 99, 1]]).shape
    (2, 1)
    >>> net.params["0.weight"].shape
    (100, 4)
    """

    takes = "int64"
    any_inputs = ((1,),)

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *,
                 weight_init: Initializer | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"Embedding({num_embeddings!r}, {embedding_dim!r})"
        self.num_embeddings = count(label, "num_embeddings", num_embeddings)
        self.embedding_dim = count(label, "embedding_dim", embedding_dim)
        if self.num_embeddings * self.embedding_dim > _MOST_ELEMENTS:
            raise ValueError(f"{label}: the weight would have more elements than can be addressed; use a smaller layer")
        self.padding_idx = None if padding_idx is None else self._place(label, padding_idx)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, Normal(std=1.0))

    def _place(self, label: str, padding_idx: Any) -> int:
        n, place = self.num_embeddings, integer(padding_idx)
        if place is None or not -n <= place < n:
            raise ValueError(f"{label}: padding_idx is {padding_idx!r}; expected an integer from {-n} to {n - 1}, or "
                             "None")
        return place % n

    def lower(self, *inputs: Tensor) -> Tensor:
        op = EmbeddingOp(self.num_embeddings, self.embedding_dim, self.padding_idx)
        init = self.weight_init if self.padding_idx is None else _WithoutRow(self.weight_init, self.padding_idx)
        return self.apply(op, one_input(self, inputs), initializers={"weight": init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim,
                "padding_idx": self.padding_idx}

    def __repr__(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}{padding})"


@dataclass(frozen=True)
class _WithoutRow:
    """Another initializer's values, but 0 in one row."""

    initializer: Initializer
    row: int

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        values = np.array(self.initializer(shape, rng, dtype))
        values[self.row] = 0
        return values
