"""Ops over images and sequences as nodes of ONNX's standard set.

ONNX has channels first: convolution and pooling stand between two transpositions. What it has no node for, or another
notion of (ceil mode, group normalisation with channels last, attention), is written with the nodes it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastbp.files import onnx_double as double
from fastbp.files.onnx_recurrence import ORDERS
from fastbp.files.onnx_writer import Rule, Writer
from fastbp.ops.attention import AttentionOp
from fastbp.ops.base import Op
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.glu import GLUOp, SwiGLUOp
from fastbp.ops.group_norm import GroupNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.pool import AvgPoolOp, GlobalAvgPoolOp, MaxPoolOp
from fastbp.ops.positions import PositionsOp
from fastbp.ops.prelu import PReLUOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RecurrentOp, RNNOp
from fastbp.ops.reshape import PermuteOp, ReshapeOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.slice import SliceOp
from fastbp.ops.upsample import UpsampleOp
from fastbp.ops.window import Window


def _channels_first(w: Writer, x: str, axes: int) -> str:
    return w.transpose(x, 0, axes + 1, *range(1, axes + 1))


def _channels_last(w: Writer, x: str, axes: int) -> str:
    return w.transpose(x, 0, *range(2, axes + 2), 1)


def _window(window: Window, pads: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {"kernel_shape": list(window.kernel_size), "strides": list(window.stride),
            "dilations": list(window.dilation),
            "pads": [low for low, _ in pads] + [high for _, high in pads]}


def _conv(w: Writer, op: ConvOp, xs: list[str]) -> str:
    axes, sizes = len(op.window.kernel_size), w.shape(0)[:-1]
    kernel = np.moveaxis(np.moveaxis(w.values("weight"), -1, 0), -1, 1)
    bias = [w.values("bias")] if op.bias else []
    y = w("Conv", _channels_first(w, xs[0], axes), kernel, *bias, group=op.groups,
          **_window(op.window, op.window.pads(sizes)))
    return _channels_last(w, y, axes)


def _conv_transpose(w: Writer, op: ConvTransposeOp, xs: list[str]) -> str:
    axes, shape = len(op.window.kernel_size), w.shape(0)
    outputs, window = op.output_shape(shape)[:-1], op.window
    pads = window.pads(outputs)
    more = [out - ((size - 1) * s + span - low - high) for out, size, s, span, (low, high) in
            zip(outputs, shape, window.stride, window.spans, pads, strict=False)]
    bias = [w.values("bias")] if op.bias else []
    y = w("ConvTranspose", _channels_first(w, xs[0], axes),
          np.moveaxis(w.values("weight"), -1, 1), *bias, group=op.groups, output_padding=more,
          **_window(window, pads))
    return _channels_last(w, y, axes)


def _pool(w: Writer, op: MaxPoolOp | AvgPoolOp, xs: list[str]) -> str:
    axes, sizes = len(op.window.kernel_size), w.shape(0)[:-1]
    x, window = _channels_first(w, xs[0], axes), _window(op.window, op.window.padded(sizes))
    if isinstance(op, MaxPoolOp):
        return _channels_last(w, w("MaxPool", x, **window), axes)
    y = _channels_last(w, w("AveragePool", x, count_include_pad=1, **window), axes)
    return w("Mul", y, prod(op.window.kernel_size) / op.counts(sizes))


def _global_avg_pool(w: Writer, op: GlobalAvgPoolOp, xs: list[str]) -> str:
    return w("ReduceMean", xs[0], np.arange(1, len(w.shape()) + 1)[:-1], keepdims=0)


def _upsample(w: Writer, op: UpsampleOp, xs: list[str]) -> str:
    y, letters = xs[0], "bhwc" if len(op.scale_factor) == 2 else "btc"
    for axis, factor in enumerate(op.scale_factor, start=1):
        matrix = op.matrix(w.shape(0)[axis - 1], factor, np.dtype("float64"))
        y = w("Einsum", matrix, y, equation=f"o{letters[axis]},{letters}->{letters.replace(letters[axis], 'o')}")
    return y


def _gated(w: Writer, op: Op, xs: list[str]) -> str:
    a, b = w.several(2, "Split", *xs, axis=-1, num_outputs=2)
    if isinstance(op, GLUOp):
        return w("Mul", a, w("Sigmoid", b))
    return w("Mul", w("Mul", a, w("Sigmoid", a)), b)


def _prelu(w: Writer, op: PReLUOp, xs: list[str]) -> str:
    if w.double:
        return w("Where", w("Greater", xs[0], 0.0), xs[0], w("Mul", xs[0], w.parameter("weight")))
    return w("PRelu", xs[0], w.parameter("weight"))


def _scaled(w: Writer, x: str, squares: str, eps: float) -> str:
    """Return x / √(squares + eps)."""
    return w("Div", x, w("Sqrt", w("Add", squares, eps)))


def _rms_norm(w: Writer, op: RMSNormOp, xs: list[str]) -> str:
    (x,) = xs
    y = _scaled(w, x, w.mean(w("Mul", x, x), -1), op.eps)
    return w("Mul", y, w.values("weight"))


def _group_norm(w: Writer, op: GroupNormOp, xs: list[str]) -> str:
    shape = w.shape(0)
    x = w.reshape(xs[0], prod(shape[:-1]), op.num_groups, op.features // op.num_groups)
    d = w("Sub", x, w.mean(x, 1, 3))
    y = w.reshape(_scaled(w, d, w.mean(w("Mul", d, d), 1, 3), op.eps), *shape)
    y = w("Mul", y, w.values("weight"))
    return w("Add", y, w.values("bias"))


def _reshape(w: Writer, op: ReshapeOp, xs: list[str]) -> str:
    return w.reshape(xs[0], *op.output_shape(w.shape(0)))


def _permute(w: Writer, op: PermuteOp, xs: list[str]) -> str:
    return w.transpose(xs[0], 0, *op.dims)


def _slice(w: Writer, op: SliceOp, xs: list[str]) -> str:
    return w("Slice", xs[0], np.array([op.start]), np.array([op.stop]), np.array([op.axis]))


def _positions(w: Writer, op: PositionsOp, xs: list[str]) -> str:
    return w("Add", xs[0], w.values("weight")[:w.shape(0)[0]])


def _rotary(w: Writer, op: RotaryOp, xs: list[str]) -> str:
    steps, width = w.shape(0)
    turned = op.heads * op.head_dim
    parts = xs
    if turned < width:
        parts = w.several(2, "Split", xs[0], np.array([turned, width - turned]), axis=-1)
    theta = op.angles(steps)[:, None, :, None]
    cos, sin = np.cos(theta), np.sin(theta)
    pairs = w.reshape(parts[0], steps, op.heads, op.head_dim // 2, 2)
    a, b = w.several(2, "Split", pairs, axis=-1, num_outputs=2)
    left = w("Sub", w("Mul", a, cos), w("Mul", b, sin))
    right = w("Add", w("Mul", a, sin), w("Mul", b, cos))
    y = w.reshape(w("Concat", left, right, axis=-1), steps, turned)
    return y if turned == width else w("Concat", y, parts[1], axis=-1)


def _attention(w: Writer, op: AttentionOp, xs: list[str]) -> str:
    queries, keys = w.shape(0)[0], w.shape(1 if op.cross else 0)[0]
    K, shared, D = op.kv_heads, op.heads // op.kv_heads, op.head_dim
    if op.cross:
        q, (k, v) = xs[0], w.several(2, "Split", xs[1], axis=-1, num_outputs=2)
    else:
        q, k, v = w.several(3, "Split", xs[0], np.array([op.heads * D, K * D, K * D]), axis=-1)
    q = w.transpose(w.reshape(q, queries, K, shared, D), 0, 2, 3, 1, 4)
    k = w.transpose(w.reshape(k, keys, K, 1, D), 0, 2, 3, 4, 1)
    v = w.transpose(w.reshape(v, keys, K, 1, D), 0, 2, 3, 1, 4)
    s = w("Mul", w("MatMul", q, k), 1 / np.sqrt(D))
    if op.causal:
        seen = np.arange(queries)[:, None] + keys - queries >= np.arange(keys)
        s = w("Add", s, np.where(seen, 0, -np.inf))
    if op.key_padding_mask:
        hidden = w("Unsqueeze", xs[1 + op.cross], np.array([1, 2, 3]))
        s = w("Where", w.cast(hidden, "int64", "bool"), -np.inf, s)
    if op.attn_mask:
        s = w("Add", s, w("Unsqueeze", xs[-1], np.array([1, 2])))
    y = w("MatMul", w("Softmax", s, axis=-1), v)
    return w.reshape(w.transpose(y, 0, 3, 1, 2, 4), queries, op.heads * D)


# ONNX's names of the ops, whose order of gates onnx_recurrence has.
_RECURRENT: dict[type[Op], str] = {RNNOp: "RNN", GRUOp: "GRU", LSTMOp: "LSTM"}


def _recurrent(w: Writer, op: RecurrentOp, xs: list[str]) -> str:
    """One node, with the linear op before it, whose own nodes are then left out if nothing else needs them."""
    kind = _RECURRENT[type(op)]
    order = ORDERS[kind]
    H, width = op.hidden_size, op.gates * op.hidden_size
    columns = np.concatenate([np.arange(H) + gate * H for gate in order])
    bias, source, before = np.zeros((1, 2 * width)), xs[0], w.node.inputs[0].node
    kernel = np.eye(width)
    if before is not None and isinstance(before.op, LinearOp):
        kernel, source = w.values("weight", before).T, w.name(before.inputs[0])
        if before.op.bias:
            bias[0, :width] = w.values("bias", before)[columns]
    if "bias" in w.node.params:
        bias[0, -H:] = w.values("bias")
    lengths = ""
    if op.lengths:
        lengths = w.cast(w("Squeeze", xs[-1], np.array([1])), "int64", "int32")
    given = [w("Unsqueeze", s, np.array([0])) for s in xs[1:1 + op.states * op.initial]]
    options: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    if getattr(op, "nonlinearity", "tanh") == "relu":
        options["activations"] = ["Relu"]
    outputs = w.several(1 + op.states, kind, w.transpose(source, 1, 0, 2), kernel[columns][None],
                        w.values("weight").T[columns][None], bias, lengths, *given, hidden_size=H,
                        direction="reverse" if op.reverse else "forward", **options)
    y = w.transpose(w("Squeeze", outputs[0], np.array([1])), 1, 0, 2)
    if not op.state:
        return y
    return w("Concat", y, *(w.transpose(end, 1, 0, 2) for end in outputs[1:]), axis=1)


def _single(rule: Rule, in_double: Rule) -> Rule:
    """Return a rule for float32, where another one holds for float64."""
    return lambda w, op, xs: (in_double if w.double else rule)(w, op, xs)


_RECURRENCE = _single(_recurrent, double.recurrent)
TABLE: dict[type[Op], Rule] = {
    ConvOp: _single(_conv, double.conv), ConvTransposeOp: _single(_conv_transpose, double.conv_transpose),
    MaxPoolOp: _pool, AvgPoolOp: _single(_pool, double.avg_pool),
    GlobalAvgPoolOp: _global_avg_pool, UpsampleOp: _upsample, GLUOp: _gated, SwiGLUOp: _gated, PReLUOp: _prelu,
    RMSNormOp: _rms_norm, GroupNormOp: _group_norm, ReshapeOp: _reshape, PermuteOp: _permute, SliceOp: _slice,
    PositionsOp: _positions, RotaryOp: _rotary, AttentionOp: _attention, RNNOp: _RECURRENCE, GRUOp: _RECURRENCE,
    LSTMOp: _RECURRENCE,
}
