"""Each layer, op and loss four ways, in float32: ``pytest benchmarks/test_layers.py``.

``kernel`` calls the functions of fastbp.kernels for an op that has some, ``layer`` is the layer by itself, ``plan`` a
network of this layer alone, ``reference`` the same network in NumPy. What a plan costs here for each layer, it costs
once for a network of many: benchmarks/test_step.py has those. That all agree is checked before anything is timed.
Which there are, and how large, benchmarks/layer_cases.py says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LossCase
from layer_cases import FUNCTIONS, LAYERS, LOSSES, OPS, Timed

import fastbp as fb
from fastbp import kernels
from fastbp.engine.loss_kernels import value_and_gradient
from fastbp.engine.op_kernels import has_kernels, rule_of
from fastbp.graph.memory import BY_HAND
from fastbp.objectives.functions import FunctionLoss
from fastbp.ops.base import Context, Op

WAYS = ("kernel", "layer", "plan", "reference")
DIRECTIONS = ("forward", "backward")
Run = Callable[[], Any]


def _kernel_op(case: Timed) -> Op | None:
    """Return the op of a layer of one op that has kernels."""
    nodes = case.network(backend="reference").graph.nodes
    return nodes[0].op if len(nodes) == 1 and has_kernels(nodes[0].op) else None


def _runs(case: Timed, way: str, rows: int) -> tuple[Run, Run]:
    """Return what goes forward, and what goes back, in one of the four ways; both return tuples of arrays."""
    rng = np.random.default_rng(0)
    xs = case.batch(rng, rows)
    net = case.network(seed=3, backend="reference" if way == "reference" else "native")
    dy = rng.standard_normal((rows, *net.graph.outputs[0].shape), np.float32)
    if way in ("plan", "reference"):
        return lambda: net.forward(xs, training=True), lambda: net.backward(dy)
    layer = case.make().build(*case.shapes, seed=3, dtype="float32")
    if way == "layer":
        return lambda: layer.forward(*xs, training=True), lambda: layer.backward(dy)
    op = _kernel_op(case)
    assert op is not None
    rule, ctx = rule_of(op), Context(True, xs, params=dict(layer.params), buffers=dict(layer.state), seed=3,
                                     step=BY_HAND + 1, node=1)

    def forward() -> Any:
        ctx.output = rule.forward(ctx)
        return ctx.output

    return forward, lambda: rule.backward(ctx, dy)[0]


def _time(benchmark: Any, group: str, direction: str, own: tuple[Run, Run], reference: tuple[Run, Run]) -> None:
    """Time one direction, if the results of both are those of the reference."""
    for run, expect in zip(own, reference, strict=True):
        results, expected = ((r if isinstance(r, tuple) else (r,)) for r in (run(), expect()))
        for a, b in zip(results, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(b).max())))
    benchmark.group = group
    benchmark(own[DIRECTIONS.index(direction)])


def _time_case(benchmark: Any, name: str, case: Timed, direction: str, way: str, rows: int) -> None:
    if way == "kernel" and _kernel_op(case) is None:
        pytest.skip("has no kernel of its own")
    _time(benchmark, f"{name} {direction}, batch {rows}", direction, _runs(case, way, rows),
          _runs(case, "reference", rows))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", ["single", "batch"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", [*LAYERS, *OPS])
def test_layer(benchmark: Any, name: str, direction: str, size: str, way: str) -> None:
    """A layer, or an op that no layer is made of."""
    case = {**LAYERS, **OPS}[name]
    fewest = 2 if name == "BatchNorm" else 1        # it wants to know how numbers vary
    _time_case(benchmark, name, case, direction, way, fewest if size == "single" else case.rows)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(benchmark: Any, name: str, direction: str, way: str) -> None:
    """A function of tensors, as a layer."""
    _time_case(benchmark, name, FUNCTIONS[name], direction, way, FUNCTIONS[name].rows)


@pytest.mark.parametrize("way", ["kernel", "plan", "reference"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_sparse_linear(benchmark: Any, direction: str, way: str) -> None:
    """The linear layer of sparse rows, of which a hundredth is not 0. By itself it takes arrays alone."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    x = sparse.random(128, 4096, 0.01, "csr", np.float32, rng)
    dy = rng.standard_normal((128, 64), np.float32)

    def runs(way: str) -> tuple[Run, Run]:
        net = fb.Sequential(fb.Linear(4096, 64), seed=3, backend="reference" if way == "reference" else "native")
        if way != "kernel":
            def back() -> Any:
                net.backward(dy)
                return tuple(net.grads.values())
            return lambda: net.forward(x, training=True), back
        weight, bias = net.params.values()
        places = x.indices.astype(np.int64), x.indptr[:-1].astype(np.int64), x.indptr[1:].astype(np.int64)
        return (lambda: kernels.sparse_linear_forward(x.data, *places, weight, bias),
                lambda: kernels.sparse_linear_backward_weight(x.data, *places, dy, 4096))

    _time(benchmark, f"Linear, sparse, {direction}", direction, runs(way), runs("reference"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [1, 128])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(benchmark: Any, name: str, rows: int, way: str) -> None:
    """Loss and gradient. ``layer`` is the loss by itself."""
    case = LOSSES[name]
    if way == "kernel" and not _has_kernel(case.loss):
        pytest.skip("has no kernel of its own")
    if way == "layer" and isinstance(case.loss, FunctionLoss):
        pytest.skip("a function runs by itself")
    run = _loss_run(case, way, rows)
    for own, expected in zip(run(), _loss_run(case, "reference", rows)(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)
    benchmark.group = f"{name}, batch {rows}"
    benchmark(run)


def _has_kernel(loss: fb.Loss) -> bool:
    return not isinstance(loss, fb.CustomLoss | FunctionLoss)


def _loss_run(case: LossCase, way: str, rows: int) -> Run:
    """Return what gives loss and gradient."""
    rng, loss = np.random.default_rng(0), case.loss
    y_pred, y = rng.standard_normal((rows, *case.shape), np.float32), case.target(rng, rows)
    if way == "kernel":
        target = loss.targets(y, case.shape, "float32", rows)
        weights = loss.row_weights(target, None)
        return lambda: value_and_gradient(loss, y_pred, target, weights)
    if way == "layer":
        return lambda: (loss.forward(y_pred, y), loss.backward())
    x = fb.Input(*case.shape)
    net = fb.Network(x, fb.Identity()(x), backend="reference" if way == "reference" else "native")
    return lambda: (net.loss_and_grad(y_pred, y, loss), net.input_grads[0])
