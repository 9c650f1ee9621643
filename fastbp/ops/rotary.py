r"""The rotary op: positions of a sequence, told by turning pairs of features.

Of each head of D features, the pair (2j, 2j + 1) at position t is turned by the angle
:math:`\theta = t\, b^{-2j/D}`:

.. math:: y_{2j} = x_{2j} \cos\theta - x_{2j+1} \sin\theta, \qquad y_{2j+1} = x_{2j} \sin\theta + x_{2j+1} \cos\theta

so that a product of a query and a key depends on how far apart they stand. Su et al. (2021),
https://arxiv.org/abs/2104.09864. x is (B, T, n); the heads are its first features, those that follow stay as they are.

**Derivation.** A turn is linear; its transpose turns back: dx is dy, turned by −θ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape


@dataclass(frozen=True)
class RotaryOp(Op):
    """``y = x`` with the pairs of the first ``heads`` heads turned by their position."""

    heads: int
    head_dim: int
    base: float = 10000.0
    first: int = 0
    name: ClassVar[str] = "rotary"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return self._turned(xs[0], 1)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (self._turned(dy, -1),), {}

    def angles(self, steps: int) -> Array:
        """Return θ (steps, D / 2) for positions ``first`` on."""
        powers = self.base ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        theta: Array = np.arange(self.first, self.first + steps)[:, None] * powers
        return theta

    def _turned(self, x: Array, sign: int) -> Array:
        theta = self.angles(x.shape[1])[:, None]
        cos, sin = np.cos(theta).astype(x.dtype), (sign * np.sin(theta)).astype(x.dtype)
        width = self.heads * self.head_dim
        pairs = x[..., :width].reshape(*x.shape[:2], self.heads, self.head_dim // 2, 2)
        a, b = pairs[..., 0], pairs[..., 1]
        y = x.copy()
        y[..., :width] = np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(*x.shape[:2], width)
        return y

    def native(self, *shapes: Shape) -> Native:
        steps, width = shapes[0]
        theta = self.angles(steps)
        return Native(dims=(steps, width, self.heads, self.head_dim),
                      constants=tuple(np.stack([np.cos(theta), np.sin(theta)], axis=-1).ravel().tolist()))

    def formula(self) -> str:
        return f"y = x, pairs of features turned by t · {self.base:g}^(-2j/{self.head_dim})"
