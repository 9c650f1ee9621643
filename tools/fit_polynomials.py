"""Fits the polynomials of math, powers, trigonometry and periodic.inc.h in src_c/ops.

Run it with ``pip install mpmath numpy; python tools/fit_polynomials.py``.

Each is the best in the sense of Chebyshev: of all polynomials of its degree, the one whose largest relative error is
least. Remez's exchange finds it in 50 digits; then the coefficients are rounded to float32 or float64. They are printed
with the lowest power first, and with the largest relative error before the rounding, in units of 2^-24 or 2^-53. A
quotient of two polynomials is found in the same way; its denominator begins with 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp, mpf

Function = Callable[[Any], Any]
mp.dps = 50


@dataclass(frozen=True)
class Fit:
    """What is to be fitted.

    Attributes
    ----------
    name : str
        What C calls the coefficients.
    dtype : str
    f : function
        The function that the polynomial approximates.
    scale : function
        What an error of the polynomial is divided by to give the relative error of the result.
    low, high : number
        The interval.
    degree : int
    below : int
        The degree of the denominator; 0 for a polynomial.
    place : function
        Where a number of the interval stands for in f's own argument: it spaces the points.
    """

    name: str
    dtype: str
    f: Function
    scale: Function
    low: Any
    high: Any
    degree: int
    below: int = 0
    place: Function = mpf

    @property
    def alternations(self) -> int:
        """How often the error of the best one reaches its largest size, with alternating sign."""
        return self.degree + self.below + 2


Quotient = tuple[list[Any], list[Any]]
"""The coefficients of numerator and denominator, the lowest power first."""


def remez(fit: Fit) -> tuple[Quotient, Any]:
    """Return the coefficients, and the largest weighted error."""
    points = _spread(fit, fit.alternations)
    found: Quotient = [], [mpf(1)]
    for _ in range(60):
        found, error = _level(fit, points, found[1])
        points, largest = _extrema(fit, found)
        if largest < abs(error) * (1 + mpf("1e-6")):
            return found, largest
    raise ArithmeticError(f"{fit.name}, {fit.dtype}: no convergence")


def _value(coefficients: list[Any], x: Any) -> Any:
    return mp.polyval(coefficients[::-1], x)


def _spread(fit: Fit, n: int) -> list[Any]:
    """Return n points of the interval, the ends among them, as Chebyshev would space them."""
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    return [fit.place(middle - half * mp.cos(mp.pi * k / (n - 1))) for k in range(n)]


def _level(fit: Fit, points: list[Any], below: list[Any]) -> tuple[Quotient, Any]:
    """Return the quotient that misses f by an error of one size and alternating sign at all points, and the error.

    The error is multiplied by the denominator: that of the round before, until it no longer changes.
    """
    values, last = [fit.f(x) for x in points], mpf(0)
    for _ in range(100):
        rows = [[*(x**i for i in range(fit.degree + 1)), *(-f * x**i for i in range(1, fit.below + 1)),
                 (-1) ** k * fit.scale(x) * _value(below, x)]
                for k, (x, f) in enumerate(zip(points, values, strict=True))]
        *solution, error = mp.lu_solve(mp.matrix(rows), mp.matrix(values))
        below = [mpf(1), *solution[fit.degree + 1:]]
        if abs(error - last) <= abs(error) * mpf("1e-9"):
            return (solution[:fit.degree + 1], below), error
        last = error
    raise ArithmeticError(f"{fit.name}, {fit.dtype}: no denominator")


def _extrema(fit: Fit, found: Quotient) -> tuple[list[Any], Any]:
    """Return the place of the largest error between each two of its zeros, and the largest of all."""
    count = fit.alternations
    runs: list[tuple[Any, Any]] = []
    for x in _spread(fit, 20 * count):
        error = (_value(found[0], x) / _value(found[1], x) - fit.f(x)) / fit.scale(x)
        if runs and (error > 0) == (runs[-1][1] > 0):
            if abs(error) > abs(runs[-1][1]):
                runs[-1] = x, error
        else:
            runs.append((x, error))
    while len(runs) > count:
        runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
    if len(runs) < count:
        raise ArithmeticError(f"{fit.name}, {fit.dtype}: {len(runs)} alternations, expected {count}")
    return [x for x, _ in runs], max(abs(error) for _, error in runs)


# ---- what the kernels need ------------------------------------------------------------------------------------------


def exp_rest(r: Any) -> Any:
    """(e^r - 1 - r) / r^2"""
    if abs(r) < mpf("1e-8"):
        return mpf(1) / 2 + r / 6 + r * r / 24
    return (mp.exp(r) - 1 - r) / r**2


def log_rest(z: Any) -> Any:
    """(log((1 + s) / (1 - s)) - 2 s) / (s z), where z = s^2"""
    if z < mpf("1e-16"):
        return mpf(2) / 3 + z * 2 / 5
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) - 2 * s) / (s * z)


def normal_tail(u: Any) -> Any:
    """Φ(-u) exp(u^2 / 2)"""
    return mp.erfc(u / mp.sqrt(2)) / 2 * mp.exp(u * u / 2)


def from_unit(t: Any) -> Any:
    """u from 0 to ∞, for t from -1 to 1"""
    return 4 * (1 + t) / (1 - t)


def even_tail(t: Any) -> Any:
    """(u + 5/4) Φ(-u) exp(u^2 / 2), where t = (u - 4) / (u + 4): nearly constant, also near u = 0"""
    u = from_unit(t)
    return (u + mpf("1.25")) * normal_tail(u)


def turn_rest(z: Any) -> Any:
    """sin(2 π q) / q, where z = q^2"""
    if z < mpf("1e-20"):
        return 2 * mp.pi * (1 - 4 * mp.pi**2 * z / 6)
    q = mp.sqrt(z)
    return mp.sin(2 * mp.pi * q) / q


def sine_rest(z: Any) -> Any:
    """(sin(r) - r) / (r z), where z = r^2"""
    if z < mpf("1e-16"):
        return mpf(-1) / 6 + z / 120
    r = mp.sqrt(z)
    return (mp.sin(r) - r) / (r * z)


def cosine_rest(z: Any) -> Any:
    """(cos(r) - 1 + z / 2) / z^2, where z = r^2"""
    if z < mpf("1e-12"):
        return mpf(1) / 24 - z / 720
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def arctan_rest(z: Any) -> Any:
    """(arctan(t) - t) / (t z), where z = t^2"""
    if z < mpf("1e-16"):
        return mpf(-1) / 3 + z / 5
    t = mp.sqrt(z)
    return (mp.atan(t) - t) / (t * z)


def arcsin_rest(z: Any) -> Any:
    """(arcsin(t) - t) / (t z), where z = t^2"""
    if z < mpf("1e-16"):
        return mpf(1) / 6 + z * 3 / 40
    t = mp.sqrt(z)
    return (mp.asin(t) - t) / (t * z)


def exp2_rest(r: Any) -> Any:
    """(2^r - 1) / r"""
    return mp.expm1(r * mp.log(2)) / r if abs(r) > mpf("1e-30") else mp.log(2)


def sinh_rest(z: Any) -> Any:
    """(sinh x - x) / x^3, where z = x^2"""
    if z < mpf("1e-16"):
        return mpf(1) / 6 + z / 120
    x = mp.sqrt(z)
    return (mp.sinh(x) - x) / (x * z)


def cube_root(x: Any) -> Any:
    return mp.cbrt(x)


def log2_rest(z: Any) -> Any:
    """(log2((1 + s) / (1 - s)) - (2 s + 2 s^3 / 3) / ln 2) / s^5, where z = s^2"""
    if z < mpf("1e-12"):
        return (mpf(2) / 5 + z * 2 / 7) / mp.log(2)
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) - 2 * s - 2 * s * z / 3) / (mp.log(2) * s * z**2)


def fits() -> list[Fit]:
    ln2_half = mp.log(2) / 2 * mpf("1.0001")
    log_end = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mpf("1.0001")

    def tail_end(u: str) -> Any:
        return (mpf(u) - 4) / (mpf(u) + 4)

    def exp_scale(r: Any) -> Any:
        return mp.exp(r) / max(r * r, mpf("1e-12"))

    def log_scale(z: Any) -> Any:
        return 2 / max(z, mpf("1e-12"))

    eighth = (mp.pi / 4 * mpf("1.01")) ** 2     # rounding makes what is left of a quarter turn a little more

    def odd_scale(z: Any) -> Any:
        return 1 / max(z, mpf("1e-12"))

    def cosine_scale(z: Any) -> Any:
        return 1 / max(z, mpf("1e-12")) ** 2

    def exp2_scale(r: Any) -> Any:
        return 2**r / max(abs(r), mpf("1e-12"))

    def sinh_scale(z: Any) -> Any:
        return 1 / max(z, mpf("1e-12"))

    def log2_scale(z: Any) -> Any:
        return 2 / mp.log(2) / max(z**2, mpf("1e-12"))

    half, one = mpf("0.50001"), mpf("1.0001")
    return [Fit("exp", "float32", exp_rest, exp_scale, -ln2_half, ln2_half, 4),
            Fit("exp", "float64", exp_rest, exp_scale, -ln2_half, ln2_half, 9),
            Fit("turn", "float32", turn_rest, turn_rest, mpf(0), mpf(1) / 16, 4),
            Fit("turn", "float64", turn_rest, turn_rest, mpf(0), mpf(1) / 16, 8),
            Fit("sin", "float32", sine_rest, odd_scale, mpf(0), eighth, 2),
            Fit("sin", "float64", sine_rest, odd_scale, mpf(0), eighth, 5),
            Fit("cos", "float32", cosine_rest, cosine_scale, mpf(0), eighth, 2),
            Fit("cos", "float64", cosine_rest, cosine_scale, mpf(0), eighth, 5),
            Fit("arctan", "float32", arctan_rest, odd_scale, mpf(0), mpf(1) / 4, 4),
            Fit("arctan", "float64", arctan_rest, odd_scale, mpf(0), mpf(1) / 4, 11),
            Fit("arcsin", "float32", arcsin_rest, odd_scale, mpf(0), mpf(1) / 4, 4),
            Fit("arcsin", "float64", arcsin_rest, odd_scale, mpf(0), mpf(1) / 4, 12),
            Fit("log", "float32", log_rest, log_scale, mpf(0), log_end, 2),
            Fit("log", "float64", log_rest, log_scale, mpf(0), log_end, 6),
            Fit("exp2", "float32", exp2_rest, exp2_scale, -half, half, 5),
            Fit("exp2", "float64", exp2_rest, exp2_scale, -half, half, 10),
            Fit("sinh", "float32", sinh_rest, sinh_scale, mpf(0), one, 3),
            Fit("sinh", "float64", sinh_rest, sinh_scale, mpf(0), one, 6),
            Fit("log2", "float32", log2_rest, log2_scale, mpf(0), log_end, 2),
            Fit("log2", "float64", log2_rest, log2_scale, mpf(0), log_end, 6),
            Fit("cbrt", "float32", cube_root, cube_root, mp.sqrt(mpf(1) / 2), mp.sqrt(2), 4),
            Fit("normal", "float32", normal_tail, normal_tail, mpf(-1), tail_end("14.5"), 4, 5, from_unit),
            Fit("normal", "float64", even_tail, even_tail, mpf(-1), tail_end("38.7"), 21)]


def literal(value: Any, dtype: str) -> str:
    return repr(float(np.float32(value))) + "f" if dtype == "float32" else repr(float(value))


def main() -> None:
    for fit in fits():
        found, error = remez(fit)
        units = float(error * 2 ** (24 if fit.dtype == "float32" else 53))
        print(f"{fit.name}, {fit.dtype}, error {units:.2g}:")
        for coefficients in found[:1 + (fit.below > 0)]:
            print("   ", ", ".join(literal(c, fit.dtype) for c in coefficients))


if __name__ == "__main__":
    main()
