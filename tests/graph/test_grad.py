"""The chain rule from graph to graph: first and second derivatives of every op against differences."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.ops.base import Op

KINKS = {"max_pool", "piecewise_linear"}
DERIVED = [name for name, case in cases.OPS.items() if type(case.op).gradient is not Op.gradient]


def summed(t: Any) -> Any:
    return np.sum(t, axis=tuple(range(1, t.ndim)))[:, None]


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("name", DERIVED)
def test_first_and_second_derivatives(name: str, backend: str) -> None:
    case = cases.OPS[name]
    inputs = case.tensors()
    first = summed(np.sin(cases.OpLayer(case.op)(*((1 - 0.1 * i) * x if i else x for i, x in enumerate(inputs)))))
    slopes = fb.grad(first, inputs)
    second: Any = sum(summed(np.cos(g + x)) for g, x in zip(slopes, inputs, strict=True))
    net = fb.Network(inputs, (first, second, *slopes, *fb.grad(second, inputs)), dtype="float64", seed=0,
                     backend=backend)
    rng = np.random.default_rng(1)
    xs = case.inputs(rng, 6)
    along = [rng.standard_normal(x.shape) for x in xs]
    with net.fixed_dropout():
        def at(step: float) -> Any:
            return net.forward(tuple(x + step * v for x, v in zip(xs, along, strict=True)), training=True)
        found, n = at(0.0)[2:], len(xs)
        for which, gradients, tolerance in ((0, found[:n], 1e-8), (1, found[n:], 1e-6)):
            values = [at(step)[which].sum() for step in (1e-4, -1e-4, 2e-4, -2e-4)]
            expected = (8 * (values[0] - values[1]) - (values[2] - values[3])) / 12e-4
            mine = sum((g * v).sum() for g, v in zip(gradients, along, strict=True))
            assert abs(mine - expected) < tolerance * max(1, abs(expected))


SMOOTH = [
    fb.Linear(4, 4), fb.GroupedLinear(2), fb.BatchNorm(4), fb.LayerNorm(4), fb.RMSNorm(4), fb.Softmax(), fb.GELU(),
    fb.GELU("tanh"), fb.SiLU(), fb.Mish(), fb.Sigmoid(), fb.Tanh(), fb.Softplus(), fb.ELU(), fb.SELU(), fb.GLU(),
    fb.SwiGLU(),
]


@pytest.mark.parametrize("layer", SMOOTH, ids=repr)
def test_layers_that_can_be_derived_twice(layer: fb.Layer) -> None:
    x = fb.Input(*((2, 2) if isinstance(layer, fb.GroupedLinear) else (4,)))
    g = fb.grad(layer(x) ** 2, x)
    assert fb.grad(g**2, x).shape == x.shape


@pytest.mark.parametrize(("layer", "shape", "op"), [
    (fb.Conv1d(3, 2, 2), (5, 3), "conv"), (fb.LSTM(3, 4), (5, 3), "lstm"), (fb.MaxPool1d(2), (4, 3), "max_pool"),
    (fb.MultiHeadAttention(4, 2), (5, 4), "attention"),
])
def test_what_cannot_be_derived_says_so_by_name(layer: fb.Layer, shape: tuple[int, ...], op: str) -> None:
    x = fb.Input(*shape)
    with pytest.raises(ValueError, match=f"grad: {op} cannot be derived"):
        fb.grad(layer(x), x)


@pytest.mark.parametrize("backend", backends())
def test_dropout_in_a_derivative_drops_the_same_units(backend: str) -> None:
    """Also where nothing but its derivatives is left in the graph: of a linear layer after it."""
    x = fb.Input(3)
    weight = np.arange(1.0, 4.0)[:, None]
    dropped = fb.Dropout(0.5)(x)
    slope = fb.grad(np.sum(dropped * dropped * dropped @ weight, axis=1), x)
    z = fb.Dropout(0.5)(x)
    linear, twice = fb.grad(np.sum(z @ weight, axis=1), x), fb.grad(np.sum(z @ (2 * weight), axis=1), x)
    net = fb.Network(x, (dropped, slope, linear, twice), dtype="float64", seed=0, backend=backend)
    y, dy, once, again = net.forward(np.ones((50, 3)), training=True)
    np.testing.assert_array_equal(y != 0, dy != 0)
    np.testing.assert_array_equal(2 * once, again)
    assert 0 < (once != 0).mean() < 1
