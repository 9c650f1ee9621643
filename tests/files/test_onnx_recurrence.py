"""Recurrent operators of ONNX, in all their forms, with the outputs that ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
helper = onnx.helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
T, C, H = 5, 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def value(name: str, kind: int, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(kind: str, inputs: str, outputs: str, more: dict[str, Any] | None = None, initial: bool = False,
          lengths: bool = False, without: tuple[str, ...] = (), **options: Any) -> Any:
    """Return a model over sequences (B, T, C) of one recurrent node, its outputs with the batch first."""
    directions = 2 if options.get("direction") == "bidirectional" else 1
    rng, gates = np.random.default_rng(3), GATES[kind]
    arrays = {"W": (directions, gates * H, C), "R": (directions, gates * H, H), "P": (directions, 2 * gates * H)}
    held = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in arrays.items()}
    held |= {name: np.asarray(a) for name, a in (more or {}).items()}
    held["one"] = np.array([1])
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])]
    given = [value("x", FLOAT, ["b", T, C])]
    if lengths:
        given.append(value("lengths", INT64, ["b", 1]))
        nodes += [helper.make_node("Squeeze", ["lengths", "one"], ["l"]), helper.make_node("Cast", ["l"], ["n"], to=6)]
    if initial:
        given += [value(s, FLOAT, ["b", directions, H]) for s in ("h", "c")[:1 + (kind == "LSTM")]]
        nodes += [helper.make_node("Transpose", [s], [s + "0"], perm=[1, 0, 2]) for s in ("h", "c")]
        nodes = [n for n in nodes if n.input[0] != "c" or kind == "LSTM"]
    names = ["" if name in ("_", *without) else name for name in inputs.split()]
    nodes.append(helper.make_node(kind, names, outputs.split(), name="cell", hidden_size=H, **options))
    nodes.append(helper.make_node("Transpose", ["y"], ["yt"], perm=[2, 0, 1, 3]))
    made = [value("yt", FLOAT, None)]
    for end in outputs.split()[1:]:
        nodes.append(helper.make_node("Transpose", [end], [end + "t"], perm=[1, 0, 2]))
        made.append(value(end + "t", FLOAT, None))
    used = {name for node in nodes for name in node.input}
    constants = [onnx.numpy_helper.from_array(a, name) for name, a in held.items() if name in used]
    return helper.make_model(helper.make_graph(nodes, "g", given, made, constants), ir_version=9,
                             opset_imports=[helper.make_opsetid("", 20)])


FORMS: dict[str, dict[str, Any]] = {
    "plain": {}, "reverse": {"direction": "reverse"}, "both ways": {"direction": "bidirectional"},
    "without bias": {"without": ("P",)}, "initial state": {"initial": True},
    "initial state, both ways": {"initial": True, "direction": "bidirectional"},
    "lengths": {"lengths": True}, "lengths, reverse": {"lengths": True, "direction": "reverse"},
    "lengths, both ways": {"lengths": True, "direction": "bidirectional"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", [*GATES, "GRU that resets first"])
def test_it_predicts_what_onnx_runtime_does(cell: str, form: str) -> None:
    options: dict[str, Any] = dict(FORMS[form])
    kind, _, reset = cell.partition(" ")
    if kind == "GRU" and not reset:
        options["linear_before_reset"] = 1
    states = " h0 c0" if kind == "LSTM" else " h0"
    inputs = "t W R P" + (" n" if options.get("lengths") else " _") + (states if options.get("initial") else "")
    made = model(kind, inputs, "y h_n c_n" if kind == "LSTM" else "y h_n", **options)
    net = fb.from_onnx(made)
    rng = np.random.default_rng(0)
    feeds = {i.name: rng.standard_normal((6, *[d.dim_value for d in i.type.tensor_type.shape.dim][1:])
                                         ).astype(np.float32) for i in made.graph.input}
    if "lengths" in feeds:
        feeds["lengths"] = rng.integers(1, T + 1, (6, 1))
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    x = tuple(feeds.values())
    got = net.predict(x if len(x) > 1 else x[0])
    for mine, theirs in zip(got, session.run(None, feeds), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)


def one(kind: str = "LSTM", inputs: str = "t W R P", **options: Any) -> Any:
    return model(kind, inputs, "y", **options)


@pytest.mark.parametrize(("kind", "options"), [("RNN", {"activations": ["Relu"]}), ("LSTM", {"activations": [
    "Sigmoid", "Tanh", "Tanh"]}), ("GRU", {"direction": "bidirectional", "linear_before_reset": 1, "activations": [
        "Sigmoid", "Tanh"] * 2})])
def test_activations(kind: str, options: dict[str, Any]) -> None:
    made = one(kind, **options)
    x = np.random.default_rng(0).standard_normal((3, T, C)).astype(np.float32)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(fb.from_onnx(made).predict(x), session.run(None, {"x": x})[0], atol=2e-6)


def test_a_state_that_the_model_holds() -> None:
    """The same numbers for each row; those of each row on its own belong to one batch."""
    made = model("GRU", "t W R P _ s", "y", {"s": np.full((1, 1, H), 0.5, np.float32)}, linear_before_reset=1)
    x = np.random.default_rng(0).standard_normal((1, T, C)).astype(np.float32)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(fb.from_onnx(made).predict(x), session.run(None, {"x": x})[0], atol=2e-6)
    assert fb.from_onnx(made).predict(np.repeat(x, 4, axis=0)).shape == (4, T, 1, H)


@pytest.mark.parametrize(("made", "message"), [
    (lambda: one(clip=1.0), "cell.*LSTM.*a clip"), (lambda: one(input_forget=1), "input_forget=1"),
    (lambda: one("RNN", activations=["Elu"]), "the activations elu"),
    (lambda: one("LSTM", "t W R P _ _ _ p", more={"p": np.ones((1, 3 * H), np.float32)}), "peepholes"),
    (lambda: one("RNN", "t W R P k", more={"k": np.array([1, 2], np.int32)}), "lengths that the model holds"),
    (lambda: one("RNN", "t W R P _ s", more={"s": np.arange(2 * H, dtype=np.float32).reshape(1, 2, H)}),
     "numbers of each row for initial_h"),
    (lambda: one("RNN", "x W R P"), "the batch is in axis 0 of 3; expected it in axis 1, alone.*batch_first=True"),
])
def test_what_is_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fb.from_onnx(made())


def test_a_network_of_ones_own_comes_back_as_layers(tmp_path: Path) -> None:
    """One node a direction and layer, with the weights of the input within it; and trained as it was."""
    net = fb.Sequential(fb.Input(T, C), fb.LSTM(C, H, 2, return_sequences=False), fb.Linear(H, 2), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    kinds = [n.op_type for n in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds.count("LSTM") == 2
    assert kinds.count("MatMul") == 1
    back = fb.from_onnx(tmp_path / "net.onnx")
    assert sum(p.size for p in back.params.values()) == sum(p.size for p in net.params.values())
    x, y = np.random.default_rng(0).standard_normal((8, T, C)), np.random.default_rng(1).standard_normal((8, 2))
    losses = [fb.Trainer(n, fb.MSE(), fb.SGD(0.1)).fit(x, y, epochs=3, batch_size=4, progress=False)["loss"]
              for n in (net, back)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
