"""Normalisation, gates and slopes against PyTorch, over random shapes: outputs and all gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import backends
from torch_peers import compare

import fastbp as fb


def _shape(rng: np.random.Generator, features: int) -> tuple[int, ...]:
    """Return the shape of a sample: a row, a sequence or an image."""
    return (*(int(n) for n in rng.integers(1, 5, rng.integers(0, 3))), features)


def _first(x: Any) -> Any:
    return x.movedim(-1, 1)


def _last(x: Any) -> Any:
    return x.movedim(1, -1)


def batch_norm(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    features, eps = int(rng.integers(1, 40)), float(rng.choice([1e-5, 1e-2]))

    def peer(x: Any, weight: Any, bias: Any) -> Any:
        return _last(torch.nn.functional.batch_norm(_first(x), None, None, weight, bias, True, eps=eps))

    return fb.BatchNorm(eps=eps), _shape(rng, features), peer


def layer_norm(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    features, eps = int(rng.integers(2, 70)), float(rng.choice([1e-5, 1e-2]))
    return fb.LayerNorm(eps=eps), _shape(rng, features), lambda x, weight, bias: torch.nn.functional.layer_norm(
        x, (features,), weight, bias, eps)


def rms_norm(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    features, eps = int(rng.integers(1, 70)), float(rng.choice([1e-6, 1e-2]))
    return fb.RMSNorm(eps=eps), _shape(rng, features), lambda x, weight: torch.nn.functional.rms_norm(
        x, (features,), weight, eps)


def group_norm(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    groups, eps = int(rng.integers(1, 5)), float(rng.choice([1e-5, 1e-2]))
    features = groups * int(rng.integers(2, 12))

    def peer(x: Any, weight: Any, bias: Any) -> Any:
        return _last(torch.nn.functional.group_norm(_first(x), groups, weight, bias, eps))

    return fb.GroupNorm(groups, eps=eps), _shape(rng, features), peer


def prelu(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    features = int(rng.integers(1, 40))
    slopes = features if rng.integers(0, 2) else 1
    return fb.PReLU(slopes), _shape(rng, features), lambda x, weight: _last(torch.nn.functional.prelu(
        _first(x), weight))


def gates(torch: Any, rng: np.random.Generator) -> tuple[fb.Layer, tuple[int, ...], Callable[..., Any]]:
    features = 2 * int(rng.integers(1, 40))
    if rng.integers(0, 2):
        return fb.GLU(), _shape(rng, features), lambda x: torch.nn.functional.glu(x)

    def peer(x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.nn.functional.silu(a) * b

    return fb.SwiGLU(), _shape(rng, features), peer


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("make", [batch_norm, layer_norm, rms_norm, group_norm, prelu, gates], ids=lambda f: f.__name__)
def test_it_is_pytorchs(make: Any, backend: Any) -> None:
    """Of 60 shapes each."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    for seed in range(60):
        rng = np.random.default_rng(seed)
        layer, shape, peer = make(torch, rng)
        net = fb.Sequential(fb.Input(*shape), layer, dtype="float64", seed=0, backend=backend)
        rows = int(rng.integers(2, 9))
        roles = [name.removeprefix("0.") for name in net.params]
        named = {role: (lambda p, name=f"0.{role}": p[name]) for role in roles}
        compare(net, peer, [rng.standard_normal((rows, *shape))], named, rng)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics_of_columns_that_are_not_finite_stay(dtype: Any) -> None:
    """NaN would never leave them again; all other columns, more than a strip of them, go on as in NumPy."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 150)).astype(dtype)
    bad = {0: np.nan, 17: np.inf, 63: -np.inf, 149: np.finfo(dtype).max}
    for column, value in bad.items():
        x[3, column] = value
    nets = [fb.Sequential(fb.Input(150), fb.BatchNorm(), seed=0, dtype=dtype, backend=backend)
            for backend in ("native", "reference")]
    with np.errstate(all="ignore"):
        for net in nets:
            net.forward(x, training=True)
    good = [c for c in range(150) if c not in bad]
    for (name, ours), theirs in zip(nets[0].buffers.items(), nets[1].buffers.values(), strict=True):
        np.testing.assert_array_equal(ours[list(bad)], float(name.endswith("var")), err_msg=name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=name)
        assert (ours[good] != float(name.endswith("var"))).all()
