"""What every layer is: hyperparameters, and how they lower to ops.

A layer is a description. It holds no arrays and knows no network: called on tensors it adds nodes to the graph and
returns the tensor they make. Calling one layer twice shares its parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastbp.core.checks import flag
from fastbp.core.words import Worded
from fastbp.graph.graph import Call, Initializer, Parameter, Tensor, apply
from fastbp.graph.tensor import Symbol
from fastbp.ops.base import Op, Shape


class Layer(Worded, ABC):
    """One layer of a network.

    Parameters
    ----------
    name : str, optional
        What its parameters are filed under (``"<name>.weight"``); by default its place in the network.
    trainable : bool, default True
        False keeps its parameters as they are: they get no gradient and no update.
    """

    words: ClassVar[Mapping[str, str]] = {
        "activation": "an activation as the next layer, such as fb.ReLU()", "p": "rate=…", "units": "out_features=…",
        "input_shape": "fb.Input(shape) as the first layer", "input_dim": "in_features=…", "use_bias": "bias=…",
        "kernel_initializer": "weight_init=…", "bias_initializer": "bias_init=…", "num_features": "features=…",
        "normalized_shape": "features=…", "epsilon": "eps=…", "dtype": "dtype=… to the network",
    }
    reads_hyperparameters_late: ClassVar[bool] = False
    """Whether what is assigned to hyperparameters of a layer in use has an effect."""

    def __init__(self, *, name: str | None = None, trainable: bool = True) -> None:
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"{type(self).__name__}: name is {name!r}; expected a non-empty string without a dot")
        self.name = name
        self.trainable = flag(type(self).__name__, "trainable", trainable)
        self._known: dict[tuple[str, Shape], Parameter] = {}
        self._used = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get("_used") and name in self._fixed():
            raise AttributeError(f"{type(self).__name__}: {name} is fixed, as the layer is part of a network; make the "
                                 f"network anew with {name}={value!r}, and take over what was learnt by "
                                 "new.load_state_dict(old.state_dict())")
        super().__setattr__(name, value)

    def _fixed(self) -> set[str]:
        return {"name", "trainable", *(() if self.reads_hyperparameters_late else self.hyperparameters())}

    def __call__(self, *inputs: Any) -> Any:
        """Apply the layer to tensors, and return the tensor it makes."""
        tensors = tuple(t.tensor if isinstance(t, Symbol) else t for t in inputs)
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"{self!r}: called on {type(t).__name__}; expected tensors, as fb.Input(…) gives. "
                                "To run a layer on numbers, put it in a fb.Sequential")
        out = self.lower(*tensors)
        self._used = True
        if out.node is not None and out.node.owner is self and out.call is None:
            out.call = Call(self, tensors)
        return out if all(a is b for a, b in zip(tensors, inputs, strict=True)) else Symbol(out)

    @abstractmethod
    def lower(self, *inputs: Tensor) -> Tensor:
        """Add the layer's ops to the graph."""

    def hyperparameters(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {}

    @property
    def output_features(self) -> int | None:
        """The features it puts out whatever comes in, or None."""
        return None

    def __repr__(self) -> str:
        given = dict(self.hyperparameters())
        if self.name is not None:
            given["name"] = self.name
        if not self.trainable:
            given["trainable"] = False
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())})"

    def parameter(self, role: str, shape: Shape, initializer: Initializer, trainable: bool = True) -> Parameter:
        """Return the layer's parameter of this role and shape: the same one at every call."""
        return self._known.setdefault((role, shape), Parameter(role, shape, initializer, trainable and self.trainable))

    def apply(self, op: Op, *inputs: Tensor, initializers: dict[str, Initializer] | None = None) -> Tensor:
        """Add one op to the graph, with parameters and buffers as the op wants them."""
        shapes = [t.shape for t in inputs]
        start = initializers or {}
        params = {r: self.parameter(r, s, start[r]) for r, s in op.parameter_shapes(*shapes).items()}
        buffers = {r: self.parameter(r, s, start[r], False) for r, s in op.buffer_shapes(*shapes).items()}
        return apply(op, *inputs, owner=self, params=params, buffers=buffers)


def one_input(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the only input, or raise TypeError."""
    if len(inputs) != 1:
        raise TypeError(f"{layer!r}: called on {len(inputs)} tensors; expected 1")
    return inputs[0]


def fold(layer: Layer, inputs: tuple[Tensor, ...], combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine any number of inputs, two at a time, neighbours first."""
    if len(inputs) < 2:
        raise TypeError(f"{layer!r}: called on {len(inputs)} tensor{'s' * (len(inputs) != 1)}; expected at least 2")
    row = list(inputs)
    while len(row) > 1:
        pairs = [combine(a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
        row = pairs + ([row[-1]] if len(row) % 2 else [])
    return row[0]


def checked_initializer(label: str, argument: str, given: Initializer | None, default: Initializer) -> Initializer:
    """Return a given initializer, or the default for None; TypeError for what is none."""
    if given is None:
        return default
    if isinstance(given, type) or not callable(given):
        raise TypeError(f"{label}: {argument} is {given!r}; expected an initializer such as fb.XavierUniform(), or a "
                        "function (shape, rng, dtype) -> array")
    return given
