"""What each operator of ONNX is here: one row an operator, as a layer where fastbp has one, or as functions.

Rows hold for prediction, and for the standard set from opset 9 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_reader import Node, Rule, Value, View, sample, whole
from fastbp.graph import special
from fastbp.layers.base import Layer
from fastbp.ops import activations as acts
from fastbp.ops.base import Array

# ---- of any operator -------------------------------------------------------------------------------------------------


def _activation(make: Callable[[Node], Layer]) -> Rule:
    """Return the rule of what is done to each element, in whatever order the axes are."""
    return lambda n: View(make(n)(n.view().tensor), n.view().order)


def _plain(value: Value | None) -> Any:
    return value.plain if isinstance(value, View) else value


def _made(y: Any) -> Value:
    return np.asarray(y) if isinstance(y, np.ndarray | np.generic | float | int) else whole(y)


def _function(function: Callable[..., Any], several: bool = False) -> Callable[[Node], Value]:
    """Return the rule of a function of NumPy's: of each element, with operands that are spread as NumPy does it."""
    def rule(n: Node) -> Value:
        orders = {v.order for v in n.inputs if isinstance(v, View)}
        single = all(isinstance(v, View) or (v is not None and v.size == 1 and v.ndim <= 1) for v in n.inputs)
        kept = next(iter(orders)) if len(orders) == 1 and single else None
        xs = [v.tensor if kept and isinstance(v, View) else _plain(v) for v in n.inputs]
        y = xs[0]
        if several:
            for x in xs[1:]:
                y = function(y, x)
        else:
            y = function(*xs)
        return View(y, kept) if kept else _made(y)
    return rule


def _identity(n: Node) -> Value:
    value = n.given(0)
    assert value is not None
    return value


def _last(axes: int) -> tuple[int, ...]:
    """Return the order in which ONNX sees the axes of a tensor that has its channels last."""
    return (0, axes + 1, *range(1, axes + 1))


def _channels_last(n: Node, most: int = 2) -> tuple[Any, int]:
    """Return the input with its channels last, and the number of axes between batch and channels."""
    axes = len(n.view().order) - 2
    n.must(0 <= axes <= most, f"an input of {axes + 2} axes")
    return n.view().seen_by(_last(axes)), axes


# ---- linear, normalisation -------------------------------------------------------------------------------------------


def _linear(n: Node, x: Any, weight: Array, bias: Array | None) -> View:
    inputs, outputs = weight.shape
    layer = layers.Linear(inputs, outputs, bias is not None, name=n.named())
    return whole(n.load(layer, weight=weight, **({} if bias is None else {"bias": bias}))(x))


def _gemm(n: Node) -> Value:
    n.must(not n.option("transA", 0), "transA=1")
    weight, bias = n.weight(1, "the weight"), None
    weight = n.option("alpha", 1.0) * (weight.T if n.option("transB", 0) else weight)
    if n.given(2) is not None:
        bias = n.option("beta", 1.0) * np.broadcast_to(n.weight(2, "the bias"), (1, weight.shape[1]))[0]
    return _linear(n, n.view().plain, weight, bias)


def _matmul(n: Node) -> Value:
    a, b = n.given(0), n.given(1)
    if isinstance(a, View) and isinstance(b, np.ndarray) and b.ndim == 2:
        return _linear(n, a.plain, n.weight(1, "the weight"), n.added(b.shape[1]))
    return _made(np.matmul(_plain(a), _plain(b)))


def _batch_normalization(n: Node) -> Value:
    n.must(not n.option("training_mode", 0), "training_mode=1")
    x, axes = _channels_last(n)
    roles = ("weight", "bias", "running_mean", "running_var")
    weights = {role: n.weight(i, role) for i, role in enumerate(roles, start=1)}
    if (weights["running_var"] < 0).any():
        raise ValueError("the running variance has numbers below 0")
    momentum = round(1 - n.option("momentum", 0.9), 7)
    layer = layers.BatchNorm(len(weights["weight"]), momentum, n.option("epsilon", 1e-5), name=n.named())
    return View(n.load(layer, **weights)(x), _last(axes))


def _layer_normalization(n: Node) -> Value:
    ndim = len(n.view().order)
    n.must(n.axis("axis", -1, ndim) == ndim - 1, "another axis than the last")
    weight = n.weight(1, "the scale")
    bias = np.zeros_like(weight) if n.given(2) is None else n.weight(2, "the bias")
    layer = layers.LayerNorm(weight.size, n.option("epsilon", 1e-5), name=n.named())
    return whole(n.load(layer, weight=weight, bias=bias)(n.view().plain))


