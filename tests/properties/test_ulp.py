"""How exact the elementary functions are: in units in the last place, over all numbers, for every instruction set.

float32 is tried at every 997th of all bit patterns, so at every order of magnitude, subnormal numbers, infinities and
NaN included, against the formula in float64; float64 at random bit patterns and where the functions bend, against the
formula in the extended precision of x86. The functions are reached through the kernels that are made of them, the
circular ones through expressions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels
from fastbp.ops.activations import ActivationOp
from fastbp.ops.special import normal_cdf as normal_cdf_of_libm

Array = Any

ISAS = fb.cpu_info().isas
EXTENDED = np.finfo(np.longdouble).nmant > 60
DTYPES = ["float32", pytest.param("float64", marks=pytest.mark.skipif(not EXTENDED, reason="no wider type here"))]
PI = np.longdouble("3.14159265358979323846264338327950288")


@lru_cache
def arguments(dtype: str) -> Array:
    if dtype == "float32":
        patterns = np.arange(0, 2**32, 997, dtype=np.uint64).astype(np.uint32).view(np.float32)
        return np.append(patterns, np.array([-0.0, np.inf, -np.inf, 88.72, 88.73], np.float32))
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64)
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 709.78, 709.79, -745.13, -745.14, 1e308, -1e308]
    return np.concatenate([patterns, *(rng.uniform(-end, end, 40_000) for end in (1, 5, 40, 800)), ends])


# ---- the formulas, for arguments of a wider type ---------------------------------------------------------------------


def exact(number: str, like: Array) -> Array:
    return np.longdouble(number).astype(like.dtype)


def far(x: Array) -> Array:
    """x, no further below 0 than where the factor that tends to 0 is 0."""
    return np.maximum(x, -1000)


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x > 0, 1, small) / (1 + small)


def normal_cdf(x: Array) -> Array:
    """Φ(x): a power series about 0, a continued fraction in the tail, where the series would cancel."""
    if x.dtype == np.float64:
        return normal_cdf_of_libm(x)
    u = np.abs(x)
    density = np.exp(-u * u / 2) / np.sqrt(2 * PI)
    near = np.minimum(u, 2)
    term = series = near
    for k in range(1, 60):
        term = term * near * near / (2 * k + 1)
        series = series + term
    beyond, fraction = np.maximum(u, 2), np.zeros_like(u)
    for k in range(400, 0, -1):
        fraction = k / (beyond + fraction)
    tail = np.where(u > 2, density / (beyond + fraction), np.longdouble(0.5) - density * series)
    return np.where(np.isnan(x), x, np.where(x > 0, 1 - tail, tail))


def mish(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    top, rest = np.where(x > 0, 1 + 2 * e, e * (e + 2)), np.where(x > 0, 2 * e * e, 2)
    return far(x) * (top / (top + rest))


def gelu_tanh_exponent(x: Array) -> Array:
    x = far(x)
    return 2 * np.sqrt(exact("2", x) / PI.astype(x.dtype)) * (x + exact("0.044715", x) * x * x * x)


def selu(x: Array) -> Array:
    scale, alpha = exact("1.0507009873554804934193349852946", x), exact("1.6732632423543772848170429916717", x)
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(np.minimum(x, 0)))


# ---- the kernels ----------------------------------------------------------------------------------------------------


def exp_by_poisson(x: Array, isa: str) -> Array:
    """exp(x): the derivative of exp(x) - 0 x"""
    column = x.reshape(-1, 1)
    return kernels.poisson_nll(column, np.zeros_like(column), np.ones_like(x), isa=isa)[1].reshape(-1)


def activation(name: str, **options: float) -> Callable[[Array, str], Array]:
    return lambda x, isa: getattr(kernels, f"{name}_forward")(x, isa=isa, **options)


@dataclass(frozen=True)
class Function:
    """A kernel, its formula, and how many units in the last place it may be off.

    ``product``: it is x times a factor that becomes subnormal, and so is rounded to a multiple of the smallest number.
    """

    kernel: Callable[[Array, str], Array]
    formula: Callable[[Array], Array]
    bound: Callable[[Array], Array] | float
    product: bool = False


FUNCTIONS = {
    "exp": Function(exp_by_poisson, np.exp, 2),
    "expm1": Function(activation("elu", alpha=1.0), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 2),
    "tanh": Function(activation("tanh"), np.tanh, 3),
    "sigmoid": Function(activation("sigmoid"), sigmoid, 3),
    "softplus": Function(activation("softplus"), lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), 3),
    "selu": Function(activation("selu"), selu, 4),
    "gelu": Function(activation("gelu"), lambda x: far(x) * normal_cdf(x), 5, product=True),
    # exp(v) is off by what its argument v is off; v is a polynomial of x, rounded four times
    "gelu_tanh": Function(activation("gelu_tanh"), lambda x: far(x) * sigmoid(gelu_tanh_exponent(x)),
                          lambda x: 4 + 2.5 * np.maximum(-gelu_tanh_exponent(x), 0), product=True),
    "silu": Function(activation("silu"), lambda x: far(x) * sigmoid(x), 4, product=True),
    "mish": Function(activation("mish"), mish, 5, product=True),
    "hardswish": Function(activation("hardswish"), lambda x: np.maximum(x, -3) * (np.clip(x + 3, 0, 6) / 6), 4),
}


@lru_cache(maxsize=2)
def expected(name: str, dtype: str) -> Array:
    x = arguments(dtype)
    with np.errstate(all="ignore"):
        return FUNCTIONS[name].formula(x.astype(np.float64 if dtype == "float32" else np.longdouble))


def errors(result: Array, should: Array) -> Array:
    """Return the errors, for numbers, in units in the last place of the right result; infinite if it is no number."""
    with np.errstate(all="ignore"):
        rounded = should.astype(result.dtype)
        finite = np.isfinite(rounded) & np.isfinite(result)
        unit = np.spacing(np.where(finite, np.abs(rounded), 1)).astype(should.dtype)
        off = np.abs(result - np.where(finite, should, 0)) / unit
    same = (np.isnan(rounded) & np.isnan(result)) | (rounded == result)
    return np.where(finite, off, np.where(same, 0, np.inf))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_units_in_the_last_place(name: str, dtype: str, isa: str) -> None:
    function, x, should = FUNCTIONS[name], arguments(dtype), expected(name, dtype)
    result = function.kernel(x, isa)
    assert result.dtype == dtype
    off = errors(result, should)
    with np.errstate(all="ignore"):
        allowed = function.bound(x.astype(should.dtype)) if callable(function.bound) else function.bound
        if function.product:
            unit = np.spacing(np.abs(should).astype(dtype)).astype(should.dtype)
            allowed = allowed + np.abs(far(x)) * np.finfo(dtype).smallest_subnormal / unit
    beyond = (off > 0) & ~(off <= allowed)
    worst = int(np.argmax(np.where(beyond, off, -1)))
    assert not beyond.any(), f"{name}({x[worst]!r}) = {result[worst]!r}, off by {off[worst]:.2f} units ({isa})"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithm(dtype: str, isa: str) -> None:
    """The cross-entropy of D equal logits is log D."""
    for D in (2, 3, 4, 5, 7, 10, 16, 17, 31, 33, 100, 255, 256, 1000, 4099, 65536, 100_003):
        loss, _ = kernels.cross_entropy(np.zeros((1, D), dtype), np.array([D - 1]), np.ones(1, dtype), isa=isa)
        assert errors(loss.astype(dtype), np.log(np.array([D], np.longdouble))) <= 2, D


# ---- functions of tensors -------------------------------------------------------------------------------------------

EXPRESSIONS = ("exp2", "log2", "log10", "sinh", "cosh", "arcsinh", "arccosh", "arctanh", "cbrt")
_SCRIPT = """
import sys
import numpy as np
import fastbp as fb

