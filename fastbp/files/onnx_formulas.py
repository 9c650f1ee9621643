"""Functions that ONNX does not have, or ONNX Runtime for float32 alone, written out with others.

Each keeps the digits of small results, and does not overflow on the way to a finite one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import atan, erf, erfc, exp, log, pi, sqrt

import numpy as np

from fastbp.files.onnx_writer import Writer


def expm1(w: Writer, x: str) -> str:
    """``eˣ − 1``: below 1 it is 2t / (1 − t) with t = tanh(x/2)."""
    t = w("Tanh", w("Mul", w("Min", x, 1.0), 0.5))
    near = w("Div", w("Mul", t, 2.0), w("Sub", 1.0, t))
    return w("Where", w("Less", x, 1.0), near, w("Sub", w("Exp", x), 1.0))


def log1p(w: Writer, x: str) -> str:
    """``log(1 + x)``: with s = 1 + x as it is rounded, it is x log(s) / (s − 1)."""
    s = w("Add", x, 1.0)
    near = w("Div", w("Mul", x, w("Log", s)), w("Sub", s, 1.0))
    small = w("Less", w("Abs", x), 1.0)
    return w("Where", w("Equal", s, 1.0), x, w("Where", small, near, w("Log", s)))


def softplus(w: Writer, x: str) -> str:
    """``log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|)``."""
    return w("Add", w("Max", x, 0.0), log1p(w, w("Exp", w("Neg", w("Abs", x)))))


def logaddexp(w: Writer, a: str, b: str) -> str:
    """``log(eᵃ + eᵇ)``; equal operands may be infinite."""
    rest = log1p(w, w("Exp", w("Neg", w("Abs", w("Sub", a, b)))))
    return w("Where", w("Equal", a, b), w("Add", a, log(2)), w("Add", w("Max", a, b), rest))


def normal_cdf(w: Writer, x: str) -> str:
    """``Φ(x)``: with u = |x|, Φ(−u) is a polynomial in t = (u − 4)/(u + 4) times ``exp(−u²/2) / (u + 5/4)``."""
    u = w("Min", w("Abs", x), NORMAL_END)
    t = w("Div", w("Sub", u, 4.0), w("Add", u, 4.0))
    density = w("Exp", w("Mul", w("Mul", u, u), -0.5))
    tail = w("Div", w("Mul", _polynomial(w, t, _fit(_normal_tail, -1.0, (37 - 4) / (37 + 4), 28)), density),
             w("Add", u, 1.25))
    return w("Where", w("Greater", x, 0.0), w("Sub", 1.0, tail), tail)


NORMAL_END = 38.0
"""Φ(-38) is 0 but for subnormal numbers."""


def _normal_tail(t: float) -> float:
    u = 4 * (1 + t) / (1 - t)
    return (u + 1.25) * erfc(u / sqrt(2)) / 2 * exp(u * u / 2)


def erf_of(w: Writer, x: str) -> str:
    """``erf(x)``: a polynomial in x² near 0, and 1 − 2 Φ(−√2 |x|) beyond."""
    near = w("Min", w("Abs", x), 1.0)
    square = w("Mul", near, near)
    small = w("Mul", x, _polynomial(w, square, _fit(_erf_over_x, 0.0, 1.0, 20)))
    tail = normal_cdf(w, w("Mul", w("Abs", x), -sqrt(2)))
    large = w("Mul", w("Sign", x), w("Sub", 1.0, w("Mul", tail, 2.0)))
    return w("Where", w("Less", w("Abs", x), 1.0), small, large)


def _erf_over_x(square: float) -> float:
    x = sqrt(square)
    return erf(x) / x if x > 1e-8 else 2 / sqrt(pi)


def arctan(w: Writer, x: str) -> str:
    """``arctan(x)``: a polynomial in z² times z, with z = |x|, or 1/|x| and the rest from π/2."""
    size = w("Abs", x)
    large = w("Greater", size, 1.0)
    z = w("Where", large, w("Reciprocal", w("Max", size, 1.0)), size)
    angle = w("Mul", z, _polynomial(w, w("Mul", z, z), _fit(_arctan_over_x, 0.0, 1.0, 26)))
    return w("Mul", w("Sign", x), w("Where", large, w("Sub", pi / 2, angle), angle))


def _arctan_over_x(square: float) -> float:
    x = sqrt(square)
    return atan(x) / x if x > 1e-8 else 1.0


def arcsin(w: Writer, x: str) -> str:
    """``arcsin(x) = arctan(x / √((1 − x)(1 + x)))``."""
    other = w("Sqrt", w("Mul", w("Sub", 1.0, x), w("Add", x, 1.0)))
    return arctan(w, w("Div", x, other))


def arccos(w: Writer, x: str) -> str:
    """``arccos(x) = 2 arctan(√((1 − x) / (1 + x)))``."""
    return w("Mul", arctan(w, w("Sqrt", w("Div", w("Sub", 1.0, x), w("Add", x, 1.0)))), 2.0)


def arctan2(w: Writer, a: str, b: str) -> str:
    """The angle of (b, a): that of their sizes, on the other side of π/2 where b is negative, with the sign of a."""
    size_a, size_b = w("Abs", a), w("Abs", b)
    ratio = w("Div", size_a, size_b)
    ratio = w("Where", w("Equal", size_a, size_b), w("Sign", size_a), ratio)
    angle = w("Atan", ratio) if not w.double else arctan(w, ratio)
    angle = w("Where", w("Less", b, 0.0), w("Sub", pi, angle), angle)
    return w("Where", w("Less", a, 0.0), w("Neg", angle), angle)


def hypot(w: Writer, a: str, b: str) -> str:
    """``√(a² + b²)``, the larger one taken out of the root."""
    a, b = w("Abs", a), w("Abs", b)
    large, small = w("Max", a, b), w("Min", a, b)
    ratio = w("Where", w("Equal", large, small), 1.0, w("Div", small, large))
    return w("Mul", large, w("Sqrt", w("Add", w("Mul", ratio, ratio), 1.0)))


_LARGE = 1e8
"""From where x² + 1 is x², and x² has far to go to overflow."""


def arcsinh(w: Writer, x: str) -> str:
    """``arcsinh(x)``: its size is log(1 + u + u² / (1 + √(1 + u²))) with u = |x|, and log(2 u) where that is large."""
    size = w("Abs", x)
    u = w("Min", size, _LARGE)
    square = w("Mul", u, u)
    near = log1p(w, w("Add", u, w("Div", square, w("Add", w("Sqrt", w("Add", square, 1.0)), 1.0))))
    return w("Mul", w("Sign", x), w("Where", w("Greater", size, _LARGE), w("Add", w("Log", size), log(2)), near))


def arccosh(w: Writer, x: str) -> str:
    """``arccosh(x) = log(1 + u + √(u (u + 2)))`` with u = x − 1, and log(2 x) where that is large."""
    u = w("Sub", w("Min", x, _LARGE), 1.0)
    near = log1p(w, w("Add", u, w("Sqrt", w("Mul", u, w("Add", u, 2.0)))))
    return w("Where", w("Greater", x, _LARGE), w("Add", w("Log", x), log(2)), near)


def arctanh(w: Writer, x: str) -> str:
    """``arctanh(x)``: its size is log(1 + 2 u / (1 − u)) / 2 with u = |x|."""
    u = w("Abs", x)
    return w("Mul", w("Mul", w("Sign", x), log1p(w, w("Div", w("Mul", u, 2.0), w("Sub", 1.0, u)))), 0.5)


def cbrt(w: Writer, x: str) -> str:
    """``∛x``: a power, and one step of Newton's, as 1/3 is not exact."""
    size = w("Abs", x)
    y = w("Pow", size, 1 / 3)
    better = w("Sub", y, w("Div", w("Sub", y, w("Div", size, w("Mul", y, y))), 3.0))
    usual = w("And", w("Greater", size, 0.0), w("Not", w("IsInf", size)))
    return w("Mul", w("Sign", x), w("Where", usual, better, y))


