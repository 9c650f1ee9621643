"""ONNX: the same outputs there as here, for every layer and op, in both dtypes, in ONNX Runtime as it comes."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import cases
import expression_cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.files import onnx_functions, onnx_ops
from fastbp.files.rows import Nothing
from fastbp.graph.tensor import apply
from fastbp.ops import over_rows, pairs
from fastbp.ops.base import Op
from fastbp.ops.custom import PythonOp
from fastbp.ops.expression import Expression
from fastbp.ops.scalar import SCALARS, ScalarOp
from fastbp.ops.sources import CastOp

# Of outputs that are about 1; and how far single numbers may be off, in units of the last place of what is about 1.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")


def run(path: Path, net: fb.Network, x: Any) -> list[Any]:
    """Run a file as a user would, with the default options."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names == [net.graph.names[t] for t in net.graph.inputs]
    return list(session.run(None, {n: v.astype(net.dtype) if v.dtype.kind == "f" else v
                                   for n, v in zip(names, x, strict=True)}))


def stir(net: fb.Network, rng: np.random.Generator) -> None:
    """Give the parameters and the running statistics values that show where they are used."""
    for name, values in {**net.params, **net.buffers}.items():
        values[...] = rng.uniform(0.5, 2, values.shape) if name.endswith("var") else rng.standard_normal(values.shape)


def same(path: Path, net: fb.Network, x: Any) -> None:
    net.to_onnx(path)
    own = net.predict(x)
    outputs = own if isinstance(own, tuple) else (own,)
    tolerance = TOLERANCE[net.dtype]
    for got, expected in zip(run(path, net, x), outputs, strict=True):
        assert got.dtype == expected.dtype == net.dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@each_dtype
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("name", cases.LAYERS)
def test_every_layer(name: str, rows: int, dtype: str, tmp_path: Path) -> None:
    case, rng = cases.LAYERS[name], np.random.default_rng(0)
    net = case.network(seed=0, dtype=dtype, backend="reference")
    stir(net, rng)
    same(tmp_path / "net.onnx", net, tuple(case.inputs(rng, rows)))


@each_dtype
@pytest.mark.parametrize("name", cases.OPS)
def test_every_op(name: str, dtype: str, tmp_path: Path) -> None:
    case, rng = cases.OPS[name], np.random.default_rng(1)
    net = case.network(seed=0, dtype=dtype, backend="reference")
    same(tmp_path / "net.onnx", net, tuple(case.inputs(rng, 5)))


@each_dtype
@pytest.mark.parametrize("name", [name for name in expression_cases.CASES if not name.startswith("linalg.")])
def test_every_function_of_tensors(name: str, dtype: str, tmp_path: Path) -> None:
    function, shapes, (low, high) = expression_cases.CASES[name]
    inputs = [fb.Input(*s) for s in shapes]
    net = fb.Network(inputs, fb.Lambda(function)(*inputs), dtype=dtype, seed=0, backend="reference")
    net.to_onnx(tmp_path / "net.onnx")
    x = tuple(expression_cases.data(*shapes, low=low, high=high))
    (got,), expected = run(tmp_path / "net.onnx", net, x), net.predict(x)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@each_dtype
@pytest.mark.parametrize("function", onnx_functions.TABLE)
def test_every_scalar_function(function: str, dtype: str, tmp_path: Path) -> None:
    """Of all numbers that are odd, where NumPy gives a finite result, and of small and large ones."""
    row = SCALARS[function]
    inputs = [fb.Input(3) for _ in row.derivatives]
    op, kinds = ScalarOp(function), {"where": ("bool", "real", "real"), "not": ("bool",)}
    wanted = kinds.get(function, ("bool",) * 2 if function in ("and", "or", "xor") else ("real",) * row.operands)
    given = [apply(CastOp("bool"), t) if k == "bool" else t for t, k in zip(inputs, wanted, strict=True)]
    made = apply(op, *given)
    net = fb.Network(inputs, made if made.dtype == "real" else apply(CastOp("real"), made), dtype=dtype,
                     backend="reference")
    net.to_onnx(tmp_path / "net.onnx")
    values = np.array([-30.0, -5.5, -2.5, -1.0, -0.75, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.25, 0.5, 1.0, 1.5, 3.0, 40.0])
    grid = [g.reshape(-1) for g in np.meshgrid(*[values] * row.operands)]
    x = tuple(np.repeat(g[:, None], 3, axis=1).astype(dtype) for g in grid)
    with np.errstate(all="ignore"):
        (got,), expected = run(tmp_path / "net.onnx", net, x), net.predict(x)
    usual = np.isfinite(expected)
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(got[usual], expected[usual], rtol=30 * tolerance, atol=tolerance)
    if function not in ("pow", "mod", "floor_div"):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))


