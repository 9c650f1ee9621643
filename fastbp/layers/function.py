"""Functions as layers, and parameters of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastbp.core.checks import integer
from fastbp.graph.graph import Initializer, Tensor
from fastbp.graph.tensor import Symbol
from fastbp.graph.tracing import label_of, trace
from fastbp.layers.base import Layer
from fastbp.ops.sources import ParameterOp
from fastbp.optim.initializers import Zeros

__all__ = ["Lambda", "Parameter"]


class Lambda(Layer):
    """A plain NumPy function as a layer; its derivative is worked out by the chain rule.

    Parameters
    ----------
    function : callable
        ``function(x, …)`` of one array (B, …) for each tensor that the layer is called on. It returns an array with B
        rows. It is called once, when the network is built, on symbols in the place of arrays.
    name : str, optional

    Raises
    ------
    TypeError, ValueError
        When called on tensors, for a function that cannot be traced; the line is named.

    Notes
    -----
    Operators, slices and NumPy's functions work on tensors outside of a Lambda as well: ``np.tanh(t) * 2``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> a = fb.Parameter((3,), fb.Ones())
    >>> net = fb.Sequential(fb.Input(3), fb.Lambda(lambda x: a * np.exp(-np.square(x))), dtype="float64")
    >>> net.predict([[0.0, 0.0, 0.0]])
    array([[1., 1., 1.]])
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(name=name)
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"Lambda: function is {function!r}; expected a function of arrays")
        self.function = function

    def lower(self, *inputs: Tensor) -> Tensor:
        label = f"Lambda({label_of(self.function)})"
        given = trace(self.function, inputs, label)
        made = given.tensor if isinstance(given, Symbol) else given
        if not isinstance(made, Tensor):
            raise TypeError(f"{label}: returned {type(given).__name__}; expected an array made of what it was given")
        if not made.rows:
            raise ValueError(f"{label}: returned an array of shape {made.whole_shape}; expected one with B rows")
        return made

    def __repr__(self) -> str:
        return f"Lambda({label_of(self.function)})"


class _ParameterLayer(Layer):
    """What a parameter of one's own belongs to: a layer of no inputs."""

    def __init__(self, shape: Sequence[int], init: Initializer | None = None, *, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        if any((integer(s) or 0) < 1 for s in sizes):
            raise ValueError(f"Parameter: shape is {shape!r}; expected a tuple of positive integers")
        self.shape: tuple[int, ...] = tuple(int(s) for s in sizes)
        if init is not None and not callable(init):
            raise TypeError(f"Parameter: init is {init!r}; expected an initializer such as fb.Normal(0.1), "
                            "fb.Constant(1.0), or a function (shape, rng, dtype) -> array")
        self.init: Initializer = init or Zeros()

    @property
    def _label(self) -> str:
        return "Parameter"

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(ParameterOp(self.shape), initializers={"value": self.init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}


def Parameter(shape: Sequence[int], init: Initializer | None = None, *, name: str | None = None,  # noqa: N802
              trainable: bool = True) -> Tensor:
    """Return a trained array, to be used in functions and with operators: one for the whole batch.

    Parameters
    ----------
    shape : tuple of int
    init : initializer, optional
        Zeros by default.
    name : str, optional
        What it is filed under (``"<name>.value"``); by default its place in the network.
    trainable : bool, default True

    Examples
    --------
    >>> import fastbp as fb
    >>> x, scale = fb.Input(3), fb.Parameter((3,), fb.Constant(2.0), name="scale")
    >>> net = fb.Network(x, x * scale, dtype="float64")
    >>> net.params["scale.value"]
    array([2., 2., 2.])
    """
    made: Tensor = _ParameterLayer(shape, init, name=name, trainable=trainable)()
    return made
