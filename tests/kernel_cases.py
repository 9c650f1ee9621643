"""Every kernel of fastbp.kernels with inputs of a given size, and what its NumPy twin makes of them.

The twin computes in float64 from the very numbers that the kernel is given, so what remains is the kernel's own error.
In float32 it may be ``bound`` machine epsilons of each result (in float64 always 1e-12 of it); of the largest result
for ``sums``, which add up terms of either sign; and of dy, where that is larger, for the derivatives of activations,
which cancel where they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cases
import numpy as np

import fastbp as fb
from fastbp.ops.activations import ActivationOp
from fastbp.ops.base import Context, Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.ops.sparse_linear import SparseLinearOp, SparseRows

Array = Any
Rng = np.random.Generator
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Case:
    """One kernel under one choice of which size varies."""

    kernel: str
    label: str
    arrays: Callable[[Rng, int], Arrays]
    """The inputs by name, in float64 (labels: int64)."""
    twin: Callable[..., Any]
    """Gets the inputs by name; returns the results, in the kernel's order."""
    numbers: dict[str, Any] = field(default_factory=dict)
    bound: float = 4
    sums: bool = False
    derivative: bool = False
    smallest: int = 0
    """The smallest size for which the twin is defined."""


def normal(**shapes: Callable[[int], tuple[int, ...]]) -> Callable[[Rng, int], Arrays]:
    """Return a maker of normally distributed arrays."""
    return lambda rng, n: {name: 2 * rng.standard_normal(shape(n)) for name, shape in shapes.items()}


def backward(op: Op, xs: tuple[Array, ...], dy: Array, params: Arrays | None = None) -> Any:
    """Run a NumPy op forward and backward in training; return all gradients."""
    buffers = op.buffer_shapes(*(x.shape[1:] for x in xs))
    ctx = Context(training=True, inputs=xs, params=params or {},
                  buffers={name: np.ones(shape) for name, shape in buffers.items()})
    ctx.output = op.forward(ctx, *xs, **ctx.params)
    dxs, dparams = op.backward(ctx, dy)
    return *dxs, *dparams.values()


# ---- elementwise ----------------------------------------------------------------------------------------------------


def _vector(n: int) -> tuple[int, ...]:
    return (n,)


def elementwise() -> Iterator[Case]:
    for name, case in cases.OPS.items():
        op = case.op
        if isinstance(op, ActivationOp):
            numbers = {"alpha": op.alpha} if hasattr(op, "alpha") else {}
            yield Case(f"{name}_forward", "n", normal(x=_vector), op.value, numbers, bound=8 if "gelu" in name else 4)
            yield Case(f"{name}_backward", "n", _gradient_arrays(op), _activation_gradient(op), numbers, bound=8,
                       derivative=True)
    yield Case("add_forward", "n", normal(a=_vector, b=_vector), lambda a, b: AddOp().forward(Context(), a, b), bound=1)
    yield Case("mul_forward", "n", normal(a=_vector, b=_vector), lambda a, b: MulOp().forward(Context(), a, b), bound=1)
    yield Case("mul_backward", "n", normal(dy=_vector, a=_vector, b=_vector),
               lambda dy, a, b: backward(MulOp(), (a, b), dy), bound=1)
    for first in (0, 3, 8):
        numbers = {"rate": 0.3, "seed": 2**40 + 7, "step": 2**33 + 5, "node": 3, "first": first}
        yield Case("dropout_forward", f"first {first}", normal(x=_vector), _dropout(**numbers), numbers, bound=2)
        yield Case("dropout_backward", f"first {first}", normal(dy=_vector), _dropout(**numbers), numbers, bound=2)


def _gradient_arrays(op: ActivationOp) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        x = 2 * rng.standard_normal(n)
        given = {"x": x} if op.derivative_from == "input" else {"y": op.value(x)}
        return {"dy": 2 * rng.standard_normal(n)} | given
    return arrays


def _activation_gradient(op: ActivationOp) -> Callable[..., Any]:
    return lambda dy, **given: dy * op.derivative(*given.values())


