r"""Order: where numbers stand when they are sorted, and NumPy's functions of sorted numbers.

**Derivation.** Sorting moves numbers without changing them: an element's gradient is dy at the place that it goes to.
So ``sort`` is ``take_along_axis`` at the places that ``argsort`` finds, which are integers and have no gradient. Equal
numbers keep their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array
from fastbp.ops.expression import Expression, call, integer
from fastbp.ops.functions import axes_of, take


@dataclass(frozen=True)
class ArgsortOp(Expression):
    """``y = argsort(x, axis)``."""

    axis: int
    name: ClassVar[str] = "argsort"

    def value(self, *xs: Array) -> Array:
        return np.argsort(xs[0], axis=self.axis, kind="stable")

    def has_gradient(self, which: int) -> bool:
        return False

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return None

    def formula(self) -> str:
        return f"y = the order of x along axis {self.axis}"


def _only_axis(label: str, a: Any, axis: Any) -> int:
    axes = axes_of(label, a, axis)
    if len(axes) != 1:
        raise ValueError(f"np.{label}: axis is {axis!r}; expected one axis, as the rows stay an axis of their own")
    return axes[0]


def argsort(a: Any, axis: Any = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Any:
    return call(ArgsortOp(_only_axis("argsort", a, axis)), a)


def sort(a: Any, axis: Any = -1, kind: Any = None, order: None = None, *, stable: Any = None) -> Any:
    along = _only_axis("sort", a, axis)
    return np.take_along_axis(a, call(ArgsortOp(along), a), axis=along)


def median(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return _at("median", a, 0.5, axis, keepdims)


def quantile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, method: str = "linear",
             keepdims: bool = False, *, weights: None = None, interpolation: None = None) -> Any:
    if method != "linear" or weights is not None or interpolation is not None:
        raise ValueError(f"np.quantile: method is {method!r}; expected 'linear', without weights")
    shares = np.asarray(q, dtype=np.float64)
    if np.any((shares < 0) | (shares > 1)) or np.any(np.isnan(shares)):
        raise ValueError(f"np.quantile: q is {q!r}; expected numbers from 0 to 1")
    if not shares.ndim:
        return _at("quantile", a, float(shares), axis, keepdims)
    return np.stack([quantile(a, part, axis, keepdims=keepdims) for part in shares])


def percentile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
               method: str = "linear", keepdims: bool = False, *, weights: None = None,
               interpolation: None = None) -> Any:
    return quantile(a, np.asarray(q, dtype=np.float64) / 100, axis, None, False, method, keepdims, weights=weights,
                    interpolation=interpolation)


def _at(label: str, a: Any, share: float, axis: Any, keepdims: bool) -> Any:
    """Return what stands at a share of the way from the smallest to the largest, NaN where there is a NaN."""
    axes = axes_of(label, a, axis)
    if len(axes) > 1:
        if any(integer(a.shape[i]) is None for i in axes):
            raise ValueError(f"np.{label}: axis is {axis!r}; expected the rows alone, axis=0, or other axes, as "
                             "the rows stay an axis of their own")
        kept = [i for i in range(a.ndim) if i not in axes]
        flat = np.transpose(a, (*kept, *axes))
        flat = flat.reshape(*(a.shape[i] for i in kept), int(np.prod([a.shape[i] for i in axes])))
        y = _at(label, flat, share, -1, False)
        return np.expand_dims(y, axes) if keepdims else y
    (along,) = axes
    ordered, last = np.sort(a, axis=along), a.shape[along] - 1
    if integer(last) is not None:
        below, above = int(np.floor(share * last)), int(np.ceil(share * last))
        rest: Any = share * last - below
    else:
        place = share * last
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        rest = place - np.floor(place)
    low, high = take(ordered, below, along), take(ordered, above, along)
    y = np.where(np.any(np.isnan(a), axis=along), np.nan, low + rest * (high - low))
    return np.expand_dims(y, along) if keepdims else y


def places_among(x: Any, bins: Any, right: bool) -> Any:
    """Return how many of some increasing numbers are below x, and, unless ``right``, equal to it."""
    bins = np.asarray(bins)
    if bins.ndim != 1 or np.any(np.diff(bins) < 0):
        raise ValueError("np.digitize, np.searchsorted: bins is not sorted; expected a vector of increasing numbers")
    wide = np.expand_dims(x, -1)
    return np.sum(wide > bins if right else wide >= bins, axis=-1)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    return places_among(x, bins, right)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: None = None) -> Any:
    if hasattr(a, "__apply_op__") or sorter is not None or side not in ("left", "right"):
        raise TypeError("np.searchsorted: expected an array of increasing numbers, a tensor, and side 'left' or "
                        "'right'")
    return places_among(v, a, side == "left")
