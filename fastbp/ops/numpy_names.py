"""NumPy's and SciPy's names: what their functions do when they are handed a tensor.

:data:`UFUNCS` and :data:`FUNCTIONS` are asked by ``__array_ufunc__`` and ``__array_function__``. What is not there is
named in an error, with what there is instead.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np

from fastbp.ops import composed as c
from fastbp.ops import functions as f
from fastbp.ops import linalg as m
from fastbp.ops import sort as o
from fastbp.ops.scalar import ROWS, SCALARS

UFUNCS: dict[Any, f.Function] = {
    **{row.value: row for row in ROWS if isinstance(row.value, np.ufunc)},
    np.power: f.power, np.float_power: f.power, np.matmul: f.matmul, np.positive: f.same, np.conjugate: f.same,
    np.bitwise_and: SCALARS["and"], np.bitwise_or: SCALARS["or"], np.bitwise_xor: SCALARS["xor"],
    np.invert: SCALARS["not"], np.fabs: SCALARS["abs"],
    np.logaddexp2: c.logaddexp2, np.deg2rad: c.times(pi / 180), np.radians: c.times(pi / 180),
    np.rad2deg: c.times(180 / pi), np.degrees: c.times(180 / pi), np.heaviside: c.heaviside, np.signbit: c.signbit,
    np.copysign: c.copysign, np.fmax: c.not_nan(np.maximum), np.fmin: c.not_nan(np.minimum), np.fmod: c.fmod,
    np.divmod: c.divmod_, np.modf: c.modf, np.isinf: c.isinf,
}
"""What is called by ``__array_ufunc__``."""
_BY_NAME: dict[str, f.Function] = {
    "clip": f.clip, "where": f.where, "round around": f.rounded, "real copy": f.same, "fix": SCALARS["trunc"],
    "sinc": c.sinc, "nan_to_num": c.nan_to_num, "isposinf": c.isposinf, "isneginf": c.isneginf, "isclose": c.isclose,
    "allclose": c.allclose, "polyval": c.polyval, "interp": c.interp, "select": c.select, "piecewise": c.piecewise,
    "vecdot linalg.vecdot": m.vecdot, "matvec": m.matvec, "vecmat": m.vecmat,
    # over axes
    "sum": c.reduced(f.reduction("sum"), np.add, 0.0), "prod": c.reduced(f.prod, np.multiply, 1.0),
    "max amax": c.reduced(f.extreme("max"), np.maximum, None),
    "min amin": c.reduced(f.extreme("min"), np.minimum, None),
    "any": c.reduced(f.extreme("any"), np.logical_or, False), "all": c.reduced(f.extreme("all"), np.logical_and, True),
    "mean": c.averaged("mean", f.reduction("mean")), "var": c.averaged("var", f.var), "std": c.averaged("std", f.std),
    **{f"nan{name}": c.without_nan(name) for name in ("sum", "prod", "mean", "var", "std", "max", "min")},
    "argmax": f.place_of_extreme("argmax"), "argmin": f.place_of_extreme("argmin"), "average": f.average, "ptp": c.ptp,
    "count_nonzero": c.count_nonzero, "cumsum": f.cumsum, "cumprod": c.cumulative(np.multiply),
    "nancumsum": c.running_without_nan("cumsum"), "nancumprod": c.running_without_nan("cumprod"),
    "cumulative_sum": c.cumulative_of("cumsum"), "cumulative_prod": c.cumulative_of("cumprod"), "diff": f.diff,
    "gradient": c.gradient, "trapezoid trapz": c.trapezoid,
    "argsort": o.argsort, "sort": o.sort, "median": o.median, "quantile": o.quantile, "percentile": o.percentile,
    "digitize": o.digitize, "searchsorted": o.searchsorted,
    # products, and matrices
    "dot": f.dot, "einsum": f.einsum, "outer linalg.outer": f.outer, "inner": m.inner, "vdot": m.vdot,
    "tensordot linalg.tensordot": m.tensordot, "cross": m.cross, "linalg.cross": m.cross_of_last,
    "linalg.matmul": f.matmul, "linalg.multi_dot": m.multi_dot, "linalg.matrix_power": m.matrix_power,
    "linalg.norm": m.norm, "linalg.vector_norm": m.vector_norm, "linalg.matrix_norm": m.matrix_norm,
    "linalg.inv": m.inv, "linalg.solve": m.solve, "linalg.det": m.det, "linalg.slogdet": m.slogdet,
    "linalg.cholesky": m.cholesky, "matrix_transpose linalg.matrix_transpose": m.matrix_transpose,
    "diagonal": m.diagonal, "linalg.diagonal": m.diagonal_of_last, "diag": m.diag, "trace": m.trace,
    "linalg.trace": m.trace_of_last, "triu": m.triangle(upper=True), "tril": m.triangle(upper=False), "cov": m.cov,
    "corrcoef": m.corrcoef,
    # shapes
    "reshape": f.reshape, "ravel": f.ravel, "transpose": f.transpose, "swapaxes": f.swapaxes, "moveaxis": f.moveaxis,
    "expand_dims": f.expand_dims, "squeeze": f.squeeze, "broadcast_to": f.broadcast_to, "concatenate": f.concatenate,
    "stack": f.stack, "hstack": f.hstack, "dstack": c.dstack, "column_stack": c.column_stack, "append": c.append,
    "delete": c.delete, "split": f.split, "array_split": f.array_split, "unstack": c.unstack,
    "hsplit": c.splitting("hsplit", 1), "dsplit": c.splitting("dsplit", 2), "pad": f.pad, "tile": c.tile,
    "repeat": f.repeat, "roll": c.roll, "flip": f.flip, "fliplr": c.fliplr, "flipud": c.flipud, "rot90": c.rot90,
    "take": f.take, "take_along_axis": f.take_along_axis, "full_like": f.full_like,
    "zeros_like empty_like": f.like(0.0),
    "ones_like": f.like(1.0), "shape": lambda a: a.shape, "ndim": lambda a: a.ndim, "size": lambda a, axis=None:
    a.size if axis is None else a.shape[axis],
}


def _numpys(name: str) -> Any:
    """Return NumPy's function of a name such as ``linalg.norm``; None where this version of NumPy has none."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