def _dropout(rate: float, seed: int, step: int, node: int, first: int) -> Callable[..., Any]:
    def twin(**arrays: Array) -> Array:
        (x,) = arrays.values()
        ctx = Context(training=True, seed=seed, step=step, node=node)
        return DropoutOp(rate).forward(ctx, np.concatenate([np.zeros(first), x]))[first:]
    return twin


# ---- rows by their ids ----------------------------------------------------------------------------------------------


def embedding() -> Iterator[Case]:
    for label, shape in {"R": lambda n: (n, 5), "C": lambda n: (9, n)}.items():
        yield Case("embedding_forward", label, _with_ids("W", shape, 7), lambda W, ids: W[ids], bound=0)
        yield Case("embedding_backward", label, _with_ids("dy", shape, 7), _table_gradient, {"N": 7}, sums=True,
                   smallest=int(label == "C"))


def _with_ids(name: str, shape: Callable[[int], tuple[int, int]], N: int) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        R, C = shape(n)
        return {name: 2 * rng.standard_normal((N if name == "W" else R, C)), "ids": rng.integers(0, N, R)}
    return arrays


def _table_gradient(dy: Array, ids: Array) -> Array:
    ctx = Context(inputs=(ids,), params={"weight": np.zeros((7, dy.shape[1]))})
    return EmbeddingOp(7, dy.shape[1]).backward(ctx, dy)[1]["weight"]


# ---- matrices -------------------------------------------------------------------------------------------------------


def linear() -> Iterator[Case]:
    sizes: dict[str, Callable[[int], tuple[int, int, int]]] = {
        "B": lambda n: (n, 5, 7), "I": lambda n: (5, n, 7), "O": lambda n: (13, 7, n)}
    acts = {name: case.op for name, case in cases.OPS.items() if isinstance(case.op, ActivationOp)}
    for label, s in sizes.items():
        x = {"x": _part(s, 0, 1)}
        w = {"W": _part(s, 1, 2), "b": _part(s, 2)}
        yield Case("linear_forward", label, normal(**x, **w), _linear(None), bound=16, sums=True)
        yield Case("linear_forward", f"{label}, no bias", normal(**x, W=w["W"]), _linear(None), bound=16, sums=True)
        yield Case("linear_backward_input", label, normal(dy=_part(s, 0, 2), Wt=_part(s, 2, 1)),
                   lambda dy, Wt: backward(_linear_op(Wt.T), (np.zeros((len(dy), Wt.shape[1])),), dy,
                                           {"weight": Wt.T})[0], bound=16, sums=True, smallest=int(label != "B"))
        yield Case("linear_back_forward", label, normal(x=_part(s, 0, 2), W=_part(s, 1, 2)), lambda x, W: x @ W.T,
                   bound=16, sums=True)
        yield Case("linear_backward_weight", label, normal(x=_part(s, 0, 1), dy=_part(s, 0, 2)), _weight_gradient,
                   bound=16, sums=True, smallest=int(label != "B"))
        for act, op in acts.items():
            numbers = {"act": act} | ({"alpha": op.alpha} if hasattr(op, "alpha") else {})
            yield Case("linear_forward", f"{label}, {act}", normal(**x, **w), _linear(op), numbers, bound=32, sums=True)
    yield Case("transpose", "R", normal(x=lambda n: (n, 5)), lambda x: x.T, bound=0)
    yield Case("transpose", "C", normal(x=lambda n: (9, n)), lambda x: x.T, bound=0)


def sparse_linear() -> Iterator[Case]:
    sizes: dict[str, Callable[[int], tuple[int, int, int]]] = {
        "B": lambda n: (n, 23, 7), "I": lambda n: (6, n, 7), "O": lambda n: (13, 23, n), "long": lambda n: (9, 400, n)}
    for label, s in sizes.items():
        w = {"W": _part(s, 1, 2), "b": _part(s, 2)}
        yield Case("sparse_linear_forward", label, _entries(s, w), _sparse_linear, bound=16, sums=True)
        yield Case("sparse_linear_forward", f"{label}, no bias", _entries(s, {"W": w["W"]}), _sparse_linear, bound=16,
                   sums=True)
        if label != "I":
            yield Case("sparse_linear_backward_weight", label, _entries(s, {"dy": _part(s, 0, 2)}), _sparse_gradient(s),
                       {"I": s(0)[1]}, bound=16, sums=True)


