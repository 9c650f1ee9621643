r"""The transposed convolution op: the gradient of a convolution by its input, used as a layer.

.. math:: y_{b,q,o} = \beta_o + \sum_{p, k, c \,:\, p s + k d - \text{low} = q} x_{b,p,c}\; W_{c,k,o}

x is (B, *sizes, C), W (C, *kernel, O / groups), bias (O,), y (B, *outputs, O) with, along each axis,
``(n - 1) s - low - high + d (k - 1) + output_padding + 1`` outputs. Every element of x puts a window, scaled by W, into
y; windows that overlap add up.

**Derivation.** With one row an element of x, the windows are :math:`Z = X W`, and y is the sum of Z over the places
where each of its elements stands in a window. So dZ reads the windows of dy, and :math:`dX = dZ\, W^T`,
:math:`dW = X^T dZ`, :math:`d\beta = \sum dy`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, Native, Op, Shape, Space, Work
from fastbp.ops.window import Window, spatial, two


@dataclass(frozen=True)
class ConvTransposeOp(Op):
    """``y = `` the windows ``x W``, added up where they overlap, ``+ b``. ``window`` is that of y."""

    in_channels: int
    out_channels: int
    window: Window
    output_padding: tuple[int, ...]
    groups: int = 1
    bias: bool = True
    name: ClassVar[str] = "conv_transpose"

    @property
    def _label(self) -> str:
        return f"ConvTranspose{len(self.window.kernel_size)}d"

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes, _ = spatial(self._label, shapes[0], len(self.window.kernel_size))
        window = self.window
        if window.padding == "same":
            outputs = tuple(n * s for n, s in zip(sizes, window.stride, strict=True))
        else:
            outputs = tuple((n - 1) * s - low - high + span + more for n, s, (low, high), span, more in
                            zip(sizes, window.stride, window.padding, window.spans, self.output_padding, strict=True))
        if min(outputs) < 1 or window.output(outputs, self._label) != sizes:
            raise ValueError(f"{self._label}: padding {window.padding} leaves an output of {outputs} from an input of "
                             f"{tuple(sizes)}; use less padding")
        return (*outputs, self.out_channels)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight: dict[str, Shape] = {
            "weight": (self.in_channels, *self.window.kernel_size, self.out_channels // self.groups)}
        return {**weight, "bias": (self.out_channels,)} if self.bias else weight

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        shape, kernel = self.output_shape(x.shape[1:]), self.window.kernel_size
        z = self._cut(x) @ self._matrices(params["weight"])
        z = z.reshape(self.groups, -1, self.out_channels // self.groups).swapaxes(0, 1)
        # rows of z are (B · sizes · kernel): each tap of an element has its groups side by side
        y = self.window.add_back(z.reshape(*x.shape[:-1], *kernel, self.out_channels), shape[:-1])
        return y + params["bias"] if self.bias else y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        (x,) = ctx.inputs
        weight = ctx.params["weight"]
        dz = self._cut(self.window.view(dy)).reshape(self.groups, -1, prod(weight.shape[1:]))
        dx = (dz @ self._matrices(weight).swapaxes(1, 2)).swapaxes(0, 1).reshape(x.shape)
        dparams = {"weight": (self._cut(x).swapaxes(1, 2) @ dz).reshape(weight.shape)}
        if self.bias:
            dparams["bias"] = dy.sum(axis=tuple(range(dy.ndim - 1)))
        return (dx,), dparams

    def _cut(self, a: Array) -> Array:
        """Return (…, C) as (groups, …, C / groups), the axes between as one."""
        return a.reshape(-1, self.groups, a.shape[-1] // self.groups).swapaxes(0, 1)

    def _matrices(self, weight: Array) -> Array:
        """Return the weight as (groups, C / groups, kernel · O / groups)."""
        return weight.reshape(self.groups, self.in_channels // self.groups, -1)

    def native(self, *shapes: Shape) -> Native:
        sizes, outputs = two(shapes[0][:-1], 1), self.output_shape(shapes[0])[:-1]
        width = prod(self.window.kernel_size) * self.out_channels // self.groups
        products = 0.015 * prod(sizes) * width
        row = Work(cost=products * self.in_channels)
        unit = Work(cost=width, units=self.in_channels, least=min(max(self.in_channels // 8, 12), 192))
        return Native(dims=(*two(outputs, 1), self.out_channels, *sizes, *self.window.geometry(outputs),
                            self.in_channels, self.groups, width), params=("weight", "bias"),
                      prepared=width * self.in_channels, scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"prepare": unit, "forward": row, "backward": row,
                            "gradient": replace(unit, per_row=products)})

    def formula(self) -> str:
        return f"y = the windows x W of {self.window}, added up where they overlap{' + b' if self.bias else ''}"
