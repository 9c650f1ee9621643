"""Expressions in the plan: programs against the reference, for every case, dtype, and number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expression_cases import CASES, ROWS, data, weights_for

import fastbp as fb
from fastbp.engine.fusion import FusedOp, fused
from fastbp.engine.native import find_instruction
from fastbp.graph.tensor import Symbol


def network(name: str, rows: int, **options: Any) -> tuple[fb.Network, tuple[np.ndarray, ...], Any]:
    """A network with a linear layer before the function, its inputs, and a loss that weighs every element."""
    function, shapes, (low, high) = CASES[name]
    rng = np.random.default_rng(0)
    xs = tuple(np.resize(x, (rows, *x.shape[1:])) + 0.01 * rng.random((rows, *x.shape[1:]))
               for x in data(*shapes, low=low, high=high))
    inputs = [fb.Input(*s) for s in shapes]
    near_identity = [fb.Linear(None, s[-1], weight_init=lambda shape, r, d: np.eye(shape[0]) + 0.01,
                               bias_init=fb.Constant(0.01))(t) for s, t in zip(shapes, inputs, strict=True)]
    weights = weights_for(function, list(data(*shapes, low=low, high=high)))

    def with_rows(*ts: Any) -> Any:
        y = function(*ts)
        return y + 0 * ts[0].reshape(ts[0].shape[0], -1)[:, :1].reshape(ts[0].shape[0], *(1,) * max(y.ndim - 1, 0))
    y = with_rows(*map(Symbol, near_identity)).tensor
    net = fb.Network(inputs, (y,), **{"seed": 0, **options})
    return net, xs, lambda p: np.mean(np.cos(p) * weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_the_reference(name: str, dtype: str) -> None:
    for rows in (1, ROWS, 67):
        seen = []
        for backend in ("reference", "native"):
            net, xs, loss = network(name, rows, backend=backend, dtype=dtype)
            value = net.loss_and_grad(xs, None, loss)
            seen.append((value, net.grads.flat.copy(), *net.input_grads))
        tolerance = 2e-4 if dtype == "float32" else 1e-10
        if name.startswith(("power", "std", "var", "method var", "method std", "sum over the rows", "prod over 0")):
            tolerance *= 20
        for mine, true in zip(seen[1], seen[0], strict=True):
            if np.isfinite(true).all():
                scale = max(1e-3, float(np.max(np.abs(true))))
                np.testing.assert_allclose(mine, true, rtol=0, atol=tolerance * scale, err_msg=name)


def fused_ops(net: fb.Network) -> list[str]:
    return [n.op.name for n in fused(net.graph, find_instruction).nodes]


def test_an_elementwise_chain_is_one_node() -> None:
    x = fb.Input(4)
    y = np.tanh(x * 2 + 1) * np.exp(-x[:, ::-1]) / (1 + np.square(x)).sum(axis=1)[:, None]
    net = fb.Network(x, y)
    assert fused_ops(net) == ["expression"]


def test_a_derivative_is_made_of_linear_ops_and_programs() -> None:
    x = fb.Input(2)
    u = fb.Linear(8, 1)(fb.Tanh()(fb.Linear(2, 8)(x)))
    net = fb.Network(x, (u, fb.grad(u, x)))
    assert set(fused_ops(net)) == {"linear", "tanh", "expression", "linear_back"}


def test_what_derivatives_repeat_is_made_once() -> None:
    x = fb.Input(2)
    u = fb.Linear(8, 1)(fb.Tanh()(fb.Linear(8, 8)(fb.Tanh()(fb.Linear(2, 8)(x)))))
    u_x = fb.jvp(u, x, np.array([1.0, 0.0]))
    names = fused_ops(fb.Network(x, (u, u_x, fb.jvp(u_x, x, np.array([1.0, 0.0])))))
    # of the three derivatives of each layer, the first has one product less: x does not depend on x twice
    assert names.count("linear") == 3 * 3 - 1


def test_random_numbers_are_drawn_for_each_that_asks() -> None:
    x = fb.Input(2)
    net = fb.Network(x, fb.Lambda(lambda h: 0 * h + fb.random.normal(h.shape)
                                  - fb.random.normal(h.shape))(x), seed=0)
    assert np.abs(net.predict(np.ones((5, 2)))).min() > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_and_its_derivative_share_what_they_are_made_of(dtype: str) -> None:
    made = []
    for backend in ("reference", "native"):
        x = fb.Input(3)
        u = fb.Linear(8, 1)(fb.SiLU()(fb.Linear(8, 8)(fb.SiLU()(fb.Linear(3, 8)(x)))))
        net = fb.Network(x, (u, fb.grad(u, x)), seed=0, dtype=dtype, backend=backend)
        a = np.random.default_rng(0).normal(size=(67, 3)) * np.array([1.0, 30.0, 1000.0])
        net.loss_and_grad(a, (), lambda u, du: np.mean(np.square(u)) + np.mean(np.cos(du)))
        made.append(net.grads.flat.copy())
    assert "silu" not in fused_ops(net)
    functions = [line[0] for n in fused(net.graph, find_instruction).nodes if isinstance(n.op, FusedOp)
                 for part in n.op.listings() for line in part]
    assert functions.count("sigmoid") == 2
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=tolerance * np.abs(made[0]).max())
    plain = fb.Network(x, u)
    assert fused_ops(plain).count("silu") == 2


def test_the_op_in_numpy_is_what_it_stands_for() -> None:
    x = fb.Input(3)
    net = fb.Network(x, np.sin(x) * x + 1, dtype="float64")
    (node,) = fused(net.graph, find_instruction).nodes
    assert isinstance(node.op, FusedOp)
    a = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(node.op.value(a), np.sin(a) * a + 1)


def test_the_bits_do_not_depend_on_the_number_of_rows_or_threads() -> None:
    x = fb.Input(9)
    y = fb.Lambda(lambda x: fb.special.softmax(x) * np.exp(x).sum(axis=1, keepdims=True))(x)
    net = fb.Network(x, y)
    a = np.random.default_rng(0).normal(size=(1000, 9)).astype(np.float32)
    whole = net.predict(a)
    np.testing.assert_array_equal(whole, np.concatenate([net.predict(a[i:i + 7]) for i in range(0, 1000, 7)]))


def test_a_place_that_is_not_there_is_found() -> None:
    net = fb.Sequential(fb.Linear(4, 3), seed=0)

    def picked(p: Any, label: Any) -> Any:
        return -np.mean(np.take_along_axis(p, label[:, None], axis=1))
    trainer = fb.Trainer(net, picked, fb.SGD(0.1))
    x = np.ones((4, 4))
    assert trainer.step(x, np.array([0, 1, 2, -1])) == pytest.approx(
        -np.mean(net.copy().predict(x)[0][[0, 1, 2, 2]]), abs=0.5)
    with pytest.raises((fb.DivergenceError, IndexError)):
        trainer.step(x, np.array([0, 1, 2, 3]))
