"""Layers that join, reshape or thin out: Add, Multiply, Concat, Flatten, Dropout."""

from __future__ import annotations

from typing import Any

from fastbp.core.checks import integer, number
from fastbp.graph.graph import Tensor
from fastbp.layers.base import Layer, fold, one_input
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.flatten import FlattenOp


class Add(Layer):
    """The sum of two or more tensors of one shape: ``y = a + b + …``."""

    any_inputs = ((1,), (1,))

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return fold(self, inputs, lambda a, b: self.apply(AddOp(), a, b))


class Multiply(Layer):
    """The elementwise product of two or more tensors of one shape: ``y = a · b · …``."""

    any_inputs = ((1,), (1,))

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return fold(self, inputs, lambda a, b: self.apply(MulOp(), a, b))


class Concat(Layer):
    """Two or more tensors side by side along one axis.

    Parameters
    ----------
    axis : int, default -1
        Counted with the batch axis as 0, which itself cannot be chosen.
    name : str, optional
    """

    any_inputs = ((1,), (1,))

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.axis = _sample_axis(axis)

    def lower(self, *inputs: Tensor) -> Tensor:
        return fold(self, inputs, lambda a, b: self.apply(ConcatOp(self.axis), a, b))

    def hyperparameters(self) -> dict[str, Any]:
        return {"axis": self.axis}


class Flatten(Layer):
    """All axes but the batch as one: (B, H, W, C) → (B, H·W·C)."""

    any_inputs = ((1,),)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(FlattenOp(), one_input(self, inputs))


class Dropout(Layer):
    """In training, sets each element to 0 with probability ``rate`` and scales the others by ``1 / (1 - rate)``.

    Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html.

    Parameters
    ----------
    rate : float, default 0.5
        From 0 up to, but not including, 1.
    name : str, optional
    """

    any_inputs = ((1,),)

    def __init__(self, rate: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate = number("Dropout", "rate", rate, "a number from 0 up to, but not including, 1",
                           lambda r: 0 <= r < 1)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(DropoutOp(self.rate), one_input(self, inputs))

    def hyperparameters(self) -> dict[str, Any]:
        return {"rate": self.rate}


def _sample_axis(axis: Any) -> int:
    found = integer(axis)
    if found is None:
        raise TypeError(f"Concat: axis is {axis!r}; expected an integer, such as -1")
    if found == 0:
        raise ValueError("Concat: axis is 0, the batch axis; expected an axis of the samples, such as -1")
    return found
