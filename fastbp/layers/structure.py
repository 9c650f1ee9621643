"""Layers that join, reshape or thin out: Add, Multiply, Concat, Residual, Flatten, Reshape, Permute, Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.core.checks import integer, number
from fastbp.graph.graph import Tensor
from fastbp.graph.streaming import stream
from fastbp.layers.base import Layer, fold, one_input
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.reshape import PermuteOp, ReshapeOp

__all__ = ["Add", "Concat", "Dropout", "Flatten", "Multiply", "Permute", "Reshape", "Residual"]


class Add(Layer):
    """The sum of two or more tensors of one shape: ``y = a + b + …``."""

    each_step = True
    any_inputs = ((1,), (1,))

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return fold(self, inputs, lambda a, b: self.apply(AddOp(), a, b))


class Multiply(Layer):
    """The elementwise product of two or more tensors of one shape: ``y = a · b · …``."""

    each_step = True
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

    @property
    def each_step(self) -> bool:  # type: ignore[override]
        """Whether it joins the features of each step."""
        return self.axis == -1

    def lower(self, *inputs: Tensor) -> Tensor:
        if stream() is not None and any(len(t.shape) < 2 for t in inputs):
            raise ValueError(f"{self!r}: joins steps; in a stream it joins features, of sequences (B, T, C)")
        return fold(self, inputs, lambda a, b: self.apply(ConcatOp(self.axis), a, b))

    def hyperparameters(self) -> dict[str, Any]:
        return {"axis": self.axis}


class Residual(Layer):
    """A chain of layers beside a way that goes past it: ``y = x + layers(x)``.

    He et al. (2016), https://arxiv.org/abs/1512.03385.

    Parameters
    ----------
    *layers : Layer
        The last one must give the shape of x. Their parameters are the residual layer's: ``"<name>.0.weight"``.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(4), fb.Residual(fb.Linear(4, 8), fb.ReLU(), fb.Linear(8, 4)), seed=0)
    >>> list(net.params)
    ['0.0.weight', '0.0.bias', '0.2.weight', '0.2.bias']
    """

    each_step = True

    def __init__(self, *layers: Layer, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"Residual: layer {i} is {layer!r}; expected a layer such as fb.ReLU()")
        if not layers:
            raise ValueError("Residual: no layers given; expected at least one, such as fb.Linear(4, 4)")
        self.layers = tuple(self.part(str(i), layer) for i, layer in enumerate(layers))

    def lower(self, *inputs: Tensor) -> Tensor:
        x = y = one_input(self, inputs)
        for layer in self.layers:
            y = layer(y)
        return self.apply(AddOp(), x, y)

    def hyperparameters(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __repr__(self) -> str:
        return f"Residual({', '.join(map(repr, self.layers))})"


class Flatten(Layer):
    """All axes but the batch as one: (B, H, W, C) → (B, H·W·C)."""

    any_inputs = ((1,),)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(FlattenOp(), one_input(self, inputs))


class Reshape(Layer):
    """``y = x`` under another shape: no element moves.

    Parameters
    ----------
    shape, *more : int
        Of one sample, the batch axis left out; one size may be -1, for what is left. A tuple is taken as well.
    name : str, optional

    Raises
    ------
    ValueError
        For sizes that are none, or a shape of another number of elements.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Reshape(28, 28, 1)(fb.Input(784)).shape, fb.Reshape(-1, 4)(fb.Input(3, 8)).shape
    ((28, 28, 1), (6, 4))
    """

    def __init__(self, shape: int | Sequence[int], *more: int, name: str | None = None) -> None:
        super().__init__(name=name)
        given = (*(shape if isinstance(shape, tuple | list) else (shape,)), *more)
        sizes = [integer(n) for n in given]
        if not sizes or any(n is None or (n < 1 and n != -1) for n in sizes) or sizes.count(-1) > 1:
            raise ValueError(f"Reshape: shape is {given}; expected the sizes of one sample, positive integers, one of "
                             "which may be -1")
        self.shape = tuple(n for n in sizes if n is not None)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(ReshapeOp(self.shape), one_input(self, inputs))

    def hyperparameters(self) -> dict[str, Any]:
        return {"shape": self.shape}

    def __repr__(self) -> str:
        return f"Reshape({', '.join(map(str, self.shape))})"


class Permute(Layer):
    """The axes of a sample in another order: axis i of y is axis ``dims[i - 1]`` of x.

    Parameters
    ----------
    dims, *more : int
        The axes 1, 2, … of x, each once; the batch, axis 0, stays first and is left out.
    name : str, optional

    Raises
    ------
    ValueError
        For anything else, or an x of another number of axes.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Permute(2, 3, 1)(fb.Input(3, 32, 32)).shape      # channels to the end
    (32, 32, 3)
    """

    def __init__(self, dims: int | Sequence[int], *more: int, name: str | None = None) -> None:
        super().__init__(name=name)
        given = (*(dims if isinstance(dims, tuple | list) else (dims,)), *more)
        axes = [integer(d) for d in given]
        if not axes or sorted(a or 0 for a in axes) != list(range(1, len(axes) + 1)):
            raise ValueError(f"Permute: dims is {given}; expected the axes 1 to {max(len(axes), 1)} in the order "
                             "wanted, each once; the batch, axis 0, is left out")
        self.dims = tuple(a for a in axes if a is not None)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(PermuteOp(self.dims), one_input(self, inputs))

    def hyperparameters(self) -> dict[str, Any]:
        return {"dims": self.dims}

    def __repr__(self) -> str:
        return f"Permute({', '.join(map(str, self.dims))})"


class Dropout(Layer):
    """In training, sets each element to 0 with probability ``rate`` and scales the others by ``1 / (1 - rate)``.

    Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html.

    Parameters
    ----------
    rate : float, default 0.5
        From 0 up to, but not including, 1.
    name : str, optional
    """

    each_step = True
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
