"""Ops over images and sequences as nodes of ONNX's standard set.

ONNX has channels first: convolution and pooling stand between two transpositions. What it has no node for, or another
notion of (ceil mode, group normalisation with channels last, attention), is written with the nodes it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from fastbp.graph.graph import Node
from fastbp.ops.attention import AttentionOp
from fastbp.ops.base import Array, Op
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.glu import GLUOp, SwiGLUOp
from fastbp.ops.group_norm import GroupNormOp
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


class Model(Protocol):
    """What the nodes of an op are added to."""

    constants: dict[str, Array]

    @property
    def dtype(self) -> str:
        """The network's."""

    def values(self, node: Node, role: str) -> Array:
        """Return the values of a node's parameter."""

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add a node that makes tensors of these names."""


Add = Callable[["Nodes", Node, Any, list[str]], str]
"""Adds the nodes of one op and returns the name of what they make."""


class Nodes:
    """The nodes of one op: intermediate results are named after its output."""

    def __init__(self, model: Model, output: str) -> None:
        self._model, self._output, self._count = model, output, 0
        self.dtype = model.dtype

    def name(self) -> str:
        """Return a new name."""
        self._count += 1
        return f"{self._output}.{self._count}"

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Return the name of a constant of the network's dtype, or another."""
        name = self.name()
        self._model.constants[name] = np.ascontiguousarray(values, dtype or self.dtype)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """Return the name of a constant of integers."""
        return self.constant(list(values), np.int64)

    def parameter(self, node: Node, role: str) -> Array:
        """Return the values of a parameter."""
        return self._model.values(node, role)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of what it makes."""
        return self.several(kind, inputs, 1, **attributes)[0]

    def several(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Add a node that makes several tensors, and return their names."""
        names = [self.name() for _ in range(outputs)]
        self._model.add(kind, list(inputs), names, **attributes)
        return names

    def reshape(self, x: str, *sizes: int) -> str:
        """Add a reshape of all axes but the batch."""
        return self.add("Reshape", x, self.integers((0, *sizes)))

    def transpose(self, x: str, *order: int) -> str:
        """Add a transposition."""
        return self.add("Transpose", x, perm=list(order))

    def mean(self, x: str, *axes: int) -> str:
        """Add a mean over axes, which are kept."""
        return self.add("ReduceMean", x, self.integers(axes), keepdims=1)


def _channels_first(n: Nodes, x: str, axes: int) -> str:
    return n.transpose(x, 0, axes + 1, *range(1, axes + 1))


def _channels_last(n: Nodes, x: str, axes: int) -> str:
    return n.transpose(x, 0, *range(2, axes + 2), 1)


