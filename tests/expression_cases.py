"""Functions of tensors, one for each thing that NumPy's functions on tensors do, with the shapes of their arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp as fb

ROWS = 5


def weights_for(function: Callable[..., Any], xs: list[np.ndarray]) -> np.ndarray:
    y = np.asarray(function(*xs))
    return np.random.default_rng(9).uniform(0.5, 1.5, y.shape[1:] if y.ndim and y.shape[0] == ROWS else y.shape)


def data(*shapes: tuple[int, ...], low: float = -2.0, high: float = 2.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(low, high, (ROWS, *s)) for s in shapes]


def in_place(x: Any) -> Any:
    y = 0.0
    for i in range(4):
        y += x[:, i] * x[:, 0]
    y *= x[:, 1]
    y -= 2.0
    y /= 3.0
    return y


def own_pair(x: Any) -> Any:
    i = S.arange(x.shape[0])
    return i[:, None] == i[None]


S = fb.special
ONE = ((4,),)
CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], tuple[float, float]]] = {}


def case(name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...] = ONE, low: float = -2.0,
         high: float = 2.0) -> None:
    CASES[name] = function, shapes, (low, high)


for name in ("exp", "expm1", "exp2", "sin", "cos", "tanh", "sinh", "cosh", "arctan", "square", "abs", "sign",
             "negative", "floor", "positive", "arcsinh", "cbrt", "trunc"):
    case(name, getattr(np, name))
for name in ("log", "log2", "log10", "log1p", "sqrt", "reciprocal"):
    case(name, getattr(np, name), low=0.5, high=2.0)
case("tan", np.tan, low=-1.0, high=1.0)
for name in ("arcsin", "arccos", "arctanh"):
    case(name, getattr(np, name), low=-0.9, high=0.9)
case("arccosh", np.arccosh, low=1.2, high=3.0)
for name in ("arctan2", "hypot"):
    case(name, getattr(np, name), ((4,), (4,)))
    case(f"{name}, broadcast row", getattr(np, name), ((3, 4), (1, 4)))
for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "logaddexp"):
    case(name, getattr(np, name), ((4,), (4,)), 0.5, 2.0)
    case(f"{name}, broadcast row", getattr(np, name), ((3, 4), (1, 4)), 0.5, 2.0)
    case(f"{name}, broadcast column", getattr(np, name), ((3, 1), (3, 4)), 0.5, 2.0)
case("power", np.power, ((4,), (4,)), 0.5, 2.0)
for exponent in (2, 3, 4, 0.5, -1, 2.5, 1, -2):
    case(f"to the power of {exponent}", lambda x, e=exponent: x**e, low=0.5)
case("2 to the power of", lambda x: 2.0**x)
case("remainder", lambda x: np.remainder(x, 0.7))
case("operators", lambda a, b: (a + b) * (a - 2) / (b * b + 1) - (-a), ((4,), (4,)))
case("constants on the left", lambda x: 1 - 2 / (3 + x * x))
case("an array beside", lambda x: np.arange(4.0) * x)
case("an array's own operator", lambda x: np.arange(4.0) / (x * x + 1))
case("clip", lambda x: np.clip(x, -0.5, 0.75))
case("clip by tensors", lambda x, a: np.clip(x, a - 1, a + 0.5), ((4,), (4,)))
case("clip at one end", lambda x: np.clip(x, None, 0.3) + x.clip(min=0.1))
case("where", lambda x, y: np.where(x > y, x * y, np.sin(x)), ((4,), (4,)))
case("where, conditions joined", lambda x, y: np.where((x > 0) & ~(y < 0.2) | (x == y), x * y, y), ((4,), (4,)))
for name in ("sum", "mean", "max", "min", "prod", "var", "std"):
    f = getattr(np, name)
    for axis in (-1, 1, (1, 2)):
        case(f"{name} over {axis}", lambda x, f=f, a=axis: f(x, axis=a) * f(x, axis=a, keepdims=False), ((2, 3),), 0.5,
             1.5)
    case(f"{name} over all", lambda x, f=f: x * f(x if f is not np.prod else x[0]), ((2, 3),), 0.5, 1.5)
    if name != "prod":
        case(f"{name} over the rows", lambda x, f=f: x * f(x, axis=0) + f(x, axis=0, keepdims=True) ** 2, ((2, 3),),
             0.5, 2.0)
        case(f"method {name}", lambda x, n=name: x * getattr(x, n)(axis=-1, keepdims=True), ((2, 3),))
for axis in (0, (0, 1), None):
    case(f"prod over {axis}", lambda x, a=axis: x * np.prod(x / x.mean(), axis=a)
         + (x / x.mean()).prod(axis=a, keepdims=True) ** 2, ((3,),), 0.8, 1.2)
case("prod over the rows where a factor is 0", lambda x: x * np.prod(x - x[0], axis=0))
case("amax, amin", lambda x: np.amax(x, axis=1) * np.amin(x, axis=-1))
case("average", lambda x: np.average(x * x, axis=1) + np.average(x, axis=-1, weights=[1.0, 2.0, 3.0, 4.0])
     + np.average(x, weights=np.abs(x)))
for order in (None, 2, 1, np.inf):
    case(f"norm of order {order}", lambda x, o=order: x * np.linalg.norm(x, o, axis=-1, keepdims=True))
case("norm of all", lambda x: x * np.linalg.norm(x) / (1 + np.linalg.norm(x, axis=(0, 1))))
case("round", lambda x: x * np.round(x) + x * np.round(0.1 * x, 1), low=0.6, high=1.4)
case("added in place", lambda x: in_place(x))
case("outer", lambda x: np.outer(x[:, 0], x[0]) * x)
case("var with ddof", lambda x: x * np.var(x, axis=0, ddof=1) + x.std(axis=-1, ddof=1, keepdims=True))
case("prod where a factor is 0", lambda x: np.prod(np.concatenate([x, 0.0 * x[:, :1]], axis=1), axis=1))
case("normalised over the batch", lambda x: (x - x.mean()) / x.std())
case("centred", lambda x: np.square(x - x.mean(axis=0)) / x.shape[0])
case("by size", lambda x: x * x.sum() / x.size)
case("cumsum", lambda x: np.cumsum(x, axis=-1) * x)
case("cumsum over the rows", lambda x: x.cumsum(axis=0) * x)
case("flip", lambda x: np.flip(x, axis=-1) * x)
case("diff", lambda x: np.diff(x) ** 2)
case("matmul by a constant", lambda x: np.tanh(x) @ np.arange(8.0).reshape(4, 2))
case("matmul of samples", lambda a, b: a @ b, ((2, 3), (3, 4)))
case("matmul with a vector", lambda a: np.matmul(a, np.arange(3.0)) + np.matmul(np.ones(2), a)[:, :2], ((2, 3),))
case("all pairs of rows", lambda x: np.exp(0.1 * x @ x.T) @ x)
case("dot", lambda x: np.dot(x, np.ones((4, 2))) * x[:, :1])
case("einsum", lambda a, b: np.einsum("bi,bj->bij", a, b), ((3,), (4,)))
case("einsum over the rows", lambda a, b: a @ np.einsum("bi,bj->ij", a, b), ((3,), (4,)))
case("einsum, alone", lambda a, b: np.einsum("bij,bk->bi", a, b), ((3, 2), (4,)))
case("einsum of one", lambda a: np.einsum("bij->bji", a) ** 2, ((3, 2),))
case("einsum with dots", lambda a, b: np.einsum("...i,...i->...", a, b) * np.einsum("...i,...i", a, a),
     ((3,), (3,)))
case("hstack, array_split", lambda a, b: np.hstack([a, b])[:, 1:] * np.array_split(a, 2, axis=1)[0][:, :1],
     ((3,), (2,)))
case("roll, repeat", lambda x: np.roll(x, 1, axis=-1) * x + np.repeat(x, 2, axis=1)[:, 1:5] * np.roll(x, -2, axis=1))
for mode in ("edge", "reflect", "wrap", "symmetric"):
    case(f"pad by {mode}", lambda x, m=mode: np.pad(x, ((0, 0), (1, 2)), mode=m) ** 2)
case("take one", lambda x: np.take(x, 1, axis=-1) * x.take(-1, axis=1))
case("take in a square", lambda x: np.take(x, [[0, -1], [2, 2]], axis=1) ** 2)
case("take rows", lambda x: np.take(x, [0, 0, -1], axis=0)[2] * x)
case("take of weights", lambda x: x * S.take(np.array([0.5, 2.0, 3.0]), np.argmax(x[:, :3], axis=1))[:, None])
case("take of a table", lambda x: S.take(np.arange(8.0).reshape(4, 2), np.argmax(x, axis=1)) * x[:, :2])
case("pairs of rows, without their own", lambda x: np.sum(np.where(own_pair(x), 0.0, np.exp(0.1 * x @ x.T)), axis=1))
case("concatenate", lambda a, b: np.concatenate([a, b * b, a], axis=-1), ((3,), (2,)))
case("stack", lambda a, b: np.stack([a, b, a * b], axis=1), ((3,), (3,)))
case("split", lambda x: np.split(x, 2, axis=1)[0] * np.split(x, [1, 3], axis=-1)[1])
case("take", lambda x: np.take(x, [0, 2, 2], axis=1) ** 2)
case("take_along_axis", lambda x: np.take_along_axis(x, np.argmax(x, axis=-1)[:, None], axis=-1) ** 2)
case("index", lambda x: x[:, 1, ::-1] * x[:, 0, None][:, 0] + x[..., -1, :], ((2, 3),))
case("index by a list", lambda x: x[:, [0, 3, 3]] ** 2)
case("an entry of each row", lambda x: x * x[S.arange(x.shape[0]), np.argmax(x, axis=1)][:, None])
case("index by a mask", lambda x: x[:, np.array([True, False, True, True])] ** 2)
case("new axes", lambda x: (x[:, :, None] * x[:, None, :]).sum(axis=(1, 2)))
case("first row", lambda x: x * x[0])
case("rows turned round", lambda x: x * x[::-1])
case("reshape", lambda x: x.reshape(x.shape[0], 3, 2) * np.reshape(x, (-1, 3, 2)), ((2, 3),))
case("ravel of one column", lambda x: np.ravel(x) ** 2, ((1,),))
case("transpose", lambda x: np.transpose(x, (0, 2, 1)) * np.ones((3, 2)), ((2, 3),))
case("swapaxes, moveaxis", lambda x: np.swapaxes(x, 1, 2) * np.moveaxis(x, 2, 1), ((2, 3),))
case("expand_dims, squeeze", lambda x: np.squeeze(np.expand_dims(x, (1, 3)) ** 2, axis=(1, 3)))
case("broadcast_to", lambda x: np.broadcast_to(x[:, None, :], (x.shape[0], 2, 4)) ** 2)
case("pad", lambda x: np.pad(x, ((0, 0), (1, 2)), constant_values=3.0) ** 2)
case("zeros_like, ones_like", lambda x: x * np.ones_like(x) + np.zeros_like(x) + np.full_like(x, 2.0) * x)
case("softmax", lambda x: S.softmax(x) ** 2)
case("log_softmax", lambda x: S.log_softmax(x, axis=1), ((3, 2),))
case("logsumexp", lambda x: S.logsumexp(x, axis=-1) + S.logsumexp(x, axis=-1, keepdims=True)[:, 0])
case("erf", S.erf)
case("sigmoid", S.sigmoid)
case("softplus", S.softplus)
case("astype", lambda x: x * (x > 0).astype(x.dtype) + x.astype(int))
case("stop_gradient", lambda x: x * S.stop_gradient(x))
case("first row, last row", lambda x: x * x[0] + x[-1])
case("filled like what is not read", lambda x: np.tanh(x) / np.sum(np.ones_like(x), axis=0), ((3,),))
