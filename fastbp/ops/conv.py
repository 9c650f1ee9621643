r"""The convolution op, over sequences (one axis) or images (two), channels last.

.. math:: y_{b,p,o} = \beta_o + \sum_{k, c} x_{b,\,p s + k d - \text{low},\, c}\; W_{k,c,o}

with p and k positions in output and kernel (pairs of numbers for images), s the stride, d the dilation; x is 0 in the
padding. x is (B, *sizes, C), W (*kernel, C / groups, O), bias (O,), y (B, *outputs, O). With several groups, channels
and outputs are cut into as many equal parts, and part g of the outputs sees part g of the channels.

**Derivation.** Laid out as one row a window, X of shape (B · outputs, kernel · C), a convolution is the product
:math:`Y = X W + \beta`, so that :math:`dW = X^T dY`, :math:`d\beta = \sum_r dY_r` and :math:`dX = dY\, W^T`, as for the
linear op. An element of x stands in every window that covers it: its gradient is the sum of dX over those places
(:meth:`fastbp.ops.window.Window.add_back`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, Native, Op, Shape, Space, Work
from fastbp.ops.window import Window, spatial, two


@dataclass(frozen=True)
class ConvOp(Op):
    """``y = x * W + b``: the sum over each window, for ``len(window.kernel_size)`` axes."""

    in_channels: int
    out_channels: int
    window: Window
    groups: int = 1
    bias: bool = True
    name: ClassVar[str] = "conv"
    takes_activation = takes_affine = takes_gate = updates = True

    @property
    def _label(self) -> str:
        return f"Conv{len(self.window.kernel_size)}d"

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes, _ = spatial(self._label, shapes[0], len(self.window.kernel_size))
        return (*self.window.output(sizes, self._label), self.out_channels)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {
            "weight": (*self.window.kernel_size, self.in_channels // self.groups, self.out_channels)}
        return {**weight, "bias": (self.out_channels,)} if self.bias else weight

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        y = self._rows(x) @ self._matrices(params["weight"])
        y = self._join(y, (len(x), *self.output_shape(x.shape[1:])))
        return y + params["bias"] if self.bias else y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,) = ctx.inputs
        weight, kernel = ctx.params["weight"], self.window.kernel_size
        dz = self._cut(dy)
        dW = self._rows(x).swapaxes(1, 2) @ dz
        dW = dW.reshape(self.groups, *weight.shape[:-1], -1).transpose(*range(1, weight.ndim), 0, weight.ndim)
        dparams = {"weight": dW.reshape(weight.shape)}
        if self.bias:
            dparams["bias"] = dy.sum(axis=tuple(range(dy.ndim - 1)))
        rows = dz @ self._matrices(weight).swapaxes(1, 2)
        windows = self._join(rows.reshape(self.groups, -1, weight.shape[-2]), (*dy.shape[:-1], *kernel, x.shape[-1]))
        return (self.window.add_back(windows, x.shape[1:-1]),), dparams

    def _rows(self, x: Array) -> Array:
        """Return a row for each window of each group: (groups, B · outputs, kernel · C / groups)."""
        windows = self._cut(self.window.view(x))
        taps = prod(self.window.kernel_size)
        return windows.reshape(self.groups, -1, taps * windows.shape[-1])

    def _cut(self, a: Array) -> Array:
        """Return (…, C) as (groups, …, C / groups), the axes between as one."""
        return a.reshape(-1, self.groups, a.shape[-1] // self.groups).swapaxes(0, 1)

    def _join(self, a: Array, shape: Shape) -> Array:
        """The other way round."""
        return a.swapaxes(0, 1).reshape(shape)

    def _matrices(self, weight: Array) -> Array:
        """Return the weight as (groups, kernel · C / groups, O / groups)."""
        return weight.reshape(-1, self.groups, weight.shape[-1] // self.groups).swapaxes(0, 1)

    def native(self, *shapes: Shape) -> Native:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        outputs = two(self.window.output(sizes, self._label), 1)
        rows = prod(self.window.kernel_size) * channels // self.groups
        products = 0.015 * prod(outputs) * self.out_channels
        row = Work(cost=products * rows)
        unit = Work(cost=self.out_channels, units=rows, least=min(max(rows // 8, 12), 192))
        return Native(dims=(*two(sizes, 1), channels, *outputs, *self.window.geometry(sizes), self.out_channels,
                            self.groups, rows), params=("weight", "bias"), prepared=rows * self.out_channels,
                      scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"prepare": unit, "forward": row, "backward": row,
                            "gradient": replace(unit, per_row=products)})

    def formula(self) -> str:
        return f"y = x * W{' + b' if self.bias else ''}, a convolution with windows of {self.window}"