folder, *names = sys.argv[1:]
xs = np.load(f"{folder}/x.npy")
for name in names:
    inputs = [fb.Input(xs.shape[-1]) for _ in range(getattr(np, name).nin)]
    net = fb.Network(inputs, [getattr(np, name)(*inputs)], dtype=str(xs.dtype), backend="native")
    (y,) = net.predict(tuple(xs[:len(inputs)]))
    np.save(f"{folder}/{name}.npy", y)
"""


def of_tensors(isa: str, folder: Path, names: tuple[str, ...], *xs: Array) -> dict[str, Array]:
    """What the functions make of arrays as expressions, in a process of its own that uses these instructions.

    Rows have 37 numbers: some vectors are not full.
    """
    whole = len(xs[0]) // 37 * 37
    np.save(folder / "x.npy", np.array([x[:whole].reshape(-1, 37) for x in xs]))
    environment = {**os.environ, "FASTBP_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", _SCRIPT, str(folder), *names], env=environment, check=True)
    return {name: np.load(folder / f"{name}.npy").reshape(-1) for name in names}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_tensors(dtype: str, isa: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wide = np.float64 if dtype == "float32" else np.longdouble
    low, high = (-149, 128) if dtype == "float32" else (-1074, 1024)
    powers = np.ldexp(np.ones(high - low), np.arange(low, high))
    tens = 10.0 ** np.arange(-30, 31)
    with np.errstate(invalid="ignore"):
        x = np.concatenate([arguments(dtype)[::5], *(rng.uniform(-end, end, 20_000) for end in (1, 3, 90, 720)),
                            1 + 1e-3 * rng.normal(size=20_000), arguments(dtype)[-13:], powers, np.arange(low, high),
                            tens, np.zeros(36)]).astype(dtype)
    results = of_tensors(isa, tmp_path, EXPRESSIONS, x)
    x = x[:results["exp2"].size]
    with np.errstate(all="ignore"):
        for name, y in results.items():
            off = errors(y, getattr(np, name)(x.astype(wide)))
            at = int(off.argmax())
            assert off[at] <= 2, f"{name}({x[at]!r}) = {y[at]!r}, off by {off[at]:.2f} units"
            if name in ("sinh", "arcsinh", "arctanh", "cbrt"):
                np.testing.assert_array_equal(np.signbit(y[x == 0]), np.signbit(x[x == 0]))
        whole = np.isin(x, powers.astype(dtype))
        np.testing.assert_array_equal(results["log2"][whole], np.log2(x[whole].astype(wide)))
        whole = (x == np.floor(x)) & (x >= low) & (x < high)
        np.testing.assert_array_equal(results["exp2"][whole], np.ldexp(np.ones(1, dtype), x[whole].astype(int)))
        whole = np.isin(x, tens.astype(dtype))
        np.testing.assert_array_equal(results["log10"][whole], np.round(np.log10(x[whole].astype(wide))))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_tensors(dtype: str, isa: str, tmp_path: Path) -> None:
    """As the formula in a wider type, which takes C's special cases; and what stands beside a number plays no part."""
    rng = np.random.default_rng(2)
    wide = np.float64 if dtype == "float32" else np.longdouble
    numbers = np.finfo(dtype)
    patterns = np.abs(rng.permutation(arguments(dtype))[:100_000])
    exponents = rng.uniform(1.1 * numbers.minexp, 1.1 * numbers.maxexp, patterns.size)
    near = 1 + 1e-3 * rng.normal(size=50_000)
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, -0.5, 2, -2, 3, -3, 2.5, -2.5, 2**24, 2**24 + 2,
                        -(2**23) - 1, 2**53, 2**53 - 1, 1e30, -1e30, numbers.tiny, numbers.smallest_subnormal,
                        numbers.max, -numbers.max, 1 + numbers.eps, 1 - numbers.epsneg])
    bases, powers = (grid.reshape(-1) for grid in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        x = np.concatenate([patterns, patterns, near, rng.uniform(-40, 40, 50_000), bases, np.zeros(36)]).astype(dtype)
        y = np.concatenate([exponents / np.log2(patterns.astype(wide)), rng.permutation(patterns),
                            rng.uniform(-8e4, 8e4, near.size), rng.integers(-20, 20, 50_000), powers,
                            np.zeros(36)]).astype(dtype)
        p = of_tensors(isa, tmp_path, ("power",), x, y)["power"]
        x, y = x[:p.size], y[:p.size]
        should = np.power(x.astype(wide), y.astype(wide))
        off = errors(p, should)
        at = int(off.argmax())
        assert off[at] <= 2, f"{x[at]!r} ** {y[at]!r} = {p[at]!r}, off by {off[at]:.2f} units"
        zero = should.astype(dtype) == 0
        np.testing.assert_array_equal(np.signbit(p[zero]), np.signbit(should[zero]))
    backwards = of_tensors(isa, tmp_path, ("power",), x[::-1], y[::-1])["power"][::-1]
    np.testing.assert_array_equal(backwards.view(f"u{x.itemsize}"), p.view(f"u{x.itemsize}"))


ACTIVATIONS = {name: case.op for name, case in cases.OPS.items() if isinstance(case.op, ActivationOp)}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_for_all_arguments(name: str, isa: str) -> None:
    """Against the twin, in units of the larger of the derivative and 1: where it is small its terms cancel."""
    op = ACTIVATIONS[name]
    x = arguments("float32")
    s = x if op.derivative_from == "input" else getattr(kernels, f"{name}_forward")(x, isa=isa)
    with np.errstate(all="ignore"):
        should = op.derivative(s.astype(np.float64))
    options = {"alpha": op.alpha} if hasattr(op, "alpha") else {}
    result = getattr(kernels, f"{name}_backward")(np.ones_like(s), s, isa=isa, **options)
    numbers = np.isfinite(should)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(should))
    off = np.abs(result - should)[numbers] / np.maximum(np.abs(should[numbers]), 1) / np.finfo(np.float32).eps
    at = int(off.argmax())
    assert off[at] <= 4, f"{name}'({s[numbers][at]!r}) is off by {off[at]:.2f} ({isa})"