def test_functions_of_integers(tmp_path: Path) -> None:
    a, b = fb.Input(4, dtype="int64"), fb.Input(4, dtype="int64")
    net = fb.Network((a, b), (np.mod(a, b) + 0.0, a // b + 0.0, a / b, a * b + (a > b) - 0.5, np.maximum(a, b) * 0.5,
                              np.where(a == b, a, -b) + 0.0, a.sum(axis=1, keepdims=True) / 2, (a > 0).mean(axis=1)),
                     dtype="float64", backend="reference")
    rng = np.random.default_rng(0)
    net.to_onnx(tmp_path / "net.onnx")
    x = rng.integers(-9, 9, (7, 4)), rng.choice([-3, -2, -1, 1, 2, 3], (7, 4))
    for got, expected in zip(run(tmp_path / "net.onnx", net, x), net.predict(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_any_number_of_rows(tmp_path: Path) -> None:
    """Sizes are not those of the batch that anything was tried with."""
    def function(x: Any) -> Any:
        rows = x.shape[0]
        flat = x.reshape(rows, 6)[:, None] - x.mean(axis=0).reshape(6)
        return np.broadcast_to(flat, (rows, 2, 6)) * rows + np.zeros((1, 1, 6))
    a = fb.Input(2, 3)
    net = fb.Network(a, fb.Lambda(function)(a), dtype="float64", backend="reference")
    net.to_onnx(tmp_path / "net.onnx")
    for rows in (1, 2, 9):
        x = np.random.default_rng(rows).standard_normal((rows, 2, 3))
        np.testing.assert_allclose(run(tmp_path / "net.onnx", net, (x,))[0], net.predict(x), rtol=1e-14, atol=1e-14)


def expressions(kind: type[Op]) -> set[type[Op]]:
    """Return the ops of NumPy's functions on tensors: classes that are no base of others.

    Those of the engine, and those over rows, are made while a plan is compiled, and are in no network's graph.
    """
    below = {op for k in kind.__subclasses__() for op in expressions(k)}
    own = kind.__module__.startswith("fastbp.ops.") and kind.__module__ not in (over_rows.__name__, pairs.__name__)
    return below or ({kind} if own else set())


def test_the_table_has_every_op() -> None:
    """A new op needs a row, or a reason why there is none."""
    assert set(onnx_ops.TABLE) == {type(case.op) for case in cases.OPS.values()} | {PythonOp} | expressions(Expression)
    assert set(onnx_functions.TABLE) == set(SCALARS)
    for op, row in onnx_ops.TABLE.items():
        assert callable(row) or len(row.reason) > 9, op


def test_ops_that_can_be_tried_have_a_counterpart() -> None:
    assert [type(c.op) for c in cases.OPS.values() if isinstance(onnx_ops.TABLE[type(c.op)], Nothing)] == []


@pytest.mark.parametrize("name", [n for n, c in cases.OPS.items() if len(c.shapes) == 1 and c.shapes == ((5,),)
                                  and not c.op.parameter_shapes((5,)) and c.interval is None])
@each_dtype
def test_activations_at_all_sizes(name: str, dtype: str, tmp_path: Path) -> None:
    """From the smallest numbers to the largest: an overflow on the way would be an infinity or NaN at the end."""
    net = cases.OPS[name].network(seed=0, dtype=dtype, backend="reference")
    limits = np.finfo(dtype)
    sizes = np.concatenate([10.0 ** np.arange(-7, 3.1, 0.1), [0.0, 700.0, 1e4, 1e9, float(limits.max) / 4]])
    if name in ("exp", "sin", "cos"):
        sizes = sizes[sizes < 80]
    x = np.concatenate([sizes, -sizes])
    x = np.concatenate([x, np.zeros(-len(x) % 5)]).reshape(-1, 5).astype(dtype)
    net.to_onnx(tmp_path / "net.onnx")
    with np.errstate(all="ignore"):
        (got,), expected = run(tmp_path / "net.onnx", net, (x,)), net.predict((x,))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    # small results have their digits too, but for ONNX Runtime's own Sigmoid, sine and cosine
    if dtype == "float64" and name not in ("sigmoid", "silu", "gelu_tanh", "sin", "cos"):
        near = np.abs(x) < 30
        np.testing.assert_allclose(got[near], expected[near], rtol=1e-11, atol=0)


def graph(dtype: str) -> fb.Network:
    a, b = fb.Input(4, name="left"), fb.Input(2, 2)
    shared = fb.Linear(4, 5, name="shared")
    flat = fb.Flatten()(b)
    h = fb.Concat()(fb.Tanh()(shared(a)), fb.BatchNorm()(shared(flat)), flat)
    out = fb.Add()(fb.Linear(None, 5, bias=False)(h), shared(a), fb.Dropout(0.25)(shared(flat)))
    return fb.Network((a, b), (fb.SiLU()(out), fb.LayerNorm()(fb.ReLU()(h))), dtype=dtype, seed=0, backend="reference")


@each_dtype
def test_a_graph(dtype: str, tmp_path: Path) -> None:
    net, rng = graph(dtype), np.random.default_rng(0)
    stir(net, rng)
    same(tmp_path / "net.onnx", net, (rng.standard_normal((6, 4)), rng.standard_normal((6, 2, 2))))


class Own(fb.CustomLayer):
    def forward(self, ctx: Any, *xs: Any, **params: Any) -> Any:
        return xs[0]

    def backward(self, ctx: Any, dy: Any) -> Any:
        return dy


class OwnOp(fb.ops.activations.IdentityOp):
    """An op that is derived from one with a row: what it does is not known."""


@pytest.mark.parametrize(("layer", "message"), [
    (Own(), r"'1.python' is made by Own\(\), which ONNX has nothing for \(its rules are Python functions"),
    (cases.OpLayer(OwnOp()), r"'1.identity' is made by .*, which ONNX has nothing for \(OwnOp is none of fastbp's"),
])
def test_what_onnx_has_nothing_for(layer: fb.Layer, message: str, tmp_path: Path) -> None:
    net = fb.Sequential(fb.Linear(2, 2), layer, backend="reference")
    with pytest.raises(ValueError, match=message):
        net.to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_is_replaced_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, path = fb.Sequential(fb.Linear(2, 2), backend="reference"), tmp_path / "net.onnx"
    net.to_onnx(path)
    path.chmod(0o600)
    net.to_onnx(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fb.Sequential(fb.Linear(2, 9), backend="reference").to_onnx(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[onnx\]'"):
        fb.Sequential(fb.Linear(2, 2), backend="reference").to_onnx(tmp_path / "net.onnx")
