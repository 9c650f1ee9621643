"""What each operator of ONNX is here: one row an operator, as a layer where fastbp has one, or as functions.

Rows hold for prediction, and for the standard set from opset 9 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_attention import attention
from fastbp.files.onnx_reader import Axes, Node, Rule, Value, View, ordered, sample, whole
from fastbp.files.onnx_recurrence import recurrence
from fastbp.files.onnx_shapes import TABLE as SHAPES
from fastbp.files.onnx_shapes import made, pick, plain, shape_of, sizes_over, sizes_times
from fastbp.graph import special
from fastbp.layers.base import Layer
from fastbp.ops import activations as acts
from fastbp.ops.base import Array

# ---- of any operator -------------------------------------------------------------------------------------------------


def _activation(make: Callable[[Node], Layer]) -> Rule:
    """Return the rule of what is done to each element, in whatever order the axes are."""
    return lambda n: View(make(n)(n.view().tensor), n.view().axes)


def _function(function: Callable[..., Any], several: bool = False) -> Callable[[Node], Value]:
    """Return the rule of a function of NumPy's: of each element, with operands that are spread as NumPy does it."""
    def rule(n: Node) -> Value:
        kept = _laid_out_alike(n.inputs)
        xs, axes = ([plain(v) for v in n.inputs], None) if kept is None else kept
        y = xs[0]
        if several:
            for x in xs[1:]:
                y = function(y, x)
        else:
            y = function(*xs)
        return made(y) if axes is None else View(y, axes)
    return rule


def _laid_out_alike(values: Sequence[Value | None]) -> tuple[list[Any], Axes] | None:
    """Return tensors and arrays whose axes are made alike, as they are, and how; None where axes have to be moved."""
    ndim = max(len(shape_of(v)) for v in values)
    spread = [View(v.tensor, (*[()] * (ndim - len(v.axes)), *v.axes)) if isinstance(v, View) else v for v in values]
    views = [v for v in spread if isinstance(v, View)]
    if not views or not all(v.is_made_like(views[0]) for v in views):
        return None
    found = [v.tensor if isinstance(v, View) else views[0].laid_out(np.asarray(v)) for v in spread]
    return None if any(x is None for x in found) else (found, views[0].axes)


def _identity(n: Node) -> Value:
    value = n.given(0)
    assert value is not None
    return value


def _last(axes: int) -> tuple[int, ...]:
    """Return the order in which ONNX sees the axes of a tensor that has its channels last."""
    return (0, axes + 1, *range(1, axes + 1))


def _channels_last(n: Node, most: int = 2) -> tuple[Any, int]:
    """Return the input with its channels last, and the number of axes between batch and channels."""
    axes = len(n.view().axes) - 2
    n.must(0 <= axes <= most, f"an input of {axes + 2} axes")
    return n.view().seen_by(_last(axes)), axes


# ---- linear, normalisation -------------------------------------------------------------------------------------------


def _linear(n: Node, x: View, weight: Array, bias: Array | None) -> View:
    inputs, outputs = weight.shape
    layer = n.load(layers.Linear(inputs, outputs, bias is not None, name=n.named()), weight=weight,
                   **({} if bias is None else {"bias": bias}))
    view, _ = x.last(-1)
    return View(layer(view.tensor), view.axes)


def _gemm(n: Node) -> Value:
    n.must(not n.option("transA", 0), "transA=1")
    weight, bias = n.weight(1, "the weight"), None
    weight = n.option("alpha", 1.0) * (weight.T if n.option("transB", 0) else weight)
    if n.given(2) is not None:
        bias = n.option("beta", 1.0) * np.broadcast_to(n.weight(2, "the bias"), (1, weight.shape[1]))[0]
    return _linear(n, n.view(), weight, bias)


def _matmul(n: Node) -> Value:
    a, b = n.given(0), n.given(1)
    if isinstance(a, View) and isinstance(b, np.ndarray) and b.ndim == 2:
        return _linear(n, a, n.weight(1, "the weight"), n.added(b.shape[1]))
    found = attention(n) if isinstance(a, View) and isinstance(b, View) else None
    if found is not None:
        return found
    if isinstance(a, View) and isinstance(b, View) and (0,) not in a.axes and len(a.axes) == len(b.axes):
        return _matmul_of_parts(n, a, b)
    return made(np.matmul(plain(a), plain(b)))