# ---- circular functions, which expressions have ---------------------------------------------------------------------

CIRCULAR = ("sin", "cos", "tan", "arctan", "arcsin", "arccos")
OF_TWO = "arctan2", "hypot"
WIDTH = 37  # vectors, and part of one


def circular(name: str, *xs: Array) -> Array:
    """Return the function of numbers of one dimension, as this process' instruction set has it."""
    n, dtype = len(xs[0]), xs[0].dtype
    rows = tuple(np.append(x, np.zeros(-n % WIDTH, dtype)).reshape(-1, WIDTH) for x in xs)
    symbols = tuple(fb.Input(WIDTH) for _ in xs)
    net = fb.Network(symbols, getattr(np, name)(*symbols), dtype=str(dtype), backend="native")
    return np.asarray(net.predict(rows)).reshape(-1)[:n]


def angles(dtype: str) -> Array:
    """Return numbers of every size, those nearest to multiples of π/4, and those beside the ends of intervals."""
    rng = np.random.default_rng(0)
    eighths = np.concatenate([np.arange(20_000), rng.integers(0, 2**31, 20_000)])
    near = (eighths * (PI / 4)).astype(dtype)
    ends = np.array([2.0**16, 2.0**30, 0.5, 1.0, 2.4142135623730950, *10.0 ** np.arange(-37, 38)], dtype)
    sizes = [rng.uniform(-end, end, 20_000).astype(dtype) for end in (1, 10, 1e3, 1e5, 1e9)]
    around = [np.nextafter(x, x.dtype.type(to)) for x in (near, ends) for to in (0, np.inf)]
    positive = np.concatenate([near, ends, *around])
    return np.concatenate([arguments(dtype), positive, -positive, *sizes])


