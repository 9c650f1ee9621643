r"""The op of random numbers.

Element e of a uniform array is :math:`w_e / 2^{32}`, rounded down to 24 bits, where w are random words
(:mod:`fastbp.ops.philox`): a function of seed, step, node and element, as dropout's are. Elements 2k and 2k + 1 of a
normal one are

.. math:: \sqrt{-2 \ln u} \cos 2\pi v, \qquad \sqrt{-2 \ln u} \sin 2\pi v

with u and v the uniform numbers in (0, 1] and [0, 1) of words 2k and 2k + 1. Box and Muller (1958),
https://doi.org/10.1214/aoms/1177706645.

Libraries round logarithms and sines each in their own way. Here they are sums, products and quotients of float64 in a
fixed order, each rounded as IEEE 754 says, so that NumPy and C make the same bits.

**Derivation.** Random numbers depend on nothing that the chain rule goes back to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, log, pi, prod
from typing import Any

import numpy as np

from fastbp.ops.base import Array, Context, Native, Shape, Work
from fastbp.ops.expression import Expression, with_rows
from fastbp.ops.philox import random_words

_SINE = [(-1.0) ** i / factorial(2 * i + 1) for i in range(8)]
_COSINE = [(-1.0) ** i / factorial(2 * i) for i in range(9)]
_LOG = [1.0 / (2 * i + 1) for i in range(11)]
_LN_2, _TURN = log(2.0), 2 * pi * 2.0**-24


@dataclass(frozen=True)
class RandomOp(Expression):
    """Random numbers in an array of the given shape: uniform in [0, 1), or of the standard normal distribution."""

    distribution: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """By whether it makes a row for each row, or one array for the whole batch."""
        return "random" if self.shape[:1] == (-1,) else "whole_random"

    @property
    def has_native(self) -> bool:  # type: ignore[override]
        """Whether its size, or that of a row, does not depend on the number of rows."""
        return -1 not in self.shape[1:]

    @property
    def calls_back(self) -> bool:  # type: ignore[override]
        """Otherwise it is done in NumPy."""
        return not self.has_native

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        shape = with_rows(self.shape, ctx.rows)
        count = prod(shape)
        words = random_words(count + count % 2, ctx.seed, ctx.step, ctx.node)
        made = _normal(words) if self.distribution == "normal" else (words >> np.uint64(8)) * 2.0**-24
        return made[:count].reshape(shape).astype(ctx.dtype or np.float64)

    def native(self, *shapes: Shape) -> Native:
        normal = self.distribution == "normal"
        rows = self.name == "random"
        size = prod(self.shape[1:] if rows else self.shape)
        work = Work(cost=(12.0 if normal else 1.0) * size)
        return Native(dims=(size, int(normal)), work={"forward" if rows else "forward_reduce": work})

    def formula(self) -> str:
        return f"y = random numbers, {self.distribution}"


def _normal(words: Array) -> Array:
    """Return as many normal numbers as there are words, an even number of them."""
    places = (words >> np.uint64(8)).astype(np.int64)
    radius = np.sqrt(-2.0 * _log_of_share(places[::2] + 1))
    cosine, sine = _on_circle(places[1::2])
    return np.stack([radius * cosine, radius * sine], axis=-1).reshape(-1)


def _log_of_share(k: Array) -> Array:
    r"""Return :math:`\ln(k / 2^{24})`: with :math:`k = 2^e m` and :math:`s = (m - 1) / (m + 1)` the logarithm of m is
    :math:`2 s (1 + s^2 / 3 + s^4 / 5 + \dots)`.
    """
    m, e = np.frexp(k.astype(np.float64))
    low = m < 0.5**0.5
    m, e = np.where(low, 2.0 * m, m), e - low
    s = (m - 1.0) / (m + 1.0)
    return np.asarray((e - 24.0) * _LN_2 + 2.0 * s * _horner(_LOG, s * s))


def _on_circle(v: Array) -> tuple[Array, Array]:
    """Return cosine and sine of v of 2^24 parts of a turn: those within an eighth of one, and which quarter it is."""
    quarter = (v + 2**21) >> 22
    angle = (v - (quarter << 22)) * _TURN
    square = angle * angle
    cosine, sine = _horner(_COSINE, square), angle * _horner(_SINE, square)
    turned = quarter % 2 == 1
    x, y = np.where(turned, sine, cosine), np.where(turned, cosine, sine)
    return np.where((quarter + 1) // 2 % 2 == 1, -x, x), np.where(quarter // 2 % 2 == 1, -y, y)


def _horner(coefficients: list[float], x: Array) -> Array:
    y: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        y = y * x + c
    return np.asarray(y)
