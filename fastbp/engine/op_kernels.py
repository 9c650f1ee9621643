"""Ops on arrays: forward and backward of each by its C kernels, with no plan around.

What :mod:`fastbp.ops` says in NumPy, with the same :class:`~fastbp.ops.base.Context`, is done here by the functions of
:mod:`fastbp.kernels`. An op that has none there (:func:`has_kernels` tells) runs as its NumPy text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbp.engine import kernels
from fastbp.ops.activations import ActivationOp
from fastbp.ops.base import Array, Context, Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearBackOp, LinearOp
from fastbp.ops.softmax import SoftmaxOp

Gradients = tuple[tuple[Array | None, ...], dict[str, Array]]


class KernelRule(NamedTuple):
    """How one op runs on arrays.

    Attributes
    ----------
    forward : callable
        ``forward(ctx) -> y``; the inputs are in ``ctx.inputs``.
    backward : callable
        ``backward(ctx, dy) -> (gradients of the inputs, gradients of the parameters by role)``.
    """

    forward: Callable[[Context], Array]
    backward: Callable[[Context, Array], Gradients]


def rule_of(op: Op) -> KernelRule:
    """Return how an op runs: by its kernels, or in NumPy where it has none."""
    if not has_kernels(op):
        return _in_numpy(op)
    return _RULES.get(type(op), _activation)(op)


def has_kernels(op: Op) -> bool:
    """Whether an op runs by kernels. An op from elsewhere, whatever its name, has none."""
    return type(op) in _RULES or (isinstance(op, ActivationOp) and type(op).__module__ == ActivationOp.__module__)


def _in_numpy(op: Op) -> KernelRule:
    def forward(ctx: Context) -> Array:
        with np.errstate(all="ignore"):
            return op.forward(ctx, *ctx.inputs, **ctx.params)

    def backward(ctx: Context, dy: Array) -> Gradients:
        with np.errstate(all="ignore"):
            return op.backward(ctx, dy)

    return KernelRule(forward, backward)


def _activation(op: Any) -> KernelRule:
    run, back = getattr(kernels, f"{op.name}_forward"), getattr(kernels, f"{op.name}_backward")
    numbers = {"alpha": op.alpha} if hasattr(op, "alpha") else {}
    if op.derivative_from == "input":
        return KernelRule(lambda ctx: run(ctx.inputs[0], **numbers),
                          lambda ctx, dy: ((back(dy, ctx.inputs[0], **numbers),), {}))
    return KernelRule(lambda ctx: run(ctx.inputs[0], **numbers),
                      lambda ctx, dy: ((back(dy, ctx.output, **numbers),), {}))


def _linear(op: Any) -> KernelRule:
    features, outputs = op.in_features, op.out_features

    def forward(ctx: Context) -> Array:
        x, params = ctx.inputs[0], ctx.params
        if x.ndim == 2:
            return kernels.linear_forward(x, params["weight"], params.get("bias"))
        y = kernels.linear_forward(x.reshape(-1, features), params["weight"], params.get("bias"))
        return y.reshape(*x.shape[:-1], outputs)

    def backward(ctx: Context, dy: Array) -> Gradients:
        x, weight = ctx.inputs[0], ctx.params["weight"]
        rows, slopes = (x, dy) if x.ndim == 2 else (x.reshape(-1, features), dy.reshape(-1, outputs))
        dx = kernels.linear_back_forward(slopes, weight)
        dweight, dbias = kernels.linear_backward_weight(rows, slopes, out=None if op.bias else (None, None))
        dparams = {"weight": dweight} if dbias is None else {"weight": dweight, "bias": dbias}
        return (dx.reshape(x.shape),), dparams

    return KernelRule(forward, backward)


def _linear_back(op: Any) -> KernelRule:
    features, outputs = op.in_features, op.out_features

    def forward(ctx: Context) -> Array:
        x = ctx.inputs[0]
        y = kernels.linear_back_forward(x.reshape(-1, outputs), ctx.params["weight"])
        return y.reshape(*x.shape[:-1], features)

    def backward(ctx: Context, dy: Array) -> Gradients:
        x, slopes = ctx.inputs[0], dy.reshape(-1, features)
        dx = kernels.linear_forward(slopes, ctx.params["weight"])
        dweight, _ = kernels.linear_backward_weight(slopes, x.reshape(-1, outputs), out=(None, None))
        return (dx.reshape(x.shape),), {"weight": dweight}

    return KernelRule(forward, backward)


def _softmax(op: Any) -> KernelRule:
    def forward(ctx: Context) -> Array:
        x = ctx.inputs[0]
        return kernels.softmax_forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    def backward(ctx: Context, dy: Array) -> Gradients:
        y = ctx.output
        assert y is not None
        dx = kernels.softmax_backward(dy.reshape(-1, y.shape[-1]), y.reshape(-1, y.shape[-1]))
        return (dx.reshape(y.shape),), {}

    return KernelRule(forward, backward)


def _dropout(op: Any) -> KernelRule:
    def drop(kernel: Callable[..., Array], ctx: Context, x: Array) -> Array:
        if not ctx.training:
            return x
        return kernel(x, rate=op.rate, seed=ctx.seed, step=ctx.step, node=ctx.node)

    return KernelRule(lambda ctx: drop(kernels.dropout_forward, ctx, ctx.inputs[0]),
                      lambda ctx, dy: ((drop(kernels.dropout_backward, ctx, dy),), {}))


def _batch_norm(op: Any) -> KernelRule:
    def forward(ctx: Context) -> Array:
        x, buffers = ctx.inputs[0], ctx.buffers
        rows = x.reshape(-1, op.features)
        if ctx.training:
            mean, rstd = kernels.batch_norm_statistics(rows, momentum=op.momentum, eps=op.eps,
                                                       running_mean=buffers["running_mean"],
                                                       running_var=buffers["running_var"])
        else:
            variance = buffers["running_var"].astype(np.float64)
            mean, rstd = buffers["running_mean"].copy(), (1 / np.sqrt(variance + op.eps)).astype(x.dtype)
        ctx.saved.update(mean=mean, rstd=rstd)
        y = kernels.batch_norm_forward(rows, mean, rstd, ctx.params["weight"], ctx.params["bias"])
        return y.reshape(x.shape)

    def backward(ctx: Context, dy: Array) -> Gradients:
        x, weight, mean, rstd = ctx.inputs[0], ctx.params["weight"], ctx.saved["mean"], ctx.saved["rstd"]
        rows, slopes = x.reshape(-1, op.features), dy.reshape(-1, op.features)
        dweight, dbias = kernels.batch_norm_backward_weight(slopes, rows, mean, rstd)
        if ctx.training:
            dx = kernels.batch_norm_backward_input(slopes, rows, mean, rstd, weight, dweight, dbias)
        else:
            with np.errstate(all="ignore"):
                dx = rstd * weight * slopes     # running statistics are constants
        return (dx.reshape(x.shape),), {"weight": dweight, "bias": dbias}

    return KernelRule(forward, backward)


def _layer_norm(op: Any) -> KernelRule:
    def forward(ctx: Context) -> Array:
        x = ctx.inputs[0]
        y, mean, rstd = kernels.layer_norm_forward(x.reshape(-1, op.features), ctx.params["weight"],
                                                   ctx.params["bias"], eps=op.eps)
        ctx.saved.update(mean=mean, rstd=rstd)
        return y.reshape(x.shape)

    def backward(ctx: Context, dy: Array) -> Gradients:
        x, mean, rstd = ctx.inputs[0], ctx.saved["mean"], ctx.saved["rstd"]
        rows, slopes = x.reshape(-1, op.features), dy.reshape(-1, op.features)
        dx = kernels.layer_norm_backward_input(slopes, rows, mean, rstd, ctx.params["weight"])
        dweight, dbias = kernels.layer_norm_backward_weight(slopes, rows, mean, rstd)
        return (dx.reshape(x.shape),), {"weight": dweight, "bias": dbias}

    return KernelRule(forward, backward)


def _flatten(op: Any) -> KernelRule:
    return KernelRule(lambda ctx: op.forward(ctx, *ctx.inputs), op.backward)


def _concat(op: Any) -> KernelRule:
    def parts(ctx: Context) -> tuple[int, int, int]:
        groups, na, nb = op.native(*(x.shape[1:] for x in ctx.inputs)).dims
        return len(ctx.inputs[0]) * groups, na, nb

    def forward(ctx: Context) -> Array:
        a, b = ctx.inputs
        R, na, nb = parts(ctx)
        shape = op.output_shape(a.shape[1:], b.shape[1:])
        return kernels.concat_forward(a.reshape(R, na), b.reshape(R, nb)).reshape(len(a), *shape)

    def backward(ctx: Context, dy: Array) -> Gradients:
        a, b = ctx.inputs
        R, na, nb = parts(ctx)
        da, db = kernels.concat_backward(dy.reshape(R, na + nb), na, nb)
        assert da is not None
        assert db is not None
        return (da.reshape(a.shape), db.reshape(b.shape)), {}

    return KernelRule(forward, backward)


def _embedding(op: Any) -> KernelRule:
    offsets = np.array(op.offsets)

    def forward(ctx: Context) -> Array:
        ids = ctx.inputs[0]
        if op.tables and ((ids < 0) | (ids >= op.tables)).any():
            raise ValueError(f"Embedding: ids are out of range; expected columns from 0 to below {op.tables}")
        y = kernels.embedding_forward(ctx.params["weight"], (ids + offsets).reshape(-1))
        y = y.reshape(*ids.shape, op.embedding_dim)
        if op.padding_idx is not None:
            y[ids == op.padding_idx] = 0
        return y.reshape(*ids.shape[:-1], ids.shape[-1] * op.embedding_dim) if op.tables else y

    def backward(ctx: Context, dy: Array) -> Gradients:
        rows = (ctx.inputs[0] + offsets).reshape(-1)
        dweight = kernels.embedding_backward(dy.reshape(-1, op.embedding_dim), rows, op.num_embeddings)
        if op.padding_idx is not None:
            dweight[offsets + op.padding_idx] = 0
        return (None,), {"weight": dweight}

    return KernelRule(forward, backward)


def _add(op: Any) -> KernelRule:
    return KernelRule(lambda ctx: kernels.add_forward(*ctx.inputs), lambda ctx, dy: ((dy, dy), {}))


def _mul(op: Any) -> KernelRule:
    def backward(ctx: Context, dy: Array) -> Gradients:
        da, db = kernels.mul_backward(dy, *ctx.inputs)
        assert da is not None
        assert db is not None
        return (da, db), {}

    return KernelRule(lambda ctx: kernels.mul_forward(*ctx.inputs), backward)


_RULES: dict[type[Op], Callable[[Any], KernelRule]] = {
    LinearOp: _linear, LinearBackOp: _linear_back, SoftmaxOp: _softmax, DropoutOp: _dropout,
    BatchNormOp: _batch_norm, LayerNormOp: _layer_norm, ConcatOp: _concat, AddOp: _add, MulOp: _mul,
    FlattenOp: _flatten, EmbeddingOp: _embedding}