def points(dtype: str) -> tuple[Array, Array]:
    """Return coordinates: of every size, of all pairs of special numbers, and where the angle's formula changes."""
    rng = np.random.default_rng(2)
    large, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    special = np.array([0.0, 1.0, 0.3, 7.0, large, large / 2, large / 3, tiny, 3 * tiny, np.inf, np.nan], dtype)
    special = np.append(special, -special)
    a, b = (g.reshape(-1) for g in np.meshgrid(special, special))
    ends = np.repeat(np.array([0.5, 1.0, 2.4142135623730950, 0.41421356237309504]), 5000)
    x = rng.uniform(-2, 2, len(ends))
    y = x * ends * (1 + rng.integers(-3, 4, len(ends)) * np.finfo(dtype).eps)
    patterns = [rng.permutation(arguments(dtype))[:100_000] for _ in range(2)]
    return (np.concatenate([a, y.astype(dtype), rng.uniform(-9, 9, 100_000).astype(dtype), patterns[0]]),
            np.concatenate([b, x.astype(dtype), rng.uniform(-9, 9, 100_000).astype(dtype), patterns[1]]))


def check_circular(name: str, dtype: str) -> None:
    xs = points(dtype) if name in OF_TWO else (angles(dtype),)
    with np.errstate(all="ignore"):
        should = getattr(np, name)(*(x.astype(np.float64 if dtype == "float32" else np.longdouble) for x in xs))
    result = circular(name, *xs)
    assert result.dtype == dtype
    off = errors(result, should)
    worst = int(off.argmax())
    at = [x[worst] for x in xs]
    assert off[worst] <= 2, f"{name} of {at} = {result[worst]!r}, off by {off[worst]:.2f} units"
    other_sign = (np.signbit(result) != np.signbit(should)) & ~np.isnan(should)
    assert not other_sign.any(), f"the sign of {name}, at {[x[other_sign][0] for x in xs]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*CIRCULAR, *OF_TWO])
def test_circular_functions(name: str, dtype: str) -> None:
    check_circular(name, dtype)


@pytest.mark.parametrize("isa", [i for i in ISAS if i != fb.cpu_info().isa])
@pytest.mark.parametrize("dtype", DTYPES)
def test_circular_functions_of_each_instruction_set(dtype: str, isa: str) -> None:
    script = (f"import test_ulp as t\nassert t.fb.cpu_info().isa == {isa!r}\n"
              f"for name in (*t.CIRCULAR, *t.OF_TWO): t.check_circular(name, {dtype!r})")
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    environment = {**os.environ, "FASTBP_ISA": isa, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CIRCULAR)
def test_circular_functions_of_one_number_do_not_depend_on_its_neighbours(name: str, dtype: str) -> None:
    """Neighbours share a vector, and some of them need another way."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1 if name.startswith("arc") else -50, 1, 2000).astype(dtype)
    beside = rng.choice(np.array([1e30, -1e12, np.inf, np.nan, 1e-40, 0.0], dtype), 2000)
    place = rng.permutation(4000)
    mixed = np.empty(4000, dtype)
    mixed[place] = np.append(x, beside)
    np.testing.assert_array_equal(circular(name, mixed)[place[:2000]], circular(name, x))
