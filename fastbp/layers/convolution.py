"""Convolutions over sequences (B, T, C) and images (B, H, W, C), and transposed ones."""

from __future__ import annotations

from typing import Any, ClassVar

from fastbp.core.checks import count, flag
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, checked_initializer, one_input
from fastbp.layers.sizes import Sizes, check_channels, per_axis, settled, window_of
from fastbp.ops.base import Op
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.optim.initializers import KaimingUniform, Zeros

__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d"]


class _Convolution(Layer):
    axes: ClassVar[int]

    def __init__(self, in_channels: int | None, out_channels: int, kernel_size: Sizes, stride: Any, padding: Any,
                 dilation: Any, groups: int, bias: bool, weight_init: Initializer | None,
                 bias_init: Initializer | None, name: str | None, trainable: bool) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"{type(self).__name__}({in_channels!r}, {out_channels!r})"
        self.in_channels = None if in_channels is None else count(label, "in_channels", in_channels)
        self.out_channels = count(label, "out_channels", out_channels)
        self.window = window_of(label, self.axes, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride = settled(kernel_size), settled(stride)
        self.padding, self.dilation = settled(padding), settled(dilation)
        self.groups = count(label, "groups", groups)
        for argument, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels is not None and channels % self.groups:
                raise ValueError(f"{label}: groups is {groups}, which does not divide {argument}, {channels}; expected "
                                 "a divisor of both")
        self.bias = flag(label, "bias", bias)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, KaimingUniform())
        self.bias_init = checked_initializer(label, "bias_init", bias_init, Zeros())

    def _op(self, channels: int) -> Op:
        return ConvOp(channels, self.out_channels, self.window, self.groups, self.bias)

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        channels = check_channels(self, x, self.in_channels, self.axes)
        if channels % self.groups:
            raise ValueError(f"{self!r}: x has {channels} channels, which groups={self.groups} does not divide")
        return self.apply(self._op(channels), x, initializers={"weight": self.weight_init, "bias": self.bias_init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": self.kernel_size,
                "stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups,
                "bias": self.bias}

    def __repr__(self) -> str:
        others = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}
        given = [f", {k}={v!r}" for k, v in self.hyperparameters().items() if k in others and v != others[k]]
        return (f"{type(self).__name__}({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size!r}"
                f"{''.join(given)})")


class Conv1d(_Convolution):
    r"""Convolution over sequences: ``y[b, t] = bias + Σ_k x[b, t·stride + k·dilation − padding] @ W[k]``.

    Parameters
    ----------
    in_channels : int or None
        Features of the last axis of x; None learns them when the network is built.
    out_channels : int
    kernel_size : int
    stride : int, default 1
    padding : int, "same", "valid" or ((before, behind),), default 0
        Zeros around the sequence; ``"same"`` makes ⌈T / stride⌉ outputs, ``((k - 1, 0),)`` a causal convolution.
    dilation : int, default 1
    groups : int, default 1
        Channels and outputs are cut into so many parts, each convolved on its own; ``groups=in_channels`` is depthwise.
    bias : bool, default True
    weight_init, bias_init : initializer, optional
        Default: Kaiming uniform for ReLU, and zeros.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError
        For arguments that do not fit each other or x, such as a kernel that is longer than the sequence.

    Notes
    -----
    Shapes: x ``(B, T, C)``, weight ``(kernel, C / groups, O)``, bias ``(O,)``, y ``(B, outputs, O)``. PyTorch has
    channels before time, and ``(O, C / groups, kernel)``.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(10, 3), fb.Conv1d(3, 8, kernel_size=4, stride=2), seed=0)
    >>> net.params["0.weight"].shape, net.graph.outputs[0].shape
    ((4, 3, 8), (4, 8))
    """

    axes = 1

    def __init__(self, in_channels: int | None, out_channels: int, kernel_size: Sizes, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True, *,
                 weight_init: Initializer | None = None, bias_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, weight_init,
                         bias_init, name, trainable)


