"""What reads the nodes of an ONNX model, one at a time: their options and inputs, and tensors in the order of each.

ONNX has channels first and fastbp has them last, so a tensor is held with the order in which ONNX sees its axes. A
transposition changes that order alone; axes are moved where a node needs others than there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.layers.base import Layer
from fastbp.ops.base import Array

Order = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A tensor as ONNX sees it: its axis i is axis ``order[i]`` of the tensor, with the batch as axis 0 of both."""

    tensor: Any
    order: Order

    def seen_by(self, order: Order) -> Any:
        """Return the tensor with its axes moved so that ONNX sees them in this order."""
        axes = [axis for _, axis in sorted(zip(order, self.order, strict=True))]
        if axes == sorted(axes):
            return self.tensor
        return layers.Permute(*axes[1:])(self.tensor)

    @property
    def plain(self) -> Any:
        """The tensor with its axes as ONNX has them."""
        return self.seen_by(tuple(range(len(self.order))))

    @property
    def in_sequence(self) -> Any:
        """A tensor whose elements come one after the other as ONNX has them, its shape set aside."""
        return self.tensor if sum(size > 1 for size in sample(self.tensor)) < 2 and self.order[0] == 0 else self.plain

    @property
    def shape(self) -> tuple[Any, ...]:
        """The sizes as ONNX has them, with -1 for the number of rows."""
        sizes = (-1, *sample(self.tensor))
        return tuple(sizes[axis] for axis in self.order)


Value = View | Array
"""What a name of a model stands for: a tensor, or numbers that the model holds."""


def sample(tensor: Any) -> tuple[int, ...]:
    """Return the shape of one sample of a tensor or symbol."""
    return tuple(getattr(tensor, "tensor", tensor).shape)


def whole(tensor: Any) -> View:
    """Return a tensor whose axes ONNX has in the same order."""
    return View(tensor, tuple(range(len(sample(tensor)) + 1)))


@dataclass
class Loaded:
    """What is known of a model while it is read.

    Attributes
    ----------
    onnx : module
    dtype : str
        Of the network to be.
    opset : int
    rows : int or None
        The number of rows, where the model was written for one alone.
    values : dict of str to View or array
    sizes : set of str
        The names of arrays that are shapes, in which -1 stands for the number of rows.
    uses : Counter of str
        How often each name is used, outputs of the model included.
    users : dict of str to node
        What uses it last.
    weights : list of (Layer, str, array)
        The parameters, each with its layer and role.
    """

    onnx: Any
    dtype: str
    opset: int
    rows: int | None
    values: dict[str, Value]
    sizes: set[str] = field(default_factory=set)
    uses: Counter[str] = field(default_factory=Counter)
    users: dict[str, Any] = field(default_factory=dict)
    weights: list[tuple[Layer, str, Array]] = field(default_factory=list)


class Node:
    """One node of a model, with what its inputs stand for.

    Attributes
    ----------
    op : str
        The name of the operator.
    inputs : list of View, array or None
        None for one that is left out.
    outputs : list of str
    """

    def __init__(self, loaded: Loaded, proto: Any) -> None:
        self.loaded, self.op, self.names = loaded, proto.op_type, list(proto.input)
        self.outputs, self.name = list(proto.output), proto.name or next(iter(proto.output), "")
        self._options = {a.name: loaded.onnx.helper.get_attribute_value(a) for a in proto.attribute}
        self.inputs = [loaded.values[name] if name else None for name in self.names]

    def option(self, name: str, default: Any = None) -> Any:
        """Return an attribute: text as str, and a real number, which ONNX holds in float32, with its few digits."""
        value = self._options.get(name, default)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, float):
            return float(str(np.float32(value)))
        return value

    def given(self, place: int) -> Value | None:
        """Return an input, or None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def array(self, place: int, what: str) -> Array:
        """Return an input that must be numbers of the model's own."""
        value = self.given(place)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{what} is {'left out' if value is None else 'computed'}; expected numbers that the "
                             "model holds")
        return value

    def weight(self, place: int, what: str) -> Array:
        """Return an input that becomes a parameter: finite numbers of the model's own."""
        array = self.array(place, what)
        if not np.isfinite(array).all():
            raise ValueError(f"{what}, {self.names[place]!r}, has numbers that are not finite")
        return array

    def view(self, place: int = 0) -> View:
        """Return an input that must be computed from the model's inputs."""
        value = self.given(place)
        if not isinstance(value, View):
            raise ValueError(f"input {place} is numbers that the model holds; expected what comes from its inputs")
        return value

    def axes(self, place: int, name: str = "axes") -> list[int] | None:
        """Return integers that older models have as an attribute and newer ones as an input."""
        if self.given(place) is not None:
            return [int(a) for a in self.array(place, name).reshape(-1)]
        found = self.option(name)
        return None if found is None else [int(a) for a in found]

    def number(self, place: int, name: str, default: float | None) -> float | None:
        """Return a number that older models have as an attribute and newer ones as an input."""
        if self.given(place) is not None:
            return float(self.array(place, name).reshape(()))
        found = self.option(name, default)
        return None if found is None else float(found)

    def axis(self, name: str, default: int, ndim: int) -> int:
        """Return an axis, counted from the front."""
        return int(self.option(name, default)) % ndim

    def must(self, fits: bool, what: str) -> None:
        """Refuse an option that fastbp has nothing for."""
        if not fits:
            raise ValueError(f"it has {what}, which fastbp has nothing for")

    def named(self, place: int = 1) -> str | None:
        """Return a name for the layer, from that of its weight: ``"net.0.weight"`` belongs to ``"net_0"``."""
        stem, _, role = self.names[place].rpartition(".")
        name = stem.replace(".", "_")
        taken = {layer.name for layer, *_ in self.loaded.weights}
        return name if role == "weight" and name and name not in taken else None

    def load(self, layer: Layer, **weights: Array) -> Layer:
        """Return a layer, whose parameters become these when the network is built."""
        self.loaded.weights += [(layer, role, array) for role, array in weights.items()]
        return layer

    def added(self, size: int) -> Array | None:
        """Return the vector that the next node adds to what this one makes, if it is the only use of it, and do that.

        What this node makes is then what the next one would.
        """
        made = self.outputs[0]
        user = self.loaded.users.get(made)
        if user is None or user.op_type != "Add" or self.loaded.uses[made] != 1:
            return None
        other = self.loaded.values.get(next((name for name in user.input if name != made), ""))
        if not isinstance(other, np.ndarray) or other.shape != (size,):
            return None
        if not np.isfinite(other).all():
            raise ValueError(f"the bias, {next(n for n in user.input if n != made)!r}, has numbers that are not finite")
        self.outputs = [user.output[0]]
        return other


Rule = Callable[[Node], Value | Sequence[Value]]
"""Returns what a node makes, given its inputs."""


def finite_constants(values: Mapping[str, Array]) -> None:
    """Refuse NaN and infinity; minus infinity hides entries from a softmax, and is none in a parameter."""
    for name, array in values.items():
        if array.dtype.kind == "f" and (np.isnan(array).any() or (array == np.inf).any()):
            raise ValueError(f"from_onnx: the model's {name!r} has numbers that are not finite; expected finite ones. "
                             "Was it trained to the end?")
