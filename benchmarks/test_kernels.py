"""Each native kernel against its NumPy twin, in float32: ``pytest benchmarks/test_kernels.py``.

Two lines a kernel, native and reference, in one group. That they agree is checked before anything is timed; the tests
(tests/engine/test_kernels.py) check it closely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kernel_cases
import numpy as np
import pytest

from fastbp import kernels

ELEMENTS = 1 << 16
COLUMNS = 1 << 12


def _cases() -> dict[str, kernel_cases.Case]:
    """One case a kernel: the one whose rows are long."""
    found: dict[str, kernel_cases.Case] = {}
    for case in kernel_cases.CASES:
        if case.kernel.startswith("linear_"):
            continue
        if case.kernel not in found or case.label in ("C", "D"):
            found[case.kernel] = case
    return found


CASES = _cases()
LINEAR = {"16-32, batch 1": (1, 16, 32), "64-64, batch 64": (64, 64, 64), "784-256, batch 128": (128, 784, 256),
          "128-10, batch 128": (128, 128, 10), "1024-1024, batch 512": (512, 1024, 1024)}


def _time(benchmark: Any, backend: str, group: str, native: Callable[[], Any], reference: Callable[[], Any],
          tolerance: float = 1e-4) -> None:
    ours, theirs = ((r if isinstance(r, tuple) else (r,)) for r in (native(), reference()))
    for result, expected in zip(ours, theirs, strict=True):
        scale = float(np.abs(expected).max(initial=0))
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * scale)
    benchmark.group = group
    benchmark(native if backend == "native" else reference)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_kernel(benchmark: Any, name: str, backend: str) -> None:
    case = CASES[name]
    size = COLUMNS if case.label[0] in "RCBD" else ELEMENTS
    arrays = {k: a if a.dtype.kind == "i" else a.astype(np.float32)
              for k, a in case.arrays(np.random.default_rng(0), size).items()}
    kernel = getattr(kernels, name)
    made = kernel(**arrays, **case.numbers)
    _time(benchmark, backend, name, lambda: kernel(**arrays, **case.numbers, out=made), lambda: case.twin(**arrays))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("shape", LINEAR)
@pytest.mark.parametrize("product", ["forward", "backward_input", "backward_weight"])
def test_linear(benchmark: Any, shape: str, product: str, backend: str) -> None:
    B, I, O = LINEAR[shape]  # noqa: E741
    rng = np.random.default_rng(0)
    x, W, dy = (rng.standard_normal(s).astype(np.float32) for s in ((B, I), (I, O), (B, O)))
    Wt, b = np.ascontiguousarray(W.T), np.zeros(O, np.float32)
    y, dx, dW, db = np.empty_like(dy), np.empty_like(x), np.empty_like(W), np.empty_like(b)
    native, reference = {
        "forward": (lambda: kernels.linear_forward(x, W, b, act="relu", out=y), lambda: np.maximum(x @ W + b, 0)),
        "backward_input": (lambda: kernels.linear_backward_input(dy, Wt, out=dx), lambda: dy @ W.T),
        "backward_weight": (lambda: kernels.linear_backward_weight(x, dy, out=(dW, db)),
                            lambda: (x.T @ dy, dy.sum(axis=0)))}[product]
    _time(benchmark, backend, f"linear_{product}, {shape}", native, reference)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_adam(benchmark: Any, backend: str) -> None:
    import fastbp as fb
    rng = np.random.default_rng(0)
    p, g, m, v = (rng.standard_normal(ELEMENTS).astype(np.float32) for _ in range(4))
    np.abs(v, out=v)
    optimizer = fb.Adam(lr=1e-3)
    ours, theirs = (p.copy(), m.copy(), v.copy()), (p.copy(), m.copy(), v.copy())

    def native() -> Any:
        kernels.adam_update(ours[0], g, *ours[1:], lr=1e-3, step=1, beta1=0.9, beta2=0.999, eps=1e-8, decoupled=0)
        return ours

    def reference() -> Any:
        optimizer.update(theirs[0], g, theirs[1:], 1e-3, 1, 0.0)
        return theirs

    _time(benchmark, backend, "adam_update", native, reference)


@pytest.mark.parametrize("way", ["six arrays with out", "six arrays", "NumPy, x @ W + b"])
def test_call(benchmark: Any, way: str) -> None:
    """What a call costs from Python, on arrays that are computed in no time."""
    x, v, W, y = (np.ones(s, np.float32) for s in ((4, 8), (8,), (8, 8), (4, 8)))
    calls = {"six arrays with out": lambda: kernels.batch_norm_forward(x, v, v, v, v, out=y),
             "six arrays": lambda: kernels.batch_norm_forward(x, v, v, v, v),
             "NumPy, x @ W + b": lambda: x @ W + v}
    assert (calls["six arrays"]() == 1).all()
    benchmark.group = "a call from Python"
    benchmark(calls[way])
