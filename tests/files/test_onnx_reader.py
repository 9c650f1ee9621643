"""Models of ONNX as networks: fastbp's own and those of others, with the outputs that ONNX Runtime gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper = onnx.helper
F = onnx.TensorProto.FLOAT
_RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


def node(op: str, inputs: str, output: str = "y", **options: Any) -> Any:
    return helper.make_node(op, inputs.split(), output.split(), name=f"/{output}/{op}", **options)


def model(nodes: list[Any], shape: list[Any], opset: int = 20, kind: int = F, output: str = "y", **arrays: Any) -> Any:
    """Return a model of one input x and one output; the names of arrays have _ for a dot."""
    constants = [onnx.numpy_helper.from_array(a, n.replace("__", ".")) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", kind, shape)],
                              [helper.make_tensor_value_info(output, kind, None)], constants)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", opset)])


def run(made: Any, x: Any) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def same(made: Any, x: Any, backend: Any = "native") -> fb.Network:
    net = fb.from_onnx(made, backend=backend)
    got, expected = net.predict(x), run(made, x)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    return net


def stir(net: fb.Network) -> None:
    rng = np.random.default_rng(3)
    for name, values in {**net.params, **net.buffers}.items():
        values[...] = rng.uniform(0.5, 2, values.shape) if name.endswith("var") else rng.standard_normal(values.shape)


NONE: dict[str, str] = {"Lambda": "it takes the mean over rows, and rows are apart in what is read"}
"""Layers that are written and not read, each with the reason; all others come back."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n in cases.LAYERS if n not in NONE])
def test_every_layer_comes_back(name: str, dtype: str, tmp_path: Path) -> None:
    _comes_back(cases.LAYERS[name], dtype, tmp_path / "net.onnx")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", cases.OPS)
def test_every_op_comes_back(name: str, dtype: str, tmp_path: Path) -> None:
    _comes_back(cases.OPS[name], dtype, tmp_path / "net.onnx")


def _comes_back(case: Any, dtype: str, path: Path) -> None:
    net = case.network(seed=0, dtype=dtype, backend="reference")
    stir(net)
    net.to_onnx(path)
    back = fb.from_onnx(path, backend="reference")
    x = tuple(case.inputs(np.random.default_rng(0), 5))
    assert back.dtype == dtype
    expected = net.predict(x)
    wanted = expected[0] if isinstance(expected, tuple) else expected
    got = back.predict(x[0] if len(x) == 1 else x)
    tolerance = {"float32": 1e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * (1 + np.abs(wanted).max()))


@pytest.mark.parametrize("name", NONE)
def test_what_is_left_out_is_refused_and_not_guessed(name: str, tmp_path: Path) -> None:
    cases.LAYERS[name].network(seed=0, backend="reference").to_onnx(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"^from_onnx: "):
        fb.from_onnx(tmp_path / "net.onnx")


def test_parameters_keep_names_and_are_trained(tmp_path: Path) -> None:
    net = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.LayerNorm(8), fb.Linear(8, 3, bias=False), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    back = fb.from_onnx(str(tmp_path / "net.onnx"))
    assert {k: v.shape for k, v in back.params.items()} == {k: v.shape for k, v in net.params.items()}
    assert all((back.params[k] == v).all() for k, v in net.params.items())
    x, y = normal(32, 4), normal(32, 3)
    history = fb.Trainer(back, fb.MSE(), fb.Adam(lr=1e-2)).fit(x, y, epochs=20, progress=False)
    assert history["loss"][-1] < history["loss"][0]