def trunc(w: Writer, x: str) -> str:
    """``x`` rounded towards 0."""
    return w("Where", w("Less", x, 0.0), w("Ceil", x), w("Floor", x))


def nan_to_num(w: Writer, x: str) -> str:
    """``x`` if it is finite; 0 for NaN, the largest numbers for infinite ones."""
    largest = float(np.finfo("float64" if w.double else "float32").max)
    return w("Where", w("IsNaN", x), 0.0, w("Min", w("Max", x, -largest), largest))


def sinh(w: Writer, x: str) -> str:
    """``sinh(x)``: with m = e^|x| − 1 its size is (m + m/(m + 1)) / 2."""
    m = expm1(w, w("Abs", x))
    rest = w("Where", w("Less", m, 1.0), w("Div", m, w("Add", m, 1.0)),
             w("Sub", 1.0, w("Reciprocal", w("Add", m, 1.0))))
    return w("Mul", w("Sign", x), w("Mul", w("Add", m, rest), 0.5))


def cosh(w: Writer, x: str) -> str:
    """``cosh(x) = (eˣ + e⁻ˣ) / 2``."""
    return w("Mul", w("Add", w("Exp", x), w("Exp", w("Neg", x))), 0.5)


def _polynomial(w: Writer, x: str, coefficients: Sequence[float]) -> str:
    """Horner's rule, from the constant on."""
    y = w("Add", w("Mul", x, coefficients[-1]), coefficients[-2])
    for c in coefficients[-3::-1]:
        y = w("Add", w("Mul", y, x), c)
    return y


@lru_cache
def _fit(function: Callable[[float], float], low: float, high: float, degree: int) -> tuple[float, ...]:
    """Return the coefficients of the polynomial through the values at Chebyshev's points: exact to about 15 digits."""
    fit = np.polynomial.Chebyshev.interpolate(np.vectorize(function), degree, domain=[low, high])
    return tuple(float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)
