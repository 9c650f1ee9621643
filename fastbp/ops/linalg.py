r"""Square matrices, of which an array may hold many: the inverse, solutions, the logarithm of determinants, Cholesky.

**Derivation.** :math:`A A^{-1} = I` gives :math:`d(A^{-1}) = -A^{-1}\, dA\, A^{-1}`, so the gradient of A is
:math:`-Y^T\, dY\, Y^T` with :math:`Y = A^{-1}`. With :math:`A X = B`, :math:`dX = A^{-1}(dB - dA\, X)`: the gradient of
B solves :math:`A^T G = dY`, and that of A is :math:`-G X^T`. :math:`d \ln |\det A| = \operatorname{tr}(A^{-1} dA)`. For
:math:`A = L L^T`, Iain Murray's "Differentiation of the Cholesky decomposition" (2016) has the rule, symmetric in A.

A singular matrix makes NaN, as NumPy cannot raise an error for one of many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastbp.ops.base import Array
from fastbp.ops.expression import Expression, call, integer, sum_like
from fastbp.ops.functions import axes_of, one_axis, root


def _each(function: Callable[..., Any], *xs: Array) -> Array:
    """Return a function of matrices, NaN where one has no result."""
    try:
        return np.asarray(function(*xs))
    except np.linalg.LinAlgError:
        if xs[0].ndim > 2:
            lead = np.broadcast_shapes(*(x.shape[:-2] for x in xs))
            wide = [np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in xs]
            return np.stack([_each(function, *parts) for parts in zip(*wide, strict=True)])
        if xs[0].shape[-1] != xs[0].shape[-2]:
            raise
        return np.full_like(xs[-1], np.nan)


def _square(name: str, a: Array) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"np.linalg.{name}: the last two axes, of sizes {a.shape[-2:]}, are no square matrix")


def _turned(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


@dataclass(frozen=True)
class InverseOp(Expression):
    """``y = inv(a)``."""

    name: ClassVar[str] = "inv"

    def value(self, *xs: Array) -> Array:
        _square(self.name, xs[0])
        return _each(np.linalg.inv, xs[0])

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return -(_turned(y) @ dy @ _turned(y))

    def formula(self) -> str:
        return "y = a⁻¹"


@dataclass(frozen=True)
class SolveOp(Expression):
    """``y = solve(a, b)`` for matrices b."""

    name: ClassVar[str] = "solve"

    def value(self, *xs: Array) -> Array:
        _square(self.name, xs[0])
        return _each(np.linalg.solve, *xs)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        back = np.linalg.solve(_turned(xs[0]), dy)
        return sum_like(-(back @ _turned(y)) if which == 0 else back, xs[which])

    def formula(self) -> str:
        return "y = a⁻¹ b"


@dataclass(frozen=True)
class DeterminantOp(Expression):
    """``y = det(a)``, its sign, or the logarithm of its size."""

    part: str
    name: ClassVar[str] = "det"

    def value(self, *xs: Array) -> Array:
        _square(self.name, xs[0])
        if self.part == "det":
            return np.asarray(np.linalg.det(xs[0]))
        return np.asarray(np.linalg.slogdet(xs[0])[self.part == "log"])

    def has_gradient(self, which: int) -> bool:
        return self.part != "sign"

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        if self.part == "sign":
            return None
        scale = dy if self.part == "log" else dy * y
        return np.expand_dims(scale, (-2, -1)) * _turned(np.linalg.inv(xs[0]))

    def formula(self) -> str:
        return {"det": "y = det(a)", "sign": "y = the sign of det(a)", "log": "y = ln |det(a)|"}[self.part]


@dataclass(frozen=True)
class CholeskyOp(Expression):
    """``y = cholesky(a)``, the lower triangle L of a = L Lᵀ."""

    name: ClassVar[str] = "cholesky"

    def value(self, *xs: Array) -> Array:
        _square(self.name, xs[0])
        return _each(np.linalg.cholesky, xs[0])

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        size = y.shape[-1]
        inner = (_turned(y) @ dy) * (np.tri(size) - 0.5 * np.eye(size))
        outer = np.linalg.solve(_turned(y), _turned(np.linalg.solve(_turned(y), _turned(inner))))
        return 0.5 * (outer + _turned(outer))

    def formula(self) -> str:
        return "y = L of a = L Lᵀ"


# ---- NumPy's functions ----------------------------------------------------------------------------------------------


class SlogdetResult(NamedTuple):
    """What ``np.linalg.slogdet`` returns."""

    sign: Any
    logabsdet: Any


def inv(a: Any) -> Any:
    return call(InverseOp(), a)


def solve(a: Any, b: Any) -> Any:
    if np.ndim(b) == 1:
        return np.squeeze(call(SolveOp(), a, np.expand_dims(b, 1)), axis=-1)
    return call(SolveOp(), a, b)


def det(a: Any) -> Any:
    return call(DeterminantOp("det"), a)


def slogdet(a: Any) -> SlogdetResult:
    return SlogdetResult(call(DeterminantOp("sign"), a), call(DeterminantOp("log"), a))


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    lower = call(CholeskyOp(), a)
    return _turned(lower) if upper else lower


def matrix_transpose(x: Any, /) -> Any:
    return _turned(x)


def matrix_power(a: Any, n: int) -> Any:
    if integer(n) is None:
        raise TypeError(f"np.linalg.matrix_power: n is {n!r}; expected an integer")
    if n < 1:
        return np.zeros_like(a) + np.eye(a.shape[-1]) if n == 0 else matrix_power(np.linalg.inv(a), -n)
    half = matrix_power(a, n // 2) if n > 1 else None
    return a if half is None else half @ half @ a if n % 2 else half @ half


def multi_dot(arrays: Any, *, out: None = None) -> Any:
    return reduce(np.matmul, arrays)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the length of vectors, or the norm of matrices; their derivative at 0 is 0."""
    axes = axes_of("linalg.norm", x, axis)
    if axis is None and ord is not None and len(axes) > 2:
        raise ValueError(f"np.linalg.norm: axis is None and ord is {ord!r} for an array of {len(axes)} axes; expected "
                         "one axis for vectors, two for matrices")
    if len(axes) == 1:
        return vector_norm(x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord)
    return matrix_norm_of(x, axes if axis is None else axis, keepdims, "fro" if ord is None else ord)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    size = np.abs(x)
    if ord == 2:
        return root(np.sum(np.square(x), axis=axis, keepdims=keepdims))
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)
    if not isinstance(ord, int | float) or ord <= 0:
        raise ValueError(f"np.linalg.norm: ord is {ord!r} for vectors; expected None, a number above 0, np.inf or "
                         "-np.inf")
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    total = np.sum(size**ord, axis=axis, keepdims=keepdims)
    return np.where(total > 0, np.where(total > 0, total, 1.0) ** (1 / ord), total)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return matrix_norm_of(x, (-2, -1), keepdims, ord)


