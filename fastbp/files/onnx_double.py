"""Convolution, pooling and recurrence in float64, which ONNX Runtime has for float32 alone: written with products.

A window is gathered by the numbers of its elements, which are known when the model is written. Recurrent layers are
written out step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastbp.files.onnx_writer import Writer
from fastbp.ops.base import Array
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.pool import AvgPoolOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RecurrentOp, RNNOp
from fastbp.ops.window import Window


def conv(w: Writer, op: ConvOp, xs: list[str]) -> str:
    shape, taps, groups = w.shape(), prod(op.window.kernel_size), op.groups
    windows = _gather(w, xs[0], _numbers(op.window, shape[:-1]))
    places, width = prod(w.tensor.shape[:-1]), shape[-1] // groups
    parts = w.transpose(w.reshape(windows, places, taps, groups, width), 0, 1, 3, 2, 4)
    return _grouped(w, op, parts, (places, groups, 1, taps * width), _by_group(w.values("weight"), groups))


def conv_transpose(w: Writer, op: ConvTransposeOp, xs: list[str]) -> str:
    """Each element of x makes a window; an element of y adds up those entries of windows that fall on it."""
    *sizes, channels = w.shape()
    outputs, groups, taps = w.tensor.shape[:-1], op.groups, prod(op.window.kernel_size)
    weight = w.values("weight").reshape(groups, channels // groups, -1)
    parts = w("MatMul", w.reshape(xs[0], prod(sizes), groups, 1, channels // groups), weight)
    entries = w.transpose(w.reshape(parts, prod(sizes), groups, taps, -1), 0, 1, 3, 2, 4)
    entries = w.reshape(entries, prod(sizes) * taps, op.out_channels)
    sources = _sources(_numbers(op.window, outputs).reshape(-1), prod(outputs))
    y = w("ReduceSum", _gather(w, entries, sources), np.array([2]), keepdims=0)
    return w.reshape(w("Add", y, w.parameter("bias")) if op.bias else y, *w.tensor.shape)


def avg_pool(w: Writer, op: AvgPoolOp, xs: list[str]) -> str:
    sizes = w.shape()[:-1]
    total = w("ReduceSum", _gather(w, xs[0], _numbers(op.window, sizes)), np.array([2]), keepdims=0)
    return w("Div", w.reshape(total, *w.tensor.shape), op.counts(sizes).astype(float))


def _numbers(window: Window, sizes: Sequence[int]) -> Array:
    """Return what each window holds, (windows, taps): elements are counted from 1, and 0 is padding."""
    elements = np.arange(1, prod(sizes) + 1).reshape(1, *sizes, 1)
    return window.view(elements, 0).reshape(-1, prod(window.kernel_size))


def _sources(numbers: Array, count: int) -> Array:
    """Return for each number from 1 on the places that hold it, counted from 1, and 0 where there are no more."""
    order = np.argsort(numbers, kind="stable")
    first = np.searchsorted(numbers[order], np.arange(1, count + 2))
    most = max(int(np.diff(first).max(initial=1)), 1)
    at = first[:-1, None] + np.arange(most)
    return np.where(at < first[1:, None], order[np.minimum(at, len(order) - 1)] + 1, 0)


def _gather(w: Writer, x: str, numbers: Array) -> str:
    """Return the elements (B, windows, taps, C) of x (B, …, C) with these numbers, 0 for the number 0."""
    channels = w.tensor.shape[-1] if isinstance(w.node.op, ConvTransposeOp) else w.shape()[-1]
    rows = w.reshape(x, -1, channels)
    zero_first = w("Pad", rows, np.array([0, 1, 0, 0, 0, 0]), 0.0, mode="constant")
    return w("Gather", zero_first, numbers.astype(np.int64), axis=1)


def _by_group(weight: Array, groups: int) -> Array:
    """Return a weight (*kernel, C / groups, O) as (groups, kernel · C / groups, O / groups)."""
    return weight.reshape(-1, groups, weight.shape[-1] // groups).swapaxes(0, 1)


def _grouped(w: Writer, op: Any, parts: str, shape: Sequence[int], weight: Array) -> str:
    y = w.reshape(w("MatMul", w.reshape(parts, *shape), weight), *w.tensor.shape)
    return w("Add", y, w.parameter("bias")) if op.bias else y


def recurrent(w: Writer, op: RecurrentOp, xs: list[str]) -> str:
    steps, H = w.shape()[0], op.hidden_size
    weight = w.parameter("weight")
    zero = w("Expand", 0.0, w.sizes((-1, H)))
    now = xs[1:1 + op.states] if op.initial else [zero] * op.states
    ys = [""] * steps
    for t in range(steps - 1, -1, -1) if op.reverse else range(steps):
        z = w("Gather", xs[0], np.asarray(t), axis=1)
        after = _step(w, op, z, w("MatMul", now[0], weight), now)
        ys[t] = after[0]
        if op.lengths:
            live = w("Less", np.asarray(t), xs[-1])
            ys[t] = w("Where", live, after[0], 0.0)
            after = [w("Where", live, new, old) for new, old in zip(after, now, strict=True)]
        now = after
    parts = [*ys, *(now if op.state else ())]
    return w("Concat", *(w("Unsqueeze", y, np.array([1])) for y in parts), axis=1)


def _step(w: Writer, op: RecurrentOp, z: str, u: str, before: list[str]) -> list[str]:
    """Return the state after a step, as the op's own ``step`` does."""
    def cut(a: str) -> list[str]:
        return w.several(op.gates, "Split", a, axis=-1, num_outputs=op.gates)

    if isinstance(op, RNNOp):
        return [w("Tanh" if op.nonlinearity == "tanh" else "Relu", w("Add", z, u))]
    if isinstance(op, GRUOp):
        (zr, zs, zn), (ur, us, un) = cut(z), cut(u)
        if op.bias:
            un = w("Add", un, w.parameter("bias"))
        r, s = w("Sigmoid", w("Add", zr, ur)), w("Sigmoid", w("Add", zs, us))
        n = w("Tanh", w("Add", zn, w("Mul", r, un)))
        return [w("Add", w("Mul", w("Sub", 1.0, s), n), w("Mul", s, before[0]))]
    assert isinstance(op, LSTMOp)
    i, f, g, o = cut(w("Add", z, u))
    c = w("Add", w("Mul", w("Sigmoid", f), before[1]), w("Mul", w("Sigmoid", i), w("Tanh", g)))
    return [w("Mul", w("Sigmoid", o), w("Tanh", c)), c]
