"""Ops in files: NumPy's functions on tensors, and what derivatives are made of besides.

What a function of arrays does is kept, not the function: a :class:`~fastbp.Lambda` comes back as the ops that it was
traced to, and what :func:`fastbp.grad` made as the ops that it made. Those read parameters of layers, which a file
names by layer and role, and tensors that layers make on the way. Constants are arrays of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from inspect import isabstract
from typing import Any

import numpy as np

from fastbp.files.description import Entry, plain
from fastbp.graph.graph import Graph, Parameter, Tensor, apply
from fastbp.layers.base import Layer
from fastbp.ops import (
    activations,
    batch_norm,
    concat,
    dropout,
    elementwise,
    flatten,
    glu,
    group_norm,
    grouped_linear,
    layer_norm,
    linalg,
    linear,
    prelu,
    random,
    reduce,
    rms_norm,
    scalar,
    scale,
    slice,
    softmax,
    sort,
    sources,
    structure,
)
from fastbp.ops.base import Array, Op
from fastbp.ops.expression import Expression
from fastbp.ops.sources import ConstantOp
from fastbp.optim.initializers import Zeros

_MODULES = (activations, batch_norm, concat, dropout, elementwise, flatten, glu, group_norm, grouped_linear, layer_norm,
            linalg, linear, prelu, random, reduce, rms_norm, scalar, scale, slice, softmax, sort, sources, structure)
OPS: dict[str, type[Op]] = {
    kind.__name__: kind for module in _MODULES for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Op) and kind not in (Op, Expression) and not isabstract(kind)}
"""The ops that a file may name: those that can be derived, whose arguments are numbers and texts."""

_KINDS = ("params", "buffers")
# Names of a network's own arrays begin with the name of a layer, which has no dot.
_CONSTANTS = ".constants/"
# Of a shape that stands in a description: of what a function makes in passing, nobody wants more.
_MOST_ELEMENTS = 2**28


def is_op(tensor: Tensor) -> bool:
    """Whether a tensor is made by an op of this kind."""
    return tensor.node is not None and type(tensor.node.op) is OPS.get(type(tensor.node.op).__name__)


def describe_op(graph: Graph, tensor: Tensor, place_of: Callable[[Layer], int]) -> dict[str, Any]:
    """Return the op that makes a tensor, as JSON takes it; ``place_of`` says where a layer stands in the file."""
    node = tensor.node
    assert node is not None
    op = node.op
    if isinstance(op, ConstantOp):
        return {"op": "ConstantOp", "arguments": {"values": _name(graph, tensor), "bool": op.values.dtype == bool}}
    arguments = {f.name: plain(f.name, getattr(op, f.name)) for f in fields(op)}        # type: ignore[arg-type]
    described = {"op": type(op).__name__, "arguments": arguments}
    roles = {kind: {role: p.role for role, p in getattr(node, kind).items()} for kind in _KINDS if getattr(node, kind)}
    return {**described, "layer_of": place_of(node.owner), **roles} if roles else described


def constants(graph: Graph) -> dict[str, Array]:
    """Return the arrays of a graph's constants, by the names that they have in a file."""
    found = {}
    for tensor in graph.tensors:
        if is_op(tensor) and isinstance(tensor.node.op, ConstantOp):        # type: ignore[union-attr]
            values = tensor.node.op.values      # type: ignore[union-attr]
            found[_name(graph, tensor)] = values.astype("uint8") if values.dtype == bool else values
    return found


def make(entry: Entry, inputs: tuple[Tensor, ...], tensors: Mapping[str, Array], layers: Sequence[Layer]) -> Tensor:
    """Return the tensor that a described op makes of others, or raise ValueError."""
    kind, arguments = entry["op"].one_of(OPS), entry["arguments"]
    with arguments.told():
        if kind is ConstantOp:
            values = arguments["values"].one_of(tensors)
            op: Op = ConstantOp(values.astype(bool) if arguments["bool"].flag() else values)
        else:
            op = kind(**{name: _tuples(value) for name, value in arguments.mapping().items()})
    layer = entry["layer_of"].numbered(layers) if "layer_of" in entry.mapping() else None
    with entry.told():
        if layer is None:
            made = apply(op, *inputs)
            if made.node is not None and {**op.parameter_shapes(*(t.shape for t in inputs)),
                                          **op.buffer_shapes(*(t.shape for t in inputs))}:
                raise ValueError(f"{op.name} has parameters; expected the layer that they are of")
            return made
        return apply(op, *inputs, owner=layer, **_parameters(entry, op, inputs, layer))


def _parameters(entry: Entry, op: Op, inputs: tuple[Tensor, ...], layer: Layer) -> dict[str, dict[str, Parameter]]:
    """Return what an op reads of a layer, by kind and role."""
    shapes = {**op.parameter_shapes(*(t.shape for t in inputs)), **op.buffer_shapes(*(t.shape for t in inputs))}
    found: dict[str, dict[str, Parameter]] = {kind: {} for kind in _KINDS}
    for kind in _KINDS:
        for role, name in (entry[kind].mapping() if kind in entry.mapping() else {}).items():
            if role not in shapes or not isinstance(name, str):
                raise ValueError(f"{kind} has {role!r}; expected {', '.join(shapes)}")
            found[kind][role] = layer.parameter(name, shapes.pop(role), Zeros(), kind == "params")
    if shapes:
        raise ValueError(f"{op.name} lacks {', '.join(shapes)}")
    return found


def _tuples(value: Any) -> Any:
    """Return lists as tuples, which ops are made of."""
    if not isinstance(value, list):
        return value
    sizes = [size for size in value if isinstance(size, int)]
    if sizes and np.prod([float(size) for size in sizes if size > 0]) > _MOST_ELEMENTS:
        raise ValueError(f"{value} has more elements than {_MOST_ELEMENTS:,}")
    return tuple(_tuples(part) for part in value)


def _name(graph: Graph, tensor: Tensor) -> str:
    return f"{_CONSTANTS}{graph.places[tensor]}"
