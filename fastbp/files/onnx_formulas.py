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
