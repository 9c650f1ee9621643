"""What each scalar function of expressions is in ONNX: one row a function (:mod:`fastbp.ops.scalar`)."""

from __future__ import annotations

from collections.abc import Callable
from math import log

from fastbp.files import onnx_formulas as formulas
from fastbp.files.onnx_writer import Writer
from fastbp.ops.scalar import ScalarOp

Function = Callable[..., str]
"""From the writer and the operands, all of one kind, to the name of the result."""


def _is(operator: str) -> Function:
    return lambda w, *xs: w(operator, *xs)


def _single(operator: str, double: Function) -> Function:
    """Return the row of a function that ONNX has, for float32; another one holds for float64."""
    return lambda w, *xs: (double if w.double else _is(operator))(w, *xs)


def _times(operator: str, factor: float) -> Function:
    return lambda w, x: w("Mul", w(operator, x), factor)


def _floor_div(w: Writer, a: str, b: str) -> str:
    """What is left after the remainder is a multiple of b; a quotient of real numbers may be rounded up to one."""
    quotient = w("Div", w("Sub", a, _mod(w, a, b)), b)
    return w("Round", quotient) if w.tensor.dtype == "real" else quotient


def _mod(w: Writer, a: str, b: str) -> str:
    """The remainder has the sign of b, as NumPy's has; for real numbers ONNX gives it that of a."""
    if w.tensor.dtype != "real":
        return w("Mod", a, b)
    rest = w("Mod", a, b, fmod=1)
    wrong = w("Less", w("Mul", w("Sign", rest), w("Sign", b)), 0.0)
    return w("Where", wrong, w("Add", rest, b), rest)


def _where(w: Writer, condition: str, a: str, b: str) -> str:
    """ONNX Runtime cannot choose among truth values."""
    if w.tensor.dtype != "bool":
        return w("Where", condition, a, b)
    return w("Or", w("And", condition, a), w("And", w("Not", condition), b))


TABLE: dict[str, Function] = {
    "add": _is("Add"), "sub": _is("Sub"), "mul": _is("Mul"), "div": _is("Div"), "neg": _is("Neg"), "pow": _is("Pow"),
    "square": lambda w, x: w("Mul", x, x), "reciprocal": _is("Reciprocal"), "sqrt": _is("Sqrt"), "exp": _is("Exp"),
    "expm1": formulas.expm1, "exp2": lambda w, x: w("Pow", 2.0, x), "log": _is("Log"), "log1p": formulas.log1p,
    "log2": _times("Log", 1 / log(2)), "log10": _times("Log", 1 / log(10)),
    "sin": _is("Sin"), "cos": _is("Cos"), "tan": lambda w, x: w("Div", w("Sin", x), w("Cos", x)),
    "arctan": _single("Atan", formulas.arctan), "sinh": _single("Sinh", formulas.sinh),
    "arcsin": _single("Asin", formulas.arcsin), "arccos": _single("Acos", formulas.arccos),
    "arctan2": formulas.arctan2, "hypot": formulas.hypot, "arcsinh": formulas.arcsinh, "arccosh": formulas.arccosh,
    "arctanh": formulas.arctanh, "cbrt": formulas.cbrt,
    "cosh": _single("Cosh", formulas.cosh), "tanh": _is("Tanh"), "erf": _single("Erf", formulas.erf_of),
    "normal_cdf": formulas.normal_cdf, "sigmoid": _is("Sigmoid"), "softplus": _single("Softplus", formulas.softplus),
    "logaddexp": formulas.logaddexp, "abs": _is("Abs"), "max": _is("Max"), "min": _is("Min"),
    "clip": lambda w, x, low, high: w("Min", w("Max", x, low), high), "where": _where, "sign": _is("Sign"),
    "floor": _is("Floor"), "ceil": _is("Ceil"), "rint": _is("Round"),
    "trunc": formulas.trunc, "nan_to_num": formulas.nan_to_num, "floor_div": _floor_div, "mod": _mod,
    "less": _is("Less"), "less_equal": _is("LessOrEqual"), "greater": _is("Greater"),
    "greater_equal": _is("GreaterOrEqual"), "equal": _is("Equal"),
    "not_equal": lambda w, *xs: w("Not", w("Equal", *xs)),
    "and": _is("And"), "or": _is("Or"), "xor": _is("Xor"), "not": _is("Not"), "isnan": _is("IsNaN"),
    "isfinite": lambda w, x: w("Not", w("Or", w("IsNaN", x), w("IsInf", x))),
}
_LOGIC = ("and", "or", "xor", "not")
_REAL = ("isnan", "isfinite")
_ORDER = ("bool", "int64", "real")


def scalar(w: Writer, op: ScalarOp, xs: list[str]) -> str:
    """Write a scalar function, its operands brought to one kind as NumPy does it."""
    kinds: list[str] = [t.dtype for t in w.node.inputs]
    common = max(kinds, key=_ORDER.index)
    if op.function in _LOGIC:
        wanted = ["bool"] * len(xs)
    elif op.function in _REAL or w.tensor.dtype == "real":
        wanted = ["real"] * len(xs)
    else:
        wanted = ["int64" if common == "bool" else common] * len(xs)
    made = wanted[0] if w.tensor.dtype != "bool" else "bool"
    if op.function == "where":
        wanted, made = ["bool", w.tensor.dtype, w.tensor.dtype], w.tensor.dtype
    result = TABLE[op.function](w, *(w.cast(x, k, to) for x, k, to in zip(xs, kinds, wanted, strict=True)))
    return w.cast(result, made, w.tensor.dtype)
