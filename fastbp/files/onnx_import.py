"""Networks of ONNX files: each node as layers and functions of fastbp (:mod:`fastbp.files.onnx_operators`)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastbp.core.errors import FormatError
from fastbp.engine.executable import BackendName, Executable
from fastbp.files.onnx_chains import periodic
from fastbp.files.onnx_operators import TABLE
from fastbp.files.onnx_reader import Loaded, Node, Value, View, finite_constants, whole
from fastbp.files.onnx_shapes import SIZES
from fastbp.graph.graph import Input, Tensor
from fastbp.layers.base import Layer
from fastbp.ops.base import Array
from fastbp.optim.initializers import Zeros

Net = TypeVar("Net", bound=Executable)
_OLDEST = 9


def convert(source: Any, network: Callable[..., Net], backend: BackendName) -> Net:
    """Return the network that a model of ONNX is; :func:`fastbp.from_onnx`."""
    onnx = _onnx()
    model = _model(onnx, source)
    body, opset = model.graph, _opset(model)
    given = {t.name: _array(onnx, t) for t in body.initializer}
    finite_constants(given)
    inputs = [v for v in body.input if v.name not in given]
    dtype, rows = _dtype(onnx, inputs, body), _rows(inputs)
    tensors = [_input(onnx, v) for v in inputs]
    values: dict[str, Value] = {**given, **{v.name: whole(t) for v, t in zip(inputs, tensors, strict=True)}}
    loaded = Loaded(onnx, dtype, opset, rows, values)
    loaded.uses = Counter([*(name for n in body.node for name in n.input), *(v.name for v in body.output)])
    for proto in body.node:
        loaded.makers.update(dict.fromkeys(proto.output, proto))
        for name in proto.input:
            loaded.users.setdefault(name, []).append(proto)
    for proto in body.node:
        _read(loaded, proto)
    outputs = [_output(values[v.name], v.name) for v in body.output]
    try:
        net = network(tensors[0] if len(tensors) == 1 else tensors, outputs[0] if len(outputs) == 1 else outputs,
                      dtype=dtype, seed=0, backend=backend, _layer_names=_layer_names(outputs))
    except ValueError as error:
        raise ValueError(f"from_onnx: {error}") from None
    for layer, role, array in loaded.weights:
        name = net.graph.parameter_name(layer.parameter(role, array.shape, Zeros()))
        (net.params if name in net.params else net.buffers)[name][...] = array
    return net


def _read(loaded: Loaded, proto: Any) -> None:
    """Add what a node makes to the values."""
    if proto.output and (proto.output[0] in loaded.values or proto.output[0] in loaded.within):
        return      # it was the bias of what came before, or is part of a chain that is one layer
    label = f"from_onnx: node {proto.name or ', '.join(proto.output)!r} ({proto.op_type})"
    if proto.domain not in ("", "ai.onnx") or proto.op_type not in TABLE:
        kind = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
        raise ValueError(f"{label}: the operator {kind} has no counterpart in fastbp; there are "
                         f"{', '.join(sorted(TABLE))}")
    try:
        node = Node(loaded, proto)
        shapes = [i for i, name in enumerate(node.names) if name in loaded.sizes and np.any(node.array(i, name) < 0)]
        if shapes and proto.op_type in SIZES:
            loaded.sizes.update(node.outputs)
        elif shapes and (proto.op_type not in ("Reshape", "Expand") or shapes != [1]):
            raise ValueError("it computes with the number of rows, which is any here")
        if proto.op_type == "Cast" and periodic(node):
            return
        made = TABLE[proto.op_type](node)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{label}: {error}") from None
    several = [made] if isinstance(made, View | np.ndarray) else list(made)
    loaded.values.update(zip(node.outputs, several, strict=False))


def _layer_names(outputs: list[Tensor]) -> list[tuple[Layer, str]]:
    """Return names for the layers that have none: of their kind, as numbers may be names of others."""
    owners: dict[int, Layer] = {}
    waiting, seen = list(outputs), set(outputs)
    while waiting:
        node = waiting.pop().node
        if node is not None:
            if isinstance(node.owner, Layer):
                owners[id(node.owner)] = node.owner
            new = [t for t in node.inputs if t not in seen]
            waiting += new
            seen.update(new)
    taken = {layer.name for layer in owners.values()}
    names = []
    for layer in reversed(owners.values()):
        if layer.name is None:
            kind = type(layer).__name__.lower()
            name = next(n for n in (kind, *(f"{kind}_{i}" for i in range(2, len(owners) + 3))) if n not in taken)
            taken.add(name)
            names.append((layer, name))
    return names


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError("from_onnx needs onnx; install it with: pip install 'fastbp[onnx]'") from None
    return onnx


def _model(onnx: Any, source: Any) -> Any:
    """Return the model, checked."""
    if isinstance(source, onnx.ModelProto):
        model, what = source, "source"
    elif isinstance(source, str | os.PathLike):
        what = repr(os.fspath(source))
        try:
            model = onnx.load(os.fspath(source))
        except OSError:
            raise
        except Exception as error:      # what protobuf and onnx raise has no common class
            raise FormatError(f"from_onnx: {what} is no ONNX file, or it is cut off: {error}") from None
    else:
        raise TypeError(f"from_onnx: source is {type(source).__name__}; expected a path, or an onnx.ModelProto")
    if not model.graph.node:
        raise FormatError(f"from_onnx: {what} has no nodes; it is no ONNX file, or it is cut off")
    try:
        # the checker wants shapes of outputs, which models may leave to be inferred
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, check_type=True), full_check=True)
    except Exception as error:
        raise FormatError(f"from_onnx: {what} is no valid model; it is cut off or altered: {error}") from None
    return model


def _opset(model: Any) -> int:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST:
        raise ValueError(f"from_onnx: the model is of opset {opset}; expected {_OLDEST} or newer. Bring it there with "
                         f"onnx.version_converter.convert_version(model, {_OLDEST})")
    return int(opset)


def _array(onnx: Any, tensor: Any) -> Array:
    try:
        return np.array(onnx.numpy_helper.to_array(tensor))
    except Exception as error:
        raise FormatError(f"from_onnx: the numbers of {tensor.name!r} do not have the size of its shape, "
                          f"{list(tensor.dims)}; the model is cut off or altered: {error}") from None


def _dtype(onnx: Any, inputs: list[Any], body: Any) -> str:
    """Return the dtype of all real numbers: of inputs and outputs, or else of the weights."""
    types = onnx.TensorProto
    real = {types.FLOAT16: "float16", types.BFLOAT16: "bfloat16", types.FLOAT: "float32", types.DOUBLE: "float64"}
    found = {real[v.type.tensor_type.elem_type] for v in [*inputs, *body.output]
             if v.type.tensor_type.elem_type in real}
    found |= {real[t.data_type] for t in body.initializer if t.data_type in real}
    if len(found) > 1 or not found <= {"float32", "float64"}:
        raise ValueError(f"from_onnx: the model has numbers of {', '.join(sorted(found))}; expected float32 or float64 "
                         "throughout")
    return found.pop() if found else "float32"


def _sizes(value: Any) -> list[int | None]:
    return [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]


def _rows(inputs: list[Any]) -> int | None:
    """Return the number of rows, where the model was written for one alone; the network takes any."""
    first = {sizes[0] for v in inputs if (sizes := _sizes(v))}
    return first.pop() if len(first) == 1 else None


def _input(onnx: Any, value: Any) -> Tensor:
    sizes, kind = _sizes(value), value.type.tensor_type.elem_type
    types = onnx.TensorProto
    if kind not in (types.FLOAT, types.DOUBLE, types.INT64):
        raise ValueError(f"from_onnx: the input {value.name!r} is of {types.DataType.Name(kind)}; expected FLOAT, "
                         "DOUBLE or INT64")
    if len(sizes) < 2 or not all(sizes[1:]):
        shape = ", ".join("?" if s is None else str(s) for s in sizes)
        raise ValueError(f"from_onnx: the input {value.name!r} has the shape ({shape}); expected the batch and then "
                         "sizes that are known. Export it with a fixed size of samples")
    dtype = "int64" if kind == types.INT64 else None
    return Input(*(s for s in sizes[1:] if s is not None), name=value.name, dtype=dtype)


def _output(value: Value, name: str) -> Any:
    """Return an output, with the batch first."""
    if not isinstance(value, View):
        raise ValueError(f"from_onnx: the output {name!r} does not depend on the inputs")
    try:
        made = value.straight().tensor
    except ValueError as error:
        raise ValueError(f"from_onnx: the output {name!r}: {error}") from None
    return getattr(made, "tensor", made)