def _instance_normalization(n: Node) -> Value:
    x, axes = n.view().plain, len(n.view().order) - 2
    n.must(axes > 0, "an input of 2 axes")
    over = tuple(range(2, axes + 2))
    d = x - np.mean(x, axis=over, keepdims=True)
    scale, bias = (n.weight(i, what).reshape(-1, *[1] * axes) for i, what in enumerate(("the scale", "the bias"), 1))
    return whole(d / np.sqrt(np.mean(d * d, axis=over, keepdims=True) + n.option("epsilon", 1e-5)) * scale + bias)


def _prelu(n: Node) -> Value:
    slope, view = n.weight(1, "the slope"), n.view()
    layer = n.load(layers.PReLU(slope.size, name=n.named()), weight=slope.reshape(-1))
    if slope.size == 1:
        return View(layer(view.tensor), view.order)
    if slope.ndim == 1:
        return whole(layer(view.plain))
    n.must(slope.shape == (slope.size, *[1] * (len(view.order) - 2)), "slopes along other axes than one")
    x, axes = _channels_last(n)
    return View(layer(x), _last(axes))


def _gather(n: Node) -> Value:
    table, picked = n.given(0), n.given(1)
    if isinstance(table, np.ndarray) and isinstance(picked, View):
        n.must(table.ndim == 2 and n.option("axis", 0) == 0, "a table of other axes than ids and features")
        layer = layers.Embedding(*table.shape, name=n.named(0))
        return whole(n.load(layer, weight=n.weight(0, "the table"))(picked.plain))
    indices = n.array(1, "the indices")
    return _made(np.take(_plain(table), indices, axis=n.axis("axis", 0, len(_shape(table)))))


# ---- convolution, pooling --------------------------------------------------------------------------------------------


def _padding(n: Node, axes: int) -> Any:
    """Return the padding of each axis, before and behind."""
    auto = n.option("auto_pad", "NOTSET")
    n.must(auto != "SAME_LOWER", "auto_pad SAME_LOWER")
    if auto != "NOTSET":
        return "same" if auto == "SAME_UPPER" else "valid"
    pads = n.option("pads", [0] * 2 * axes)
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _per_axis(n: Node, name: str, axes: int) -> Any:
    """Return a number for each axis; for sequences the only one."""
    sizes = tuple(n.option(name, [1] * axes))
    return sizes[0] if axes == 1 else sizes


def _conv(n: Node) -> Value:
    x, axes = _channels_last(n)
    kernel, groups = n.weight(1, "the kernel"), n.option("group", 1)
    weights = {"weight": np.moveaxis(np.moveaxis(kernel, 1, -1), 0, -1)}
    if n.given(2) is not None:
        weights["bias"] = n.weight(2, "the bias")
    n.must(axes > 0 and kernel.ndim == axes + 2, f"an input of {axes + 2} axes and a kernel of {kernel.ndim}")
    kind: Any = layers.Conv1d if axes == 1 else layers.Conv2d
    layer = kind(kernel.shape[1] * groups, len(kernel), kernel.shape[2:] if axes > 1 else kernel.shape[2],
                 _per_axis(n, "strides", axes), _padding(n, axes), _per_axis(n, "dilations", axes), groups,
                 "bias" in weights, name=n.named())
    return View(n.load(layer, **weights)(x), _last(axes))


def _conv_transpose(n: Node) -> Value:
    x, axes = _channels_last(n)
    kernel, groups = n.weight(1, "the kernel"), n.option("group", 1)
    n.must(axes == 2, f"an input of {axes + 2} axes")
    n.must(n.option("output_shape") is None and n.option("auto_pad", "NOTSET") == "NOTSET", "output_shape or auto_pad")
    weights = {"weight": np.moveaxis(kernel, 1, -1)}
    if n.given(2) is not None:
        weights["bias"] = n.weight(2, "the bias")
    layer = layers.ConvTranspose2d(
        len(kernel), kernel.shape[1] * groups, kernel.shape[2:], _per_axis(n, "strides", axes), _padding(n, axes),
        tuple(n.option("output_padding", [0, 0])), groups, "bias" in weights, _per_axis(n, "dilations", axes),
        name=n.named())
    return View(n.load(layer, **weights)(x), _last(axes))


