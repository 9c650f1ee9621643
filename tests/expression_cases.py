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
case("over the first axis of a transpose", lambda x: x * np.sum(np.sin(x.T), axis=0)[:, None] + np.stack([
    x[:, 1], x[:, 2] ** 2]).max(axis=0)[:, None] * np.mean(x.T, axis=0)[:, None])
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
# what is a few others put together
def symmetric(m: Any) -> Any:
    return np.einsum("bij,bkj->bik", m, m) + 2 * np.eye(3)


for name in ("deg2rad", "radians", "rad2deg", "degrees", "sinc", "signbit", "fix", "isinf", "isposinf", "isneginf"):
    case(name, lambda x, n=name: x * getattr(np, n)(0.1 * x))
case("sinc near 0", np.sinc, low=-0.05, high=0.05)
case("nan_to_num", lambda x: np.nan_to_num(x) * np.nan_to_num(np.where(x > 1, np.nan, np.where(x < -1, np.inf, x)),
                                                              nan=3.0, posinf=x, neginf=2.0))
for name in ("logaddexp2", "copysign", "fmax", "fmin", "heaviside"):
    case(name, lambda a, b, n=name: (a + 0.1 * b) * getattr(np, n)(a, b), ((4,), (4,)))
case("fmax, fmin where one is NaN", lambda x: np.fmax(np.where(x > 0, np.nan, x), 2 * x) + np.fmin(
    x * x, np.where(x > 0, np.nan, x)))
case("fmod", lambda a, b: (a + b) * np.fmod(a, 1.2 + 0.1 * b), ((4,), (4,)))
case("divmod, modf", lambda x: divmod(x, 0.7)[1] * np.divmod(x, 2.0)[0] + np.modf(x)[0] * np.modf(x)[1])
case("isclose, allclose", lambda x: x * np.isclose(x, x[:, :1], 0.3, 0.1) + x * x * np.allclose(x, x, equal_nan=True))
case("polyval", lambda x: np.polyval([2.0, -1.0, 0.5], x) * np.polyval(x[0], 0.3 * x))
case("interp", lambda x: x * np.interp(x, [-1.5, -0.5, 0.25, 1.0], [1.0, -2.0, 0.5, 3.0]))
case("interp, beyond the ends", lambda x: np.interp(x * x, [0.5, 2.0], [1.0, -2.0], left=-1.0, right=4.0) + x)
case("select", lambda x: np.select([x > 1, x > 0, x < -1], [x * x, np.sin(x), 2.0], 3 * x))
case("piecewise", lambda x: np.piecewise(x, [x < 0, x > 1], [np.sin, lambda x: x**3, 0.5]))
mask = np.array([True, False, True, True])
for name in ("sum", "mean", "prod", "var", "std"):
    case(f"{name} where", lambda x, n=name: x * getattr(np, n)(x, axis=1, where=x > -1.5, keepdims=True)
         + getattr(np, n)(x, axis=1, where=mask, keepdims=True), low=-1.0)
    case(f"nan{name}", lambda x, n=name: getattr(np, f"nan{n}")(np.where(mask, x, np.nan), axis=1) * x[:, 0])
case("max, min where", lambda x: np.max(x, axis=1, where=x < 1, initial=-3.0) * np.min(x, axis=1, initial=0.3))
case("any, all where", lambda x: x * np.any(x > 0, axis=1, where=mask, keepdims=True) * np.all(x > -2, where=mask))
case("sum from a number", lambda x: np.sum(x, axis=1, initial=2.0) * np.prod(x, axis=1, initial=3.0))
case("nanmax, nanmin", lambda x: np.nanmax(np.where(mask, x, np.nan), axis=1) * np.nanmin(x, axis=-1) * x[:, 0])
case("ptp, count_nonzero", lambda x: np.ptp(x, axis=1, keepdims=True) * x * np.count_nonzero(x > 0, axis=1)[:, None])
case("cumprod", lambda x: np.cumprod(x, axis=1) * x + np.nancumprod(np.where(mask, x, np.nan), axis=1))
case("cumprod where a factor is 0", lambda x: np.cumprod(x - x[:, 1:2], axis=-1))
case("running extremes", lambda x: np.maximum.accumulate(x, axis=1) * np.minimum.accumulate(x, axis=1))
case("ufuncs over axes", lambda x: np.add.reduce(x) * np.multiply.reduce(x, axis=1)[:, None]
     + np.logaddexp.reduce(x, axis=1, keepdims=True) * np.maximum.reduce(x, axis=(0, 1)) + np.add.accumulate(x))
case("outer of ufuncs", lambda x: np.add.outer(x[:, 0], x[0]) * np.sum(np.subtract.outer(x[0], x[-1]) ** 2))
case("trapezoid", lambda x: np.trapezoid(x, dx=0.5) * np.trapezoid(x * x, [0.0, 1.0, 1.5, 3.0]))
case("gradient", lambda x: np.gradient(x, axis=1) * np.gradient(x * x, [0.0, 1.0, 1.5, 3.0], axis=1, edge_order=2))
case("gradient along two axes", lambda x: np.multiply(*np.gradient(x, 0.5, 2.0, axis=(1, 2))), ((3, 4),))
for axis in (0, 1):
    case(f"sort along {axis}", lambda x, a=axis: np.sort(x, axis=a) * np.argsort(x, axis=a) * x)
    case(f"median along {axis}", lambda x, a=axis: np.median(x, axis=a, keepdims=True) * x)
    case(f"quantile along {axis}", lambda x, a=axis: np.quantile(x, 0.3, axis=a, keepdims=True) * x
         + np.percentile(x, [20.0, 90.0], axis=a, keepdims=True).sum(axis=0))
