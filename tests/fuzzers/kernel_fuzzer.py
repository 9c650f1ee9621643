"""Kernels: one call with arguments of which some are wrong."""

from __future__ import annotations

import inspect
import warnings
from contextlib import suppress
from typing import Any

import cases
import kernel_cases
import numpy as np

import fastbp as fb
from fastbp import kernels
from fuzzers.unusual import Rng, junk, unusual


def _kernel_arguments(rng: Rng) -> tuple[str, dict[str, Any]]:
    """Return a kernel and arguments that fit it."""
    dtype, n = str(rng.choice(["float32", "float64"])), int(rng.integers(1, 70))
    number = rng.integers(len(kernel_cases.CASES) + len(cases.OPTIMIZERS))
    if number >= len(kernel_cases.CASES):
        optimizer = list(cases.OPTIMIZERS.values())[number - len(kernel_cases.CASES)]()
        name = f"{optimizer.name}_update"
        own = [p for p in inspect.signature(getattr(kernels, name)).parameters
               if p not in ("p", "g", "lr", "step", "weight_decay", "isa", *optimizer.state_names)]
        vectors = {p: rng.standard_normal(n).astype(dtype) for p in ("p", "g")}
        states = {p: np.zeros(n, dtype) for p in optimizer.state_names}
        return name, {**vectors, **states, "lr": 0.1, "step": 1, **dict(zip(own, optimizer.hyper(), strict=True))}
    case = kernel_cases.CASES[number]
    exact = case.arrays(rng, max(n, case.smallest))
    arrays = {k: a if a.dtype.kind == "i" else a.astype(dtype) for k, a in exact.items()}
    return case.kernel, {**arrays, **case.numbers}


def _odd_out(rng: Rng, name: str, arguments: dict[str, Any]) -> Any:
    arrays = [a for a in arguments.values() if isinstance(a, np.ndarray)]
    try:
        results = getattr(kernels, name)(**arguments)
    except (TypeError, ValueError, OverflowError):
        results = np.zeros(3)
    if isinstance(results, tuple):
        choices: list[Any] = [results, results[::-1], results[:1], list(results), tuple(unusual(rng, r) for r in results
                              if isinstance(r, np.ndarray)), (results[0],) * len(results), (None,) * len(results)]
    else:
        choices = [results, unusual(rng, np.asarray(results)), (results,), arrays[0] if arrays else None, junk(rng)]
    return choices[rng.integers(len(choices))]


def kernel_case(rng: Rng) -> None:
    name, arguments = _kernel_arguments(rng)
    for _ in range(rng.integers(0, 3)):
        key = list(arguments)[rng.integers(len(arguments))]
        if isinstance(arguments[key], np.ndarray):
            arguments[key] = unusual(rng, arguments[key])
        else:
            made = junk(rng)
            # N and I are sizes of results: one of many GiB is granted or not, as the machine has them
            arguments[key] = 1000 if key in ("N", "I") and isinstance(made, int) and 1000 < made < 2**62 else made
    if rng.random() < 0.05:
        del arguments[list(arguments)[rng.integers(len(arguments))]]
    if rng.random() < 0.05:
        names = ["isa", "act", "alpha", "z", "R_total", "first", "label_smoothing", "nonsense"]
        arguments[names[rng.integers(len(names))]] = junk(rng)
    if rng.random() < 0.2 and not name.endswith("_update"):
        arguments["out"] = _odd_out(rng, name, arguments)
    if rng.random() < 0.5:
        arguments.setdefault("isa", str(rng.choice(fb.cpu_info().isas)))
    written = arguments.get("out")
    written = written if isinstance(written, tuple) else (written,)
    may_change = [*written, *(arguments.get(k) for k in ("running_mean", "running_var", "z"))]
    if name.endswith("_update"):
        may_change += [v for k, v in arguments.items() if k != "g"]
    arrays = [a for a in arguments.values() if type(a) is np.ndarray and a.dtype != object and a.nbytes < 1e6]
    kept = [(a, a.tobytes()) for a in arrays
            if not any(isinstance(m, np.ndarray) and np.may_share_memory(a, m) for m in may_change)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with suppress(TypeError, ValueError, OverflowError):
            getattr(kernels, name)(**arguments)
    for array, before in kept:
        assert array.tobytes() == before, f"{name} changed an input"