def _pool(n: Node) -> Value:
    x, axes = _channels_last(n)
    n.must(axes > 0, "an input of 2 axes")
    n.must(len(n.outputs) == 1, "the places of the largest as an output")
    sizes, ceil = _per_axis(n, "kernel_shape", axes), bool(n.option("ceil_mode", 0))
    strides, padding, dilation = _per_axis(n, "strides", axes), _padding(n, axes), _per_axis(n, "dilations", axes)
    if n.op == "MaxPool":
        largest: Any = layers.MaxPool1d if axes == 1 else layers.MaxPool2d
        return View(largest(sizes, strides, padding, dilation, ceil)(x), _last(axes))
    n.must(dilation in (1, (1, 1)), "dilations")
    mean: Any = layers.AvgPool1d if axes == 1 else layers.AvgPool2d
    return View(mean(sizes, strides, padding, ceil, bool(n.option("count_include_pad", 0)))(x), _last(axes))


def _global_average_pool(n: Node) -> Value:
    x, axes = _channels_last(n)
    y = layers.GlobalAvgPool()(x) if axes else x
    return View(layers.Reshape(*[1] * axes, sample(y)[-1])(y) if axes else y, _last(axes))


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _shape(value: Value | None) -> tuple[Any, ...]:
    assert value is not None
    return tuple(value.shape)


def _transpose(n: Node) -> Value:
    value = n.given(0)
    perm = list(n.option("perm", range(len(_shape(value)))[::-1]))
    if isinstance(value, np.ndarray):
        return value.transpose(perm)
    n.must(perm[0] == 0, "the batch axis moved elsewhere")
    return View(n.view().tensor, tuple(n.view().order[p] for p in perm))


def _flatten(n: Node) -> Value:
    n.must(n.axis("axis", 1, len(n.view().order)) == 1, "another axis than 1")
    return whole(layers.Flatten()(n.view().in_sequence))


def _reshape(n: Node) -> Value:
    wanted = [int(size) for size in n.array(1, "the shape").reshape(-1)]
    value = n.given(0)
    if isinstance(value, np.ndarray):
        return value.reshape([value.shape[i] if s == 0 else s for i, s in enumerate(wanted)])
    before = n.view().shape
    sizes = [before[i] if s == 0 and not n.option("allowzero", 0) else s for i, s in enumerate(wanted)]
    known = sizes[1:] if -1 in sizes[1:] else [*sizes[1:], *([-1] if not sizes[1:] else [])]
    rest, count = prod(s for s in known if s != -1), prod(before[1:])
    first = sizes[0] if sizes else 1
    fits = rest > 0 and (count % rest == 0 if -1 in known else count == rest) and known.count(-1) <= 1
    # -1 first and -1 behind can both be, where the first one stands for the rows
    if not sizes[1:] or not fits or first not in (-1, n.loaded.rows):
        raise ValueError(f"it reshapes (B, {', '.join(map(str, before[1:]))}) to {wanted}; expected a shape that "
                         "leaves the batch axis as it is")
    return whole(layers.Reshape(*known)(n.view().in_sequence))


def _concat(n: Node) -> Value:
    axis = n.axis("axis", 0, len(_shape(n.given(0))))
    if all(isinstance(v, np.ndarray) for v in n.inputs):
        return np.concatenate([np.asarray(v) for v in n.inputs], axis)
    views = [n.view(i) for i in range(len(n.inputs))]
    order = views[0].order
    n.must(axis > 0, "the batch axis joined")
    joined = [v.seen_by(order) for v in views]
    return View(layers.Concat(order[axis])(*joined) if len(joined) > 1 else joined[0], order)


def _squeeze(n: Node) -> Value:
    value, axes = n.given(0), n.axes(1)
    shape = _shape(value)
    chosen = [a % len(shape) for a in axes] if axes is not None else [i for i, s in enumerate(shape) if s == 1]
    if isinstance(value, np.ndarray):
        return value.squeeze(tuple(chosen))
    n.must(0 not in chosen and all(shape[a] == 1 for a in chosen), "an axis to squeeze that is not of size 1")
    return whole(np.reshape(n.view().plain, (-1, *(s for i, s in enumerate(shape) if i and i not in chosen))))


def _unsqueeze(n: Node) -> Value:
    value, axes = n.given(0), n.axes(1) or []
    shape = list(_shape(value))
    ndim = len(shape) + len(axes)
    chosen = sorted(a % ndim for a in axes)
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, tuple(chosen))
    n.must(0 not in chosen, "an axis put before the batch")
    for axis in chosen:
        shape.insert(axis, 1)
    return whole(np.reshape(n.view().plain, tuple(shape)))


