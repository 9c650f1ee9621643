"""Attention in ONNX models becomes one op, which never has all scores at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.files import onnx_operators

pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")

from onnx import TensorProto, helper, numpy_helper

T, D, HEADS = 6, 4, 3
HIDDEN = ~np.tri(T, dtype=bool)


def ops(net: fb.Network) -> list[str]:
    return [node.op.name for node in net.graph.nodes]


def case(name: str) -> tuple[Any, list[Any], list[Any]]:
    """Return an attention layer, its inputs, and arrays for them."""
    rng = np.random.default_rng(0)
    x, memory = fb.Input(T, 8), fb.Input(9, 8)
    values = [rng.standard_normal((5, n, 8)).astype("f") for n in (T, 9)]
    padding = (rng.random((5, T)) < 0.3) & (np.arange(T) > 0)
    added = np.where(rng.random((5, T, T)) < 0.3, -np.inf, rng.standard_normal((5, T, T))).astype("f")
    added[..., 0] = 0
    found: dict[str, tuple[Any, list[Any], list[Any]]] = {
        "self": (fb.MultiHeadAttention(8, 4), [x], values[:1]),
        "causal, shared heads, turned": (
            fb.MultiHeadAttention(8, 4, num_kv_heads=2, is_causal=True, rotary=True), [x], values[:1]),
        "to a memory": (fb.MultiHeadAttention(8, 2), [x, memory], values),
        "padding": (fb.MultiHeadAttention(8, 2, key_padding_mask=True), [x, fb.Input(T, dtype="int64")],
                    [values[0], padding.astype("int64")]),
        "added": (fb.MultiHeadAttention(8, 2, attn_mask=True), [x, fb.Input(T, T)], [values[0], added]),
        "all masks": (fb.MultiHeadAttention(8, 2, attn_mask=True, key_padding_mask=True, is_causal=True),
                      [x, fb.Input(T, dtype="int64"), fb.Input(T, T)],
                      [values[0], padding.astype("int64"), added]),
        "a block": (fb.TransformerEncoderLayer(8, 2, 16), [x], values[:1]),
    }
    return found[name]


@pytest.mark.parametrize("name", ["self", "causal, shared heads, turned", "to a memory", "padding", "added",
                                  "all masks", "a block"])
def test_what_fastbp_writes_comes_back_as_one_op(name: str, tmp_path: Path) -> None:
    layer, inputs, arrays = case(name)
    net = fb.Network(inputs if len(inputs) > 1 else inputs[0], layer(*inputs), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    again = fb.from_onnx(tmp_path / "net.onnx")
    assert ops(again).count("attention") == 1
    assert not {"softmax", "matmul"} & {*ops(again)}
    given = arrays[0] if len(arrays) == 1 else tuple(arrays)
    np.testing.assert_allclose(again.predict(given), net.predict(given), rtol=1e-5, atol=1e-6)
    again.save(tmp_path / "net.safetensors")
    assert np.array_equal(fb.load(tmp_path / "net.safetensors").predict(given), again.predict(given))


def model(nodes: list[Any], constants: dict[str, Any]) -> Any:
    """Return a model of q, k and v, (B, heads, T, D) each, whose y is what the last node makes."""
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", HEADS, T, D]) for n in "qkv"]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "attention", given, [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(kind: str, inputs: str, output: str, **options: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], **options)


FIRST = [node("Transpose", "k", "kt", perm=[0, 1, 3, 2]), node("MatMul", "q kt", "s")]
LAST = [node("Softmax", "m", "p", axis=-1), node("MatMul", "p v", "y")]
MODELS: dict[str, tuple[bool, list[Any], dict[str, Any], Any]] = {
    "divided": (True, [node("Div", "s two", "m")], {"two": np.float32(2)}, lambda s: s / 2),
    "not scaled": (True, [node("Mul", "s one", "m")], {"one": np.float32(1)}, lambda s: s),
    "hidden by Where": (True, [node("Mul", "s half", "h"), node("Where", "hidden none h", "m")],
                        {"half": np.float32(0.5), "hidden": HIDDEN, "none": np.float32(-np.inf)},
                        lambda s: np.where(HIDDEN, -np.inf, s / 2)),
    "seen by Where": (True, [node("Where", "seen s none", "m")], {"seen": ~HIDDEN, "none": np.float32(-3e38)},
                      lambda s: np.where(HIDDEN, -np.inf, s)),
    "added": (True, [node("Mul", "s half", "h"), node("Add", "mask h", "m")],
              {"half": np.float32(0.5), "mask": np.where(HIDDEN, -np.inf, 0).astype("f")[None, None]},
              lambda s: np.where(HIDDEN, -np.inf, s / 2)),
    "another mask": (False, [node("Add", "s mask", "m")], {"mask": np.where(HIDDEN.T, -np.inf, 0).astype("f")},
                     lambda s: np.where(HIDDEN.T, -np.inf, s)),
    "a bias": (False, [node("Add", "s bias", "m")], {"bias": np.linspace(0, 1, T, dtype="f")},
               lambda s: s + np.linspace(0, 1, T)),
    "negative": (False, [node("Mul", "s minus", "m")], {"minus": np.float32(-0.5)}, lambda s: -s / 2),
    "padding of a model's own": (False, [node("Where", "column none s", "m")],
                                 {"column": np.arange(T) > 3, "none": np.float32(-np.inf)},
                                 lambda s: np.where(np.arange(T) > 3, -np.inf, s)),
    "masks of heads": (False, [node("Add", "s mask", "m")],
                       {"mask": np.stack([np.where(HIDDEN & (h > 0), -np.inf, 0) for h in range(HEADS)]).astype("f")},
                       lambda s: np.where(HIDDEN & (np.arange(HEADS) > 0)[:, None, None], -np.inf, s)),
}


@pytest.mark.parametrize("name", MODELS)
def test_chains_of_others(name: str) -> None:
    as_one, nodes, constants, scores = MODELS[name]
    net = fb.from_onnx(model([*FIRST, *nodes, *LAST], constants))
    assert ("attention" in ops(net)) == as_one
    q, k, v = np.random.default_rng(0).standard_normal((3, 5, HEADS, T, D)).astype("f")
    s = scores(q.astype("d") @ k.swapaxes(-1, -2))
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(net.predict((q, k, v)), p / p.sum(axis=-1, keepdims=True) @ v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["self", "padding", "all masks"])
def test_node_by_node_it_is_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a chain is none of those, each node is computed."""
    layer, inputs, arrays = case(name)
    net = fb.Network(inputs if len(inputs) > 1 else inputs[0], layer(*inputs), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    monkeypatch.setattr(onnx_operators, "attention", lambda n: None)
    again = fb.from_onnx(tmp_path / "net.onnx")
    assert "attention" not in ops(again)
    given = arrays[0] if len(arrays) == 1 else tuple(arrays)
    np.testing.assert_allclose(again.predict(given), net.predict(given), rtol=1e-5, atol=1e-6)