def test_a_convolutional_network_of_ones_own_has_no_permutation_left(tmp_path: Path) -> None:
    net = fb.Sequential(fb.Input(8, 8, 1), fb.Conv2d(1, 4, 3), fb.ReLU(), fb.MaxPool2d(2), fb.Flatten(),
                        fb.Linear(36, 2), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    back = fb.from_onnx(tmp_path / "net.onnx")
    assert "Permute" not in str(back.graph.nodes)
    assert len(back.graph.nodes) == len(net.graph.nodes)
    x = normal(3, 8, 8, 1)
    np.testing.assert_array_equal(back.predict(x), net.predict(x))


# ---- models as PyTorch's exporter writes them ------------------------------------------------------------------------


def test_a_dense_model() -> None:
    made = model([node("Gemm", "x net.0.weight net.0.bias", "h", transB=1), node("Relu", "h", "r"),
                  node("Gemm", "r net.2.weight", "y", transB=1, alpha=0.5)], ["batch", 4],
                 net__0__weight=normal(6, 4), net__0__bias=normal(6), net__2__weight=normal(3, 6))
    net = same(made, normal(7, 4))
    assert list(net.params) == ["net_0.weight", "net_0.bias", "net_2.weight"]


@pytest.mark.parametrize("rows", ["batch", 1])
def test_a_small_image_classifier(rows: Any) -> None:
    made = model([
        node("Conv", "x conv.weight conv.bias", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a bn.weight bn.bias bn.mean bn.var", "b", epsilon=1e-3), node("Relu", "b", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "d two.weight", "e", group=2, dilations=[2, 1], strides=[1, 2], pads=[2, 0, 1, 1]),
        node("Add", "e shift", "e2"), node("LeakyRelu", "e2", "f", alpha=0.2),
        node("Reshape", "f sizes", "g"), node("Gemm", "g fc.weight fc.bias", "y", transB=1),
    ], [rows, 3, 8, 6], conv__weight=normal(4, 3, 3, 3), conv__bias=normal(4), bn__weight=normal(4), bn__bias=normal(4),
        bn__mean=normal(4), bn__var=np.exp(normal(4)), two__weight=normal(6, 2, 3, 2), shift=normal(6, 1, 1),
        sizes=np.array([rows if rows == 1 else -1, 36]), fc__weight=normal(5, 36), fc__bias=normal(5))
    same(made, normal(1 if rows == 1 else 4, 3, 8, 6))
    assert fb.from_onnx(made).predict(normal(3, 3, 8, 6)).shape == (3, 5)


def test_a_residual_block_with_a_global_mean() -> None:
    made = model([
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]), node("Sigmoid", "a", "s"), node("Mul", "a s", "b"),
        node("Add", "x b", "c"), node("Concat", "c x", "d", axis=1), node("GlobalAveragePool", "d", "e"),
        node("Flatten", "e", "f"), node("Softmax", "f", "y", axis=-1)], ["n", 3, 5, 4], w1=normal(3, 3, 3, 3))
    same(made, normal(4, 3, 5, 4))


def test_a_shape_that_is_computed() -> None:
    """``x.view(x.size(0), -1)``."""
    made = model([
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n first", "m"),
        node("Concat", "m minus", "t", axis=0), node("Reshape", "x t", "y")], ["n", 3, 4],
        zero=np.array(0), first=np.array([0]), minus=np.array([-1]))
    same(made, normal(5, 3, 4))


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {}, "strides": {"strides": [2, 3]}, "pads of one side": {"pads": [0, 1, 2, 0]},
    "dilations": {"dilations": [2, 2]}, "same": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "valid": {"auto_pad": "VALID"},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(options: dict[str, Any]) -> None:
    same(model([node("Conv", "x w b", **options)], [2, 4, 7, 8], w=normal(6, 4, 3, 2), b=normal(6)), normal(2, 4, 7, 8))


@pytest.mark.parametrize("groups", [1, 4])
def test_convolution_of_sequences(groups: int) -> None:
    made = model([node("Conv", "x w", group=groups, strides=[2], pads=[2, 1], dilations=[2])], [2, 4, 9],
                 w=normal(4, 4 // groups, 3))
    same(made, normal(2, 4, 9))


POOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "max": ("MaxPool", {"kernel_shape": [2, 3]}),
    "max, padded": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max, ceil": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "mean": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 1]}),
    "mean, padded": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "mean, padding counts": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
}


@pytest.mark.parametrize(("op", "options"), POOLS.values(), ids=POOLS)
def test_pooling(op: str, options: dict[str, Any]) -> None:
    same(model([node(op, "x", **options)], [2, 3, 7, 5]), normal(2, 3, 7, 5))


ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Relu": {}, "LeakyRelu": {}, "Elu": {"alpha": 0.7}, "Selu": {}, "Sigmoid": {}, "Tanh": {}, "Softplus": {},
    "HardSwish": {}, "Mish": {}, "Identity": {}, "Dropout": {}, "HardSigmoid": {}, "LogSoftmax": {}, "Softmax": {},
    "Gelu": {"approximate": "tanh"}, "GlobalAveragePool": {}, "Exp": {}, "Erf": {},
}


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_activation_with_channels_first(op: str) -> None:
    made = model([node("Conv", "x w", "h"), node(op, "h", **ACTIVATIONS[op])], [2, 3, 4, 5], w=normal(2, 3, 1, 1))
    same(made, normal(2, 3, 4, 5))


@pytest.mark.parametrize("slopes", [(1,), (3, 1, 1)])
def test_prelu(slopes: tuple[int, ...]) -> None:
    same(model([node("PRelu", "x w")], [2, 3, 4, 5], w=normal(*slopes)), normal(2, 3, 4, 5))


def test_normalisation_by_groups() -> None:
    """As PyTorch's exporter writes ``GroupNorm(2, 4)``."""
    made = model([
        node("Reshape", "x grouped", "a"), node("InstanceNormalization", "a ones zeros", "b", epsilon=1e-3),
        node("Shape", "x", "s"), node("Reshape", "b s", "c"), node("Mul", "c w", "d"), node("Add", "d w")],
        ["n", 4, 3, 2], grouped=np.array([0, 2, -1]), ones=np.ones(2, np.float32), zeros=np.zeros(2, np.float32),
        w=normal(4, 1, 1))
    same(made, normal(3, 4, 3, 2))


