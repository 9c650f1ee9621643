"""NumPy's functions on tensors: how each is made of ops.

Their arguments are NumPy's. What stands here is written in the same language as the functions that users write: it
needs ``shape``, ``ndim``, operators and :func:`call`. Which functions there are, :mod:`fastbp.ops.numpy_names` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastbp.ops.expression import call, integer, sizes
from fastbp.ops.reduce import CumsumOp, EinsumOp, MatmulOp, ProductOp, ReduceOp
from fastbp.ops.scalar import SCALARS
from fastbp.ops.sources import FillOp, StopGradientOp
from fastbp.ops.structure import (
    BroadcastOp,
    IndexOp,
    JoinOp,
    PadOp,
    ReshapeOp,
    TakeAlongOp,
    TakeOp,
    TransposeOp,
)

Function = Callable[..., Any]

# ---- element by element ---------------------------------------------------------------------------------------------


def power(a: Any, b: Any) -> Any:
    """Return a ** b; whole and half exponents that are numbers have functions of their own."""
    known: dict[Any, str] = {2: "square", -1: "reciprocal", 0.5: "sqrt"}
    if isinstance(b, int | float | np.number) and hasattr(a, "__apply_op__"):
        if b == 1:
            return a
        if b in known:
            return SCALARS[known[b]](a)
        if b in (3, 4):
            return np.square(a) * (a if b == 3 else np.square(a))
    return SCALARS["pow"](a, b)


def clip(a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None or high is None:
        return a if low is None and high is None else np.maximum(a, low) if high is None else np.minimum(a, high)
    return SCALARS["clip"](a, low, high)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise TypeError("np.where: got a condition alone; its result would have no fixed shape. Write "
                        "np.where(condition, a, b)")
    return SCALARS["where"](condition, x, y)


# ---- over axes ------------------------------------------------------------------------------------------------------


def axes_of(label: str, x: Any, axis: Any) -> tuple[int, ...]:
    """Return axes as a sorted tuple counted from 0; None means all."""
    if axis is None:
        return tuple(range(x.ndim))
    found = []
    for a in axis if isinstance(axis, tuple | list) else (axis,):
        number = integer(a)
        if number is None:
            raise TypeError(f"np.{label}: axis is {axis!r}; expected an integer, or a tuple of them")
        if not -x.ndim <= number < x.ndim:
            raise ValueError(f"np.{label}: axis is {number}, but the array has {x.ndim} axes, of shape {x.shape}")
        found.append(number % x.ndim)
    if len(set(found)) < len(found):
        raise ValueError(f"np.{label}: axis is {axis!r}; expected each axis once")
    return tuple(sorted(found))


def one_axis(label: str, x: Any, axis: Any) -> int:
    """Return one axis, counted from 0."""
    return axes_of(label, x, (axis,))[0]


def reduction(name: str) -> Function:
    def reduce(a: Any, axis: Any = None, dtype: None = None, out: None = None, keepdims: bool = False) -> Any:
        axes = axes_of(name, a, axis)
        return call(ReduceOp(name, axes, bool(keepdims)), a) if axes or name not in ("sum", "mean", "max", "min") else a
    return reduce


def extreme(name: str) -> Function:
    def reduce(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return reduction(name)(a, axis, keepdims=keepdims)
    return reduce


def place_of_extreme(name: str) -> Function:
    def find(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
        if axis is None:
            raise ValueError(f"np.{name}: axis is missing; give one, such as axis=-1")
        return call(ReduceOp(name, (one_axis(name, a, axis),), bool(keepdims)), a)
    return find


def var(a: Any, axis: Any = None, dtype: None = None, out: None = None, ddof: int = 0, keepdims: bool = False, *,
        correction: int | None = None) -> Any:
    axes = axes_of("var", a, axis)
    deviation = a - np.mean(a, axis=axes, keepdims=True)
    freedom = ddof if correction is None else correction
    if not freedom:
        return np.mean(np.square(deviation), axis=axes, keepdims=keepdims)
    count: Any = 1
    for i in axes:
        count = count * a.shape[i]
    return np.sum(np.square(deviation), axis=axes, keepdims=keepdims) / (count - freedom)


def std(a: Any, axis: Any = None, dtype: None = None, out: None = None, ddof: int = 0, keepdims: bool = False, *,
        correction: int | None = None) -> Any:
    """Return the root of the variance; its derivative where all are equal is 0, as PyTorch's is."""
    return root(var(a, axis, ddof=ddof, keepdims=keepdims, correction=correction))


