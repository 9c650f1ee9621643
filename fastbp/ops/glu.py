r"""The gated linear unit: one half of the features, gated by the other.

With the last axis of x cut into halves a and b, GLU is :math:`y = a\,\sigma(b)` and SwiGLU is
:math:`y = a\,\sigma(a)\, b`. Dauphin et al. (2017), https://arxiv.org/abs/1612.08083; Shazeer (2020),
https://arxiv.org/abs/2002.05202.

**Derivation.** GLU: :math:`da = dy\,\sigma(b)` and, as :math:`\sigma' = \sigma (1 - \sigma)`,
:math:`db = dy\, a\, \sigma(b)\, \sigma(-b)`. SwiGLU: :math:`db = dy\, a\,\sigma(a)`, and
:math:`da = dy\, b\, \sigma(a) (1 + a\, \sigma(-a))`, the derivative of silu.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape, rows_and_features
from fastbp.ops.scalar import sigmoid


@dataclass(frozen=True)
class _GatedOp(Op):
    label: ClassVar[str]

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if shape[-1] % 2:
            raise ValueError(f"{self.label}: x has shape ({', '.join(map(str, ('B', *shape)))}); expected an even "
                             "number of features, which are cut into halves")
        return (*shape[:-1], shape[-1] // 2)

    @abstractmethod
    def value(self, a: Array, b: Array) -> Array:
        """Return y."""

    @abstractmethod
    def derivatives(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return ∂y/∂a and ∂y/∂b."""

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return self.value(*np.split(xs[0], 2, axis=-1))

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        by_a, by_b = self.derivatives(*np.split(ctx.inputs[0], 2, axis=-1))
        return (np.concatenate([dy * by_a, dy * by_b], axis=-1),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        a, b = np.split(xs[0], 2, axis=-1)
        by_a, by_b = self.derivatives(a, b)
        return np.concatenate([dy * by_a, dy * by_b], axis=-1)

    def native(self, *shapes: Shape) -> Native:
        rows, features = rows_and_features(shapes[0])
        return Native(dims=(rows, features // 2))


class GLUOp(_GatedOp):
    """``y = a σ(b)``."""

    name: ClassVar[str] = "glu"
    label: ClassVar[str] = "GLU"

    def value(self, a: Array, b: Array) -> Array:
        y: Array = a * sigmoid(b)
        return y

    def derivatives(self, a: Array, b: Array) -> tuple[Array, Array]:
        return sigmoid(b), a * sigmoid(b) * sigmoid(-b)

    def formula(self) -> str:
        return "y = a σ(b), x = [a, b]"


class SwiGLUOp(_GatedOp):
    """``y = a σ(a) b``."""

    name: ClassVar[str] = "swiglu"
    label: ClassVar[str] = "SwiGLU"

    def value(self, a: Array, b: Array) -> Array:
        y: Array = a * sigmoid(a) * b
        return y

    def derivatives(self, a: Array, b: Array) -> tuple[Array, Array]:
        return b * sigmoid(a) * (1 + a * sigmoid(-a)), a * sigmoid(a)

    def formula(self) -> str:
        return "y = a σ(a) b, x = [a, b]"
