"""No bit depends on how work is cut: elements, rows or columns in pieces give what they give as a whole.

Threads rely on it, and the native backend does where it cuts a batch into tiles.
"""

from __future__ import annotations

import inspect
from typing import Any

import cases
import kernel_cases
import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels

ISAS = fb.cpu_info().isas
DTYPES = ("float32", "float64")
N = 141
CUTS = ([1], [16], [37], [5, 64, 140], list(range(3, N, 3)))

Arrays = dict[str, Any]


def made(kernel: str, arrays: Arrays, numbers: Arrays, isa: str) -> tuple[Any, ...]:
    results = getattr(kernels, kernel)(**arrays, **numbers, isa=isa)
    return results if isinstance(results, tuple) else (results,)


def inputs(case: kernel_cases.Case, n: int, dtype: str) -> Arrays:
    arrays = case.arrays(np.random.default_rng(0), n)
    return {name: a if a.dtype.kind == "i" else a.astype(dtype) for name, a in arrays.items()}


def of_length(axis: int, length: int, arrays: Arrays) -> list[str]:
    return [name for name, a in arrays.items() if a.ndim > axis and a.shape[axis] == length]


def assert_pieces(case: kernel_cases.Case, arrays: Arrays, cut_names: list[str], axis: int, isa: str) -> None:
    """Cut the named arrays along an axis (vectors: along their only one), and join the results there."""
    whole = made(case.kernel, arrays, case.numbers, isa)
    for cuts in CUTS:
        pieces = []
        for lo, hi in zip([0, *cuts], [*cuts, N], strict=True):
            part = {name: np.ascontiguousarray(a[lo:hi] if a.ndim == 1 or axis == 0 else a[:, lo:hi])
                    if name in cut_names else a for name, a in arrays.items()}
            numbers = dict(case.numbers)
            if "first" in numbers:
                numbers["first"] += lo
            if case.kernel == "batch_norm_backward_input":
                numbers["R_total"] = len(arrays["x"])
            pieces.append(made(case.kernel, part, numbers, isa))
        for i, result in enumerate(whole):
            joined = np.concatenate([piece[i] for piece in pieces], axis=0 if result.ndim == 1 else axis)
            np.testing.assert_array_equal(joined, result, err_msg=f"{case.kernel}, {case.label}, cut at {cuts}, {isa}")


ELEMENTWISE = [c for c in kernel_cases.CASES if c.label == "n" or c.label.startswith("first")]
OVER_ALL_ROWS = ("batch_norm_statistics", "batch_norm_backward_weight", "layer_norm_backward_weight",
                 "linear_backward_weight", "sparse_linear_backward_weight", "transpose", "embedding_backward")
ROWS = [c for c in kernel_cases.CASES if c.kernel not in OVER_ALL_ROWS and c.label.split(",")[0] in ("R", "B")]
COLUMNS = [c for c in kernel_cases.CASES if c.label == "C" and
           (c.kernel.startswith("batch_norm") or c.kernel == "layer_norm_backward_weight")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", ELEMENTWISE, ids=lambda c: f"{c.kernel}-{c.label}")
def test_elements(case: kernel_cases.Case, isa: str, dtype: str) -> None:
    arrays = inputs(case, N, dtype)
    assert_pieces(case, arrays, list(arrays), 0, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", ROWS, ids=lambda c: f"{c.kernel}-{c.label}")
def test_rows(case: kernel_cases.Case, isa: str, dtype: str) -> None:
    arrays = inputs(case, N, dtype)
    assert_pieces(case, arrays, of_length(0, N, arrays), 0, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", COLUMNS, ids=lambda c: f"{c.kernel}-{c.label}")
def test_columns(case: kernel_cases.Case, isa: str, dtype: str) -> None:
    arrays = inputs(case, N, dtype)
    per_column = [name for name, a in arrays.items() if a.shape[-1] == N]
    assert_pieces(case, arrays, per_column, 1, isa)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_updates(name: str, isa: str, dtype: str) -> None:
    optimizer = cases.OPTIMIZERS[name]()
    update = getattr(kernels, f"{optimizer.name}_update")
    hyper = [p for p in inspect.signature(update).parameters
             if p not in ("p", "g", "lr", "step", "weight_decay", "isa", *optimizer.state_names)]
    numbers = dict(zip(hyper, optimizer.hyper(), strict=True))
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(N).astype(dtype), *(rng.random(N).astype(dtype) for _ in optimizer.state_names)]
    g = rng.standard_normal(N).astype(dtype)
    whole = [a.copy() for a in start]
    update(whole[0], g, *whole[1:], lr=0.01, step=3, weight_decay=0.1, isa=isa, **numbers)
    for cuts in CUTS:
        parts = [a.copy() for a in start]
        for lo, hi in zip([0, *cuts], [*cuts, N], strict=True):
            update(parts[0][lo:hi], g[lo:hi], *(s[lo:hi] for s in parts[1:]), lr=0.01, step=3, weight_decay=0.1,
                   isa=isa, **numbers)
        for part, result in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(part, result, err_msg=f"cut at {cuts}")
