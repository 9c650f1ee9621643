"""NumPy's functions that are a few others put together.

Each is plain NumPy text, as a user would write it: tensors take every function in it, which brings the derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, log, pi
from typing import Any

import numpy as np

from fastbp.ops.expression import call, integer
from fastbp.ops.functions import Function, axes_of, concatenate, one_axis, root, split
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.structure import TakeOp

# ---- element by element ---------------------------------------------------------------------------------------------


def logaddexp2(a: Any, b: Any) -> Any:
    return np.logaddexp(a * log(2), b * log(2)) / log(2)


def times(factor: float) -> Function:
    return lambda x: x * factor


def heaviside(x: Any, at_0: Any) -> Any:
    return np.where(x == 0, at_0, 0.5 + 0.5 * np.sign(x))


def signbit(x: Any) -> Any:
    return np.arctan2(x, -1.0) < 0      # the angle tells -0 from 0


def copysign(a: Any, b: Any) -> Any:
    return np.where(signbit(b), -np.abs(a), np.abs(a))


def not_nan(function: Callable[..., Any]) -> Function:
    """Return ``fmax`` or ``fmin``: where one of the operands is NaN, the other."""
    def choose(a: Any, b: Any) -> Any:
        first = np.where(np.isnan(a), b, a)
        return function(first, np.where(np.isnan(b), first, b))
    return choose


def fmod(a: Any, b: Any) -> Any:
    """Return the remainder with the sign of a."""
    rest = np.remainder(np.abs(a), np.abs(b))
    return np.where(a < 0, -rest, rest)


def divmod_(a: Any, b: Any) -> tuple[Any, Any]:
    return np.floor_divide(a, b), np.remainder(a, b)


def modf(x: Any) -> tuple[Any, Any]:
    whole = np.trunc(x)
    return np.where(np.abs(x) == np.inf, 0.0, x - whole), whole


def sinc(x: Any) -> Any:
    """Return sin(πx) / (πx): near 0 by its series, which has all derivatives there."""
    z = pi * x
    near = np.abs(z) < 1
    square, series = np.square(np.where(near, z, 0.0)), 0.0
    for k in range(11, -1, -1):
        series = series * square + (-1) ** k / factorial(2 * k + 1)
    far = np.where(near, 1.0, z)
    return np.where(near, series, np.sin(far) / far)


def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    y = call(ScalarOp("nan_to_num"), x)
    for number, wanted in ((np.inf, posinf), (-np.inf, neginf)):
        y = y if wanted is None else np.where(x == number, wanted, y)
    return np.where(np.isnan(x), nan, y) if hasattr(nan, "__apply_op__") or nan != 0 else y


def isinf(x: Any) -> Any:
    return np.abs(x) == np.inf


def isposinf(x: Any, out: None = None) -> Any:
    return x == np.inf


def isneginf(x: Any, out: None = None) -> Any:
    return x == -np.inf


def isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    near = (a == b) | (np.isfinite(b) & (np.abs(a - b) <= atol + rtol * np.abs(b)))
    return near | (np.isnan(a) & np.isnan(b)) if equal_nan else near


def allclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    return np.all(isclose(a, b, rtol, atol, equal_nan))


def polyval(p: Any, x: Any) -> Any:
    y = np.zeros_like(x)
    for i in range(len(p) if not hasattr(p, "__apply_op__") else p.shape[0]):
        y = y * x + p[i]
    return y


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: None = None) -> Any:
    """Return what the lines between points have at x; at a point, the derivative is the mean of both sides."""
    points = xp if hasattr(xp, "__apply_op__") else np.asarray(xp, dtype=np.float64)
    values = fp if hasattr(fp, "__apply_op__") else np.asarray(fp, dtype=np.float64)
    if period is not None or points.ndim != 1 or values.ndim != 1 or integer(points.shape[0]) is None:
        raise ValueError("np.interp: expected xp and fp as vectors of one size, and no period: np.remainder(x, period)")
    if np.shape(points) != np.shape(values):
        raise ValueError(f"np.interp: xp and fp are of shape {points.shape} and {values.shape}; expected one size")
    size, wide = points.shape[0], np.expand_dims(x, -1)
    if size == 1:
        return np.where(x < points[0], values[0] if left is None else left,
                        np.where(x > points[0], values[0] if right is None else right, values[0] + 0.0 * x))
    slopes = (values[1:] - values[:-1]) / (points[1:] - points[:-1])
    flat = np.concatenate([np.zeros(1), slopes, np.zeros(1)]) if not hasattr(slopes, "__apply_op__") else \
        np.pad(slopes, 1)
    below, up_to = np.sum(wide > points, axis=-1), np.sum(wide >= points, axis=-1)
    start = np.maximum(up_to, 1) - 1
    slope = 0.5 * (_looked_up(flat, below) + _looked_up(flat, up_to))
    y = _looked_up(values, start) + slope * (x - _looked_up(points, start))
    y = y if left is None else np.where(x < points[0], left, y)
    return y if right is None else np.where(x > points[-1], right, y)


def _looked_up(table: Any, places: Any) -> Any:
    return call(TakeOp(0), table, places)


# ---- over axes ------------------------------------------------------------------------------------------------------


def reduced(function: Function, join: Callable[..., Any], neutral: float | None) -> Function:
    """Return a reduction that takes ``where`` and ``initial`` as well.

    ``join`` is the function of two operands that it applies again and again; ``neutral`` changes nothing by it.
    """
    def reduce(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
               initial: Any = None, where: Any = None) -> Any:
        if where is not None:
            start = initial if neutral is None else neutral
            if start is None:
                raise ValueError("a largest or smallest element where a condition holds needs initial, which stands "
                                 "for what is left out: there may be none")
            a = np.where(where, a, start)
        y = function(a, axis=axis, keepdims=keepdims)
        return y if initial is None else join(y, initial)
    return reduce


def averaged(name: str, function: Callable[..., Any]) -> Function:
    """Return ``mean``, ``var`` or ``std`` that takes ``where`` as well."""
    def reduce(a: Any, axis: Any = None, dtype: Any = None, out: None = None, *options: Any, where: Any = None,
               **named: Any) -> Any:
        return function(a, axis, dtype, out, *options, **named) if where is None else \
            _WHERE[name](a, where, axis, *options, **named)
    return reduce


def _mean_where(a: Any, where: Any, axis: Any, keepdims: bool = False) -> Any:
    count = np.sum(np.where(where, np.ones_like(a), 0.0), axis=axis, keepdims=keepdims)
    return np.sum(np.where(where, a, 0.0), axis=axis, keepdims=keepdims) / count


def _var_where(a: Any, where: Any, axis: Any, ddof: int = 0, keepdims: bool = False, *,
               correction: int | None = None) -> Any:
    freedom = ddof if correction is None else correction
    apart = np.where(where, a - _mean_where(a, where, axis, True), 0.0)
    count = np.sum(np.where(where, np.ones_like(a), 0.0), axis=axis, keepdims=keepdims)
    return np.sum(np.square(apart), axis=axis, keepdims=keepdims) / (count - freedom)


def _std_where(a: Any, where: Any, axis: Any, *options: Any, **named: Any) -> Any:
    return root(_var_where(a, where, axis, *options, **named))


_WHERE: dict[str, Function] = {"mean": _mean_where, "var": _var_where, "std": _std_where}


def without_nan(name: str) -> Function:
    """Return the function of what is no NaN: of ``np.nansum`` and its like."""
    function = getattr(np, name)

    def reduce(a: Any, axis: Any = None, *options: Any, where: Any = True, **named: Any) -> Any:
        there = ~np.isnan(a) & where
        if name in ("max", "min"):
            y = function(np.where(there, a, -np.inf if name == "max" else np.inf), axis, *options, **named)
            some = np.any(there, axis=axis, keepdims=named.get("keepdims", False))
            return np.where(some, y, np.nan)
        return function(a, axis, *options, where=there, **named)
    return reduce


def running_without_nan(name: str) -> Function:
    function, neutral = getattr(np, name), 0.0 if name == "cumsum" else 1.0
    return lambda a, axis=None, *options, **named: function(np.where(np.isnan(a), neutral, a), axis)


def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(a != 0, axis=axis, keepdims=keepdims)


def cumulative(function: Callable[..., Any]) -> Function:
    """Return the running result of a function of two operands: in steps over 1, 2, 4 … neighbours."""
    def scan(a: Any, axis: Any = None, dtype: None = None, out: None = None) -> Any:
        if axis is None and a.ndim != 1:
            raise ValueError("a running result has no axis; give one, such as axis=-1")
        along = one_axis("cumprod", a, 0 if axis is None else axis)
        before, size, step = (slice(None),) * along, integer(a.shape[along]), 1
        if size is None:
            raise ValueError("over the rows there are running sums alone, np.cumsum(x, axis=0); give another axis, "
                             "such as axis=-1. Running products of positive numbers are np.exp(np.cumsum(np.log(x), "
                             "axis=0))")
        while step < size:
            made = function(a[(*before, slice(step, None))], a[(*before, slice(None, -step))])
            a = np.concatenate([a[(*before, slice(step))], made], axis=along)
            step *= 2
        return a
    return scan


def cumulative_of(name: str) -> Function:
    """Return ``cumulative_sum`` or ``cumulative_prod``, which may begin with what there is before the first."""
    def scan(x: Any, /, *, axis: Any = None, dtype: None = None, out: None = None,
             include_initial: bool = False) -> Any:
        y = getattr(np, name)(x, axis=axis)
        if not include_initial:
            return y
        along = one_axis(name, y, 0 if axis is None else axis)
        first = np.zeros_like(y[(slice(None),) * along + (slice(1),)]) + (name == "cumprod")
        return np.concatenate([first, y], axis=along)
    return scan


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    along = one_axis("trapezoid", y, axis)
    steps = dx if x is None else np.diff(x, axis=along if np.ndim(x) == y.ndim else -1)
    if x is not None and np.ndim(x) == 1:
        steps = np.reshape(steps, [-1 if i == along else 1 for i in range(y.ndim)])
    before = (slice(None),) * along
    return np.sum(steps * (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]), axis=along) / 2


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return the slopes of values on a grid, by central differences."""
    axes = axes_of("gradient", f, axis)
    given = list(varargs) * (len(axes) if len(varargs) == 1 else 1) or [1.0] * len(axes)
    if any(integer(f.shape[i]) is None for i in axes) or len(given) != len(axes) or edge_order not in (1, 2):
        raise ValueError(f"np.gradient: axis is {axis!r}, with {len(varargs)} spacings and edge_order {edge_order}; "
                         "expected axes behind that of the rows, such as axis=1, one spacing for each, and 1 or 2")
    made = [_slopes(f, np.asarray(x, dtype=np.float64), i, edge_order) for i, x in zip(axes, given, strict=True)]
    return made[0] if len(made) == 1 else made