def _entries(sizes: Callable[[int], tuple[int, int, int]], others: dict[str, Callable[[int], tuple[int, ...]]]
             ) -> Callable[[Rng, int], Arrays]:
    """Return a maker of sparse rows, some of them empty, and of other arrays."""
    def arrays(rng: Rng, n: int) -> Arrays:
        B, I, _ = sizes(n)  # noqa: E741 - as the kernels call it
        chosen = rng.random((B, I)) < rng.choice([0, 0.1, 0.6], (B, 1))
        ends = np.cumsum(chosen.sum(axis=1, dtype=np.int64), dtype=np.int64)
        columns = np.nonzero(chosen)[1].astype(np.int64)
        return {"values": 2 * rng.standard_normal(len(columns)), "columns": columns,
                "begin": np.concatenate([[0], ends])[:B].astype(np.int64), "end": ends, **normal(**others)(rng, n)}
    return arrays


def _sparse_rows(values: Array, columns: Array, begin: Array, end: Array, features: int) -> SparseRows:
    return SparseRows.of(np.stack([begin, end], axis=1), columns, values, features)


def _sparse_linear(values: Array, columns: Array, begin: Array, end: Array, W: Array, b: Array | None = None) -> Array:
    params = {"weight": W} if b is None else {"weight": W, "bias": b}
    op = SparseLinearOp(*W.shape, bias=b is not None)
    return op.forward(Context(), _sparse_rows(values, columns, begin, end, len(W)), **params)


def _sparse_gradient(sizes: Callable[[int], tuple[int, int, int]]) -> Callable[..., Any]:
    features = sizes(0)[1]

    def twin(values: Array, columns: Array, begin: Array, end: Array, dy: Array) -> Any:
        op = SparseLinearOp(features, dy.shape[1])
        ctx = Context(inputs=(_sparse_rows(values, columns, begin, end, features),),
                      params={"weight": np.zeros((features, dy.shape[1]))})
        return tuple(op.backward(ctx, dy)[1].values())
    return twin


def _part(sizes: Callable[[int], tuple[int, ...]], *axes: int) -> Callable[[int], tuple[int, ...]]:
    return lambda n: tuple(sizes(n)[axis] for axis in axes)


def _linear_op(W: Array, bias: bool = False) -> LinearOp:
    return LinearOp(*W.shape, bias=bias)


def _linear(act: ActivationOp | None) -> Callable[..., Any]:
    def twin(x: Array, W: Array, b: Array | None = None) -> Array:
        params = {"weight": W} if b is None else {"weight": W, "bias": b}
        z = _linear_op(W, b is not None).forward(Context(), x, **params)
        return z if act is None else act.value(z)
    return twin


def _weight_gradient(x: Array, dy: Array) -> Any:
    W = np.zeros((x.shape[1], dy.shape[1]))
    return backward(_linear_op(W, bias=True), (x,), dy, {"weight": W, "bias": np.zeros(dy.shape[1])})[1:]


def rows() -> Iterator[Case]:
    """Kernels that work along the rows or columns of a matrix."""
    for label, s in {"R": lambda n: (n, 5), "C": lambda n: (7, n)}.items():
        matrix, smallest = s, 0 if label == "R" else 1
        yield Case("softmax_forward", label, normal(x=matrix), lambda x: SoftmaxOp().forward(Context(), x), bound=16,
                   smallest=smallest)
        yield Case("softmax_backward", label, _softmax_arrays(s), _softmax_gradient, bound=32, sums=True,
                   smallest=smallest)
        yield Case("concat_forward", label, normal(a=matrix, b=lambda n, s=s: (s(n)[0], 3)),
                   lambda a, b: ConcatOp().forward(Context(), a, b), bound=0)
        if label == "C":
            yield Case("concat_forward", "C of b", normal(a=lambda n: (7, 2), b=matrix),
                       lambda a, b: ConcatOp().forward(Context(), a, b), bound=0)
    for na, nb in ((1, 4), (4, 1), (0, 5)):
        yield Case("concat_backward", f"R, {na} + {nb}", normal(dy=lambda n: (n, 5)),
                   lambda dy, na=na, nb=nb: (dy[:, :na].copy(), dy[:, na:].copy()), {"na": na, "nb": nb}, bound=0)


