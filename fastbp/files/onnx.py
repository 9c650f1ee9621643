"""Networks as ONNX files: each op as nodes of the standard set, in prediction mode (:mod:`fastbp.files.onnx_ops`)."""

from __future__ import annotations

from os import PathLike
from typing import Any

from fastbp.core.checks import file_to_write
from fastbp.engine.executable import Executable
from fastbp.files.disk import replace
from fastbp.files.onnx_ops import TABLE
from fastbp.files.onnx_writer import Model, Writer
from fastbp.files.rows import Nothing, row_of
from fastbp.graph.graph import Tensor

OPSET, IR_VERSION = 20, 9
"""Opset 20 is the first that has Gelu; IR version 9 is the one that came with it."""


def export(net: Executable, path: str | PathLike[str]) -> None:
    """Write a network to an ONNX file; ``net.to_onnx(path)``."""
    file = file_to_write("to_onnx: path", path)
    replace(file, model_of(net).SerializeToString())


def model_of(net: Executable) -> Any:
    """Return the model, checked."""
    model, graph = Model(net), net.graph
    for tensor in graph.tensors:
        if tensor.node is None:
            continue
        rule = row_of(TABLE, tensor.node.op)
        if isinstance(rule, Nothing):
            raise ValueError(f"to_onnx: {graph.names[tensor]!r} is made by {tensor.node.owner or tensor.node.op!r}, "
                             f"which ONNX has nothing for ({rule.reason}); leave it out, or write it with other layers")
        writer = Writer(model, tensor, tensor.node)
        writer.finish(rule(writer, tensor.node.op, [model.names[t] for t in tensor.node.inputs]))
    _leave_out_unused(model, [model.names[t] for t in graph.outputs])
    onnx = model.onnx
    constants = [onnx.numpy_helper.from_array(a, n) for n, a in model.constants.items()]
    body = onnx.helper.make_graph(model.nodes, "fastbp", [_value(model, t) for t in graph.inputs],
                                  [_value(model, t) for t in graph.outputs], constants)
    made = onnx.helper.make_model(body, producer_name="fastbp", ir_version=IR_VERSION,
                                  opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(made, full_check=True)
    return made


def _leave_out_unused(model: Model, outputs: list[str]) -> None:
    """Take away what no output needs: a linear op, say, that a recurrent node has within it."""
    needed, kept = set(outputs), []
    for node in reversed(model.nodes):
        if needed & {*node.output}:
            kept.append(node)
            needed.update(node.input)
    model.nodes = kept[::-1]
    model.constants = {name: array for name, array in model.constants.items() if name in needed}


def _value(model: Model, tensor: Tensor) -> Any:
    shape = ["batch" if not isinstance(size, int) else size for size in tensor.whole_shape]
    return model.onnx.helper.make_tensor_value_info(model.names[tensor], model.types[tensor.dtype], shape)
