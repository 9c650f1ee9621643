"""The border of a network: everything that enters is checked and converted here, once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.core.checks import integer, integers, numbered, numbers
from fastbp.engine.backend import Data
from fastbp.graph.graph import Graph, Tensor
from fastbp.objectives.custom import as_loss
from fastbp.objectives.functions import FunctionLoss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

DTYPES = ("float32", "float64")


class Border:
    """What checks arrays for one graph.

    Attributes
    ----------
    graph : Graph
    dtype : str
    """

    graph: Graph
    dtype: str
    _single_input: bool
    _single_output: bool

    def _data(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None) -> Data:
        """Check and convert a labelled batch or data set.

        What it holds are views of the user's arrays, whose shape nobody else can change, and copies of labels.
        """
        inputs = self._inputs(x)
        rows = len(inputs[0])
        if rows == 0:
            raise ValueError("x has no rows; expected at least one sample")
        losses = self._losses(loss)
        if isinstance(losses[0], FunctionLoss):
            function = losses[0]
            checked = function.all_targets(y, self.graph.outputs, self.dtype, rows)
            if not self._single_output or not function.returns_gradient(self.graph.outputs, checked):
                weight = None if sample_weight is None else function.sample_weights(sample_weight, rows, self.dtype)
                return _held(inputs, losses, checked, weight)
            losses = (function.custom,)
        targets = self._several("y", y, self._single_output, len(losses))
        names = numbered("y", len(losses))
        checked = [one.targets(t, out.shape, self.dtype, rows, name)
                   for one, t, out, name in zip(losses, targets, self.graph.outputs, names, strict=True)]
        weights = [one.sample_weights(sample_weight, rows, self.dtype) for one in losses if sample_weight is not None]
        return _held(inputs, losses, checked, weights[0] if weights else None)

    def _losses(self, loss: Any) -> tuple[Loss, ...]:
        """Check that there is a loss for each output, and that it fits."""
        if callable(loss) and not isinstance(loss, type | Loss):
            loss = FunctionLoss(loss)
        if isinstance(loss, FunctionLoss):
            return (loss,)
        losses = [as_loss(one) for one in self._several("loss", loss, self._single_output, len(self.graph.outputs))]
        for one, t in zip(losses, self.graph.outputs, strict=True):
            if isinstance(one, type) and issubclass(one, Loss):
                raise TypeError(f"loss is the class {one.__name__}; expected an instance: {one.__name__}()")
            if not isinstance(one, Loss):
                raise TypeError(f"loss is {one!r}; expected a loss such as fb.MSE(), or a function of outputs and "
                                "targets that returns one number")
            one.check_output(t.shape)
        return tuple(losses)

    def _inputs(self, x: Any) -> list[Array]:
        given = self._several("x", x, self._single_input, len(self.graph.inputs))
        names = numbered("x", len(given))
        arrays = [self._array(n, g, t.shape) if t.dtype == "real" else self._integers(n, g, t)
                  for n, g, t in zip(names, given, self.graph.inputs, strict=True)]
        for n, a in zip(names, arrays, strict=True):
            if len(a) != len(arrays[0]):
                raise ValueError(f"{n} has {len(a)} rows; expected {len(arrays[0])}, as {names[0]} has")
        return arrays

    def _array(self, name: str, values: Any, shape: Shape) -> Array:
        if type(values) is np.ndarray and values.dtype == self.dtype and values.shape[1:] == shape \
                and values.flags.c_contiguous and values.ndim:
            return values
        return self._fitting(name, numbers(name, values, self.dtype), shape)

    def _integers(self, name: str, values: Any, t: Tensor) -> Array:
        array = self._fitting(name, integers(name, values), t.shape)
        below = self.graph.below.get(t)
        if below is None:
            return array
        wrong = (array < 0) | (array >= below)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{name} has {array[at]} in row {at[0]}; expected integers from 0 to {below - 1}, as the "
                             "network reads them")
        return array

    def _fitting(self, name: str, array: Array, shape: Shape) -> Array:
        if array.shape[1:] != shape or not array.ndim:
            wanted = ", ".join(["B", *map(str, shape)])
            mend = f"; for a single sample give {name}[None]" if array.shape == shape else ""
            if array.ndim == len(shape) + 1 and len(shape) == 1:
                raise ValueError(f"{name} has shape {array.shape}; expected ({wanted}): {shape[0]} features in the "
                                 "last axis")
            raise ValueError(f"{name} has shape {array.shape}; expected ({wanted}){mend}")
        return array

    def _several(self, name: str, values: Any, single: bool, count: int) -> list[Any]:
        if single:
            return [values]
        if not isinstance(values, list | tuple) or len(values) != count:
            what = f"{len(values)} entries" if isinstance(values, list | tuple) else type(values).__name__
            raise ValueError(f"{name} has {what}; expected a tuple of {count}, as the network has")
        return list(values)


def _held(inputs: Sequence[Array], losses: Sequence[Loss], targets: Sequence[Array], weight: Array | None) -> Data:
    """Return data whose shapes nobody else can change: views of arrays that may be the user's own."""
    return Data([a.view() for a in inputs], losses, [t.view() for t in targets],
                None if weight is None else weight.view())


def as_tuple(role: str, tensors: Any) -> tuple[Tensor, ...]:
    if isinstance(tensors, Tensor):
        return (tensors,)
    if not isinstance(tensors, Iterable):
        raise TypeError(f"{role} is {tensors!r}; expected a tensor, as fb.Input(…) gives, or a sequence of them")
    return tuple(tensors)


def dtype_name(dtype: Any) -> str:
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    if dtype is None or name not in DTYPES:  # to NumPy None means float64
        raise ValueError(f'dtype is {dtype!r}; expected "float32" or "float64"')
    return name


def compute_dtype_name(compute_dtype: str | None, dtype: str) -> str:
    if compute_dtype is None or compute_dtype == dtype:
        return dtype
    if compute_dtype != "bfloat16":
        raise ValueError(f'compute_dtype is {compute_dtype!r}; expected "bfloat16", or None for that of the parameters')
    if dtype != "float32":
        raise ValueError('compute_dtype is "bfloat16", which goes with dtype "float32" alone; dtype is '
                         f'{dtype!r}: give compute_dtype="{dtype}"')
    return compute_dtype


def checked_seed(seed: Any) -> int:
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 1
    number = integer(seed)
    if number is None or not 0 <= number < 2**64:
        raise ValueError(f"seed is {seed!r}; expected an integer from 0 to 2**64 - 1, or None")
    return number
