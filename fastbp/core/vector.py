"""One flat, aligned vector with named views: how a network holds its parameters, gradients and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.core.checks import numbers
from fastbp.core.machine import memory_limit
from fastbp.ops.base import Array, Shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


_PAGE = 4096
_staggered = count()


class Vector(Mapping[str, Array]):
    """Named views of one flat, aligned vector.

    ``v["0.weight"]`` is a view: writing into it (``v["0.weight"][...] = w``) changes the network. ``v.flat`` is the
    vector itself.
    """

    def __init__(self, shapes: dict[str, Shape], dtype: str) -> None:
        sizes = {name: int(np.prod(shape, dtype=object)) for name, shape in shapes.items()}
        total = sum(sizes.values())
        try:
            self._flat = aligned_zeros(total, dtype)
        except (MemoryError, ValueError) as error:
            gib = total * np.dtype(dtype).itemsize / 2**30
            raise MemoryError(f"the network has {total:,} parameters, which need {gib:,.1f} GiB; not that much can be "
                              "had. Use smaller layers") from error
        self.offsets: dict[str, int] = {}
        self._views: dict[str, Array] = {}
        offset = 0
        for name, shape in shapes.items():
            self.offsets[name] = offset
            self._views[name] = self._flat[offset:offset + sizes[name]].reshape(shape)
            offset += sizes[name]

    @property
    def flat(self) -> Array:
        """The whole vector. Assigning to it copies into it."""
        return self._flat

    @flat.setter
    def flat(self, values: ArrayLike) -> None:
        new = numbers("flat", values, self._flat.dtype)
        if new.shape != self._flat.shape:
            raise ValueError(f"flat: got shape {new.shape}; expected {self._flat.shape}")
        self._flat[...] = new

    def move_to(self, flat: Array) -> None:
        """Take the values to other memory of the same size, and be there from now on."""
        flat[...] = self._flat
        self._views = {n: flat[self.offsets[n]:self.offsets[n] + v.size].reshape(v.shape)
                       for n, v in self._views.items()}
        self._flat = flat

    def __getitem__(self, name: str) -> Array:
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"{name!r}; there are {', '.join(map(repr, self._views)) or 'none'}") from None

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        view = self[name]
        new = numbers(repr(name), values, view.dtype)
        if new.shape != view.shape:
            raise ValueError(f"{name!r}: got shape {new.shape}; expected {view.shape}")
        view[...] = new

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __reduce__(self) -> tuple[Any, ...]:
        # Views that are copied one by one would be views no more, and arrays of a pickle may be read-only, or lie
        # anywhere: whatever comes back has a vector of its own.
        return _vector, ({n: v.shape for n, v in self._views.items()}, self._flat)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{n!r}: {v.shape}" for n, v in self._views.items()) + "}"


def _vector(shapes: dict[str, Shape], values: Array) -> Vector:
    vector = Vector(shapes, values.dtype.name)
    vector.flat[...] = values
    return vector


def aligned_zeros(size: int, dtype: str) -> Array:
    """Return zeros that start at a multiple of 64 bytes; MemoryError for more than the machine has.

    Linux grants more than there is, and kills the process that uses it: so it is not even asked.

    >>> aligned_zeros(3, "float32").ctypes.data % 64
    0
    """
    item = np.dtype(dtype).itemsize
    if size * item > memory_limit():
        raise MemoryError(f"{size * item:,} bytes are more than there are")
    raw = np.zeros(size * item + _PAGE + 64, dtype=np.uint8)
    # Vectors that are walked side by side (parameters, gradients, state) must not share their place within a page.
    start = -raw.ctypes.data % 64 + 64 * (next(_staggered) * 9 % (_PAGE // 64))
    return raw[start:start + size * item].view(dtype)


def aligned_copy(values: Array) -> Array:
    """Return a copy of a vector that may be written into, and starts at a multiple of 64 bytes."""
    copy = aligned_zeros(values.size, values.dtype.name)
    copy[...] = values
    return copy
