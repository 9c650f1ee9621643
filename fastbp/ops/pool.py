r"""The pooling ops: the largest value or the mean of each window, channel by channel, and the mean of a whole image.

.. math:: y_{b,p,c} = \max_k x_{b,\,p s + k d - \text{low},\, c}, \qquad
          y_{b,p,c} = \frac1{n_p} \sum_k x_{b,\,p s + k - \text{low},\, c}

Padding never is the largest value; in means it counts as 0, and :math:`n_p` is the number of elements in the window:
with ``count_include_pad`` those in the padding too, else those in the image alone.

**Derivation.** A maximum is reached by the element that attains it, the first of them in the window where several do:
:math:`\partial y_p/\partial x_i` is 1 for it and 0 for the others. A mean is reached by all its elements with
:math:`1/n_p`. Where windows overlap, an element of x gets the sum over the windows it stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, Work
from fastbp.ops.window import Window, spatial, two


@dataclass(frozen=True)
class _PoolOp(Op):
    window: Window
    label: ClassVar[str]
    takes_gate = True

    def output_shape(self, *shapes: Shape) -> Shape:
        label = f"{self.label}{len(self.window.kernel_size)}d"
        sizes, channels = spatial(label, shapes[0], len(self.window.kernel_size))
        for (low, high), span in zip(self.window.pads(sizes), self.window.spans, strict=True):
            if 2 * max(low, high) > span:
                raise ValueError(f"{label}: padding is ({low}, {high}) for a kernel that reaches over {span} elements; "
                                 "expected at most half of the kernel, so that every window sees the input")
        return (*self.window.output(sizes, label), channels)

    def _windows(self, x: Array, fill: float = 0.0) -> Array:
        """Return (B, *outputs, kernel, C)."""
        n = len(self.window.kernel_size)
        windows = self.window.view(x, fill)
        return windows.reshape(*windows.shape[:1 + n], prod(self.window.kernel_size), x.shape[-1])

    def _add_back(self, d: Array, sizes: Shape) -> Array:
        return self.window.add_back(d.reshape(*d.shape[:-2], *self.window.kernel_size, d.shape[-1]), sizes)

    def native(self, *shapes: Shape) -> Native:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        outputs = two(self.output_shape(shapes[0])[:-1], 1)
        row = Work(cost=0.5 * prod(outputs) * prod(self.window.kernel_size) * channels)
        return Native(dims=(*two(sizes, 1), channels, *outputs, *self.window.geometry(sizes)),
                      work={"forward": row, "backward": row})


@dataclass(frozen=True)
class MaxPoolOp(_PoolOp):
    """``y = max of each window``."""

    name: ClassVar[str] = "max_pool"
    label: ClassVar[str] = "MaxPool"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        windows = self._windows(xs[0], -np.inf)
        inside = self._windows(np.ones_like(xs[0][:1], bool), False)
        y: Array = windows.max(axis=-2)
        attains = inside & ((windows == y[..., None, :]) | np.isnan(windows))
        ctx.saved["first"] = attains.argmax(axis=-2)[..., None, :]
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        d = np.zeros((*dy.shape[:-1], prod(self.window.kernel_size), dy.shape[-1]), dy.dtype)
        np.put_along_axis(d, ctx.saved["first"], dy[..., None, :], axis=-2)
        return (self._add_back(d, ctx.inputs[0].shape[1:-1]),), {}

    def formula(self) -> str:
        return f"y = max of each window of {self.window}"


@dataclass(frozen=True)
class AvgPoolOp(_PoolOp):
    """``y = mean of each window``."""

    count_include_pad: bool = True
    name: ClassVar[str] = "avg_pool"
    label: ClassVar[str] = "AvgPool"

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        counts = self.counts(x.shape[1:-1])
        y: Array = (self._windows(x).sum(axis=-2) / counts).astype(x.dtype)
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        sizes = ctx.inputs[0].shape[1:-1]
        d = (dy / self.counts(sizes)).astype(dy.dtype)[..., None, :]
        d = np.broadcast_to(d, (*dy.shape[:-1], prod(self.window.kernel_size), dy.shape[-1]))
        return (self._add_back(d, sizes),), {}

    def counts(self, sizes: Shape) -> Array:
        """Return how many elements each window has: (*outputs, 1)."""
        counts = np.ones((1, 1))
        for axis, (n, (low, high)) in enumerate(zip(sizes, self.window.pads(sizes), strict=True)):
            first, end = (-low, n + high) if self.count_include_pad else (0, n)
            outputs = self.window.output(sizes, self.label)[axis]
            begins = np.arange(outputs) * self.window.stride[axis] - low
            ends = np.minimum(begins + self.window.kernel_size[axis], end)
            counts = counts[..., None, :] * (ends - np.maximum(begins, first))[:, None]
        return np.asarray(counts[0])

    def native(self, *shapes: Shape) -> Native:
        plain = super().native(*shapes)
        sizes = shapes[0][:-1]
        highs = two([n + high if self.count_include_pad else n
                     for n, (_, high) in zip(sizes, self.window.pads(sizes), strict=True)], 1)
        return replace(plain, dims=(*plain.dims, *highs, int(self.count_include_pad)))

    def formula(self) -> str:
        return f"y = mean of each window of {self.window}"


@dataclass(frozen=True)
class GlobalAvgPoolOp(Op):
    """``y = mean over every axis but the last``."""

    name: ClassVar[str] = "global_avg_pool"
    takes_gate = True

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) < 2:
            raise ValueError(f"GlobalAvgPool: x has shape (B, {shape[0]}); expected an axis or more between batch and "
                             "channels, such as (B, H, W, C)")
        return shape[-1:]

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        y: Array = x.reshape(len(x), prod(x.shape[1:-1]), x.shape[-1]).mean(axis=1)
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        x = ctx.inputs[0]
        between = x.shape[1:-1]
        dx = (dy / prod(between)).astype(dy.dtype).reshape(len(dy), *(1 for _ in between), -1)
        return (np.broadcast_to(dx, x.shape),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        between = xs[0].shape[1:-1]
        dx = np.expand_dims(dy / prod(between), tuple(range(1, 1 + len(between))))
        return np.broadcast_to(dx, xs[0].shape)

    def native(self, *shapes: Shape) -> Native:
        row = Work(cost=0.5 * prod(shapes[0]))
        return Native(dims=(prod(shapes[0][:-1]), shapes[0][-1]), work={"forward": row, "backward": row})

    def formula(self) -> str:
        return "y = mean of x over every axis but batch and channels"