def _slopes(f: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    size = f.shape[axis]
    if size < edge_order + 1:
        raise ValueError(f"np.gradient: axis {axis} has {size} values; expected at least {edge_order + 1}")
    by_numpy: Any = np.gradient
    weights = np.stack([by_numpy(unit, spacing, edge_order=edge_order) for unit in np.eye(size)])
    return np.moveaxis(np.moveaxis(f, axis, -1) @ weights, -1, axis)


# ---- shapes ---------------------------------------------------------------------------------------------------------


def tile(A: Any, reps: Any) -> Any:  # noqa: N803 - NumPy's name
    wanted = tuple(reps) if isinstance(reps, tuple | list) else (reps,)
    wanted = (1,) * (A.ndim - len(wanted)) + wanted
    a = np.expand_dims(A, tuple(range(len(wanted) - A.ndim))) if len(wanted) > A.ndim else A
    for axis, times_ in enumerate(wanted):
        if times_ != 1 and integer(a.shape[axis]) is None:
            raise ValueError(f"np.tile: reps is {reps!r}, which repeats the rows; expected 1 for them: "
                             f"(1, {', '.join(['…'] * (A.ndim - 1))})")
        a = a if times_ == 1 else np.concatenate([a] * int(times_), axis=axis)
    return a


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    axes = (axis,) if not isinstance(axis, tuple | list) else tuple(axis)
    shifts = (shift,) if not isinstance(shift, tuple | list) else tuple(shift)
    if axis is None and a.ndim > 1:
        raise ValueError("np.roll: all axes as one cannot be rolled, as the rows stay an axis; give one, such as "
                         "axis=-1")
    count = max(len(axes), len(shifts))
    for step, one in zip(shifts * (count // len(shifts)), axes * (count // len(axes)), strict=True):
        a = _rolled(a, int(step), one_axis("roll", a, 0 if one is None else one))
    return a


def _rolled(a: Any, shift: int, axis: int) -> Any:
    size, before = integer(a.shape[axis]), (slice(None),) * axis
    if size is None:        # the rows: each is picked where it was
        place = np.cumsum(np.ones_like(a[(slice(None), *(0,) * (a.ndim - 1))]), axis=0) - (1.0 + shift)
        return call(TakeOp(axis), a, np.remainder(place, a.shape[axis]).astype(int))
    cut = -shift % size
    return np.concatenate([a[(*before, slice(cut, None))], a[(*before, slice(cut))]], axis=axis) if cut else a


def fliplr(m: Any) -> Any:
    return np.flip(m, axis=1)


def flipud(m: Any) -> Any:
    return np.flip(m, axis=0)


def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    i, j = (one_axis("rot90", m, a) for a in axes)
    if k % 4 == 2:
        return np.flip(m, axis=(i, j))
    return m if k % 4 == 0 else np.swapaxes(np.flip(m, axis=j), i, j) if k % 4 == 1 else \
        np.flip(np.swapaxes(m, i, j), axis=j)


def splitting(name: str, axis: int) -> Function:
    """Return ``hsplit`` or its like."""
    return lambda ary, indices_or_sections: split(ary, indices_or_sections,
                                                  0 if name == "hsplit" and ary.ndim == 1 else axis)


def dstack(tup: Any) -> Any:
    return concatenate([np.expand_dims(a, tuple(range(a.ndim, 3))) if a.ndim == 2 else a for a in tup], 2)


def column_stack(tup: Any) -> Any:
    return concatenate([np.expand_dims(a, 1) if np.ndim(a) == 1 else a for a in tup], 1)


def append(arr: Any, values: Any, axis: Any = None) -> Any:
    return concatenate([arr, values], axis)


def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    if axis is None:
        raise ValueError("np.delete: axis is missing; give one, such as axis=-1")
    along = one_axis("delete", arr, axis)
    size = integer(arr.shape[along])
    if size is None:
        raise ValueError("np.delete: the rows are those of the batch, and none can be left out; weigh them with "
                         "np.where")
    return np.take(arr, np.delete(np.arange(size), obj), axis=along)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    along = one_axis("unstack", x, axis)
    if integer(x.shape[along]) is None:
        raise ValueError("np.unstack: axis 0 is that of the rows, whose number is not fixed; give another axis")
    return tuple(x[(slice(None),) * along + (i,)] for i in range(x.shape[along]))


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Return the choice of the first condition that holds."""
    if len(condlist) != len(choicelist):
        raise ValueError(f"np.select: {len(condlist)} conditions and {len(choicelist)} choices; expected as many")
    y = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        y = np.where(condition, choice, y)
    return y


def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Return what the function of the last condition that holds makes; one more function is for where none holds."""
    conditions = list(condlist) if isinstance(condlist, list | tuple) else [condlist]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(f"np.piecewise: {len(conditions)} conditions and {len(funclist)} functions; expected as many, "
                         "or one more")
    made = [g(x, *args, **kw) if callable(g) else g for g in funclist]
    y = made.pop() if len(made) > len(conditions) else 0.0
    for condition, choice in zip(conditions, made, strict=True):
        y = np.where(condition, choice, y)
    return y + np.zeros_like(x)