class Conv2d(_Convolution):
    r"""Convolution over images: ``y[b, p] = bias + Σ_k x[b, p·stride + k·dilation − padding] @ W[k]``.

    Parameters
    ----------
    in_channels : int or None
        Channels, the last axis of x; None learns them when the network is built.
    out_channels : int
    kernel_size : int or (int, int)
        Height and width.
    stride : int or (int, int), default 1
    padding : int, "same", "valid", or for height and width one int or (before, behind) each, default 0
        Zeros around the image; ``"same"`` makes ⌈H / stride⌉ × ⌈W / stride⌉ outputs.
    dilation : int or (int, int), default 1
    groups : int, default 1
        Channels and outputs are cut into so many parts, each convolved on its own; ``groups=in_channels`` is depthwise.
    bias : bool, default True
    weight_init, bias_init : initializer, optional
        Default: Kaiming uniform for ReLU, and zeros.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError
        For arguments that do not fit each other or x, such as a kernel that is larger than the image.

    Notes
    -----
    Shapes: x ``(B, H, W, C)``, weight ``(kh, kw, C / groups, O)``, bias ``(O,)``, y ``(B, H', W', O)``. PyTorch has
    channels first, and ``(O, C / groups, kh, kw)``.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(28, 28, 1), fb.Conv2d(1, 6, kernel_size=5, padding="same"), seed=0)
    >>> net.params["0.weight"].shape, net.graph.outputs[0].shape
    ((5, 5, 1, 6), (28, 28, 6))
    """

    axes = 2

    def __init__(self, in_channels: int | None, out_channels: int, kernel_size: Sizes, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True, *,
                 weight_init: Initializer | None = None, bias_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, weight_init,
                         bias_init, name, trainable)


class ConvTranspose2d(_Convolution):
    r"""Transposed convolution over images: each pixel of x puts a window ``x[b, p] @ W`` into y.

    Parameters
    ----------
    in_channels : int or None
    out_channels : int
    kernel_size : int or (int, int)
    stride : int or (int, int), default 1
        How far apart the windows are in y.
    padding : as in :class:`Conv2d`, default 0
        So much is left out around y; ``"same"`` makes (H · stride) × (W · stride) outputs.
    output_padding : int or (int, int), default 0
        Rows and columns more, behind; less than the stride.
    groups : int, default 1
    bias : bool, default True
    dilation : int or (int, int), default 1
    weight_init, bias_init, name, trainable
        As in :class:`Conv2d`.

    Raises
    ------
    ValueError
        For arguments that do not fit each other or x.

    Notes
    -----
    Shapes: x ``(B, H, W, C)``, weight ``(C, kh, kw, O / groups)``, bias ``(O,)``, y ``(B, H', W', O)`` with
    ``H' = (H - 1) stride - padding before and behind + dilation (kh - 1) + output_padding + 1``.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(7, 7, 8), fb.ConvTranspose2d(8, 3, kernel_size=4, stride=2, padding=1), seed=0)
    >>> net.graph.outputs[0].shape
    (14, 14, 3)
    """

    axes = 2

    def __init__(self, in_channels: int | None, out_channels: int, kernel_size: Sizes, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, *,
                 weight_init: Initializer | None = None, bias_init: Initializer | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, weight_init,
                         bias_init, name, trainable)
        label = f"ConvTranspose2d({in_channels!r}, {out_channels!r})"
        self._more = per_axis(label, "output_padding", output_padding, 2, at_least=0)
        if any(more >= s for more, s in zip(self._more, self.window.stride, strict=True)):
            raise ValueError(f"{label}: output_padding is {output_padding!r} for stride {stride!r}; expected less than "
                             "the stride")
        if self.window.padding == "same" and any(self._more):
            raise ValueError(f'{label}: output_padding is {output_padding!r} with padding "same", which decides the '
                             "output by itself; leave it out")
        self.output_padding = settled(output_padding)

    def _op(self, channels: int) -> Op:
        return ConvTransposeOp(channels, self.out_channels, self.window, self._more, self.groups, self.bias)

    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters(), "output_padding": self.output_padding}
