r"""The ops that move numbers without changing them: reshape, transpose, broadcast, index, take, join, pad.

**Derivation.** Every element of x goes to some places of y, unchanged. So an element's gradient is the sum of dy over
those places: moving back where there is one, adding up where an element is repeated, 0 where it is left out. Each op
is linear, and the backward pass of the backward pass is the op itself.

Sizes are those of whole arrays; -1 stands for the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context
from fastbp.ops.expression import Expression, call, sizes, sum_like, with_rows

Key = tuple[Any, ...]
"""What stands between brackets: an integer, (start, stop, step) for a slice, "new" for a new axis, an entry."""


@dataclass(frozen=True)
class ReshapeOp(Expression):
    """``y = x.reshape(shape)``."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "reshape"

    def rearranges(self, index: int) -> bool:
        return True

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return xs[0].reshape(with_rows(self.shape, ctx.rows))

    def value(self, *xs: Array) -> Array:
        return xs[0].reshape(self.shape)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return np.reshape(dy, xs[0].shape)

    def formula(self) -> str:
        return "y = x under another shape"


@dataclass(frozen=True)
class TransposeOp(Expression):
    """``y = x.transpose(axes)``."""

    axes: tuple[int, ...]
    name: ClassVar[str] = "transpose"

    def rearranges(self, index: int) -> bool:
        return True

    def value(self, *xs: Array) -> Array:
        return xs[0].transpose(self.axes)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return np.transpose(dy, tuple(int(i) for i in np.argsort(self.axes)))

    def formula(self) -> str:
        return "y = x with its axes in another order"


@dataclass(frozen=True)
class BroadcastOp(Expression):
    """``y = broadcast_to(x, shape)``."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "broadcast_to"

    def rearranges(self, index: int) -> bool:
        return True

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.broadcast_to(xs[0], with_rows(self.shape, ctx.rows))

    def value(self, *xs: Array) -> Array:
        return np.broadcast_to(xs[0], self.shape)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return sum_like(dy, xs[0])

    def formula(self) -> str:
        return "y = x, repeated"


@dataclass(frozen=True)
class IndexOp(Expression):
    """``y = x[key]`` with integers, slices, new axes."""

    key: Key
    name: ClassVar[str] = "index"

    def rearranges(self, index: int) -> bool:
        return index == 0

    def value(self, *xs: Array) -> Array:
        return np.asarray(xs[0][python_key(self.key)])

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return call(PlaceOp(self.key, sizes(xs[0].shape)), dy)

    def formula(self) -> str:
        return "y = x[key]"


@dataclass(frozen=True)
class PlaceOp(Expression):
    """``y[key] = x`` in an array of zeros: what an index does backwards."""

    key: Key
    shape: tuple[int, ...]
    name: ClassVar[str] = "place"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        y = np.zeros(with_rows(self.shape, ctx.rows), xs[0].dtype)
        y[python_key(self.key)] = xs[0]
        return y

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy[python_key(self.key)]

    def formula(self) -> str:
        return "y[key] = x, 0 elsewhere"


def python_key(key: Key) -> tuple[Any, ...]:
    """Return what stands between brackets.

    >>> python_key(((None, None, -1), 2, "new"))
    (slice(None, None, -1), 2, None)
    """
    return tuple(slice(*entry) if isinstance(entry, tuple | list) else None if entry == "new" else entry
                 for entry in key)


@contextmanager
def _told(name: str, size: int) -> Iterator[None]:
    """Say what was expected of integers that are computed."""
    try:
        yield
    except IndexError as error:
        raise IndexError(f"{name}: {error}; expected integers from 0 to {size - 1}, or from {-size} to count from the "
                         "end") from None


@dataclass(frozen=True)
class TakeOp(Expression):
    """``y = take(x, indices, axis)``."""

    axis: int
    name: ClassVar[str] = "take"

    def value(self, *xs: Array) -> Array:
        with _told(self.name, xs[0].shape[self.axis]):
            return np.take(xs[0], xs[1].astype(np.int64, copy=False), axis=self.axis)

    def has_gradient(self, which: int) -> bool:
        return which == 0

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return call(TakeBackOp(self.axis, sizes(xs[0].shape)), dy, xs[1]) if which == 0 else None

    def formula(self) -> str:
        return f"y = take(a, b, axis={self.axis})"


@dataclass(frozen=True)
class TakeBackOp(Expression):
    """What take does backwards: each entry of x is added to where it was taken from."""

    axis: int
    shape: tuple[int, ...]
    name: ClassVar[str] = "take_back"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        x, indices = xs
        y = np.zeros(with_rows(self.shape, ctx.rows), x.dtype)
        axes = range(self.axis, self.axis + indices.ndim)
        indices = indices.astype(np.int64, copy=False)
        np.add.at(np.moveaxis(y, self.axis, 0), indices, np.moveaxis(x, tuple(axes), tuple(range(indices.ndim))))
        return y

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def has_gradient(self, which: int) -> bool:
        return which == 0

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return call(TakeOp(self.axis), dy, xs[1]) if which == 0 else None

    def formula(self) -> str:
        return "y = a, added up where it was taken from"


@dataclass(frozen=True)
class TakeAlongOp(Expression):
    """``y = take_along_axis(x, indices, axis)``."""

    axis: int
    name: ClassVar[str] = "take_along_axis"

    def value(self, *xs: Array) -> Array:
        with _told(self.name, xs[0].shape[self.axis]):
            return np.take_along_axis(xs[0], xs[1], axis=self.axis)

    def has_gradient(self, which: int) -> bool:
        return which == 0

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return call(TakeAlongBackOp(self.axis, sizes(xs[0].shape)), dy, xs[1]) if which == 0 else None

    def formula(self) -> str:
        return f"y = take_along_axis(a, b, axis={self.axis})"


@dataclass(frozen=True)
class TakeAlongBackOp(Expression):
    """What take_along_axis does backwards."""

    axis: int
    shape: tuple[int, ...]
    name: ClassVar[str] = "take_along_axis_back"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        x, indices = xs
        y = np.zeros(with_rows(self.shape, ctx.rows), x.dtype)
        at: list[Array] = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
        at[self.axis] = indices
        np.add.at(y, tuple(at), x)
        return y

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def has_gradient(self, which: int) -> bool:
        return which == 0

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return np.take_along_axis(dy, xs[1], axis=self.axis) if which == 0 else None

    def formula(self) -> str:
        return "y = a, added up where it was taken from"


@dataclass(frozen=True)
class JoinOp(Expression):
    """``y = concatenate(xs, axis)``, any number of inputs and any axis."""

    axis: int
    name: ClassVar[str] = "concatenate"

    def rearranges(self, index: int) -> bool:
        return True

    def value(self, *xs: Array) -> Array:
        return np.concatenate(xs, axis=self.axis)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        start = sum(x.shape[self.axis] for x in xs[:which])
        return dy[(slice(None),) * self.axis + (slice(start, start + xs[which].shape[self.axis]),)]

    def formula(self) -> str:
        return f"y = [a, b, …] along axis {self.axis}"


@dataclass(frozen=True)
class PadOp(Expression):
    """``y = pad(x, widths)`` with a constant; widths has (before, after) for each axis."""

    widths: tuple[tuple[int, int], ...]
    constant: float = 0.0
    name: ClassVar[str] = "pad"

    def value(self, *xs: Array) -> Array:
        return np.pad(xs[0], self.widths, constant_values=self.constant)

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy[tuple(slice(before, -after if after else None) for before, after in self.widths)]

    def formula(self) -> str:
        return "y = x within a border"