FUNCTIONS: dict[Any, f.Function] = {
    _numpys(name): function for names, function in _BY_NAME.items() for name in names.split()
    if callable(_numpys(name)) and not isinstance(_numpys(name), np.ufunc)}
"""What is called by ``__array_function__``."""
UFUNCS |= {_numpys(name): function for names, function in _BY_NAME.items() for name in names.split()
           if isinstance(_numpys(name), np.ufunc)}
METHODS: dict[tuple[Any, str], Callable[..., Any]] = {
    (np.add, "reduce"): np.sum, (np.multiply, "reduce"): np.prod, (np.maximum, "reduce"): np.max,
    (np.minimum, "reduce"): np.min, (np.logical_and, "reduce"): np.all, (np.logical_or, "reduce"): np.any,
    (np.logaddexp, "reduce"): f.logsumexp, (np.add, "accumulate"): np.cumsum,
    **{(ufunc, "accumulate"): c.cumulative(ufunc) for ufunc in (np.multiply, np.maximum, np.minimum, np.logaddexp)},
}
"""Methods of ufuncs, whose axis is 0 unless one is given."""
SCIPY: dict[str, f.Function] = {
    "erf": SCALARS["erf"], "expit": SCALARS["sigmoid"], "ndtr": SCALARS["normal_cdf"],
    "log_expit": lambda x: -SCALARS["softplus"](-x),
    "xlogy": lambda x, y: np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y))),
}
"""Functions of SciPy's, which ask tensors as NumPy's do, by name."""
NAMES = frozenset(known.__name__ for known in (*UFUNCS, *FUNCTIONS))


