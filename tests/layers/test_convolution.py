"""Convolution and pooling against PyTorch, and what they say of arguments that do not fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import backends
from torch_peers import compare

import fastbp as fb

Rng = np.random.Generator


def last(x: Any) -> Any:
    """Return (B, C, …) as (B, …, C)."""
    return x.movedim(1, -1)


def first(x: Any) -> Any:
    return x.movedim(-1, 1)


def pair(rng: Rng, low: int, high: int, axes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high + 1, axes))


def padded(x: Any, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> Any:
    """Pad (B, C, …) as PyTorch wants it said: last axis first."""
    from torch.nn.functional import pad
    return pad(x, [n for p in reversed(pads) for n in p], value=value)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_convolution_is_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    axes = 1 + seed % 3 // 2 if seed % 3 else 2
    groups = int(rng.choice([1, 1, 2, 3]))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 20))
    if seed % 7 == 0:
        groups = channels
        outputs = channels * int(rng.integers(1, 3))
    kernel, stride, dilation = pair(rng, 1, 4, axes), pair(rng, 1, 3, axes), pair(rng, 1, 2, axes)
    pads = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (axes, 2)))
    sizes = tuple(int(rng.integers(d * (k - 1) + 1, 12)) for k, d in zip(kernel, dilation, strict=True))
    bias = bool(rng.integers(0, 2))
    same = seed % 5 == 0
    layer = [fb.Conv1d, fb.Conv2d][axes - 1](channels, outputs, kernel, stride, "same" if same else pads, dilation,
                                             groups, bias)
    if same:
        pads = layer.window.pads(sizes)
    net = fb.Sequential(fb.Input(*sizes, channels), layer, dtype="float64", seed=0, backend=backend)
    function = [torch.nn.functional.conv1d, torch.nn.functional.conv2d][axes - 1]

    def peer(x: Any, weight: Any, bias: Any) -> Any:
        return last(function(padded(first(x), pads), weight, bias, stride, 0, dilation, groups))

    compare(net, peer, [rng.standard_normal((3, *sizes, channels))], {
        "weight": lambda p: p["0.weight"].movedim(-1, 0).movedim(-1, 1), "bias": lambda p: p.get("0.bias")}, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_transposed_convolution_is_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 3]))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    kernel, stride, dilation = pair(rng, 2, 4, 2), pair(rng, 1, 3, 2), pair(rng, 1, 2, 2)
    padding, sizes = pair(rng, 0, 1, 2), pair(rng, 3, 6, 2)
    more = tuple(int(rng.integers(0, s)) for s in stride)
    bias = bool(rng.integers(0, 2))
    layer = fb.ConvTranspose2d(channels, outputs, kernel, stride, padding, more, groups, bias, dilation)
    net = fb.Sequential(fb.Input(*sizes, channels), layer, dtype="float64", seed=0, backend=backend)

    def peer(x: Any, weight: Any, bias: Any) -> Any:
        return last(torch.nn.functional.conv_transpose2d(first(x), weight, bias, stride, padding, more, groups,
                                                         dilation))

    compare(net, peer, [rng.standard_normal((3, *sizes, channels))], {
        "weight": lambda p: p["0.weight"].movedim(-1, 1), "bias": lambda p: p.get("0.bias")}, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_pooling_is_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    axes = 1 + seed % 2
    kernel, stride, sizes = pair(rng, 1, 4, axes), pair(rng, 1, 3, axes), pair(rng, 4, 11, axes)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    ceil, channels = bool(rng.integers(0, 2)), int(rng.integers(1, 40))
    if seed % 4 < 2:
        dilation = pair(rng, 1, 2 if max(kernel) < 4 else 1, axes)
        layer: Any = [fb.MaxPool1d, fb.MaxPool2d][axes - 1](kernel, stride, padding, dilation, ceil)
        function: Any = [torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d][axes - 1]
        options: dict[str, Any] = {"dilation": dilation, "ceil_mode": ceil}
    else:
        include = bool(rng.integers(0, 2))
        layer = [fb.AvgPool1d, fb.AvgPool2d][axes - 1](kernel, stride, padding, ceil, include)
        function = [torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d][axes - 1]
        options = {"ceil_mode": ceil, "count_include_pad": include}
    net = fb.Sequential(fb.Input(*sizes, channels), layer, dtype="float64", seed=0, backend=backend)
    compare(net, lambda x: last(function(first(x), kernel, stride, padding, **options)),
            [rng.standard_normal((3, *sizes, channels))], {}, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(20))
def test_upsample_and_global_average_are_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    axes = 1 + seed % 2
    sizes, factor, linear = pair(rng, 1, 5, axes), pair(rng, 1, 4, axes), bool(rng.integers(0, 2))
    mode = ["linear", "bilinear"][axes - 1] if linear else "nearest"
    x = fb.Input(*sizes, 3)
    net = fb.Network(x, (fb.Upsample(factor, mode)(x), fb.GlobalAvgPool()(x)), dtype="float64", backend=backend)
    compare(net, lambda x: (last(torch.nn.functional.interpolate(first(x), scale_factor=factor, mode=mode)),
                            x.mean(dim=tuple(range(1, 1 + axes)))), [rng.standard_normal((2, *sizes, 3))], {}, rng)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fb.Conv2d(3, 4, 5)(fb.Input(4, 9, 3)),
     "Conv2d: the kernel reaches over 5 elements of axis 1, where x has 4; expected at most as many. Use a smaller "
     "kernel, or more padding"),
    (lambda: fb.Conv2d(3, 4, 3)(fb.Input(3, 9, 9)),
     "Conv2d(3, 4, kernel_size=3): x has shape (B, 3, 9, 9); expected 3 channels in the last axis. It looks as if "
     "channels come first; bring them to the end with x.transpose(0, 2, 3, 1)"),
    (lambda: fb.Conv2d(3, 4, 3)(fb.Input(9, 9, 5)),
     "Conv2d(3, 4, kernel_size=3): x has shape (B, 9, 9, 5); expected 3 channels in the last axis. Write "
     "in_channels=5, or None to have them learnt"),
    (lambda: fb.Conv2d(3, 4, 3)(fb.Input(9, 3)),
     "Conv2d: x has shape (B, 9, 3); expected (B, H, W, C), images with channels last"),
    (lambda: fb.Conv2d(3, 4, 3, groups=2),
     "Conv2d(3, 4): groups is 2, which does not divide in_channels, 3; expected a divisor of both"),
    (lambda: fb.Conv1d(3, 4, 0), "Conv1d(3, 4): kernel_size is 0; expected a positive integer"),
    (lambda: fb.Conv2d(3, 4, 3, padding="full"),
     "Conv2d(3, 4): padding is 'full'; expected \"same\", \"valid\", an integer of at least 0, or for each of 2 axes "
     "one, or a pair of them (before, behind)"),
    (lambda: fb.MaxPool2d(2, padding=2)(fb.Input(4, 4, 1)),
     "MaxPool2d: padding is (2, 2) for a kernel that reaches over 2 elements; expected at most half of the kernel, so "
     "that every window sees the input"),
    (lambda: fb.ConvTranspose2d(3, 4, 3, output_padding=1),
     "ConvTranspose2d(3, 4): output_padding is 1 for stride 1; expected less than the stride"),
    (lambda: fb.Reshape(3, -1)(fb.Input(4)),
     "Reshape: x has shape (B, 4), 4 elements a sample, which do not fit (B, 3, -1); expected a shape of as many"),
    (lambda: fb.Permute(1, 1), "Permute: dims is (1, 1); expected the axes 1 to 2 in the order wanted, each once; the "
     "batch, axis 0, is left out"),
])
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