def _slice(n: Node) -> Value:
    value = n.given(0)
    starts, ends = n.axes(1, "starts") or [], n.axes(2, "ends") or []
    axes, steps = n.axes(3) or list(range(len(starts))), n.axes(4, "steps") or [1] * len(starts)
    picked = [slice(None)] * len(_shape(value))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # beyond the end means all there is
        picked[axis] = slice(start or None if step > 0 else start, None if abs(end) >= 2**31 - 1 else end, step)
    return _made(_plain(value)[tuple(picked)])


def _split(n: Node) -> list[Value]:
    view, parts = n.view(), len(n.outputs)
    axis = n.axis("axis", 0, len(view.order))
    n.must(axis > 0, "the batch axis split")
    sizes = n.axes(1, "split") or _even(view.shape[axis], parts)
    ends, x = np.cumsum(sizes), view.plain
    before = (slice(None),) * axis
    return [whole(x[(*before, slice(int(end) - size, int(end)))]) for size, end in zip(sizes, ends, strict=True)]


def _even(size: int, parts: int) -> list[int]:
    chunk = -(-size // parts)
    return [min(chunk, size - i * chunk) for i in range(parts)]


def _shape_of(n: Node) -> Value:
    shape = n.view().shape
    n.loaded.sizes.add(n.outputs[0])
    return np.array(shape[n.option("start", 0):n.option("end", len(shape))], np.int64)


def _reduce(function: Callable[..., Any]) -> Rule:
    def rule(n: Node) -> Value:
        value, axes = n.given(0), n.axes(1)
        ndim = len(_shape(value))
        if axes is None and n.option("noop_with_empty_axes", 0):
            return _identity(n)
        chosen = tuple(sorted(a % ndim for a in axes)) if axes is not None else tuple(range(ndim))
        n.must(isinstance(value, np.ndarray) or 0 not in chosen, "the batch axis reduced")
        return _made(function(_plain(value), axis=chosen, keepdims=bool(n.option("keepdims", 1))))
    return rule


# ---- functions -------------------------------------------------------------------------------------------------------


def _softmax(n: Node) -> Value:
    x, ndim = n.view().plain, len(n.view().order)
    axis = n.axis("axis", -1 if n.loaded.opset >= 13 else 1, ndim)
    n.must(axis > 0, "the batch axis")
    # before opset 13 it went over all axes from this one on
    n.must(n.loaded.opset >= 13 or axis == ndim - 1, f"axis {axis} of {ndim} in opset {n.loaded.opset}")
    if n.op == "LogSoftmax":
        return whole(special.log_softmax(x, axis=axis))
    return whole(layers.Softmax()(x) if axis == ndim - 1 else special.softmax(x, axis=axis))


def _constant(n: Node) -> Value:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if (found := n.option(name)) is not None:
            if name == "value":
                return np.array(n.loaded.onnx.numpy_helper.to_array(found))
            return np.array(found, n.loaded.dtype if "float" in name else np.int64)
    raise ValueError("it holds no tensor and no numbers")


def _cast(n: Node) -> Value:
    kind = n.loaded.onnx.helper.tensor_dtype_to_np_dtype(n.option("to"))
    value = n.given(0)
    if isinstance(value, np.ndarray):
        return value.astype(kind)
    n.must(kind in (np.dtype(n.loaded.dtype), np.dtype("int64"), np.dtype("bool")),
           f"numbers of {kind} in a network of {n.loaded.dtype}")
    return View(n.view().tensor.astype(kind), n.view().order)


def _selu(n: Node) -> Layer:
    alpha, scale = n.option("alpha", acts.SELU_ALPHA), n.option("gamma", acts.SELU_SCALE)
    n.must(abs(alpha - acts.SELU_ALPHA) + abs(scale - acts.SELU_SCALE) < 1e-5, "an alpha or gamma of its own")
    return layers.SELU()


def _div(n: Node) -> Value:
    whole_numbers = [v for v in n.inputs if isinstance(v, np.ndarray) and v.dtype.kind != "f"]
    n.must(not whole_numbers, "a division of integers")
    return _function(np.divide)(n)


def _clip(n: Node) -> Value:
    low, high, view = n.number(1, "min", None), n.number(2, "max", None), n.view()
    y = view.tensor if low is None else np.maximum(view.tensor, low)
    return View(y if high is None else np.minimum(y, high), view.order)


def _hard_sigmoid(n: Node) -> Value:
    y = n.view().tensor * n.option("alpha", 0.2) + n.option("beta", 0.5)
    return View(np.minimum(np.maximum(y, 0.0), 1.0), n.view().order)


def _joined(layer: type[Layer], function: Callable[..., Any]) -> Rule:
    """Return the rule of a layer of two inputs of one shape, and of a function of any others."""
    def rule(n: Node) -> Value:
        a, b = n.inputs
        if isinstance(a, View) and isinstance(b, View) and a.shape == b.shape and a.tensor is not b.tensor:
            return View(layer()(a.tensor, b.seen_by(a.order)), a.order)
        return _function(function)(n)
    return rule


def _einsum(n: Node) -> Value:
    return _made(np.einsum(n.option("equation"), *map(_plain, n.inputs)))


def _pad(n: Node) -> Value:
    n.must(n.option("mode", "constant") == "constant" and n.given(3) is None, "another mode than constant, or axes")
    pads, x = n.axes(1, "pads") or [], n.view().plain
    half = len(pads) // 2
    pairs = list(zip(pads[:half], pads[half:], strict=True))
    n.must(min(pads, default=0) >= 0 and pairs[:1] == [(0, 0)], "elements cut off, or rows added")
    return whole(np.pad(x, pairs, constant_values=n.number(2, "value", 0.0) or 0.0))


# ---- the table -------------------------------------------------------------------------------------------------------

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": np.abs, "Atan": np.arctan, "Ceil": np.ceil, "Cos": np.cos, "Cosh": np.cosh, "Erf": special.erf,
    "Exp": np.exp, "Floor": np.floor, "IsNaN": np.isnan, "Log": np.log, "Neg": np.negative, "Not": np.logical_not,
    "Reciprocal": np.reciprocal, "Round": np.rint, "Sign": np.sign, "Sin": np.sin, "Sinh": np.sinh, "Sqrt": np.sqrt,
    "Tan": np.tan,
}
_OTHERS: dict[str, Callable[..., Any]] = {
    "And": np.logical_and, "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Less": np.less, "LessOrEqual": np.less_equal, "Or": np.logical_or, "Pow": np.power, "Sub": np.subtract,
    "Where": np.where, "Xor": np.logical_xor,
}
TABLE: dict[str, Rule] = {
    "Gemm": _gemm, "MatMul": _matmul, "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization, "InstanceNormalization": _instance_normalization,
    "PRelu": _prelu, "Gather": _gather,
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _pool, "AveragePool": _pool,
    "GlobalAveragePool": _global_average_pool,
    "Relu": _activation(lambda n: layers.ReLU()),
    "LeakyRelu": _activation(lambda n: layers.LeakyReLU(n.option("alpha", 0.01))),
    "Elu": _activation(lambda n: layers.ELU(n.option("alpha", 1.0))),
    "Selu": _activation(_selu),
    "Gelu": _activation(lambda n: layers.GELU(n.option("approximate", "none"))),
    "Sigmoid": _activation(lambda n: layers.Sigmoid()),
    "Tanh": _activation(lambda n: layers.Tanh()),
    "Softplus": _activation(lambda n: layers.Softplus()),
    "HardSwish": _activation(lambda n: layers.HardSwish()),
    "Mish": _activation(lambda n: layers.Mish()),
    "Dropout": _activation(lambda n: layers.Dropout(n.number(1, "ratio", 0.5) or 0.0)),
    "Softmax": _softmax, "LogSoftmax": _softmax, "HardSigmoid": _hard_sigmoid, "Clip": _clip,
    "Identity": _identity, "Constant": _constant, "Cast": _cast, "Flatten": _flatten, "Reshape": _reshape,
    "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Concat": _concat, "Slice": _slice,
    "Split": _split, "Shape": _shape_of, "Pad": _pad, "Einsum": _einsum,
    "Add": _joined(layers.Add, np.add), "Mul": _joined(layers.Multiply, np.multiply), "Div": _div,
    "Max": _function(np.maximum, several=True), "Min": _function(np.minimum, several=True),
    "ReduceMean": _reduce(np.mean), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min), "ReduceProd": _reduce(np.prod),
    **{name: _function(function) for name, function in (_UNARY | _OTHERS).items()},
}
SIZES: Sequence[str] = ("Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Identity", "Cast")
"""What may be done to a shape whose number of rows is not known."""
