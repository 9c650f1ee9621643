"""The computational graph: symbols and shapes only, no numbers.

A :class:`Tensor` is a symbol for a batch of samples. A :class:`Node` is one use of one op: it takes tensors and makes
one. Layers called on tensors make nodes; a :class:`Graph` is what lies between given inputs and outputs, in an order
in which every node comes after what it needs. Parameters are symbols here too (:class:`Parameter`); two nodes that
name the same layer share its parameters, and the gradient is the sum over both uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from fastbp.ops.base import Array, Op, Shape

Initializer = Callable[[Shape, "np.random.Generator", Any], Array]

# Elements of one sample: more than an array of float64 can have.
_MOST_ELEMENTS = 2**60


@dataclass(frozen=True, eq=False)
class Parameter:
    """One trained (or, as a buffer, untrained) array of a layer.

    Attributes
    ----------
    role : str
        What the layer calls it: ``"weight"``, ``"bias"``, ``"running_mean"``.
    shape : tuple of int
    initializer : callable
        ``initializer(shape, rng, dtype) -> array``.
    trainable : bool
    """

    role: str
    shape: Shape
    initializer: Initializer
    trainable: bool = True


@dataclass(eq=False)
class Node:
    """One use of one op.

    Attributes
    ----------
    op : Op
    inputs : tuple of Tensor
    owner : object
        The layer that made the node; nodes with one owner share parameters of one role.
    params, buffers : dict of Parameter
        By the role that the op gives them.
    """

    op: Op
    inputs: tuple[Tensor, ...]
    owner: Any = None
    params: dict[str, Parameter] = field(default_factory=dict)
    buffers: dict[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Call:
    """One use of one layer: what its description is saved as, whatever ops it lowers to."""

    layer: Any
    inputs: tuple[Tensor, ...]


@dataclass(eq=False)
class Tensor:
    """A symbol for a batch of samples of one shape, made by a node or (``node=None``) given as input.

    ``call`` is set where the tensor is what a layer returned.
    """

    shape: Shape
    node: Node | None = None
    name: str = ""
    call: Call | None = None

    def __repr__(self) -> str:
        return f"Tensor({self.name or (self.node.op.name if self.node else 'input')}, shape=(B, {_join(self.shape)}))"


def _join(shape: Shape) -> str:
    return ", ".join(map(str, shape))


def Input(*shape: int | Sequence[int], name: str = "") -> Tensor:  # noqa: N802 - reads as a layer does
    """Return the symbol for an input whose samples have the given shape (the batch axis is left out).

    Parameters
    ----------
    *shape : int
        ``Input(32)`` or ``Input(28, 28, 1)``; a single tuple is taken as well.
    name : str, optional

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Input(32)
    Tensor(input, shape=(B, 32))
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError(f"Input: shape is {sizes}; expected positive integers, the batch axis left out")
    if not isinstance(name, str):
        raise ValueError(f"Input: name is {name!r}; expected a string")
    if not sizes:
        raise ValueError("Input: shape is empty; give the sizes of one sample, such as Input(32)")
    return Tensor(_addressable("Input", tuple(int(s) for s in sizes)), name=name)  # type: ignore[arg-type]


def apply(op: Op, *inputs: Tensor, owner: Any = None, params: dict[str, Parameter] | None = None,
          buffers: dict[str, Parameter] | None = None) -> Tensor:
    """Add a node to the graph: the tensor that ``op`` makes of ``inputs``."""
    shape = _addressable(op.name, op.output_shape(*(t.shape for t in inputs)))
    return Tensor(shape, Node(op, inputs, owner, params or {}, buffers or {}))


def _addressable(what: str, shape: Shape) -> Shape:
    if prod(shape) >= _MOST_ELEMENTS:
        raise ValueError(f"{what}: a sample of shape {shape} has more numbers than can be addressed; expected fewer "
                         f"than {_MOST_ELEMENTS:,}")
    return shape