def _softmax_arrays(s: Callable[[int], tuple[int, int]]) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        y = SoftmaxOp().forward(Context(), rng.standard_normal(s(n)))
        return {"dy": rng.standard_normal(s(n)), "y": y}
    return arrays


def _softmax_gradient(dy: Array, y: Array) -> Array:
    ctx = Context(training=True, output=y)
    return SoftmaxOp().backward(ctx, dy)[0][0]


# ---- normalisation --------------------------------------------------------------------------------------------------


def normalisation() -> Iterator[Case]:
    for label, s in {"R": lambda n: (n, 5), "C": lambda n: (7, n)}.items():
        column = lambda n, s=s: s(n)[1:]  # noqa: E731
        columns = {"mean": column, "rstd": column, "weight": column}
        least = 2 if label == "R" else 1
        yield Case("batch_norm_statistics", label, normal(x=s), _batch_statistics, {"eps": 1e-3}, bound=64, sums=True,
                   smallest=1)
        yield Case("batch_norm_forward", label, normal(x=s, **columns, bias=column),
                   lambda x, mean, rstd, weight, bias: (x - mean) * rstd * weight + bias, bound=16, sums=True)
        yield Case("batch_norm_backward_weight", label, normal(dy=s, x=s, mean=column, rstd=column),
                   lambda dy, x, mean, rstd: ((dy * (x - mean) * rstd).sum(axis=0), dy.sum(axis=0)), bound=64,
                   sums=True)
        yield Case("batch_norm_backward_input", label, _batch_gradient_arrays(s), _batch_gradient, bound=64, sums=True,
                   smallest=least)
        least = 1 if label == "C" else 0
        yield Case("layer_norm_forward", label, normal(x=s, weight=column, bias=column), _layer_norm, {"eps": 1e-3},
                   bound=64, sums=True, smallest=least)
        yield Case("layer_norm_backward_input", label, _layer_gradient_arrays(s, ("weight",)), _layer_gradient(0),
                   bound=128, sums=True, smallest=least)
        yield Case("layer_norm_backward_weight", label, _layer_gradient_arrays(s, ()), _layer_gradient(1, 2), bound=128,
                   sums=True, smallest=least)


def _batch_statistics(x: Array) -> Any:
    return x.mean(axis=0), 1 / np.sqrt(x.var(axis=0) + 1e-3)


def _batch_gradient_arrays(s: Callable[[int], tuple[int, int]]) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        dy, x, weight = rng.standard_normal(s(n)), rng.standard_normal(s(n)), rng.standard_normal(s(n)[1])
        mean, rstd = x.mean(axis=0), 1 / np.sqrt(x.var(axis=0) + 1e-5)
        dweight, dbias = (dy * (x - mean) * rstd).sum(axis=0), dy.sum(axis=0)
        return {"dy": dy, "x": x, "mean": mean, "rstd": rstd, "weight": weight, "dweight": dweight, "dbias": dbias}
    return arrays


def _batch_gradient(dy: Array, x: Array, mean: Array, rstd: Array, weight: Array, dweight: Array,
                    dbias: Array) -> Array:
    # the op's own backward pass, with the statistics it would have made itself
    params = {"weight": weight, "bias": np.zeros_like(weight)}
    return backward(BatchNormOp(x.shape[1]), (x,), dy, params)[0]


def _layer_norm(x: Array, weight: Array, bias: Array) -> Any:
    y = LayerNormOp(x.shape[1], 1e-3).forward(Context(), x, weight=weight, bias=bias)
    return y, x.mean(axis=1), 1 / np.sqrt(x.var(axis=1) + 1e-3)