def root(square: Any) -> Any:
    """Return the square root, with the derivative 0 at 0."""
    return np.where(square > 0, np.sqrt(np.where(square > 0, square, 1.0)), square)


def prod(a: Any, axis: Any = None, dtype: None = None, out: None = None, keepdims: bool = False) -> Any:
    """Return the product, made in pairs where the size is known: its derivative is right where a factor is 0, too."""
    for i in reversed(axes_of("prod", a, axis)):
        if integer(a.shape[i]) is None:
            a = call(ProductOp(i), a)
        before = (slice(None),) * i
        while a.shape[i] > 1:
            half = a.shape[i] // 2
            product = a[(*before, slice(half))] * a[(*before, slice(half, 2 * half))]
            a = np.concatenate([product, a[(*before, slice(-1, None))]], axis=i) if a.shape[i] % 2 else product
        if not keepdims:
            a = np.squeeze(a, axis=i)
    return a


def cumsum(a: Any, axis: Any = None, dtype: None = None, out: None = None) -> Any:
    if axis is None:
        if a.ndim != 1:
            raise ValueError("np.cumsum: axis is missing; give one, such as axis=-1")
        axis = 0
    return call(CumsumOp(one_axis("cumsum", a, axis)), a)


def flip(m: Any, axis: Any = None) -> Any:
    axes = axes_of("flip", m, axis)
    return m[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(m.ndim))]


def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    before = (slice(None),) * one_axis("diff", a, axis)
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if weights is None or returned:
        if returned:
            raise TypeError("np.average: returned is True; expected False. The sum of the weights is np.sum(weights)")
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.ndim(weights) != a.ndim:
        weights = np.reshape(weights, tuple(-1 if i in axes_of("average", a, axis) else 1 for i in range(a.ndim)))
    shares = weights + np.zeros_like(a)
    return np.sum(a * shares, axis=axis, keepdims=keepdims) / np.sum(shares, axis=axis, keepdims=keepdims)


def outer(a: Any, b: Any, out: None = None) -> Any:
    return np.expand_dims(ravel(a) if np.ndim(a) > 1 else a, 1) * np.expand_dims(b, 0)


def rounded(a: Any, decimals: int = 0, out: None = None) -> Any:
    return np.rint(a) if not decimals else np.rint(a * 10.0**decimals) / 10.0**decimals


# ---- products -------------------------------------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Any:
    if not (np.ndim(a) and np.ndim(b)):
        raise ValueError("np.matmul: an operand is a single number; multiply by it with *")
    first, second = np.ndim(a) == 1, np.ndim(b) == 1
    a = np.expand_dims(a, 0) if first else a
    b = np.expand_dims(b, 1) if second else b
    y = call(MatmulOp(), a, b)
    if second:
        y = np.squeeze(y, axis=-1)
    return np.squeeze(y, axis=-1 if second else -2) if first else y


def dot(a: Any, b: Any, out: None = None) -> Any:
    if not (np.ndim(a) and np.ndim(b)):
        return a * b
    if np.ndim(b) > 2:
        raise ValueError("np.dot: the second operand has more than two axes; use np.matmul or np.einsum")
    return matmul(a, b)