def of_method(ufunc: Any, method: str, xs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return ``np.add.reduce(x)``, ``np.multiply.outer(a, b)`` and their like."""
    options = {name: value for name, value in options.items() if name not in ("dtype", "out") or value is not None}
    if method == "outer" and not options:
        a, b = xs
        return ufunc(np.expand_dims(a, tuple(range(np.ndim(a), np.ndim(a) + np.ndim(b)))), b)
    known = METHODS.get((ufunc, method))
    if known is None or set(options) - {"axis", "keepdims", "initial", "where"} or len(xs) > 2:
        raise TypeError(f"np.{ufunc.__name__}.{method} has no derivative here; use np.sum, np.prod, np.max, np.min, "
                        "np.cumsum or np.cumprod")
    return known(xs[0], **{"axis": xs[1] if len(xs) > 1 else 0, **options})


_SHAPE = "the result's shape would depend on the numbers; np.where(condition, x, 0.0) leaves the others out of a sum"
_INSTEAD = {
    "vstack": "np.stack([a, b], axis=1), which makes a new axis: rows stay those of the batch",
    "row_stack": "np.stack([a, b], axis=1), which makes a new axis: rows stay those of the batch",
    "vsplit": "np.split(x, n, axis=1)", "block": "np.concatenate within np.concatenate",
    "insert": "np.concatenate of x[:, :i], what is new, and x[:, i:]",
    "convolve": "fb.Conv1d, or np.einsum with what np.take has at windows", "correlate": "fb.Conv1d",
    "partition": "np.sort", "argpartition": "np.argsort",
    "nanmedian": "np.median of what np.where(np.isnan(x), …, x) fills",
    "nanquantile": "np.quantile of what np.where(np.isnan(x), …, x) fills",
    "nanpercentile": "np.percentile of what np.where(np.isnan(x), …, x) fills",
    "nanargmax": "np.argmax(np.where(np.isnan(x), -np.inf, x), axis)",
    "nanargmin": "np.argmin(np.where(np.isnan(x), np.inf, x), axis)",
    "array_equal": "np.all(a == b)", "array_equiv": "np.all(a == b)", "asarray": "the tensor itself",
    "angle": "np.where(x < 0, np.pi, 0.0)", "imag": "0.0 * x: tensors are real", "iscomplex": "False: tensors are real",
    "meshgrid": "a[:, :, None] and b[:, None, :], which are lined up",
    "broadcast_arrays": "np.broadcast_to for each", "atleast_1d": "the tensor itself", "atleast_2d": "x[:, None]",
    "atleast_3d": "x[:, :, None]", "rollaxis": "np.moveaxis", "isin": "np.any(x[..., None] == values, axis=-1)",
    "ldexp": "x * 2.0**n", "i0": "no other: Bessel functions have none",
    "ediff1d": "np.diff", "choose": "np.select", "compress": "np.take with integers",
    "extract": _SHAPE, "nonzero": _SHAPE, "flatnonzero": _SHAPE, "argwhere": _SHAPE, "unique": _SHAPE,
    "trim_zeros": _SHAPE, "diagflat": "np.diag",
    "histogram": "np.sum of (x[..., None] >= low) & (x[..., None] < high)",
    "linalg.pinv": "np.linalg.solve(x.mT @ x, x.mT), where the columns are independent",
    "linalg.lstsq": "np.linalg.solve(x.mT @ x, x.mT @ y), where the columns are independent",
    "linalg.qr": "np.linalg.cholesky(x.mT @ x).mT, which is R but for signs",
    **dict.fromkeys(("linalg.eig", "linalg.eigh", "linalg.eigvals", "linalg.eigvalsh", "linalg.svd", "linalg.svdvals"),
                    "np.linalg.slogdet, inv, solve or cholesky: there are no eigenvalues"),
    "result_type": "what fb.special has for SciPy's logsumexp, softmax and log_softmax",
}


def no_such_function(name: str) -> TypeError:
    """Return the error for a NumPy function that tensors do not take, with what there is instead."""
    instead = _INSTEAD.get(name)
    mend = f"use {instead}" if instead else (
        "write it with those that they take, which docs/functions.md lists; what does not depend on a tensor may stand "
        "outside of the function")
    return TypeError(f"np.{name} has no derivative here, as tensors do not take it; {mend}")
