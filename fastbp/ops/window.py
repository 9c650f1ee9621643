r"""Windows over images and sequences: what convolution and pooling have in common.

Along one axis of n elements, with `low` and `high` elements of padding, a kernel of k taps that are d apart (dilation)
and steps of s (stride), output o and tap i look at input

.. math:: o s + i d - \text{low}, \qquad o = 0 … \Big\lfloor \frac{n + \text{low} + \text{high} - d (k - 1) - 1}{s}
          \Big\rfloor

and at padding where that lies outside of 0 … n − 1. Reading the windows (:meth:`Window.view`) is linear in x; its
transpose (:meth:`Window.add_back`) adds what each window holds back to where it was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastbp.ops.base import Array, Shape

Pairs = tuple[tuple[int, int], ...]
Padding = Pairs | Literal["same"]


@dataclass(frozen=True)
class Window:
    """The window of a kernel over one axis (sequences) or two (images).

    Attributes
    ----------
    kernel_size, stride, dilation : tuple of int
        One entry an axis.
    padding : tuple of (low, high), or "same"
        "same" makes ⌈n / s⌉ outputs of n elements; what padding is odd goes behind.
    ceil_mode : bool
        Whether a last window that reaches beyond the padding counts as well, if it begins before its end.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def spans(self) -> tuple[int, ...]:
        """How many elements a window reaches over, along each axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    def pads(self, sizes: Sequence[int]) -> Pairs:
        """Return the padding before and behind each axis."""
        if self.padding != "same":
            return self.padding
        pads = []
        for n, s, span in zip(sizes, self.stride, self.spans, strict=True):
            total = max((-(-n // s) - 1) * s + span - n, 0)
            pads.append((total // 2, total - total // 2))
        return tuple(pads)

    def output(self, sizes: Sequence[int], label: str) -> tuple[int, ...]:
        """Return how many windows there are along each axis, or raise ValueError that begins with the label."""
        counts = []
        for axis, (n, s, span, (low, high)) in enumerate(zip(sizes, self.stride, self.spans, self.pads(sizes),
                                                             strict=True)):
            if span > n + low + high:
                raise ValueError(f"{label}: the kernel reaches over {span} elements of axis {axis + 1}, where x has {n}"
                                 f"{f' and {low + high} of padding' if low + high else ''}; expected at most as many. "
                                 "Use a smaller kernel, or more padding")
            extra = s - 1 if self.ceil_mode else 0
            outputs = (n + low + high - span + extra) // s + 1
            if self.ceil_mode and (outputs - 1) * s >= n + low:
                outputs -= 1
            counts.append(outputs)
        return tuple(counts)

    def view(self, x: Array, fill: float = 0.0) -> Array:
        """Return all windows of x (B, *sizes, C), read only, as (B, *outputs, *kernel, C)."""
        n = len(self.kernel_size)
        sizes = x.shape[1:1 + n]
        counts, pads = self.output(sizes, "Window"), self.padded(sizes)
        padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill) if any(map(any, pads)) else x
        windows = sliding_window_view(padded, self.spans, axis=tuple(range(1, 1 + n)))
        steps = tuple(slice(0, (c - 1) * s + 1, s) for c, s in zip(counts, self.stride, strict=True))
        taps = tuple(slice(None, None, d) for d in self.dilation)
        return np.moveaxis(windows[(slice(None), *steps, slice(None), *taps)], 1 + n, -1)

    def add_back(self, windows: Array, sizes: Sequence[int]) -> Array:
        """Return (B, *sizes, C): what windows (B, *outputs, *kernel, C) hold, added up where :meth:`view` read it."""
        n = len(self.kernel_size)
        counts, pads = windows.shape[1:1 + n], self.padded(sizes)
        room = [max(low + size + high, (c - 1) * s + span) for (low, high), size, c, s, span in
                zip(pads, sizes, counts, self.stride, self.spans, strict=True)]
        total = np.zeros((len(windows), *room, windows.shape[-1]), windows.dtype)
        for taps in product(*map(range, self.kernel_size)):
            at = tuple(slice(i * d, i * d + (c - 1) * s + 1, s)
                       for i, d, c, s in zip(taps, self.dilation, counts, self.stride, strict=True))
            total[(slice(None), *at)] += windows[(slice(None),) * (1 + n) + taps]
        inner = tuple(slice(low, low + size) for (low, _), size in zip(pads, sizes, strict=True))
        return total[(slice(None), *inner)]

    def geometry(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return kernel, stride, padding before and dilation for two axes, as the C twins take them."""
        lows = tuple(low for low, _ in self.pads(sizes))
        fields = ((self.kernel_size, 1), (self.stride, 1), (lows, 0), (self.dilation, 1))
        return tuple(v for values, one in fields for v in two(values, one))

    def padded(self, sizes: Sequence[int]) -> Pairs:
        """Return the padding, with what a last window in ceil mode reaches beyond it."""
        counts = self.output(sizes, "Window")
        return tuple((low, max(high, (c - 1) * s + span - n - low)) for (low, high), c, s, span, n in
                     zip(self.pads(sizes), counts, self.stride, self.spans, sizes, strict=True))

    def __str__(self) -> str:
        return "×".join(map(str, self.kernel_size))


def two(values: Sequence[int], one: int) -> tuple[int, int]:
    """Return sizes of an image: a sequence of n elements is an image of height 1.

    >>> two((5,), 1), two((4, 5), 1)
    ((1, 5), (4, 5))
    """
    return (one, values[0]) if len(values) == 1 else (values[0], values[1])


def spatial(label: str, shape: Shape, axes: int) -> tuple[tuple[int, ...], int]:
    """Split a sample shape (*sizes, C) into sizes and channels, or raise ValueError that begins with the label."""
    if len(shape) != axes + 1:
        expected = "(B, T, C), sequences" if axes == 1 else "(B, H, W, C), images with channels last"
        raise ValueError(f"{label}: x has shape ({', '.join(map(str, ('B', *shape)))}); expected {expected}")
    return shape[:-1], shape[-1]
