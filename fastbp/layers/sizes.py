"""Arguments of layers over images and sequences: one number for all axes, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.core.checks import integer
from fastbp.graph.graph import Tensor
from fastbp.ops.window import Padding, Window

Sizes = int | Sequence[int]
"""One for all axes, or one for each."""


def settled(value: Any) -> Any:
    """Return an argument with its lists as tuples, as files give them back.

    >>> settled([1, [0, 2]])
    (1, (0, 2))
    """
    return tuple(settled(v) for v in value) if isinstance(value, tuple | list) else value


def per_axis(label: str, argument: str, value: Any, axes: int, at_least: int = 1) -> tuple[int, ...]:
    """Return one integer for each axis, given one for all of them or a sequence, or raise ValueError.

    >>> per_axis("Conv2d", "stride", 2, axes=2), per_axis("Conv2d", "stride", (2, 1), axes=2)
    ((2, 2), (2, 1))
    """
    given = tuple(value) if isinstance(value, tuple | list) else (value,) * axes
    numbers = tuple(integer(v) for v in given)
    if len(numbers) != axes or any(n is None or n < at_least for n in numbers):
        one = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
        several = f", or {axes} of them" if axes > 1 else ""
        raise ValueError(f"{label}: {argument} is {value!r}; expected {one}{several}")
    return tuple(n for n in numbers if n is not None)


def padding_of(label: str, value: Any, axes: int) -> Padding:
    """Return ``"same"`` or (low, high) for each axis, or raise ValueError.

    >>> padding_of("Conv2d", "valid", 2), padding_of("Conv2d", (1, (0, 2)), 2), padding_of("Conv1d", ((2, 0),), 1)
    (((0, 0), (0, 0)), ((1, 1), (0, 2)), ((2, 0),))
    """
    if isinstance(value, str) and value == "same":
        return "same"
    given = 0 if isinstance(value, str) and value == "valid" else value
    each = tuple(given) if isinstance(given, tuple | list) else (given,) * axes
    pairs = [tuple(map(integer, p)) if isinstance(p, tuple | list) else (integer(p),) * 2 for p in each]
    if len(pairs) != axes or any(len(p) != 2 or any(n is None or n < 0 for n in p) for p in pairs):
        raise ValueError(f'{label}: padding is {value!r}; expected "same", "valid", an integer of at least 0, or for '
                         f"each of {axes} axes one, or a pair of them (before, behind)")
    return tuple((int(low or 0), int(high or 0)) for low, high in pairs)


def window_of(label: str, axes: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1,
              ceil_mode: bool = False) -> Window:
    """Return the window that checked arguments say."""
    return Window(per_axis(label, "kernel_size", kernel_size, axes), per_axis(label, "stride", stride, axes),
                  padding_of(label, padding, axes), per_axis(label, "dilation", dilation, axes), ceil_mode)


def check_channels(layer: Any, x: Tensor, channels: int | None, axes: int) -> int:
    """Return the channels of x, the size of its last axis; raise ValueError where they are not what the layer takes."""
    if len(x.shape) == axes + 1 and channels is not None and x.shape[-1] != channels:
        shape = ", ".join(map(str, x.shape))
        mend = f"Write in_channels={x.shape[-1]}, or None to have them learnt"
        if x.shape[0] == channels:
            order = (0, 2, 1) if axes == 1 else (0, 2, 3, 1)
            mend = f"It looks as if channels come first; bring them to the end with x.transpose{order}"
        raise ValueError(f"{layer!r}: x has shape (B, {shape}); expected {channels} channels in the last axis. {mend}")
    return x.shape[-1]