def einsum(subscripts: str, *operands: Any, **options: Any) -> Any:
    text = subscripts.replace(" ", "") if isinstance(subscripts, str) else ""
    given, arrow, out = text.partition("->")
    if "..." in text:
        return _with_dots(given, out if arrow else None, operands)
    letters = given.split(",")
    if not text or "." in text or len(letters) != len(operands):
        raise ValueError(f"np.einsum: got {subscripts!r} and {len(operands)} operands; expected letters for each, as "
                         "in np.einsum('bi,ij->bj', x, w)")
    if not arrow:
        out = "".join(sorted(c for c in set(given) if c != "," and given.count(c) == 1))
    xs = list(operands)
    while True:
        for i, part in enumerate(letters):      # what one operand alone has is summed first
            xs[i], part = _without_repeats(xs[i], part)
            elsewhere = out + "".join(letters[:i] + letters[i + 1:])
            alone = tuple(k for k, c in enumerate(part) if c not in elsewhere)
            xs[i] = np.sum(xs[i], axis=alone) if alone else xs[i]
            letters[i] = "".join(c for c in part if c in elsewhere)
        if len(xs) == 1:
            return np.transpose(xs[0], tuple(letters[0].index(c) for c in out))
        a, b, *others = letters                 # from left to right, two at a time
        made = out if not others else "".join(c for c in dict.fromkeys(a + b) if c in "".join(others) + out)
        xs[:2] = [call(EinsumOp(f"{a},{b}->{made}"), *xs[:2])]
        letters[:2] = [made]
        if len(xs) == 1:
            return xs[0]


def _without_repeats(x: Any, letters: str) -> tuple[Any, str]:
    """Take the diagonal of axes that have one letter."""
    for c in letters:
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            x = np.diagonal(x, axis1=i, axis2=j)
            letters = letters[:i] + letters[i + 1:j] + letters[j + 1:] + c
    return x, letters


def _with_dots(given: str, out: str | None, operands: tuple[Any, ...]) -> Any:
    """Write letters for the axes that ``...`` stands for, the last ones of those that the operands have."""
    parts = given.split(",")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in given]
    if len(parts) != len(operands):
        raise ValueError(f"np.einsum: got {given!r} and {len(operands)} operands; expected letters for each")
    counts = [np.ndim(x) - len(part.replace("...", "")) if "..." in part else 0
              for part, x in zip(parts, operands, strict=True)]
    dots = "".join(free[:max(counts)])
    named = [p.replace("...", dots[len(dots) - n:]) for p, n in zip(parts, counts, strict=True)]
    if out is None:
        all_letters = given.replace(",", "").replace(".", "")
        out = "..." + "".join(sorted(c for c in set(all_letters) if all_letters.count(c) == 1))
    return einsum(",".join(named) + "->" + out.replace("...", dots), *operands)


# ---- shapes ---------------------------------------------------------------------------------------------------------


def reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None) -> Any:
    if order != "C":
        raise ValueError(f"np.reshape: order is {order!r}; expected 'C'")
    shape = newshape if shape is None else shape
    return call(ReshapeOp(_new_shape(a, shape if isinstance(shape, tuple | list) else (shape,))), a)