def _matmul_of_parts(n: Node, a: View, b: View) -> Value:
    """Multiply matrices where the batch and heads are one axis: each by itself, and then as one again."""
    parted = [View(v.tensor, (*((axis,) for group in v.axes[:-2] for axis in group), *v.axes[-2:])) for v in (a, b)]
    alike = [len(g) for g in a.axes[:-2]] == [len(g) for g in b.axes[:-2]]
    n.must(alike and parted[0].shape[:-2] == parted[1].shape[:-2],
           "matrices whose axes are made in different ways")
    y = np.matmul(parted[0].plain, parted[1].plain)
    ends = np.cumsum([0, *(len(g) for g in a.axes[:-2])]).tolist()
    joined = [tuple(range(first, last)) for first, last in pairwise(ends)]
    return View(y, (*joined, (ends[-1],), (ends[-1] + 1,)))


def _batch_normalization(n: Node) -> Value:
    n.must(not n.option("training_mode", 0), "training_mode=1")
    x, axes = _channels_last(n)
    roles = ("weight", "bias", "running_mean", "running_var")
    weights = {role: n.weight(i, role) for i, role in enumerate(roles, start=1)}
    if (weights["running_var"] < 0).any():
        raise ValueError("the running variance has numbers below 0")
    momentum = round(1 - n.option("momentum", 0.9), 7)
    layer = layers.BatchNorm(len(weights["weight"]), momentum, n.option("epsilon", 1e-5), name=n.named())
    return ordered(n.load(layer, **weights)(x), _last(axes))


def _layer_normalization(n: Node) -> Value:
    ndim = len(n.view().axes)
    n.must(n.axis("axis", -1, ndim) == ndim - 1, "another axis than the last")
    weight = n.weight(1, "the scale")
    bias = np.zeros_like(weight) if n.given(2) is None else n.weight(2, "the bias")
    layer = layers.LayerNorm(weight.size, n.option("epsilon", 1e-5), name=n.named())
    view, _ = n.view().last(-1)
    return View(n.load(layer, weight=weight, bias=bias)(view.tensor), view.axes)


def _rms_normalization(n: Node) -> Value:
    ndim = len(n.view().axes)
    n.must(n.axis("axis", -1, ndim) == ndim - 1, "another axis than the last")
    weight = n.weight(1, "the scale")
    view, _ = n.view().last(-1)
    layer = layers.RMSNorm(weight.size, eps=n.option("epsilon", 1e-5), name=n.named())
    return View(n.load(layer, weight=weight)(view.tensor), view.axes)


