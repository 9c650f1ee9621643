"""Networks as ONNX files: each op as nodes of the standard set, in prediction mode.

Batch normalisation becomes the multiplication and the addition that it is with its running statistics, for axes other
than ONNX's channel axis too; dropout becomes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.core.checks import file_to_write
from fastbp.files.onnx_nodes import lower
from fastbp.graph.graph import Node, Tensor
from fastbp.ops import activations as acts
from fastbp.ops.base import Array, Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.softmax import SoftmaxOp

if TYPE_CHECKING:
    from fastbp.network import Network

OPSET, IR_VERSION = 20, 9
"""Opset 20 is the first that has Gelu; IR version 9 is the one that came with it."""

_PLAIN: dict[type[Op], str] = {
    acts.IdentityOp: "Identity", acts.ReLUOp: "Relu", acts.MishOp: "Mish", acts.SigmoidOp: "Sigmoid",
    acts.TanhOp: "Tanh", acts.SoftplusOp: "Softplus", acts.HardSwishOp: "HardSwish", DropoutOp: "Identity",
    AddOp: "Add", MulOp: "Mul",
}
_SCALARS = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "pow": "Pow", "exp": "Exp", "log": "Log",
    "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "tan": "Tan", "arctan": "Atan",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "erf": "Erf", "sigmoid": "Sigmoid", "softplus": "Softplus",
    "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "rint": "Round", "max": "Max", "min": "Min",
    "where": "Where", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "equal": "Equal", "and": "And", "or": "Or", "xor": "Xor", "not": "Not",
    "isnan": "IsNaN",
}
_WITH_ATTRIBUTES: dict[type[Op], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    acts.LeakyReLUOp: ("LeakyRelu", lambda op: {"alpha": op.alpha}),
    acts.ELUOp: ("Elu", lambda op: {"alpha": op.alpha}),
    acts.SELUOp: ("Selu", lambda op: {}),
    acts.GELUOp: ("Gelu", lambda op: {"approximate": "none"}),
    acts.GELUTanhOp: ("Gelu", lambda op: {"approximate": "tanh"}),
    SoftmaxOp: ("Softmax", lambda op: {"axis": -1}),
    FlattenOp: ("Flatten", lambda op: {"axis": 1}),
    ConcatOp: ("Concat", lambda op: {"axis": op.axis}),
}


def export(net: Network, path: str | PathLike[str]) -> None:
    """Write a network to an ONNX file; ``net.to_onnx(path)``."""
    file = file_to_write("to_onnx: path", path)
    file.write_bytes(Exporter(net).model().SerializeToString())


class Exporter:
    """Collects the nodes and constants of one network."""

    def __init__(self, net: Network) -> None:
        try:
            import onnx
        except ImportError:
            raise ImportError("to_onnx needs onnx; install it with: pip install 'fastbp[onnx]'") from None
        self._onnx, self._net = onnx, net
        self._nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        """Arrays of the model, by name."""

    def model(self) -> Any:
        """Return the model, checked."""
        graph, onnx = self._net.graph, self._onnx
        for tensor in graph.tensors:
            if tensor.node is not None:
                self._lower(tensor, tensor.node)
        constants = [onnx.numpy_helper.from_array(a, n) for n, a in self.constants.items()]
        body = onnx.helper.make_graph(self._nodes, "fastbp", [self._value(t) for t in graph.inputs],
                                      [self._value(t) for t in graph.outputs], constants)
        model = onnx.helper.make_model(body, producer_name="fastbp", ir_version=IR_VERSION,
                                       opset_imports=[onnx.helper.make_opsetid("", OPSET)])
        onnx.checker.check_model(model, full_check=True)
        return model

    def _value(self, tensor: Tensor) -> Any:
        types = self._onnx.TensorProto
        kind = (types.INT64 if tensor.dtype == "int64" else types.DOUBLE if self._net.dtype == "float64" else
                types.FLOAT)
        return self._onnx.helper.make_tensor_value_info(self._net.graph.names[tensor], kind, ["batch", *tensor.shape])

    def _lower(self, tensor: Tensor, node: Node) -> None:
        names = self._net.graph.names
        inputs, output = [names[t] for t in node.inputs], names[tensor]
        kind = type(node.op)
        if kind in _PLAIN:
            self._add(_PLAIN[kind], inputs, output)
        elif isinstance(node.op, ScalarOp) and node.op.function in _SCALARS:
            self._add(_SCALARS[node.op.function], inputs, output)
        elif kind in _WITH_ATTRIBUTES:
            name, attributes = _WITH_ATTRIBUTES[kind]
            self._add(name, inputs, output, **attributes(node.op))
        elif isinstance(node.op, EmbeddingOp):
            self._embedding(node, node.op, inputs[0], output)
        elif isinstance(node.op, LinearOp):
            self._linear(node, inputs[0], output)
        elif isinstance(node.op, acts.SiLUOp):
            self._add("Sigmoid", inputs, f"{output}.sigmoid")
            self._add("Mul", [*inputs, f"{output}.sigmoid"], output)
        elif isinstance(node.op, LayerNormOp):
            self._add("LayerNormalization", [*inputs, self._parameter(node, "weight"), self._parameter(node, "bias")],
                      output, axis=-1, epsilon=node.op.eps)
        elif isinstance(node.op, BatchNormOp):
            self._batch_norm(node, node.op, inputs[0], output)
        elif not lower(self, node, inputs, output):
            raise ValueError(f"to_onnx: {output!r} is made by {node.owner or node.op!r}, which ONNX has nothing for; "
                             "leave it out, or write it with other layers")

    def _linear(self, node: Node, x: str, output: str) -> None:
        product = f"{output}.product" if "bias" in node.params else output
        self._add("MatMul", [x, self._parameter(node, "weight")], product)
        if "bias" in node.params:
            self._add("Add", [product, self._parameter(node, "bias")], output)

    def _embedding(self, node: Node, op: EmbeddingOp, ids: str, output: str) -> None:
        weight = self._parameter(node, "weight")
        if op.padding_idx is not None:
            self.constants[weight] = self.constants[weight].copy()
            self.constants[weight][op.padding_idx] = 0
        self._add("Gather", [weight, ids], output, axis=0)

    def _batch_norm(self, node: Node, op: BatchNormOp, x: str, output: str) -> None:
        arrays = {**self._net.params, **self._net.buffers}
        weight, bias, mean, var = (np.asarray(arrays[self._net.graph.parameter_name(p)], np.float64)
                                   for p in [node.params["weight"], node.params["bias"],
                                             node.buffers["running_mean"], node.buffers["running_var"]])
        scale = weight / np.sqrt(var + op.eps)
        self.constants[f"{output}.scale"] = scale.astype(self._net.dtype)
        self.constants[f"{output}.shift"] = (bias - mean * scale).astype(self._net.dtype)
        self._add("Mul", [x, f"{output}.scale"], f"{output}.scaled")
        self._add("Add", [f"{output}.scaled", f"{output}.shift"], output)

    @property
    def dtype(self) -> str:
        """The network's."""
        return self._net.dtype

    def values(self, node: Node, role: str) -> Array:
        """Return the values of a node's parameter."""
        return self._net.params[self._net.graph.parameter_name(node.params[role])]

    def _parameter(self, node: Node, role: str) -> str:
        name = self._net.graph.parameter_name(node.params[role])
        self.constants[name] = np.ascontiguousarray(self._net.params[name])
        return name

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add a node that makes tensors of these names."""
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.add(kind, inputs, [output], **attributes)