def _layer_gradient_arrays(s: Callable[[int], tuple[int, int]],
                           extra: tuple[str, ...]) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        dy, x = rng.standard_normal(s(n)), rng.standard_normal(s(n))
        own = {"dy": dy, "x": x, "mean": x.mean(axis=1), "rstd": 1 / np.sqrt(x.var(axis=1) + 1e-5)}
        return own | {name: rng.standard_normal(s(n)[1]) for name in extra}
    return arrays


def _layer_gradient(*which: int) -> Callable[..., Any]:
    def twin(dy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None = None) -> Any:
        weight = np.ones(x.shape[1]) if weight is None else weight
        gradients = backward(LayerNormOp(x.shape[1]), (x,), dy, {"weight": weight, "bias": np.zeros_like(weight)})
        return gradients[which[0]] if len(which) == 1 else tuple(gradients[i] for i in which)
    return twin


# ---- losses ---------------------------------------------------------------------------------------------------------


def losses() -> Iterator[Case]:
    """Each loss with and without what its constants and its attribute stand for."""
    variants: list[tuple[str, fb.Loss, dict[str, Any]]] = [
        ("mse", fb.MSE(), {}), ("mae", fb.MAE(), {}), ("huber", fb.Huber(0.7), {"delta": 0.7}),
        ("cross_entropy", fb.CrossEntropy(), {}), ("cross_entropy", fb.CrossEntropy(0.1), {"label_smoothing": 0.1}),
        ("soft_cross_entropy", fb.CrossEntropy(), {}),
        ("soft_cross_entropy", fb.CrossEntropy(0.1), {"label_smoothing": 0.1}),
        ("binary_cross_entropy", fb.BinaryCrossEntropy(), {}),
        ("binary_cross_entropy", fb.BinaryCrossEntropy(2.5), {"pos_weight": 2.5}),
        ("poisson_nll", fb.PoissonNLL(), {}), ("gaussian_nll", fb.GaussianNLL(), {}),
        ("quantile", fb.Quantile(0.8), {"quantiles": 0.8}), ("half_squared_error", fb.HalfSquaredError(), {})]
    for name, loss, options in variants:
        for label, s in {"B": lambda n: (n, 6), "D": lambda n: (5, n)}.items():
            if name == "gaussian_nll" and label == "D":
                s = lambda n: (5, 2 * n)  # noqa: E731
            numbers = {k: v for k, v in options.items() if k in ("delta", "label_smoothing")}
            yield Case(name, f"{label}{', ' * bool(options)}{', '.join(options)}",
                       _loss_arrays(name, s, {k: v for k, v in options.items() if k not in numbers}),
                       _loss_twin(loss), numbers, bound=64, sums=True, smallest=0 if label == "B" else 1)


def _loss_arrays(name: str, s: Callable[[int], tuple[int, int]],
                 constants: dict[str, float]) -> Callable[[Rng, int], Arrays]:
    def arrays(rng: Rng, n: int) -> Arrays:
        B, D = s(n)
        targets: dict[str, Callable[[], Array]] = {
            "cross_entropy": lambda: rng.integers(0, D, B),
            "soft_cross_entropy": lambda: rng.dirichlet(np.ones(D), B),
            "binary_cross_entropy": lambda: rng.uniform(0, 1, (B, D)),
            "poisson_nll": lambda: 1.0 * rng.poisson(2, (B, D)),
            "gaussian_nll": lambda: rng.standard_normal((B, D // 2))}
        target = targets.get(name, lambda: rng.standard_normal((B, D)))()
        weight = rng.uniform(0.5, 1.5, B)
        own = {"x": 2 * rng.standard_normal((B, D)), "target": target, "weight": weight / max(weight.sum(), 1)}
        return own | {k: np.full(D, v) for k, v in constants.items()}
    return arrays


def _loss_twin(loss: fb.Loss) -> Callable[..., Any]:
    def twin(x: Array, target: Array, weight: Array, **constants: Array) -> Any:
        each, gradient = loss.rows(x, target)
        return weight * each, weight[:, None] * gradient
    return twin


CASES = [*elementwise(), *embedding(), *linear(), *sparse_linear(), *rows(), *normalisation(), *losses()]