def _window(window: Window, pads: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {"kernel_shape": list(window.kernel_size), "strides": list(window.stride),
            "dilations": list(window.dilation),
            "pads": [low for low, _ in pads] + [high for _, high in pads]}


def _conv(n: Nodes, node: Node, op: ConvOp, inputs: list[str]) -> str:
    axes, sizes = len(op.window.kernel_size), node.inputs[0].shape[:-1]
    kernel = np.moveaxis(np.moveaxis(n.parameter(node, "weight"), -1, 0), -1, 1)
    bias = [n.constant(n.parameter(node, "bias"))] if op.bias else []
    y = n.add("Conv", _channels_first(n, inputs[0], axes), n.constant(kernel), *bias, group=op.groups,
              **_window(op.window, op.window.pads(sizes)))
    return _channels_last(n, y, axes)


def _conv_transpose(n: Nodes, node: Node, op: ConvTransposeOp, inputs: list[str]) -> str:
    axes, shape = len(op.window.kernel_size), node.inputs[0].shape
    outputs, window = op.output_shape(shape)[:-1], op.window
    pads = window.pads(outputs)
    more = [out - ((size - 1) * s + span - low - high) for out, size, s, span, (low, high) in
            zip(outputs, shape, window.stride, window.spans, pads, strict=False)]
    bias = [n.constant(n.parameter(node, "bias"))] if op.bias else []
    y = n.add("ConvTranspose", _channels_first(n, inputs[0], axes),
              n.constant(np.moveaxis(n.parameter(node, "weight"), -1, 1)), *bias, group=op.groups, output_padding=more,
              **_window(window, pads))
    return _channels_last(n, y, axes)


def _pool(n: Nodes, node: Node, op: MaxPoolOp | AvgPoolOp, inputs: list[str]) -> str:
    axes, sizes = len(op.window.kernel_size), node.inputs[0].shape[:-1]
    x, window = _channels_first(n, inputs[0], axes), _window(op.window, op.window.padded(sizes))
    if isinstance(op, MaxPoolOp):
        return _channels_last(n, n.add("MaxPool", x, **window), axes)
    y = _channels_last(n, n.add("AveragePool", x, count_include_pad=1, **window), axes)
    return n.add("Mul", y, n.constant(prod(op.window.kernel_size) / op.counts(sizes)))


def _global_avg_pool(n: Nodes, node: Node, op: GlobalAvgPoolOp, inputs: list[str]) -> str:
    axes = n.integers(range(1, len(node.inputs[0].shape)))
    return n.add("ReduceMean", inputs[0], axes, keepdims=0)


def _upsample(n: Nodes, node: Node, op: UpsampleOp, inputs: list[str]) -> str:
    y, letters = inputs[0], "bhwc" if len(op.scale_factor) == 2 else "btc"
    for axis, factor in enumerate(op.scale_factor, start=1):
        matrix = n.constant(op.matrix(node.inputs[0].shape[axis - 1], factor, np.dtype(n.dtype)))
        y = n.add("Einsum", matrix, y, equation=f"o{letters[axis]},{letters}->{letters.replace(letters[axis], 'o')}")
    return y


def _gated(n: Nodes, node: Node, op: Op, inputs: list[str]) -> str:
    a, b = n.several("Split", inputs, 2, axis=-1, num_outputs=2)
    if isinstance(op, GLUOp):
        return n.add("Mul", a, n.add("Sigmoid", b))
    return n.add("Mul", n.add("Mul", a, n.add("Sigmoid", a)), b)


def _prelu(n: Nodes, node: Node, op: PReLUOp, inputs: list[str]) -> str:
    return n.add("PRelu", inputs[0], n.constant(n.parameter(node, "weight")))


def _scaled(n: Nodes, x: str, squares: str, eps: float) -> str:
    """Return x / √(squares + eps)."""
    return n.add("Div", x, n.add("Sqrt", n.add("Add", squares, n.constant(eps))))


def _rms_norm(n: Nodes, node: Node, op: RMSNormOp, inputs: list[str]) -> str:
    (x,) = inputs
    y = _scaled(n, x, n.mean(n.add("Mul", x, x), -1), op.eps)
    return n.add("Mul", y, n.constant(n.parameter(node, "weight")))


def _group_norm(n: Nodes, node: Node, op: GroupNormOp, inputs: list[str]) -> str:
    shape = node.inputs[0].shape
    x = n.reshape(inputs[0], prod(shape[:-1]), op.num_groups, op.features // op.num_groups)
    d = n.add("Sub", x, n.mean(x, 1, 3))
    y = n.reshape(_scaled(n, d, n.mean(n.add("Mul", d, d), 1, 3), op.eps), *shape)
    y = n.add("Mul", y, n.constant(n.parameter(node, "weight")))
    return n.add("Add", y, n.constant(n.parameter(node, "bias")))


def _reshape(n: Nodes, node: Node, op: ReshapeOp, inputs: list[str]) -> str:
    return n.reshape(inputs[0], *op.output_shape(node.inputs[0].shape))


def _permute(n: Nodes, node: Node, op: PermuteOp, inputs: list[str]) -> str:
    return n.transpose(inputs[0], 0, *op.dims)


def _slice(n: Nodes, node: Node, op: SliceOp, inputs: list[str]) -> str:
    return n.add("Slice", inputs[0], n.integers([op.start]), n.integers([op.stop]), n.integers([op.axis]))


def _positions(n: Nodes, node: Node, op: PositionsOp, inputs: list[str]) -> str:
    return n.add("Add", inputs[0], n.constant(n.parameter(node, "weight")[:node.inputs[0].shape[0]]))


def _rotary(n: Nodes, node: Node, op: RotaryOp, inputs: list[str]) -> str:
    steps, width = node.inputs[0].shape
    turned = op.heads * op.head_dim
    parts = inputs
    if turned < width:
        parts = n.several("Split", [inputs[0], n.integers([turned, width - turned])], 2, axis=-1)
    theta = op.angles(steps)[:, None, :, None]
    cos, sin = n.constant(np.cos(theta)), n.constant(np.sin(theta))
    pairs = n.reshape(parts[0], steps, op.heads, op.head_dim // 2, 2)
    a, b = n.several("Split", [pairs], 2, axis=-1, num_outputs=2)
    left = n.add("Sub", n.add("Mul", a, cos), n.add("Mul", b, sin))
    right = n.add("Add", n.add("Mul", a, sin), n.add("Mul", b, cos))
    y = n.reshape(n.add("Concat", left, right, axis=-1), steps, turned)
    return y if turned == width else n.add("Concat", y, parts[1], axis=-1)


def _attention(n: Nodes, node: Node, op: AttentionOp, inputs: list[str]) -> str:
    queries, keys = node.inputs[0].shape[0], node.inputs[1 if op.cross else 0].shape[0]
    K, shared, D = op.kv_heads, op.heads // op.kv_heads, op.head_dim
    if op.cross:
        q, (k, v) = inputs[0], n.several("Split", [inputs[1]], 2, axis=-1, num_outputs=2)
    else:
        q, k, v = n.several("Split", [inputs[0], n.integers([op.heads * D, K * D, K * D])], 3, axis=-1)
    q = n.transpose(n.reshape(q, queries, K, shared, D), 0, 2, 3, 1, 4)
    k = n.transpose(n.reshape(k, keys, K, 1, D), 0, 2, 3, 4, 1)
    v = n.transpose(n.reshape(v, keys, K, 1, D), 0, 2, 3, 1, 4)
    s = n.add("Mul", n.add("MatMul", q, k), n.constant(1 / np.sqrt(D)))
    if op.causal:
        seen = np.arange(queries)[:, None] + keys - queries >= np.arange(keys)
        s = n.add("Add", s, n.constant(np.where(seen, 0, -np.inf)))
    if op.key_padding_mask:
        hidden = n.add("Unsqueeze", inputs[1 + op.cross], n.integers([1, 2, 3]))
        s = n.add("Where", n.add("Cast", hidden, to=9), n.constant(-np.inf), s)       # 9: bool
    if op.attn_mask:
        s = n.add("Add", s, n.add("Unsqueeze", inputs[-1], n.integers([1, 2])))
    y = n.add("MatMul", n.add("Softmax", s, axis=-1), v)
    return n.reshape(n.transpose(y, 0, 3, 1, 2, 4), queries, op.heads * D)


# ONNX's names of the ops, and its order of their gates.
_RECURRENT: dict[type[Op], tuple[str, tuple[int, ...]]] = {
    RNNOp: ("RNN", (0,)), GRUOp: ("GRU", (1, 0, 2)), LSTMOp: ("LSTM", (0, 3, 1, 2))}


def _recurrent(n: Nodes, node: Node, op: RecurrentOp, inputs: list[str]) -> str:
    kind, order = _RECURRENT[type(op)]
    H, width = op.hidden_size, op.gates * op.hidden_size
    columns = np.concatenate([np.arange(H) + gate * H for gate in order])
    bias = np.zeros((1, 2 * width))
    if "bias" in node.params:
        bias[0, -H:] = n.parameter(node, "bias")
    lengths = ""
    if op.lengths:
        lengths = n.add("Cast", n.add("Squeeze", inputs[-1], n.integers([1])), to=6)  # 6: int32
    given = [n.add("Unsqueeze", s, n.integers([0])) for s in inputs[1:1 + op.states * op.initial]]
    options: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    if getattr(op, "nonlinearity", "tanh") == "relu":
        options["activations"] = ["Relu"]
    outputs = n.several(kind, [
        n.transpose(inputs[0], 1, 0, 2), n.constant(np.eye(width)[columns][None]),
        n.constant(n.parameter(node, "weight").T[columns][None]), n.constant(bias), lengths, *given], 1 + op.states,
        hidden_size=H, direction="reverse" if op.reverse else "forward", **options)
    y = n.transpose(n.add("Squeeze", outputs[0], n.integers([1])), 1, 0, 2)
    if not op.state:
        return y
    return n.add("Concat", y, *(n.transpose(end, 1, 0, 2) for end in outputs[1:]), axis=1)


NODES: dict[type[Op], Add] = {
    ConvOp: _conv, ConvTransposeOp: _conv_transpose, MaxPoolOp: _pool, AvgPoolOp: _pool,
    GlobalAvgPoolOp: _global_avg_pool, UpsampleOp: _upsample, GLUOp: _gated, SwiGLUOp: _gated, PReLUOp: _prelu,
    RMSNormOp: _rms_norm, GroupNormOp: _group_norm, ReshapeOp: _reshape, PermuteOp: _permute, SliceOp: _slice,
    PositionsOp: _positions, RotaryOp: _rotary, AttentionOp: _attention, RNNOp: _recurrent, GRUOp: _recurrent,
    LSTMOp: _recurrent,
}
"""How each op is written."""


def lower(model: Model, node: Node, inputs: list[str], output: str) -> bool:
    """Add the nodes of an op to a model; return whether there is a way to write it."""
    write = NODES.get(type(node.op))
    if write is None:
        return False
    model.add("Identity", [write(Nodes(model, output), node, node.op, inputs)], [output])
    return True
