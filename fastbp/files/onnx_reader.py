"""What reads the nodes of an ONNX model, one at a time: their options and inputs, and tensors in the order of each.

ONNX has channels first and fastbp has them last, and the batch is not always first in ONNX, so a tensor is held with
what ONNX sees of its axes. A transposition changes that alone, and so does a shape that joins axes; axes are moved
where a node needs others than there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.graph.tensor import B
from fastbp.layers.base import Layer
from fastbp.ops.base import Array

Axes = tuple[tuple[int, ...], ...]
Order = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A tensor as ONNX sees it: its axis i is made of the tensor's axes ``axes[i]``, the last of them running fastest.

    The tensor has the batch as axis 0, wherever ONNX has it. An axis made of none has size 1, and so has an axis of
    the tensor that is in none.
    """

    tensor: Any
    axes: Axes

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes as ONNX has them, with -1 for the number of rows, and -k for k times that."""
        sizes = self._sizes
        return tuple(prod(sizes[a] for a in group) for group in self.axes)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (-1, *sample(self.tensor))

    @property
    def plain(self) -> Any:
        """The tensor with its axes as ONNX has them."""
        return self.seen_by(tuple(range(len(self.axes))))

    def seen_by(self, order: Order) -> Any:
        """Return the tensor whose axis ``order[i]`` is ONNX's axis i, for which the batch has to be axis 0 then."""
        groups = [self.axes[place] for place in sorted(range(len(order)), key=order.__getitem__)]
        if not groups or groups[0] != (0,):
            place = next((i for i, group in enumerate(self.axes) if 0 in group), None)
            alone = "" if (0,) in self.axes else ", with others"
            raise ValueError(f"the batch is in axis {place} of {len(self.axes)}{alone}; expected it in axis "
                             f"{order.index(0) if 0 in order else 0}, alone. Export the model with the batch first "
                             "(batch_first=True)")
        return _moved(self.tensor, groups)

    @property
    def is_straight(self) -> bool:
        """Whether each axis of ONNX is one of the tensor's, and the other way round."""
        return all(len(group) == 1 for group in self.axes) and len(self.axes) == len(self._sizes)

    def straight(self) -> View:
        """Return a view of a tensor that has each axis of ONNX as one, the batch first, the others in their order."""
        place = next((i for i, group in enumerate(self.axes) if 0 in group), 0)
        order = tuple(0 if i == place else i + (i < place) for i in range(len(self.axes)))
        return ordered(self.seen_by(order), order)

    def is_made_like(self, other: View) -> bool:
        """Whether the tensors' axes become those of ONNX in the same way."""
        joined = [a for group in self.axes if len(group) > 1 for a in group]
        return self.axes == other.axes and len(self._sizes) == len(other._sizes) and all(
            self._sizes[a] == other._sizes[a] for a in joined)

    def single(self, place: int) -> tuple[View, int]:
        """Return a view in which an axis of ONNX is one of the tensor, and which."""
        group = self.axes[place]
        if 0 in group:
            raise ValueError("it has the batch axis, which fastbp has nothing for")
        return (self, group[0]) if len(group) == 1 else self.last(place)

    def last(self, place: int) -> tuple[View, int]:
        """Return a view in which an axis of ONNX is the last one of the tensor, and which that is."""
        group = self.axes[place]
        if 0 in group:
            raise ValueError("it has the batch axis, which fastbp has nothing for")
        others = [a for a in range(len(self._sizes)) if a not in group]
        new = {a: i for i, a in enumerate(others)}
        axes = [tuple(new[a] for a in g) if i != place % len(self.axes) else (len(others),)
                for i, g in enumerate(self.axes)]
        return View(_moved(self.tensor, [*((a,) for a in others), group]), tuple(axes)), len(others)

    def without(self, place: int, tensor: Any, axis: int) -> View:
        """Return the view of a tensor that has one axis less than this one's."""
        rest = (g for i, g in enumerate(self.axes) if i != place % len(self.axes))
        return View(tensor, tuple(tuple(a - (a > axis) for a in g) for g in rest))

    def laid_out(self, array: Array) -> Array | None:
        """Return an array that ONNX would spread over this shape, with its axes as the tensor has them, if it can be.

        A single number is left as it is.
        """
        if array.size == 1 and array.ndim <= 1:
            return array
        if array.ndim > len(self.axes):
            return None
        sizes, wide = self._sizes, array.reshape(*[1] * (len(self.axes) - array.ndim), *array.shape)
        parts: list[int] = []
        for size, group in zip(wide.shape, self.axes, strict=True):
            if size > 1 and (0 in group or size != prod(sizes[a] for a in group)):
                return None
            parts += [1 if size == 1 else sizes[a] for a in group]
        flat = [a for group in self.axes for a in group]
        rest = [a for a in range(len(sizes)) if a not in flat]
        order = sorted(range(len(sizes)), key=[*flat, *rest].__getitem__)
        return wide.reshape(*parts, *[1] * len(rest)).transpose(order)


