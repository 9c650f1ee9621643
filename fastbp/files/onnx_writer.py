"""What writes the nodes of an ONNX model, one op of a network at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp.engine.executable import Executable
from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array


class Model:
    """The nodes and constants of one network."""

    def __init__(self, net: Executable) -> None:
        try:
            import onnx
        except ImportError:
            raise ImportError("to_onnx needs onnx; install it with: pip install 'fastbp[onnx]'") from None
        self.onnx, self.net = onnx, net
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.names = _names(net)
        types = onnx.TensorProto
        self.types = {"real": types.DOUBLE if net.dtype == "float64" else types.FLOAT, "int64": types.INT64,
                      "bool": types.BOOL, "double": types.DOUBLE, "int32": types.INT32}


def _names(net: Executable) -> dict[Tensor, str]:
    """Return the names of tensors: of inputs and outputs those that somebody gave them."""
    names = dict(net.graph.names)
    for side, tensors in ((net._outs, net.graph.outputs), (net._ins, net.graph.inputs)):
        if side.named and (side.is_dict or side is net._ins):
            names.update(zip(tensors, side.names, strict=True))
    return names


class Writer:
    """Writes one op: called with the name of an operator and its inputs it adds a node, and names what that makes.

    Attributes
    ----------
    double : bool
        Whether the network is one of float64.
    real : int
        ONNX's number for its dtype.
    tensor, node : Tensor, Node
        What is made, and by what.
    """

    def __init__(self, model: Model, tensor: Tensor, node: Node) -> None:
        self._model, self.tensor, self.node = model, tensor, node
        self._output, self._count, self._begun = model.names[tensor], 0, len(model.nodes)
        self.double, self.real = model.net.dtype == "float64", model.types["real"]

    def __call__(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
        """Add a node, and return the name of its output.

        Inputs are names, or numbers and arrays, which become constants; real ones of the network's dtype.
        """
        return self.several(1, operator, *inputs, **attributes)[0]

    def several(self, outputs: int, operator: str, *inputs: str | float | Array, **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their names."""
        names = [self._new_name(operator) for _ in range(outputs)]
        taken = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        make = self._model.onnx.helper.make_node
        self._model.nodes.append(make(operator, taken, names, name=names[0], **attributes))
        return names

    def finish(self, result: str) -> None:
        """Give the result the name of the tensor that the op makes."""
        if len(self._model.nodes) > self._begun:
            node = self._model.nodes[-1]
            if list(node.output) == [result]:
                node.output[0] = node.name = self._output
                return
        make = self._model.onnx.helper.make_node
        self._model.nodes.append(make("Identity", [result], [self._output], name=self._output))

    def parameter(self, role: str) -> str:
        """Return the name of a parameter or buffer, which the model then holds."""
        name = self._name(role, self.node)
        self._model.constants[name] = np.array(self._values(name))
        return name

    def values(self, role: str, node: Node | None = None) -> Array:
        """Return the values of a parameter or buffer, of this node unless another one is given, in float64."""
        return np.asarray(self._values(self._name(role, node or self.node)), np.float64)

    def name(self, tensor: Tensor) -> str:
        """Return the name of a tensor."""
        return self._model.names[tensor]

    def cast(self, x: str, before: str, kind: str) -> str:
        """Return numbers as another kind: "real", "int64", "bool"; "double" whatever the dtype, "int32" for lengths."""
        return x if before == kind else self("Cast", x, to=self._model.types[kind])

    def reshape(self, x: str, *sample: int) -> str:
        """Return it with samples of another shape."""
        return self("Reshape", x, np.array([0, *sample]))

    def transpose(self, x: str, *order: int) -> str:
        """Return it with its axes in another order."""
        return self("Transpose", x, perm=list(order))

    def mean(self, x: str, *axes: int) -> str:
        """Return the mean over axes, which are kept."""
        return self("ReduceMean", x, np.array(axes), keepdims=1)

    def shape(self, which: int = 0) -> Any:
        """Return the shape of a sample of an input."""
        return self.node.inputs[which].shape

    def sizes(self, shape: Sequence[Any]) -> str | Array:
        """Return a shape in which whatever is no positive number stands for the number of rows."""
        known = [size if isinstance(size, int) and size >= 0 else None for size in shape]
        if None not in known:
            return np.array(known, np.int64)
        return self("Concat", *(self.rows() if size is None else np.array([size]) for size in known), axis=0)

    def rows(self) -> str:
        """Return the number of rows, as a vector of one integer."""
        first = self._model.names[self._model.net.graph.inputs[0]]
        return self("Shape", first, start=0, end=1)

    def _name(self, role: str, node: Node) -> str:
        return self._model.net.graph.parameter_name({**node.params, **node.buffers}[role])

    def _values(self, name: str) -> Array:
        net = self._model.net
        return net.params[name] if name in net.params else net.buffers[name]

    def constant(self, value: float | Array) -> str:
        """Return the name of a number or array that the model holds."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(self._model.net.dtype)
        name = self._new_name("constant") if array.ndim else f"{array.dtype.name} {value!r}"
        self._model.constants[name] = array
        return name

    def _new_name(self, what: str) -> str:
        self._count += 1
        return f"{self._output}.{self._count}.{what}"


Rule = Callable[[Writer, Any, list[str]], str]
"""Writes the nodes of an op, given the names of its inputs, and returns the name of what they make."""
