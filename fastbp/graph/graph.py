"""The computational graph: all that lies between inputs and outputs, in an order in which every node comes after what
it needs, with names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

from fastbp.graph.tensor import B, Call, Initializer, Input, Node, Parameter, Tensor, apply
from fastbp.ops.base import Among

__all__ = ["Call", "Graph", "Initializer", "Input", "Node", "Parameter", "Tensor", "apply"]


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
    places : dict of Tensor to int
        Where each stands among them.
    layers : dict of str to layer
        By name, in the order in which they are first needed.
    names : dict of Tensor to str
        ``"input"`` (or ``"input0"``, …), then ``"<layer>.<op>"``, unique.
    parameters, buffers : dict of str to Parameter
        By full name, such as ``"0.weight"``, in topological order.
    among : dict of Tensor to range, or to a range for each column
        What the numbers of tensors of integers may be, where ops limit them.
    checked : list of Node
        Those with more to check about what inputs hold.

    Raises
    ------
    ValueError
        For a cycle, an output that needs a tensor which is not among the inputs, an input that no output needs, a
        tensor given twice, two layers of one name, or ids that are reckoned with before they are read.
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
        self.among = self._find_limits()
        given = set(self.inputs)
        self.checked = [n for n in self.nodes if n.op.checks_inputs and not given.isdisjoint(n.inputs)]
        self.places = {t: i for i, t in enumerate(self.tensors)}
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

    @property
    def rows_apart(self) -> bool:
        """Whether a row of the outputs, outside of training, is made of that row of the inputs alone."""
        return not any(t.node is not None and t.node.op.on_arrays and _looks_around(t, t.node) for t in self.tensors)

    @property
    def tables(self) -> frozenset[str]:
        """The names of the parameters that are read by their rows."""
        return frozenset(self.parameter_name(node.params[role]) for node in self.nodes for role in node.op.row_roles)

    def parameter_name(self, parameter: Parameter) -> str:
        """Return the full name, such as ``"0.weight"``."""
        return self._name_of_parameter[parameter]

    def draws_at(self, tensor: Tensor) -> int:
        """Return what keys the random numbers of a node: the place of whose they are, be it in the graph or not."""
        key = None if tensor.node is None else tensor.node.key
        if key is None:
            return self.places[tensor]
        return self.places[key] if key in self.places else min(
            self.places[t] for t in self.tensors if t.node is not None and t.node.key is key)

    def has(self, parameter: Parameter) -> bool:
        """Whether a parameter or buffer is one of the graph's."""
        return parameter in self._name_of_parameter

    def layer_name(self, layer: Any) -> str:
        """Return what a layer of the graph is called here: its own name, or its place among the layers."""
        return self._name_of_layer[id(layer)]

    def __getstate__(self) -> dict[str, Any]:
        # Tensors come first, each after what it needs: so whoever pickles or copies them one after the other has
        # always met what a tensor is made of, and never goes deeper than one node, however long the graph is.
        # What is found by tensor becomes pairs: tensors have no order, which whoever hashes a dict sorts its keys by.
        state = {k: v for k, v in self.__dict__.items() if k != "_name_of_layer"}
        found = {k: v for k, v in state.items() if isinstance(v, dict) and any(isinstance(t, Tensor) for t in v)}
        rest = {k: v for k, v in state.items() if k not in found}
        return {"tensors": rest.pop("tensors"), **rest, "by_tensor": {k: list(v.items()) for k, v in found.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({k: dict(pairs) for k, pairs in state.pop("by_tensor").items()})
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

    def _find_limits(self) -> dict[Tensor, Among]:
        """From what reads integers back to the inputs that they come from."""
        among: dict[Tensor, Among] = {}
        for tensor in reversed(self.tensors):
            if tensor.node is None:
                continue
            op = tensor.node.op
            moved = [op.rearranges(i) for i in range(len(tensor.node.inputs))]
            if tensor in among and not any(moved):
                raise ValueError(f"{tensor!r}, made by the op {op.name!r}, is read as integers "
                                 f"{_said(among[tensor])}; only those that an input holds, however rearranged, are "
                                 "known to be")
            for i, source in enumerate(tensor.node.inputs):
                passed = among.get(tensor) if moved[i] else None
                if isinstance(passed, tuple):
                    raise ValueError(f"{tensor!r} has ids of several tables, and is made by the op {op.name!r}; give "
                                     "fb.Embedding the input as it is")
                limits = [op.among(i), among.get(source), passed]
                known = [limit for limit in limits if limit is not None]
                if source.dtype == "int64" and known:
                    among[source] = reduce(_both, known)
                    if any(not r for r in as_ranges(among[source])):
                        raise ValueError(f"{source!r} is read in ways that no integer fits")
        return among

    def _name_layers(self, given: Iterable[tuple[Any, str]]) -> dict[str, Any]:
        """Name each layer by its own name or its place among the layers, in the order they are first needed."""
        owners: dict[int, Any] = {}
        for node in self.nodes:
            if node.owner is not None:
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
            name = t.node.op.name
            base = name if t.node.owner is None else f"{self.layer_name(t.node.owner)}.{name}"
            taken[base] = count = taken.get(base, 0) + 1
            names[t] = base if count == 1 else f"{base}#{count}"
        return names

    def _collect(self, kind: str) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for node in self.nodes:
            for parameter in getattr(node, kind).values():
                layer = self.layer_name(node.owner)
                name = f"{layer}.{parameter.role}"
                known = found.setdefault(name, parameter)
                if known is not parameter:
                    raise ValueError(f"layer {layer!r} is used on inputs of different sizes: its {parameter.role} "
                                     f"would be {known.shape} and {parameter.shape}; use one layer for each")
        return found


def as_ranges(among: Among) -> tuple[range, ...]:
    """Return what integers may be as a range for each column, one for all of them."""
    return (among,) if isinstance(among, range) else among


def _both(a: Among, b: Among) -> Among:
    """Return what fits both."""
    if isinstance(a, range) and isinstance(b, range):
        return range(max(a.start, b.start), min(a.stop, b.stop))
    columns = max(len(as_ranges(a)), len(as_ranges(b)))
    pairs = [r if len(r) == columns else r * columns for r in map(as_ranges, (a, b))]
    return tuple(range(max(r.start, s.start), min(r.stop, s.stop)) for r, s in zip(*pairs, strict=True))


def _said(among: Among) -> str:
    first = as_ranges(among)[0]
    return f"below {first.stop}" if not first.start else f"from {first.start} to {first.stop - 1}"


def _looks_around(t: Tensor, node: Node) -> bool:
    """Whether a function of whole arrays looks at other rows, at their number, or at where in the batch a row is."""
    from_rows = any(s.rows for s in node.inputs)
    along_rows = from_rows and getattr(node.op, "axis", None) == 0
    return along_rows or (from_rows and not t.rows) or B in t.shape or node.op.name in ("rows", "random")