def _moved(x: Any, groups: Sequence[Sequence[int]]) -> Any:
    """Return a tensor whose axes are made of those of x; what is in none has size 1."""
    sizes = (-1, *sample(x))
    flat = [a for group in groups for a in group]
    order = [*flat, *(a for a in range(len(sizes)) if a not in flat)]
    wanted = [prod(sizes[a] for a in group) for group in groups[1:]]
    large = [a for a in order if sizes[a] != 1]
    if getattr(x, "dtype", "") == "bool" and (large != sorted(large) or list(sample(x)) != wanted):
        return np.greater(_moved(np.where(x, 1.0, 0.0), groups), 0)        # real numbers alone are laid out anew
    if large != sorted(large):
        x = layers.Permute(*order[1:])(x)
    if list(sample(x)) == wanted:
        return x
    return layers.Reshape(*wanted)(x) if wanted else np.reshape(x, (-1,))


Value = View | Array
"""What a name of a model stands for: a tensor, or numbers that the model holds."""


def sample(tensor: Any) -> tuple[int, ...]:
    """Return the shape of one sample of a tensor or symbol."""
    return tuple(getattr(tensor, "tensor", tensor).shape)


def spread(x: Any, shape: Sequence[int]) -> Any:
    """Return a tensor, or what all rows have, spread over samples of a shape."""
    return getattr(y := np.broadcast_to(x, (B, *shape)), "tensor", y)


def whole(tensor: Any) -> View:
    """Return a tensor whose axes ONNX has in the same order."""
    return ordered(tensor, tuple(range(len(sample(tensor)) + 1)))


def ordered(tensor: Any, order: Order) -> View:
    """Return a tensor of which ONNX has axis ``order[i]`` as axis i."""
    return View(tensor, tuple((a,) for a in order))


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
        The names of arrays that are shapes, in which -1 stands for the number of rows, and -k for k times that.
    offsets : dict of str to (View, array)
        Of ids that were counted on, what they were, and where the table of each column begins.
    uses : Counter of str
        How often each name is used, outputs of the model included.
    users : dict of str to list of node
        What uses each name.
    makers : dict of str to node
        What makes each name.
    within : set of str
        What is made within a chain of nodes that is one layer.
    weights : list of (Layer, str, array)
        The parameters, each with its layer and role.
    """

    onnx: Any
    dtype: str
    opset: int
    rows: int | None
    values: dict[str, Value]
    sizes: set[str] = field(default_factory=set)
    offsets: dict[str, tuple[View, Array]] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    users: dict[str, list[Any]] = field(default_factory=dict)
    makers: dict[str, Any] = field(default_factory=dict)
    within: set[str] = field(default_factory=set)
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
        user = next(iter(self.loaded.users.get(made, [])), None)
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
