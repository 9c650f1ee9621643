"""NumPy's and SciPy's names: what their functions do when they are handed a tensor.

:data:`UFUNCS` and :data:`FUNCTIONS` are asked by ``__array_ufunc__`` and ``__array_function__``. What is not there is
named in an error, with what there is instead.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np

from fastbp.ops import functions as f
from fastbp.ops.scalar import ROWS, SCALARS

UFUNCS: dict[Any, f.Function] = {
    **{row.value: row for row in ROWS if isinstance(row.value, np.ufunc)},
    np.power: f.power, np.float_power: f.power, np.matmul: f.matmul, np.positive: f.same, np.conjugate: f.same,
    np.bitwise_and: SCALARS["and"], np.bitwise_or: SCALARS["or"], np.bitwise_xor: SCALARS["xor"],
    np.invert: SCALARS["not"], np.fabs: SCALARS["abs"],
}
FUNCTIONS: dict[Any, f.Function] = {
    np.clip: f.clip, np.where: f.where, np.sum: f.reduction("sum"), np.mean: f.reduction("mean"),
    np.max: f.extreme("max"), np.min: f.extreme("min"), np.any: f.extreme("any"), np.all: f.extreme("all"),
    np.argmax: f.place_of_extreme("argmax"), np.argmin: f.place_of_extreme("argmin"), np.var: f.var, np.std: f.std,
    np.prod: f.prod, np.cumsum: f.cumsum, np.flip: f.flip, np.diff: f.diff, np.dot: f.dot, np.einsum: f.einsum,
    np.reshape: f.reshape, np.ravel: f.ravel, np.transpose: f.transpose, np.swapaxes: f.swapaxes,
    np.moveaxis: f.moveaxis, np.expand_dims: f.expand_dims, np.squeeze: f.squeeze, np.broadcast_to: f.broadcast_to,
    np.concatenate: f.concatenate, np.stack: f.stack, np.split: f.split, np.pad: f.pad, np.take: f.take,
    np.take_along_axis: f.take_along_axis, np.full_like: f.full_like, np.zeros_like: f.like(0.0),
    np.ones_like: f.like(1.0), np.copy: f.same, np.amax: f.extreme("max"), np.amin: f.extreme("min"),
    np.average: f.average, np.linalg.norm: f.norm, np.outer: f.outer, np.round: f.rounded,
    np.array_split: f.array_split, np.hstack: f.hstack, np.roll: f.roll, np.repeat: f.repeat,
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim, np.real: f.same,
}
SCIPY: dict[str, f.Function] = {
    "erf": SCALARS["erf"], "expit": SCALARS["sigmoid"], "ndtr": SCALARS["normal_cdf"],
    "log_expit": lambda x: -SCALARS["softplus"](-x),
    "xlogy": lambda x, y: np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y))),
}
"""Functions of SciPy's, which ask tensors as NumPy's do, by name."""
NAMES = frozenset(known.__name__ for known in (*UFUNCS, *FUNCTIONS))
_INSTEAD = {
    "vstack": "np.stack, which makes a new axis", "column_stack": "np.stack(…, axis=-1)",
    "arcsin": "np.arctan(x / np.sqrt(1 - x**2))", "arccos": "np.pi / 2 - np.arctan(x / np.sqrt(1 - x**2))",
    "arcsinh": "np.log(x + np.sqrt(x**2 + 1))", "arccosh": "np.log(x + np.sqrt(x**2 - 1))",
    "arctanh": "0.5 * np.log((1 + x) / (1 - x))", "cbrt": "np.sign(x) * np.abs(x) ** (1 / 3)",
    "deg2rad": "x * (np.pi / 180)", "radians": "x * (np.pi / 180)", "rad2deg": "x * (180 / np.pi)",
    "sort": "np.max or np.min; there is no sorting", "ptp": "np.max(x, axis) - np.min(x, axis)",
    "fmax": "np.maximum", "fmin": "np.minimum", "vdot": "np.sum(a * b)", "result_type": "what fb.special has for "
    "SciPy's logsumexp, softmax and log_softmax",
    "inner": "np.matmul or np.einsum", "tensordot": "np.einsum", "median": "np.mean",
    "nanmean": "np.mean with np.where",
    "nansum": "np.sum with np.where",
    "tile": "np.repeat or np.broadcast_to", "cumprod": "np.exp(np.cumsum(np.log(x)))",
    "heaviside": "np.where(x > 0, 1.0, 0.0)", "arctan2": "2 * np.arctan(y / (np.sqrt(x**2 + y**2) + x))",
    "hypot": "np.sqrt(a**2 + b**2)",
    "isclose": "np.abs(a - b) < eps", "select": "np.where", "piecewise": "np.where", "nan_to_num": "np.where",
    "trace": "np.einsum", "array_equal": "np.all(a == b)", "size": "x.size", "asarray": "the tensor itself",
}


def no_such_function(name: str) -> TypeError:
    """Return the error for a NumPy function that tensors do not take, with what there is instead."""
    known = sorted(NAMES)
    close = get_close_matches(name, known, 1, 0.8)
    instead = _INSTEAD.get(name) or (f"np.{close[0]}" if close else "")
    mend = f"use {instead}" if instead else f"there are {', '.join(known)}"
    return TypeError(f"np.{name} has no derivative here, as tensors do not take it; {mend}")