def _new_shape(a: Any, shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the new sizes, -1 for the number of rows; one that was left open by -1 is worked out."""
    rows, known = (sum(integer(s) is None for s in of) for of in (a.shape, shape))
    size = int(np.prod([s for s in a.shape if integer(s) is not None], initial=1))
    given = int(np.prod([s for s in shape if integer(s) is not None and s != -1], initial=1))
    opened = [i for i, s in enumerate(shape) if integer(s) == -1]
    if not opened and rows == known and size == given:
        return sizes(tuple(shape))
    if len(opened) == 1 and rows == known and given and size % given == 0:
        return tuple(size // given if i == opened[0] else s for i, s in enumerate(sizes(tuple(shape))))
    if len(opened) == 1 and rows == known + 1 and size == given:
        return sizes(tuple(shape))
    raise ValueError(f"np.reshape: an array of shape {a.shape} cannot become {tuple(shape)}; the number of rows, B, "
                     "stays an axis of its own")


def ravel(a: Any, order: str = "C") -> Any:
    return reshape(a, (-1,), order)


def transpose(a: Any, axes: Any = None) -> Any:
    order = tuple(range(a.ndim))[::-1] if axes is None else tuple(one_axis("transpose", a, i) for i in axes)
    if sorted(order) != list(range(a.ndim)):
        raise ValueError(f"np.transpose: axes is {axes!r}; expected each of the {a.ndim} axes once")
    return a if order == tuple(range(a.ndim)) else call(TransposeOp(order), a)


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    i, j = one_axis("swapaxes", a, axis1), one_axis("swapaxes", a, axis2)
    order[i], order[j] = j, i
    return transpose(a, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    froms = [one_axis("moveaxis", a, i) for i in (source if isinstance(source, tuple | list) else (source,))]
    tos = [one_axis("moveaxis", a, i) for i in (destination if isinstance(destination, tuple | list) else
                                                (destination,))]
    if len(froms) != len(tos):
        raise ValueError(f"np.moveaxis: source has {len(froms)} axes and destination {len(tos)}; expected as many")
    order = [i for i in range(a.ndim) if i not in froms]
    for to, source_axis in sorted(zip(tos, froms, strict=True)):
        order.insert(to, source_axis)
    return transpose(a, order)


def expand_dims(a: Any, axis: Any) -> Any:
    given = axis if isinstance(axis, tuple | list) else (axis,)
    ndim = a.ndim + len(given)
    new = {i % ndim if -ndim <= i < ndim else _no_axis("expand_dims", i, ndim) for i in given}
    return a[tuple(None if i in new else slice(None) for i in range(ndim))]


def _no_axis(label: str, axis: int, ndim: int) -> int:
    raise ValueError(f"np.{label}: axis is {axis}; expected -{ndim} to {ndim - 1}")


def squeeze(a: Any, axis: Any = None) -> Any:
    axes = [i for i in range(a.ndim) if integer(a.shape[i]) == 1] if axis is None else axes_of("squeeze", a, axis)
    for i in axes:
        if integer(a.shape[i]) != 1:
            raise ValueError(f"np.squeeze: axis {i} of an array of shape {a.shape} is not of size 1")
    return a[tuple(0 if i in axes else slice(None) for i in range(a.ndim))]


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    wanted = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if len(wanted) == array.ndim and all(a is b or (integer(a) is not None and integer(a) == integer(b))
                                         for a, b in zip(array.shape, wanted, strict=True)):
        return array
    return call(BroadcastOp(sizes(wanted)), array)


def concatenate(arrays: Any, /, axis: Any = 0, out: None = None) -> Any:
    parts = list(arrays)
    if axis is None:
        parts, axis = [ravel(p) for p in parts], 0
    if len(parts) > 1 and one_axis("concatenate", parts[0], axis) == 0 and any(
            np.ndim(p) and integer(p.shape[0]) is None for p in parts):
        raise ValueError("np.concatenate: along axis 0 are the rows, whose number is that of the batch; join another "
                         "axis, or put tensors side by side with np.stack(…, axis=1)")
    return call(JoinOp(one_axis("concatenate", parts[0], axis)), *parts) if len(parts) > 1 else parts[0]


def stack(arrays: Any, axis: int = 0, out: None = None) -> Any:
    parts = [np.expand_dims(a, axis) for a in arrays]
    return concatenate(parts, axis % parts[0].ndim)


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    i = one_axis("split", ary, axis)
    size = integer(ary.shape[i])
    if size is None:
        raise ValueError("np.split: axis 0 is that of the rows, whose number is not fixed; split another axis")
    sections = integer(indices_or_sections)
    if sections is None:
        cuts = [0, *(int(c) for c in indices_or_sections), size]
    elif sections > 0 and size % sections == 0:
        cuts = list(range(0, size + 1, size // sections))
    else:
        raise ValueError(f"np.split: {size} cannot be cut into {sections} equal parts; give the places to cut at")
    return [ary[(slice(None),) * i + (slice(a, b),)] for a, b in pairwise(cuts)]


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    size, sections = integer(ary.shape[one_axis("array_split", ary, axis)]), integer(indices_or_sections)
    if size is None or sections is None or sections < 1:
        return split(ary, indices_or_sections, axis)
    larger = size % sections
    return split(ary, np.cumsum([size // sections + (i < larger) for i in range(sections - 1)]), axis)


def hstack(tup: Any, *, dtype: None = None, casting: str = "same_kind") -> Any:
    return concatenate(tup, 0 if tup[0].ndim == 1 else 1)


def repeat(a: Any, repeats: int, axis: Any = None) -> Any:
    i = one_axis("repeat", a, axis) if axis is not None else 0
    size = integer(a.shape[i])
    if size is None or axis is None:
        raise ValueError("np.repeat: the rows of the batch, or all axes as one, cannot be repeated; give another axis, "
                         "such as axis=-1")
    return take(a, np.repeat(np.arange(size), repeats), i)


def pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"np.pad: mode is {mode!r}; expected 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'")
    widths = tuple((int(a), int(b)) for a, b in np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)))
    for axis, (size, width) in enumerate(zip(array.shape, widths, strict=True)):
        if integer(size) is None and width != (0, 0):
            raise ValueError(f"np.pad: pad_width is {pad_width!r}, which adds rows; expected none before or after the "
                             f"rows: ((0, 0), {', '.join(['(before, after)'] * (array.ndim - 1))})")
        if mode != "constant" and width != (0, 0):
            places: Any = np.pad(np.arange(size), width, mode=mode)  # type: ignore[call-overload]
            array = take(array, places, axis)
    if mode != "constant":
        return array
    return call(PadOp(widths, float(constant_values)), array)


# ---- picking --------------------------------------------------------------------------------------------------------


def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Any:
    a = a if hasattr(a, "__apply_op__") or a is None else np.asarray(a)
    if axis is None:
        a, axis = ravel(a), 0
    place = one_axis("take", a, axis)
    if integer(indices) is not None and hasattr(a, "__apply_op__"):
        return a[(*(slice(None),) * place, integer(indices))]
    return call(TakeOp(place), a, indices)


def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    return call(TakeAlongOp(one_axis("take_along_axis", arr, axis)), arr, indices)


def index(x: Any, key: Any) -> Any:
    """Return ``x[key]``."""
    entries = list(key) if isinstance(key, tuple) else [key]
    if sum(e is Ellipsis for e in entries) > 1:
        raise IndexError("an index has more than one ellipsis (...)")
    used = sum(e is not None and e is not Ellipsis for e in entries)
    if used > x.ndim:
        raise IndexError(f"an array of shape {x.shape} is indexed by {used} entries; expected at most {x.ndim}")
    if any(e is Ellipsis for e in entries):
        at = next(i for i, e in enumerate(entries) if e is Ellipsis)
        entries[at:at + 1] = [slice(None)] * (x.ndim - used)
    entries += [slice(None)] * (x.ndim - sum(e is not None for e in entries))
    if entries and isinstance(entries[0], slice) and x.ndim and integer(x.shape[0]) is None:
        _check_rows(entries[0])
    basic: list[Any] = []
    places: list[tuple[int, Any]] = []
    for e in entries:
        if isinstance(e, slice):
            basic.append((_bound(e.start), _bound(e.stop), _bound(e.step)))
        elif e is None:
            basic.append("new")
        elif integer(e) is not None and not hasattr(e, "__apply_op__"):
            basic.append(integer(e))
        else:
            places.append((len([b for b in basic if isinstance(b, tuple) or b == "new"]), _indices(e)))
            basic.append((None, None, None))
    given = [p for _, p in places if hasattr(p, "__apply_op__") and p.ndim == 1]
    if len(given) == len(entries) == x.ndim == 2:
        rows, columns = given       # one entry of each row: x[fb.special.arange(x.shape[0]), columns]
        return take_along_axis(take(x, rows, 0), np.expand_dims(columns, 1), axis=1)[:, 0]
    if len(places) > 1 or (places and any(isinstance(b, int) for b in basic)):
        raise IndexError("an array is indexed by an array beside another, or beside an integer; to pick one entry of "
                         "each row write np.take_along_axis(x, indices[:, None], axis=-1)[:, 0]")
    plain = all(b == (None, None, None) for b in basic)
    y = x if plain else call(IndexOp(tuple(basic)), x)
    for axis, indices in places:
        y = take(y, indices, axis)
    return y


def _check_rows(rows: slice) -> None:
    step = 1 if rows.step is None else integer(rows.step)
    if integer(rows.start or 0) != 0 or rows.stop is not None or step not in (1, -1):
        raise IndexError(f"the rows of the batch are cut, [{_written(rows)}]; expected all of them, as their number is "
                         "that of the batch: weigh rows with np.where, or give what is left out as a target")


def _written(rows: slice) -> str:
    ends = ("" if end is None else str(end) for end in (rows.start, rows.stop))
    return ":".join(ends) + ("" if rows.step is None else f":{rows.step}")


def _bound(value: Any) -> int | None:
    number = integer(value)
    if value is not None and number is None:
        raise IndexError(f"a slice has the bound {value!r}; expected an integer that is known when the function is "
                         "traced")
    return number


def _indices(entry: Any) -> Any:
    dtype = getattr(entry, "dtype", None)
    array = entry if dtype is not None else np.asarray(entry)
    if hasattr(entry, "__apply_op__") and array.dtype.kind == "b":
        raise IndexError("an array is indexed by a condition, which picks rows whose number is not fixed; write "
                         "np.where(condition, x, 0.0)")
    if array.dtype.kind == "b":
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu":
        raise IndexError(f"an array is indexed by {array.dtype}; expected integers, slices, None or ...")
    return array


# ---- made new -------------------------------------------------------------------------------------------------------


def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: None = None, *,
              device: Any = None) -> Any:
    return call(FillOp(float(fill_value)), a)


def like(number: float) -> Function:
    def fill(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: None = None, *,
             device: Any = None) -> Any:
        return call(FillOp(number), a)
    return fill


def same(x: Any, *options: Any, **named: Any) -> Any:
    return x


# ---- what NumPy has no function for ---------------------------------------------------------------------------------


def stop_gradient(x: Any) -> Any:
    """Return x as a constant: the chain rule does not go back through it.

    Examples
    --------
    >>> stop_gradient(np.array([1.0, 2.0]))
    array([1., 2.])
    """
    return call(StopGradientOp(), x)


def logsumexp(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    r"""Return :math:`\log \sum e^x` over an axis, on arrays and tensors alike.

    The largest x is taken out of the sum, which changes nothing but keeps the exponentials within [0, 1].

    Examples
    --------
    >>> logsumexp(np.array([1000.0, 1000.0])).round(4)
    np.float64(1000.6931)
    """
    x = x if hasattr(x, "__apply_op__") else np.asarray(x)
    top = stop_gradient(np.max(x, axis=axis, keepdims=True))
    y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis=axis if axis is not None else tuple(range(x.ndim)))


def log_softmax(x: Any, axis: int = -1) -> Any:
    r"""Return :math:`x - \log \sum e^x` over an axis, on arrays and tensors alike.

    Examples
    --------
    >>> log_softmax(np.array([0.0, 0.0])).round(4)
    array([-0.6931, -0.6931])
    """
    return x - logsumexp(x, axis, keepdims=True)


def softmax(x: Any, axis: int = -1) -> Any:
    r"""Return :math:`e^{x_c} / \sum_k e^{x_k}` over an axis, on arrays and tensors alike.

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    x = x if hasattr(x, "__apply_op__") else np.asarray(x)
    e = np.exp(x - stop_gradient(np.max(x, axis=axis, keepdims=True)))
    return e / np.sum(e, axis=axis, keepdims=True)
