"""Pooling and resizing of sequences (B, T, C) and images (B, H, W, C)."""

from __future__ import annotations

from typing import Any, ClassVar

from fastbp.core.checks import flag
from fastbp.graph.graph import Tensor
from fastbp.layers.base import Layer, one_input
from fastbp.layers.sizes import Sizes, per_axis, settled, window_of
from fastbp.ops.base import Op
from fastbp.ops.pool import AvgPoolOp, GlobalAvgPoolOp, MaxPoolOp
from fastbp.ops.upsample import UpsampleOp

__all__ = ["AvgPool1d", "AvgPool2d", "GlobalAvgPool", "MaxPool1d", "MaxPool2d", "Upsample"]


class _Pool(Layer):
    axes: ClassVar[int]

    def __init__(self, kernel_size: Sizes, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
                 name: str | None) -> None:
        super().__init__(name=name)
        label = type(self).__name__
        self.kernel_size, self.stride = settled(kernel_size), settled(stride)
        self.padding, self.dilation = settled(padding), settled(dilation)
        self.ceil_mode = flag(label, "ceil_mode", ceil_mode)
        steps = kernel_size if stride is None else stride
        self.window = window_of(label, self.axes, kernel_size, steps, padding, dilation, self.ceil_mode)

    def _op(self) -> Op:
        raise NotImplementedError

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(self._op(), one_input(self, inputs))

    def __repr__(self) -> str:
        others = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "count_include_pad": True}
        given = [f", {k}={v!r}" for k, v in self.hyperparameters().items() if k in others and v != others[k]]
        return f"{type(self).__name__}({self.kernel_size!r}{''.join(given)})"


class _MaxPool(_Pool):
    def __init__(self, kernel_size: Sizes, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 ceil_mode: bool = False, *, name: str | None = None) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, name)

    def _op(self) -> Op:
        return MaxPoolOp(self.window)

    def hyperparameters(self) -> dict[str, Any]:
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding,
                "dilation": self.dilation, "ceil_mode": self.ceil_mode}


class _AvgPool(_Pool):
    def __init__(self, kernel_size: Sizes, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, *, name: str | None = None) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode, name)
        self.count_include_pad = flag(type(self).__name__, "count_include_pad", count_include_pad)

    def _op(self) -> Op:
        return AvgPoolOp(self.window, self.count_include_pad)

    def hyperparameters(self) -> dict[str, Any]:
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding,
                "ceil_mode": self.ceil_mode, "count_include_pad": self.count_include_pad}


class MaxPool1d(_MaxPool):
    """The largest value of each window of a sequence, (B, T, C) → (B, outputs, C); as :class:`MaxPool2d`."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest value of each window of an image, (B, H, W, C) → (B, H', W', C).

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        Default: that of the kernel, so that windows do not overlap.
    padding : int, "same", "valid", or for height and width one int or (before, behind) each, default 0
        Around the image, never the largest value; at most half of the kernel.
    dilation : int or (int, int), default 1
    ceil_mode : bool, default False
        Whether a last window that reaches beyond the padding counts too.
    name : str, optional

    Raises
    ------
    ValueError
        For a kernel that is larger than the image, or padding of more than half of the kernel.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(2, 2, 1), fb.MaxPool2d(2), backend="reference")
    >>> net.predict([[[[1], [4]], [[3], [2]]]]).ravel()
    array([4.], dtype=float32)
    """

    axes = 2


class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence, (B, T, C) → (B, outputs, C); as :class:`AvgPool2d`."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of an image, (B, H, W, C) → (B, H', W', C).

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, name
        As in :class:`MaxPool2d`.
    count_include_pad : bool, default True
        Whether elements of the padding count as zeros, or not at all.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(2, 2, 1), fb.AvgPool2d(2), backend="reference")
    >>> net.predict([[[[1], [4]], [[3], [2]]]]).ravel()
    array([2.5], dtype=float32)
    """

    axes = 2


class GlobalAvgPool(Layer):
    """The mean over every axis between batch and channels: (B, H, W, C) or (B, T, C) → (B, C)."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(GlobalAvgPoolOp(), one_input(self, inputs))


class Upsample(Layer):
    """Images (B, H, W, C) or sequences (B, T, C), made larger by a whole factor.

    Parameters
    ----------
    scale_factor : int, or (int, int) for images
    mode : {"nearest", "linear", "bilinear"}, default "nearest"
        Repeat, or interpolate ("linear" and "bilinear" are one), with pixels as areas (``align_corners=False``).
    name : str, optional

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(2, 1), fb.Upsample(2, mode="linear"), backend="reference")
    >>> net.predict([[[0.0], [1.0]]]).ravel()
    array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """

    def __init__(self, scale_factor: Any, mode: str = "nearest", *, name: str | None = None) -> None:
        super().__init__(name=name)
        if mode not in ("nearest", "linear", "bilinear"):
            raise ValueError(f'Upsample: mode is {mode!r}; expected "nearest", "linear" or "bilinear"')
        axes = len(scale_factor) if isinstance(scale_factor, tuple | list) else 1
        per_axis("Upsample", "scale_factor", scale_factor, axes)
        self.scale_factor, self.mode = settled(scale_factor), mode

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        if len(x.shape) not in (2, 3):
            raise ValueError(f"{self!r}: x has shape (B, {', '.join(map(str, x.shape))}); expected (B, T, C) or "
                             "(B, H, W, C)")
        factors = per_axis("Upsample", "scale_factor", self.scale_factor, len(x.shape) - 1)
        return self.apply(UpsampleOp(factors, "nearest" if self.mode == "nearest" else "linear"), x)

    def hyperparameters(self) -> dict[str, Any]:
        return {"scale_factor": self.scale_factor, "mode": self.mode}
