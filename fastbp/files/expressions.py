"""The ops of expressions in files: NumPy's functions on tensors, which belong to no layer.

What a function of arrays does is kept, not the function: a :class:`~fastbp.Lambda` comes back as the ops that it was
traced to. Constants are arrays of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from fastbp.files.description import Entry, plain
from fastbp.graph.graph import Graph, Tensor, apply
from fastbp.ops import reduce, scalar, sources, structure
from fastbp.ops.base import Array
from fastbp.ops.expression import Expression
from fastbp.ops.sources import ConstantOp

OPS = {kind.__name__: kind for module in (reduce, scalar, sources, structure) for kind in vars(module).values()
       if isinstance(kind, type) and issubclass(kind, Expression) and kind is not Expression}
"""The ops that a file may name."""

# Names of a network's own arrays begin with the name of a layer, which has no dot.
_CONSTANTS = ".constants/"
# Of a shape that stands in a description: of what a function makes in passing, nobody wants more.
_MOST_ELEMENTS = 2**28


def is_expression(tensor: Tensor) -> bool:
    """Whether a tensor is made by an op of this kind that belongs to no layer."""
    return tensor.node is not None and tensor.node.owner is None and type(tensor.node.op).__name__ in OPS \
        and type(tensor.node.op) is OPS[type(tensor.node.op).__name__] and tensor.node.key is None


def describe_op(graph: Graph, tensor: Tensor) -> dict[str, Any]:
    """Return the op that makes a tensor, as JSON takes it."""
    assert tensor.node is not None
    op = tensor.node.op
    if isinstance(op, ConstantOp):
        return {"op": "ConstantOp", "arguments": {"values": _name(graph, tensor), "bool": op.values.dtype == bool}}
    arguments = {f.name: plain(f.name, getattr(op, f.name)) for f in fields(op)}        # type: ignore[arg-type]
    return {"op": type(op).__name__, "arguments": arguments}


def constants(graph: Graph) -> dict[str, Array]:
    """Return the arrays of a graph's constants, by the names that they have in a file."""
    found = {}
    for tensor in graph.tensors:
        if is_expression(tensor) and isinstance(tensor.node.op, ConstantOp):        # type: ignore[union-attr]
            values = tensor.node.op.values      # type: ignore[union-attr]
            found[_name(graph, tensor)] = values.astype("uint8") if values.dtype == bool else values
    return found


def make(entry: Entry, inputs: tuple[Tensor, ...], tensors: Mapping[str, Array]) -> Tensor:
    """Return the tensor that a described op makes of others, or raise ValueError."""
    kind, arguments = entry["op"].one_of(OPS), entry["arguments"]
    with arguments.told():
        if kind is ConstantOp:
            values = arguments["values"].one_of(tensors)
            op: Expression = ConstantOp(values.astype(bool) if arguments["bool"].flag() else values)
        else:
            op = kind(**{name: _tuples(value) for name, value in arguments.mapping().items()})
    with entry.told():
        return apply(op, *inputs)


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