def matrix_norm_of(x: Any, axes: Any, keepdims: bool, ord: Any) -> Any:
    if ord == "fro":
        return root(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError(f"np.linalg.norm: ord is {ord!r} for a matrix; expected None, 'fro', 1, -1, np.inf or -np.inf")
    rows, columns = (one_axis("linalg.norm", x, i) for i in axes)
    summed, left = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = np.sum(np.abs(x), axis=summed, keepdims=True)
    y = (np.max if ord > 0 else np.min)(sums, axis=left, keepdims=True)
    return y if keepdims else np.squeeze(y, axis=(rows, columns))


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    i, j = one_axis("diagonal", a, axis1), one_axis("diagonal", a, axis2)
    n, m = integer(a.shape[i]), integer(a.shape[j])
    if n is None or m is None:
        raise ValueError("np.diagonal: an axis is that of the rows, whose number is not fixed; give two others, such "
                         "as axis1=1, axis2=2. Of all pairs of rows, a row and itself is np.sum(a * b, axis=-1)")
    places = np.diagonal(np.arange(n * m).reshape(n, m), offset)
    flat = np.moveaxis(a, (i, j), (-2, -1))
    return np.take(flat.reshape(*flat.shape[:-2], n * m), places, axis=-1)


def diagonal_of_last(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return diagonal(v, k)
    size = integer(v.shape[0])
    if size is None:
        raise ValueError("np.diag: the number of rows is not fixed; multiply the rows of a matrix by x[:, None]")
    wide = np.zeros((size, size + abs(k)))
    wide[np.arange(size), np.arange(size) + max(k, 0)] = 1.0
    made = np.expand_dims(v, 1) * (wide if k >= 0 else np.eye(size, size + abs(k)))
    return made if not k else np.pad(made, ((0, k), (0, 0))) if k > 0 else np.pad(made, ((-k, 0), (0, 0)))


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: None = None, out: None = None) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


def trace_of_last(x: Any, /, *, offset: int = 0, dtype: None = None) -> Any:
    return trace(x, offset, -2, -1)


def triangle(upper: bool) -> Callable[..., Any]:
    def cut(m: Any, k: int = 0) -> Any:
        place = [np.cumsum(np.ones_like(m), axis=axis) for axis in (-2, -1)]
        kept = place[1] - place[0] >= k if upper else place[1] - place[0] <= k
        return np.where(kept, m, 0.0)
    return cut


# ---- products -------------------------------------------------------------------------------------------------------


def inner(a: Any, b: Any, /) -> Any:
    return a * b if not (np.ndim(a) and np.ndim(b)) else tensordot(a, b, ((-1,), (-1,)))


def vdot(a: Any, b: Any, /) -> Any:
    return np.sum(a * b)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    n, m = np.ndim(a), np.ndim(b)
    if integer(axes) is not None:
        axes = tuple(range(n - axes, n)), tuple(range(axes))
    of_a, of_b = (tuple(x) if isinstance(x, tuple | list) else (x,) for x in axes)
    if len(of_a) != len(of_b):
        raise ValueError(f"np.tensordot: axes is {axes!r}; expected as many of the first operand as of the second")
    first = [chr(ord("a") + i) for i in range(n)]
    second = [chr(ord("A") + i) for i in range(m)]
    for i, j in zip(of_a, of_b, strict=True):
        second[j % m] = first[i % n]
    out = [c for c in first if c not in second] + [c for c in second if c not in first]
    return np.einsum(f"{''.join(first)},{''.join(second)}->{''.join(out)}", a, b)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.sum(x1 * x2, axis=axis)


def matvec(a: Any, x: Any, /) -> Any:
    return np.squeeze(np.matmul(a, np.expand_dims(x, -1)), axis=-1)


def vecmat(x: Any, a: Any, /) -> Any:
    return np.squeeze(np.matmul(np.expand_dims(x, -2), a), axis=-2)


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if integer(a.shape[-1]) != 3 or integer(b.shape[-1]) != 3:
        raise ValueError(f"np.cross: the vectors have {a.shape[-1]} and {b.shape[-1]} numbers; expected 3 each")
    turn, again = [1, 2, 0], [2, 0, 1]
    plus = np.take(a, turn, axis=-1) * np.take(b, again, axis=-1)
    return np.moveaxis(plus - np.take(a, again, axis=-1) * np.take(b, turn, axis=-1), -1, axisc)


def cross_of_last(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None, fweights: None = None,
        aweights: None = None, *, dtype: None = None) -> Any:
    """Return the covariances of variables: of columns, if ``rowvar`` is False."""
    if fweights is not None or aweights is not None or y is not None:
        raise TypeError("np.cov: got y or weights; expected one array, and rowvar=False if its columns are variables")
    x = np.transpose(m) if rowvar else m
    apart = x - np.mean(x, axis=0, keepdims=True)
    return (np.transpose(apart) @ apart) / (x.shape[0] - (int(not bias) if ddof is None else ddof))


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: None = None) -> Any:
    """Return the correlations of variables: of columns, if ``rowvar`` is False."""
    c = cov(x, y, rowvar)
    places = [np.cumsum(np.ones_like(c), axis=axis) for axis in (0, 1)]
    spread = np.sqrt(np.sum(np.where(places[0] == places[1], c, 0.0), axis=0))
    return c / np.expand_dims(spread, 0) / np.expand_dims(spread, 1)