class Graph:
    """All that lies between inputs and outputs, in topological order.

    Parameters
    ----------
    inputs, outputs : sequence of Tensor
    layer_names : pairs of layer and str, optional
        Names for layers that have none of their own; by default their place among the layers.

    Attributes
    ----------
    tensors : list of Tensor
        Every tensor that an output depends on: the inputs, then one per node, each after what it needs.
    layers : dict of str to layer
        By name, in the order in which they are first needed.
    names : dict of Tensor to str
        ``"input"`` (or ``"input0"``, …), then ``"<layer>.<op>"``, unique.
    parameters, buffers : dict of str to Parameter
        By full name, such as ``"0.weight"``, in topological order.

    Raises
    ------
    ValueError
        For a cycle, an output that needs a tensor which is not among the inputs, an input that no output needs, a
        tensor given twice, or two layers of one name.
    """

    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor],
                 layer_names: Iterable[tuple[Any, str]] = ()) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        for role, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"{role} is empty; give at least one tensor")
            for t in tensors:
                if not isinstance(t, Tensor):
                    raise TypeError(f"{role} holds {t!r}; expected tensors, as fb.Input(…) and layers called on "
                                    "them give")
            if len(set(tensors)) < len(tensors):
                raise ValueError(f"{role} holds one tensor twice; give each once")
        self.tensors = self._sort()
        self.layers = self._name_layers(layer_names)
        self._index_layers()
        self.names = self._name_tensors()
        self.parameters = self._collect("params")
        self.buffers = self._collect("buffers")
        self._name_of_parameter = {p: n for d in (self.parameters, self.buffers) for n, p in d.items()}

    @property
    def nodes(self) -> list[Node]:
        """The nodes in topological order."""
        return [t.node for t in self.tensors if t.node is not None]

    def parameter_name(self, parameter: Parameter) -> str:
        """Return the full name, such as ``"0.weight"``."""
        return self._name_of_parameter[parameter]

    def layer_name(self, layer: Any) -> str:
        """Return what a layer of the graph is called here: its own name, or its place among the layers."""
        return self._name_of_layer[id(layer)]

    def __getstate__(self) -> dict[str, Any]:
        # Tensors come first, each after what it needs: so whoever pickles or copies them one after the other has
        # always met what a tensor is made of, and never goes deeper than one node, however long the graph is.
        state = {k: v for k, v in self.__dict__.items() if k != "_name_of_layer"}
        return {"tensors": state.pop("tensors"), **state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._index_layers()

    def _index_layers(self) -> None:
        """Find names by identity, which is another in each process: two layers may well be equal."""
        self._name_of_layer = {id(layer): name for name, layer in self.layers.items()}

    def _sort(self) -> list[Tensor]:
        given = set(self.inputs)
        done: dict[Tensor, None] = {}
        path: dict[Tensor, None] = {}
        stack: list[tuple[Tensor, bool]] = [(t, False) for t in reversed((*self.inputs, *self.outputs))]
        while stack:
            tensor, expanded = stack.pop()
            if expanded:
                del path[tensor]
                done[tensor] = None
            elif tensor in path:
                loop = [*list(path)[list(path).index(tensor):], tensor]
                cycle = " → ".join(t.node.op.name for t in reversed(loop) if t.node)
                raise ValueError(f"the graph has a cycle: {cycle}; a tensor may not depend on itself")
            elif tensor not in done:
                if tensor in given or tensor.node is None:
                    if tensor not in given:
                        raise ValueError(f"outputs need {tensor!r}, which is not among the inputs; add it to inputs")
                    done[tensor] = None
                else:
                    path[tensor] = None
                    stack.append((tensor, True))
                    stack.extend((t, False) for t in reversed(tensor.node.inputs))
        needed = {t for x in done for t in (x.node.inputs if x.node and x not in given else ())} | set(self.outputs)
        for i, t in enumerate(self.inputs):
            if t not in needed:
                raise ValueError(f"inputs[{i}] is {t!r}, which no output needs; leave it out")
            if t.node is not None:
                raise ValueError(f"inputs[{i}] is {t!r}, made by an op; expected what fb.Input(…) gives")
        return list(done)

    def _name_layers(self, given: Iterable[tuple[Any, str]]) -> dict[str, Any]:
        """Name each layer by its own name or its place among the layers, in the order they are first needed."""
        owners: dict[int, Any] = {}
        for node in self.nodes:
            owners.setdefault(id(node.owner), node.owner)
        known: dict[int, str] = {}
        for layer, name in given:
            known.setdefault(id(layer), name)
        names: dict[str, Any] = {}
        for i, (key, owner) in enumerate(owners.items()):
            name = getattr(owner, "name", None) or known.get(key, str(i))
            if name in names:
                raise ValueError(f"two layers are called {name!r}; give each layer a name of its own")
            names[name] = owner
        return names

    def _name_tensors(self) -> dict[Tensor, str]:
        names: dict[Tensor, str] = {}
        taken: dict[str, int] = {}
        for i, t in enumerate(self.inputs):
            names[t] = t.name or ("input" if len(self.inputs) == 1 else f"input{i}")
            taken[names[t]] = 1
        for t in self.tensors:
            if t.node is None:
                continue
            base = f"{self.layer_name(t.node.owner)}.{t.node.op.name}"
            taken[base] = count = taken.get(base, 0) + 1
            names[t] = base if count == 1 else f"{base}#{count}"
        return names

    def _collect(self, kind: str) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for node in self.nodes:
            layer = self.layer_name(node.owner)
            for parameter in getattr(node, kind).values():
                name = f"{layer}.{parameter.role}"
                known = found.setdefault(name, parameter)
                if known is not parameter:
                    raise ValueError(f"layer {layer!r} is used on inputs of different sizes: its {parameter.role} "
                                     f"would be {known.shape} and {parameter.shape}; use one layer for each")
        return found