case("median along two axes", lambda x: np.median(x, axis=(1, 2), keepdims=True) * x, ((2, 3),))
case("digitize, searchsorted", lambda x: x * np.digitize(x, [-1.0, 0.0, 0.5]) * np.searchsorted([-1.0, 1.0], x))
case("inner, vdot, tensordot", lambda a, b: np.inner(a, b[0])[:, None] * np.vdot(a[0], b[0]) + np.tensordot(
    a, np.ones((3, 2)), 1) + np.tensordot(a, b, axes=(0, 0))[0, :2], ((3,), (3,)))
case("cross", lambda a, b: np.cross(a, b) * np.cross(a, np.array([1.0, 2.0, -1.0])), ((3,), (3,)))
case("quadratic form", lambda x: np.einsum("bi,ij,bj->b", x, 0.02 * np.arange(16.0).reshape(4, 4), x) * np.einsum(
    "bi,bi,bi", x, x, x))
case("einsum of a diagonal", lambda m: np.einsum("bii->bi", m) * np.einsum("bii->b", m)[:, None], ((3, 3),))
case("diagonal, trace", lambda m: np.diagonal(m, 1, 1, 2) * np.trace(m, axis1=1, axis2=2)[:, None], ((3, 3),))
case("diag", lambda x: x @ np.diag(x[0]) + np.diag(np.diag(x[0])) + np.trace(np.diag(x[-1], -2), -2) + np.diag(
    x[0], 1)[:4, 1:] @ x[0] + np.diag(np.diag(x[-1], -1), -1))
case("triu, tril", lambda m: np.triu(m, 1) * m + np.tril(m) @ m, ((3, 3),))
case("tril of all pairs", lambda x: np.tril(x @ x.T, -1) @ x)
case("cov, corrcoef", lambda x: x @ np.cov(x, rowvar=False) + x @ np.corrcoef(x.T) + np.cov(x.T, bias=True)[0])
for order in (3, 1.5, -np.inf):
    case(f"norm of order {order}", lambda x, o=order: x * np.linalg.norm(x, o, axis=-1, keepdims=True))
for order in ("fro", 1, np.inf, -1):
    case(f"norm of matrices of order {order}", lambda m, o=order: m * np.linalg.norm(m, o, axis=(1, 2), keepdims=True),
         ((2, 3),))
case("linalg.inv", lambda m: np.linalg.inv(symmetric(m)) @ m, ((3, 3),))
case("linalg.solve", lambda m, x: np.linalg.solve(symmetric(m), m) @ x[:, :, None] + np.linalg.solve(
    symmetric(m), x[:, :, None]), ((3, 3), (3,)))
case("linalg.det", lambda m: np.linalg.det(m) * np.linalg.slogdet(symmetric(m))[1] * np.linalg.slogdet(m)[0], ((3, 3),))
case("linalg.cholesky", lambda m: np.linalg.cholesky(symmetric(m)) * m, ((3, 3),))
case("linalg.matrix_power", lambda m: np.linalg.matrix_power(m, 3) + np.linalg.matrix_power(
    m, 0) @ np.linalg.matrix_power(symmetric(m), -1), ((3, 3),))
case("linalg.multi_dot", lambda x: 0.1 * np.linalg.multi_dot([x, x.T, x]))
case("tile", lambda x: np.tile(x, (1, 2)) * np.tile(x, 2), ((3,),))
case("roll of rows", lambda x: x * np.roll(x, 1, axis=0) + np.roll(x, (1, -1), axis=(0, 1)))
case("turned", lambda m: np.rot90(m, axes=(1, 2)) * np.rot90(m, -1, (1, 2)) * np.fliplr(m) * np.flipud(m), ((3, 3),))
case("taken apart", lambda x: np.dstack([x, x * x])[:, :, 0] * np.column_stack([x[:, 0], x[:, 1:]]) * np.append(
    np.delete(x, 1, axis=1), x[:, :1], axis=1) * np.hsplit(np.concatenate([x, x], axis=1), 2)[0])
if hasattr(np, "unstack"):      # of NumPy 2
    case("cumulative_sum", lambda x: np.cumulative_sum(x, axis=1, include_initial=True)[:, 1:] * np.cumulative_prod(
        x, axis=1, include_initial=True)[:, :-1])
    case("unstack", lambda x: x * np.unstack(x, axis=1)[1][:, None])
    case("vecdot", lambda m, x: 0.1 * np.vecdot(m, x[:, None]) * np.matvec(m, x) + np.vecmat(x, m) * np.vecdot(
        m, m, axis=1), ((3, 3), (3,)))
    case("linalg of NumPy 2", lambda m: np.linalg.diagonal(m) * np.linalg.trace(m)[:, None] * np.linalg.vector_norm(
        m, axis=1) * np.linalg.matrix_norm(m)[:, None] * np.linalg.cross(m, m[:, ::-1])[:, 0] + np.linalg.vecdot(
        np.matrix_transpose(m), m), ((3, 3),))
case("first row, last row", lambda x: x * x[0] + x[-1])
case("filled like what is not read", lambda x: np.tanh(x) / np.sum(np.ones_like(x), axis=0), ((3,),))