def _group_normalization(n: Node) -> Value:
    x, axes = _channels_last(n)
    weight, bias, groups = n.weight(1, "the scale"), n.weight(2, "the bias"), n.option("num_groups")
    if n.loaded.opset < 21:     # then they were of groups
        weight, bias = (np.repeat(a, sample(x)[-1] // groups) for a in (weight, bias))
    layer = layers.GroupNorm(groups, len(weight), eps=n.option("epsilon", 1e-5), name=n.named())
    return ordered(n.load(layer, weight=weight, bias=bias)(x), _last(axes))


def _instance_normalization(n: Node) -> Value:
    x, axes = n.view().plain, len(n.view().axes) - 2
    n.must(axes > 0, "an input of 2 axes")
    over = tuple(range(2, axes + 2))
    d = x - np.mean(x, axis=over, keepdims=True)
    scale, bias = (n.weight(i, what).reshape(-1, *[1] * axes) for i, what in enumerate(("the scale", "the bias"), 1))
    return whole(d / np.sqrt(np.mean(d * d, axis=over, keepdims=True) + n.option("epsilon", 1e-5)) * scale + bias)


def _prelu(n: Node) -> Value:
    slope, view = n.weight(1, "the slope"), n.view()
    layer = n.load(layers.PReLU(slope.size, name=n.named()), weight=slope.reshape(-1))
    if slope.size == 1:
        return View(layer(view.tensor), view.axes)
    if slope.ndim == 1:
        view, _ = view.last(-1)
        return View(layer(view.tensor), view.axes)
    n.must(slope.shape == (slope.size, *[1] * (len(view.axes) - 2)), "slopes along other axes than one")
    x, axes = _channels_last(n)
    return ordered(layer(x), _last(axes))


def _gather(n: Node) -> Value:
    table, picked = n.given(0), n.given(1)
    if not isinstance(table, np.ndarray) or isinstance(picked, np.ndarray):
        assert table is not None
        return pick(n, table, n.array(1, "the indices"), n.axis("axis", 0, len(shape_of(table))))
    n.must(table.ndim == 2 and n.option("axis", 0) == 0, "a table of other axes than ids and features")
    ids, offsets = n.loaded.offsets.get(n.names[1], (n.view(1), None))
    number: Any = len(table) if offsets is None else np.diff([*offsets, len(table)]).tolist()
    layer = layers.Embedding(number, table.shape[1], name=n.named(0))
    y = n.load(layer, weight=n.weight(0, "the table"))(ids.tensor)
    if offsets is None:
        return View(y, (*ids.axes, (len(sample(y)),)))
    *before, width = sample(y)
    return whole(layers.Reshape(*before, len(offsets), width // len(offsets))(y))


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
    return ordered(n.load(layer, **weights)(x), _last(axes))


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
    return ordered(n.load(layer, **weights)(x), _last(axes))


def _pool(n: Node) -> Value:
    x, axes = _channels_last(n)
    n.must(axes > 0, "an input of 2 axes")
    n.must(len(n.outputs) == 1, "the places of the largest as an output")
    sizes, ceil = _per_axis(n, "kernel_shape", axes), bool(n.option("ceil_mode", 0))
    strides, padding, dilation = _per_axis(n, "strides", axes), _padding(n, axes), _per_axis(n, "dilations", axes)
    if n.op == "MaxPool":
        largest: Any = layers.MaxPool1d if axes == 1 else layers.MaxPool2d
        return ordered(largest(sizes, strides, padding, dilation, ceil)(x), _last(axes))
    n.must(dilation in (1, (1, 1)), "dilations")
    mean: Any = layers.AvgPool1d if axes == 1 else layers.AvgPool2d
    return ordered(mean(sizes, strides, padding, ceil, bool(n.option("count_include_pad", 0)))(x), _last(axes))


def _global_average_pool(n: Node) -> Value:
    x, axes = _channels_last(n)
    y = layers.GlobalAvgPool()(x) if axes else x
    return View(y, ((0,), (1,), *[()] * axes))


# ---- functions -------------------------------------------------------------------------------------------------------


def _softmax(n: Node) -> Value:
    ndim = len(n.view().axes)
    axis = n.axis("axis", -1 if n.loaded.opset >= 13 else 1, ndim)
    # before opset 13 it went over all axes from this one on
    n.must(n.loaded.opset >= 13 or axis == ndim - 1, f"axis {axis} of {ndim} in opset {n.loaded.opset}")
    view, place = n.view().single(axis)
    if n.op == "LogSoftmax":
        return View(special.log_softmax(view.tensor, axis=place), view.axes)
    last = place == len(sample(view.tensor))
    return View(layers.Softmax()(view.tensor) if last else special.softmax(view.tensor, axis=place), view.axes)


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
    if kind == np.dtype("int32") and n.view().tensor.dtype == "int64":
        return n.view()
    n.must(kind in (np.dtype(n.loaded.dtype), np.dtype("int64"), np.dtype("bool")),
           f"numbers of {kind} in a network of {n.loaded.dtype}")
    return View(n.view().tensor.astype(kind), n.view().axes)


def _selu(n: Node) -> Layer:
    alpha, scale = n.option("alpha", acts.SELU_ALPHA), n.option("gamma", acts.SELU_SCALE)
    n.must(abs(alpha - acts.SELU_ALPHA) + abs(scale - acts.SELU_SCALE) < 1e-5, "an alpha or gamma of its own")
    return layers.SELU()


def _div(n: Node) -> Value:
    a, b = n.inputs
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype.kind == b.dtype.kind == "i":
        return sizes_over(a, b)
    n.must(not any(isinstance(v, np.ndarray) and v.dtype.kind != "f" for v in n.inputs), "a division of integers")
    return _function(np.divide)(n)


def _clip(n: Node) -> Value:
    low, high, view = n.number(1, "min", None), n.number(2, "max", None), n.view()
    y = view.tensor if low is None else np.maximum(view.tensor, low)
    return View(y if high is None else np.minimum(y, high), view.axes)


def _hard_sigmoid(n: Node) -> Value:
    y = n.view().tensor * n.option("alpha", 0.2) + n.option("beta", 0.5)
    return View(np.minimum(np.maximum(y, 0.0), 1.0), n.view().axes)


def _joined(layer: type[Layer], function: Callable[..., Any]) -> Callable[[Node], Value]:
    """Return the rule of a layer of two inputs of one shape, and of a function of any others."""
    def rule(n: Node) -> Value:
        a, b = n.inputs
        if isinstance(a, View) and isinstance(b, View) and a.shape == b.shape and a.tensor is not b.tensor:
            if not a.is_made_like(b):
                a = a if a.is_straight else a.straight()
                b = View(b.seen_by(tuple(group[0] for group in a.axes)), a.axes)
            return View(layer()(a.tensor, b.tensor), a.axes)
        return _function(function)(n)
    return rule


def _mul(n: Node) -> Value:
    a, b = n.inputs
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype.kind == b.dtype.kind == "i":
        return sizes_times(a, b)
    return _joined(layers.Multiply, np.multiply)(n)


def _add(n: Node) -> Value:
    """Ids of several columns are counted on, each table beginning where that of the column before ends."""
    a, b = n.inputs
    ids, first = (a, b) if isinstance(a, View) else (b, a)
    users = n.loaded.users.get(n.outputs[0], [])
    if (isinstance(ids, View) and isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind == "i"
            and ids.tensor.node is None and [user.op_type for user in users] == ["Gather"]):
        n.must(ids.shape[-1] == len(first) and ids.axes == whole(ids.tensor).axes and first[0] == 0
               and bool((np.diff(first) > 0).all()), f"ids that are counted on by {first.tolist()}")
        n.loaded.offsets[n.outputs[0]] = ids, first
    return _joined(layers.Add, np.add)(n)


def _mod(n: Node) -> Value:
    """The remainder has the sign of what is divided where ``fmod``, and of the divisor where not."""
    if n.option("fmod", 0):
        return _function(lambda a, b: np.sign(a) * np.mod(np.abs(a), np.abs(b)))(n)
    return _function(np.mod)(n)


def _is_inf(n: Node) -> Value:
    n.must(bool(n.option("detect_negative", 1)) and bool(n.option("detect_positive", 1)), "one sign alone")
    return _function(lambda x: np.logical_not(np.logical_or(np.isfinite(x), np.isnan(x))))(n)


def _einsum(n: Node) -> Value:
    return made(np.einsum(n.option("equation"), *map(plain, n.inputs)))


def _pad(n: Node) -> Value:
    n.must(n.option("mode", "constant") == "constant" and n.given(3) is None, "another mode than constant, or axes")
    pads, x = n.axes(1, "pads") or [], n.view().plain
    half = len(pads) // 2
    pairs = list(zip(pads[:half], pads[half:], strict=True))
    n.must(min(pads, default=0) >= 0 and pairs[:1] == [(0, 0)], "elements cut off, or rows added")
    return whole(np.pad(x, pairs, constant_values=n.number(2, "value", 0.0) or 0.0))


# ---- the table -------------------------------------------------------------------------------------------------------

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": np.abs, "Acos": np.arccos, "Acosh": np.arccosh, "Asin": np.arcsin, "Asinh": np.arcsinh, "Atan": np.arctan,
    "Atanh": np.arctanh, "Ceil": np.ceil, "Cos": np.cos, "Cosh": np.cosh, "Erf": special.erf,
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
    "LayerNormalization": _layer_normalization, "RMSNormalization": _rms_normalization,
    "GroupNormalization": _group_normalization, "InstanceNormalization": _instance_normalization,
    "PRelu": _prelu, "Gather": _gather, "RNN": recurrence, "GRU": recurrence, "LSTM": recurrence,
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
    "Identity": _identity, "Constant": _constant, "Cast": _cast, "Pad": _pad, "Einsum": _einsum, "IsInf": _is_inf,
    "Add": _add, "Mul": _mul, "Div": _div, "Mod": _mod, "Sum": _function(np.add, several=True),
    "Max": _function(np.maximum, several=True), "Min": _function(np.minimum, several=True),
    **SHAPES,
    **{name: _function(function) for name, function in (_UNARY | _OTHERS).items()},
}