def test_gemm_scales_and_keeps_a_single_bias() -> None:
    same(model([node("Gemm", "x w b", alpha=0.5, beta=2.0)], ["n", 4], w=normal(4, 3), b=normal(1)), normal(5, 4))


def test_transposition_and_slices() -> None:
    made = model([node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Slice", "a starts ends axes", "b"),
                  node("ReduceMean", "b last", "c", keepdims=0), node("Transpose", "c", "y", perm=[0, 2, 1])],
                 [2, 3, 4, 5], starts=np.array([1]), ends=np.array([2**63 - 1]), axes=np.array([1]),
                 last=np.array([-1]))
    same(made, normal(2, 3, 4, 5))


# ---- what is refused -------------------------------------------------------------------------------------------------


def _gemm(**changed: Any) -> Any:
    arrays = {"w": normal(3, 4), "b": normal(3), **changed}
    return model([node("Gemm", "x w b", transB=1)], ["batch", 4], **arrays)


REFUSED: dict[str, tuple[Any, str]] = {
    "an operator": (lambda: model([node("Det", "x")], [2, 3, 3]),
                    "node '/y/Det' .*Det has no counterpart.*there are .*Gemm"),
    "an option": (lambda: model([node("Gemm", "x w", transA=1)], [4, 4], w=normal(4, 4)), "node '/y/Gemm' .*transA=1"),
    "the batch axis": (lambda: model([node("Softmax", "x", axis=0)], [2, 3]),
                       "node '/y/Softmax' .*batch axis"),
    "a shape over rows": (lambda: model([node("Reshape", "x s")], ["b", 4], s=np.array([2, -1])), "batch axis"),
    "three axes": (lambda: model([node("Conv", "x w")], [1, 1, 4, 4, 4], w=normal(1, 1, 2, 2, 2)), "node '/y/Conv'"),
    "NaN": (lambda: _gemm(w=np.full((3, 4), np.nan, np.float32)), "'w' has numbers that are not finite"),
    "minus infinity": (lambda: _gemm(b=np.full(3, -np.inf, np.float32)), "'b', has numbers that are not finite"),
    "wrong shapes": (lambda: _gemm(w=normal(3, 5)), "from_onnx"),
    "unknown sizes": (lambda: model([node("Relu", "x")], ["b", "n"]), r"input 'x' has the shape \(\?, \?\)"),
    "float16": (lambda: model([node("Relu", "x")], [2, 3], kind=onnx.TensorProto.FLOAT16), "float16"),
    "an old opset": (lambda: model([node("Relu", "x")], [2, 3], opset=8), "opset 8; expected 9 or newer"),
    "nothing": (onnx.ModelProto, "no nodes"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fb.from_onnx(make())


def test_numbers_that_are_too_few() -> None:
    made = _gemm()
    made.graph.initializer[0].raw_data = made.graph.initializer[0].raw_data[:-4]
    with pytest.raises(fb.FormatError, match="from_onnx"):
        fb.from_onnx(made)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole, path = _gemm().SerializeToString(), tmp_path / "net.onnx"
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"from_onnx: "):
            fb.from_onnx(path)


def test_no_file_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fb.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="source is int; expected a path"):
        fb.from_onnx(3)


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[onnx\]'"):
        fb.from_onnx("net.onnx")


def test_layers_of_one_name_are_told_apart() -> None:
    """A weight that two nodes share becomes two parameters."""
    made = model([node("Gemm", "x a.weight", "h"), node("Gemm", "h a.weight", "y")], ["b", 3], a__weight=normal(3, 3))
    net = same(made, normal(4, 3))
    assert len(net.params) == 2


def test_layers_without_a_name_are_called_by_their_kind(tmp_path: Path) -> None:
    """Numbers would do, but for weights of others that are called by numbers."""
    made = model([node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Conv", "b w", "c"), node("Flatten", "c", "d"),
                  node("Gemm", "d 1.weight")], ["b", 2, 3, 3], w=normal(2, 2, 1, 1), **{"1__weight": normal(18, 4)})
    net = same(made, normal(4, 2, 3, 3))
    assert list(net.params) == ["conv2d.weight", "conv2d_2.weight", "1.weight"]
    net.to_onnx(tmp_path / "net.onnx")
    same(onnx.load(tmp_path / "net.onnx"), normal(4, 2, 3, 3))
    net.save(tmp_path / "net.safetensors")
    x = normal(5, 2, 3, 3)
    np.testing.assert_array_equal(fb.load(tmp_path / "net.safetensors").predict(x), net.predict(x))
