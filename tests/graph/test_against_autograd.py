"""Derivatives against HIPS autograd and dezero, where installed: the same functions, derived once and twice.

``dezero`` is the framework of the third book of the series that the lesson comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.graph.tensor import Symbol

ROWS = 4
rng = np.random.default_rng(3)
X, Z = rng.uniform(0.3, 1.7, (ROWS, 3)), rng.uniform(0.4, 1.6, (ROWS, 3))


def derivatives(function: Callable[..., Any], order: int = 2) -> list[np.ndarray]:
    """By fastbp: the gradient of the sum by x and z, and that of the sum of the squares of it, by x."""
    inputs = fb.Input(3), fb.Input(3)
    x, z = map(Symbol, inputs)
    found: list[Any] = list(fb.grad(function(x, z) + 0.0 * np.sum(x * z), (x, z)))
    if order == 2:
        found.append(fb.grad(np.sum(np.square(found[0])) + 0.0 * np.sum(x * z), x))
    return [fb.Network(inputs, (t + 0.0 * (x + z)).tensor, dtype="float64", backend="reference").predict((X, Z))
            for t in found]


# ---- HIPS autograd: NumPy's own names --------------------------------------------------------------------------------

AUTOGRAD: dict[str, Callable[..., Any]] = {
    name: lambda np, x, z, n=name: np.sum(getattr(np, n)(x * z) * z)
    for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "sin", "cos", "tan", "tanh", "sinh",
                 "cosh", "arctan", "abs", "reciprocal", "negative")
} | {
    name: lambda np, x, z, n=name: np.sum(getattr(np, n)(x, z) * x)
    for name in ("add", "subtract", "multiply", "divide", "power", "logaddexp", "maximum", "minimum")
} | {
    name: lambda np, x, z, n=name: np.sum(getattr(np, n)(x * z, axis=1) ** 2) + getattr(np, n)(x)
    for name in ("sum", "mean", "max", "min", "var", "std", "prod")
} | {
    "cumsum": lambda np, x, z: np.sum(np.cumsum(x * z, axis=1) ** 2 + np.cumsum(x, axis=0) * z),
    "clip": lambda np, x, z: np.sum(np.clip(x * z, 0.6, 1.2) * x),
    "where": lambda np, x, z: np.sum(np.where(x > z, x * z, np.sin(x))),
    "operators": lambda np, x, z: np.sum((x + z) ** 3 / (2 * x - -z) - x**2.5 * 2**z),
    "slices": lambda np, x, z: np.sum(x[:, 1:] * z[:, :-1] * x[:, ::-1][:, :2] + x[:, None, 0] ** 2),
    "reshape": lambda np, x, z: np.sum(np.reshape(x, (x.shape[0], 3, 1)) ** 2 * np.transpose(z[:, None, :], (0, 1, 2))),
    "swapaxes": lambda np, x, z: np.sum(np.swapaxes(x[:, :, None] * z[:, None, :], 1, 2) * x[:, :, None] ** 2),
    "moveaxis": lambda np, x, z: np.sum(np.moveaxis(x[:, :, None] * z[:, None, :], 2, 1) * z[:, None, :] ** 2),
    "concatenate": lambda np, x, z: np.sum(np.concatenate([x, x * z, z], axis=1) ** 3),
    "stack": lambda np, x, z: np.sum(np.stack([x, x * z], axis=1) ** 3),
    "einsum": lambda np, x, z: np.sum(np.einsum("bi,bj->bij", x, z) ** 2),
    "einsum over the rows": lambda np, x, z: np.sum(np.einsum("bi,bj->ij", x, z) ** 2),
    "matmul": lambda np, x, z: np.sum(np.tanh(np.matmul(x, np.transpose(z))) ** 2),
    "pairs": lambda np, x, z: np.sum(np.exp(-np.sum((x[:, None] - z[None]) ** 2, axis=2))),
    "normalised": lambda np, x, z: np.sum(((x - np.mean(x, axis=0)) / np.std(x, axis=0)) ** 3 * z),
    "softmax": lambda np, x, z: np.sum(np.exp(x * z - np.log(np.sum(np.exp(x * z), axis=1, keepdims=True))) * z),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AUTOGRAD)
def test_the_same_derivatives_as_autograd(name: str) -> None:
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")
    function = AUTOGRAD[name]
    first = autograd.grad(lambda x, z: function(anp, x, z), (0, 1))
    second = autograd.grad(lambda x: anp.sum(autograd.grad(lambda x: function(anp, x, Z))(x) ** 2))
    expected = [*first(X, Z), second(X)]
    for mine, its in zip(derivatives(lambda x, z: function(np, x, z)), expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-10, atol=1e-10)


# ---- dezero: functions of its own ------------------------------------------------------------------------------------

DEZERO: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "operators": (lambda F, x, z: F.sum((x + z) * (x - z) / (x * z + 1.0) - (-x) ** 3),
                  lambda x, z: np.sum((x + z) * (x - z) / (x * z + 1.0) - (-x) ** 3)),
    **{name: (lambda F, x, z, n=name: F.sum(getattr(F, n)(x * z) * z),
              lambda x, z, n=name: np.sum(getattr(np, n)(x * z) * z)) for name in ("sin", "cos", "tanh", "exp", "log")},
    "sigmoid": (lambda F, x, z: F.sum(F.sigmoid(x) * z), lambda x, z: np.sum(fb.special.sigmoid(x) * z)),
    "softmax": (lambda F, x, z: F.sum(F.softmax(x * z) * z), lambda x, z: np.sum(fb.special.softmax(x * z) * z)),
    "log_softmax": (lambda F, x, z: F.sum(F.log_softmax(x) * z), lambda x, z: np.sum(fb.special.log_softmax(x) * z)),
    "relu": (lambda F, x, z: F.sum(F.relu(x - z) * z), lambda x, z: np.sum(np.maximum(x - z, 0.0) * z)),
    "clip": (lambda F, x, z: F.sum(F.clip(x, 0.6, 1.2) * z), lambda x, z: np.sum(np.clip(x, 0.6, 1.2) * z)),
    "sum": (lambda F, x, z: F.sum(F.sum(x * z, axis=1) ** 2), lambda x, z: np.sum(np.sum(x * z, axis=1) ** 2)),
    "max": (lambda F, x, z: F.sum(F.max(x * z, axis=1) ** 2), lambda x, z: np.sum(np.max(x * z, axis=1) ** 2)),
    "min": (lambda F, x, z: F.sum(F.min(x * z, axis=1) ** 2), lambda x, z: np.sum(np.min(x * z, axis=1) ** 2)),
    "matmul": (lambda F, x, z: F.sum(F.tanh(F.matmul(x, z.T))), lambda x, z: np.sum(np.tanh(x @ z.T))),
    "transpose": (lambda F, x, z: F.sum(F.exp(F.transpose(x)) * z.T), lambda x, z: np.sum(np.exp(x.T) * z.T)),
    "get_item": (lambda F, x, z: F.sum(F.get_item(x, (slice(None), 1)) ** 3) + F.sum(0.0 * x * z),
                 lambda x, z: np.sum(x[:, 1] ** 3)),
    "broadcast_to": (lambda F, x, z: F.sum(F.broadcast_to(F.reshape(F.sum(x, axis=1), (ROWS, 1)), (ROWS, 3)) * z * z),
                     lambda x, z: np.sum(np.broadcast_to(np.sum(x, axis=1)[:, None], x.shape) * z * z)),
    "mean_squared_error": (lambda F, x, z: F.mean_squared_error(x, z),
                           lambda x, z: np.sum((x - z) ** 2) / x.shape[0]),
}
# dezero derives these by numbers alone
ONCE = {"softmax", "max", "min"}


@pytest.fixture
def dezero_functions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(np, "int", int, raising=False)      # it is older than NumPy 1.24
    return pytest.importorskip("dezero.functions", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DEZERO)
def test_the_same_derivatives_as_dezero(name: str, dezero_functions: Any) -> None:
    import dezero
    theirs, ours = DEZERO[name]
    order = 1 if name in ONCE else 2
    x, z = dezero.Variable(X.copy()), dezero.Variable(Z.copy())
    theirs(dezero_functions, x, z).backward(create_graph=order == 2)
    expected = [x.grad.data, z.grad.data]
    if order == 2:
        slope = x.grad
        x.cleargrad()
        z.cleargrad()
        dezero_functions.sum(slope * slope).backward()
        expected.append(np.zeros_like(X) if x.grad is None else x.grad.data)
    for mine, its in zip(derivatives(ours, order), expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-10, atol=1e-10)
