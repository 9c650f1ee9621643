"""What the ops of expressions on whole arrays are in ONNX: reductions, products, and those that move numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.files.onnx_writer import Writer
from fastbp.ops.reduce import CumsumOp, EinsumOp, MatmulOp, ProductOp, ReduceOp
from fastbp.ops.sort import ArgsortOp
from fastbp.ops.sources import CastOp, ConstantOp, FillOp, ParameterOp, RowsOp, StopGradientOp, TrainingOp
from fastbp.ops.structure import (
    BroadcastOp,
    IndexOp,
    JoinOp,
    PadOp,
    ReshapeOp,
    TakeAlongOp,
    TakeOp,
    TransposeOp,
)

_FIRST, _LAST = -(2**62), 2**62     # beyond the ends of every axis


def _kind(w: Writer, which: int = 0) -> str:
    return w.node.inputs[which].dtype


def reduce(w: Writer, op: ReduceOp, xs: list[str]) -> str:
    """Truth values are reduced as integers, which ONNX can."""
    (x,), axes, keep = xs, np.array(op.axis), int(op.keepdims)
    if op.function.startswith("arg"):
        x = w.cast(x, _kind(w), "int64" if _kind(w) == "bool" else _kind(w))
        return w({"argmax": "ArgMax", "argmin": "ArgMin"}[op.function], x, axis=op.axis[0], keepdims=keep)
    if op.function in ("any", "all"):
        truth = w.cast(w.cast(x, _kind(w), "bool"), "bool", "int64")
        return w.cast(w("ReduceMax" if op.function == "any" else "ReduceMin", truth, axes, keepdims=keep), "int64",
                      "bool")
    kind = w.tensor.dtype if w.tensor.dtype != "bool" else "int64"
    name = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}[op.function]
    return w.cast(w(name, w.cast(x, _kind(w), kind), axes, keepdims=keep), kind, w.tensor.dtype)


def product(w: Writer, op: ProductOp, xs: list[str]) -> str:
    return w("ReduceProd", w.cast(xs[0], _kind(w), w.tensor.dtype), np.array([op.axis]), keepdims=1)


def cumsum(w: Writer, op: CumsumOp, xs: list[str]) -> str:
    return w("CumSum", w.cast(xs[0], _kind(w), w.tensor.dtype), np.array(op.axis), reverse=int(op.reverse))


def argsort(w: Writer, op: ArgsortOp, xs: list[str]) -> str:
    """All of the smallest; of equal ones the first comes first."""
    count = w("Slice", w("Shape", *xs), np.array([op.axis]), np.array([op.axis + 1]))
    numbers = w.cast(xs[0], _kind(w), "int64" if _kind(w) == "bool" else _kind(w))
    return w.several(2, "TopK", numbers, count, axis=op.axis, largest=0, sorted=1)[1]


def matmul(w: Writer, op: MatmulOp, xs: list[str]) -> str:
    return w("MatMul", *(w.cast(x, _kind(w, i), w.tensor.dtype) for i, x in enumerate(xs)))


def einsum(w: Writer, op: EinsumOp, xs: list[str]) -> str:
    return w("Einsum", *(w.cast(x, _kind(w, i), w.tensor.dtype) for i, x in enumerate(xs)), equation=op.subscripts)


def constant(w: Writer, op: ConstantOp, xs: list[str]) -> str:
    return w.constant(op.values)


def fill(w: Writer, op: FillOp, xs: list[str]) -> str:
    number = w.cast(w.constant(float(op.number)), "real", w.tensor.dtype)
    return w("Expand", number, w("Shape", *xs))


def parameter(w: Writer, op: ParameterOp, xs: list[str]) -> str:
    return w.parameter(op.role)


def rows(w: Writer, op: RowsOp, xs: list[str]) -> str:
    return w.cast(w("Squeeze", w.rows(), np.array([0])), "int64", "real")


def training(w: Writer, op: TrainingOp, xs: list[str]) -> str:
    return w.constant(np.asarray(False))


def stop_gradient(w: Writer, op: StopGradientOp, xs: list[str]) -> str:
    return xs[0]


def cast(w: Writer, op: CastOp, xs: list[str]) -> str:
    return w.cast(xs[0], _kind(w), op.kind)


def reshape(w: Writer, op: ReshapeOp, xs: list[str]) -> str:
    return w("Reshape", *xs, w.sizes(op.shape))


def transpose(w: Writer, op: TransposeOp, xs: list[str]) -> str:
    return w("Transpose", *xs, perm=list(op.axes))


def broadcast(w: Writer, op: BroadcastOp, xs: list[str]) -> str:
    return w("Expand", *xs, w.sizes(op.shape))


def index(w: Writer, op: IndexOp, xs: list[str]) -> str:
    """Integers are slices of one entry whose axis is then left out; new axes come last."""
    (x,) = xs
    slices: list[tuple[int, int, int, int]] = []       # axis, start, stop, step
    dropped, new = [], []
    axis = place = 0
    for entry in op.key:
        if entry == "new":
            new.append(place)
            place += 1
        elif isinstance(entry, tuple | list):
            slices.append((axis, *_slice(*entry)))
            axis, place = axis + 1, place + 1
        else:
            slices.append((axis, entry, entry + 1 if entry != -1 else _LAST, 1))
            dropped.append(axis)
            axis += 1
    if slices:
        axes, starts, stops, steps = (np.array(column) for column in zip(*slices, strict=True))
        x = w("Slice", x, starts, stops, axes, steps)
    if dropped:
        x = w("Squeeze", x, np.array(dropped))
    if new:
        x = w("Unsqueeze", x, np.array(new))
    return x


def _slice(start: Any, stop: Any, step: Any) -> tuple[int, int, int]:
    step = 1 if step is None else step
    ends = (0, _LAST) if step > 0 else (_LAST, _FIRST)
    return (ends[0] if start is None else start, ends[1] if stop is None else stop, step)


def take(w: Writer, op: TakeOp, xs: list[str]) -> str:
    return w("Gather", *xs, axis=op.axis)


def take_along(w: Writer, op: TakeAlongOp, xs: list[str]) -> str:
    return w("GatherElements", *xs, axis=op.axis)


def join(w: Writer, op: JoinOp, xs: list[str]) -> str:
    return w("Concat", *(w.cast(x, _kind(w, i), w.tensor.dtype) for i, x in enumerate(xs)), axis=op.axis)


def pad(w: Writer, op: PadOp, xs: list[str]) -> str:
    before, after = zip(*op.widths, strict=True)
    number = w.cast(w.constant(float(op.constant)), "real", w.tensor.dtype)
    return w("Pad", *xs, np.array([*before, *after]), number, mode="constant")
