"""Networks that go through sequences a step or a piece at a time do what they do with the whole sequence."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

ROWS, STEPS = 2, 37


def decoder() -> list[Any]:
    return [fb.Input(9, 8), fb.Positions(40),
            fb.TransformerEncoderLayer(8, 2, 16, 0.1, is_causal=True, norm_first=True),
            fb.TransformerEncoderLayer(8, 4, 16, 0.1, "gelu", is_causal=True), fb.LayerNorm(), fb.Linear(8, 3)]


NETWORKS: dict[str, Any] = {
    "lstm": lambda: [fb.Input(9, 3), fb.LSTM(3, 4, 2, dropout=0.1), fb.Linear(4, 2)],
    "gru": lambda: [fb.Input(9, 3), fb.GRU(3, 5), fb.Dropout(0.1), fb.GRU(5, 4), fb.BatchNorm(), fb.ReLU(),
                    fb.Linear(4, 2)],
    "decoder": decoder,
    "rotary, shared keys": lambda: [
        fb.Input(9, 8), fb.MultiHeadAttention(8, 4, num_kv_heads=2, is_causal=True, rotary=True), fb.RMSNorm(),
        fb.MultiHeadAttention(8, 2, is_causal=True, rotary=True)],
    "ids": lambda: [fb.Input(9, dtype="int64"), fb.Embedding(7, 8), fb.RNN(8, 5),
                    fb.Residual(fb.Linear(5, 5), fb.Tanh()), fb.Linear(5, 7)],
}


def made(name: str, backend: Any, dtype: str = "float64") -> tuple[fb.Network, Any]:
    net = fb.Sequential(*NETWORKS[name](), seed=0, dtype=dtype, backend=backend)
    rng = np.random.default_rng(0)
    (t,) = net.graph.inputs
    x = rng.integers(0, 7, (ROWS, STEPS)) if t.dtype == "int64" else \
        rng.standard_normal((ROWS, STEPS, *t.shape[1:])).astype(dtype)
    return net, x


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_and_pieces_are_the_whole(name: str, backend: Any) -> None:
    net, x = made(name, backend)
    whole, state, ys = net.predict(x), None, []
    for t in range(STEPS):
        y, state = net.step(x[:, t], state)
        ys.append(y)
    np.testing.assert_allclose(np.stack(ys, axis=1), whole, rtol=1e-10, atol=1e-12)
    assert state is not None
    assert state.steps == STEPS
    for cuts in ((20, 21), (1, 36), (18,)):
        state, pieces = None, []
        for piece in np.split(x, cuts, axis=1):
            y, state = net.step(piece, state)
            pieces.append(y)
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif("native" not in backends(), reason="the extension is not built")
@pytest.mark.parametrize("name", [n for n in NETWORKS if "rotary" not in n])
def test_native_steps_have_the_same_bits(name: str) -> None:
    net, x = made(name, "native", "float32")
    whole, state = net.predict(x), None
    for t in range(STEPS):
        y, state = net.step(x[:, t], state)
        np.testing.assert_array_equal(y, whole[:, t])


def test_one_output_for_the_sequence_so_far() -> None:
    net = fb.Sequential(fb.Input(9, 3), fb.LSTM(3, 4, return_sequences=False), fb.Linear(4, 2), dtype="float64", seed=0)
    x, state = np.random.default_rng(0).standard_normal((ROWS, 12, 3)), None
    for t in range(12):
        y, state = net.step(x[:, t], state)
        np.testing.assert_allclose(y, net.predict(x[:, :t + 1]), rtol=1e-12)


def test_a_state_is_not_changed_and_travels() -> None:
    net, x = made("decoder", "native" if "native" in backends() else "reference")
    _, state = net.step(x[:, :10])
    first, _ = net.step(x[:, 10], state)
    net.step(x[:, 11], state)
    again, _ = net.step(x[:, 10], pickle.loads(pickle.dumps(state)))
    np.testing.assert_array_equal(first, again)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.step(x[:, 10], state)[0], first)
    net.params.flat *= 1.5
    assert not np.array_equal(net.step(x[:, 10], state)[0], first)


def test_training_goes_on_between_steps() -> None:
    net, x = made("gru", backends()[-1])
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    net.step(x[:, 0])
    trainer.fit(x, np.ones((ROWS, STEPS, 2)), epochs=1, progress=False)
    np.testing.assert_allclose(net.step(x[:, :1])[0], net.predict(x[:, :1]), rtol=1e-12)


@pytest.mark.parametrize(("layers", "message"), [
    ([fb.Input(9, 3), fb.GRU(3, 4, bidirectional=True)], "reads backwards"),
    ([fb.Input(9, 3), fb.Conv1d(3, 4, 3)], "looks at several steps at once"),
    ([fb.Input(9, 3), fb.Linear(3, 4), fb.Lambda(lambda x: x.mean(axis=1))], "looks at several steps at once"),
    ([fb.Input(9, 8), fb.MultiHeadAttention(8, 2)], "is_causal=True"),
    ([fb.Input(9, 8), fb.TransformerEncoderLayer(8, 2, 16)], "is_causal=True"),
    ([fb.Input(3), fb.Linear(3, 4)], "expected one that takes sequences"),
])
def test_layers_that_cannot(layers: Any, message: str) -> None:
    net = fb.Sequential(*layers, seed=0)
    with pytest.raises(ValueError, match=re.escape(message)):
        net.step(np.zeros((1, net.graph.inputs[0].shape[-1])))
    assert net.predict(np.zeros((1, *net.graph.inputs[0].shape))).shape[0] == 1


def test_what_does_not_fit() -> None:
    net, x = made("decoder", backends()[-1])
    _, state = net.step(x[:, 0])
    for bad, message in ((np.zeros((3, 8)), "x has 3 rows; expected 2, as the state has"),
                         (np.zeros((2, 7)), "x has shape (2, 7); expected (B, 8), one step, or (B, T, 8)"),
                         (np.zeros(8), "x has shape (8,)"), (np.zeros((2, 0, 8)), "x has shape (2, 0, 8)")):
        with pytest.raises(ValueError, match=re.escape(message)):
            net.step(bad, state)
    with pytest.raises(TypeError, match="state is ndarray"):
        net.step(x[:, 0], np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from 0 to 39"):
        net.step(np.zeros((2, 41, 8)))
    two = fb.Network([a := fb.Input(3, 2), b := fb.Input(3, 2)], fb.Add()(a, b))
    one = np.zeros((2, 2))
    for both, message in (((one, np.zeros((3, 2))), "shapes x[0] (2, 2), x[1] (3, 2); expected as many rows and steps"),
                          ((one, np.zeros((2, 1, 2))), "expected as many rows and steps of each"),
                          (one, "step: x has ndarray; expected a tuple of 2"), ((one, None), "x[1]")):
        with pytest.raises((ValueError, TypeError), match=re.escape(message)):
            two.step(both)


def features_and_ids(backend: Any) -> fb.Network:
    """A stream of numbers, and one of ids beside it."""
    x, ids = fb.Input(9, 3, name="x"), fb.Input(9, dtype="int64", name="ids")
    h = fb.GRU(None, 4)(fb.Concat()(x, fb.Embedding(7, 5)(ids)))
    return fb.Network({"x": x, "ids": ids}, fb.Linear(4, 2)(h), seed=0, dtype="float64", backend=backend)


@pytest.mark.parametrize("backend", backends())
def test_several_streams(backend: Any) -> None:
    net, rng = features_and_ids(backend), np.random.default_rng(0)
    x, ids, state, ys = rng.standard_normal((2, 9, 3)), rng.integers(0, 7, (2, 9)), None, []
    for t in range(5):
        y, state = net.step({"x": x[:, t], "ids": ids[:, t]}, state)
        ys.append(y)
    rest, state = net.step({"x": x[:, 5:], "ids": ids[:, 5:]}, state)
    whole = net.predict({"x": x, "ids": ids})
    np.testing.assert_allclose(np.concatenate([np.stack(ys, axis=1), rest], axis=1), whole, rtol=1e-12)
    with pytest.raises(ValueError, match="7 in row 0; expected integers from 0 to 6"):
        net.step({"x": x[:, 0], "ids": np.array([7, 0])}, state)


def translator(backend: Any) -> fb.Network:
    """An encoder that looks both ways, some of its steps hidden, and a decoder that looks at what it made."""
    words, source, hidden = fb.Input(9, 8), fb.Input(6, 8), fb.Input(6, dtype="int64")
    memory = fb.Linear(8, 8)(fb.GRU(8, 4, bidirectional=True)(source))
    h = fb.TransformerDecoderLayer(8, 2, 16, 0.0)(words, memory)
    h = fb.Add()(h, fb.MultiHeadAttention(8, 4, key_padding_mask=True)(h, source, hidden))
    return fb.Network([words, source, hidden], (fb.Linear(8, 3)(h), h), seed=0, dtype="float64", backend=backend)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("length", [6, 4])
def test_a_memory_is_seen_as_a_whole(backend: Any, length: int) -> None:
    """It is given at the first step, has any length, and is computed once."""
    net, rng = translator(backend), np.random.default_rng(0)
    words, source = rng.standard_normal((2, 9, 8)), rng.standard_normal((2, length, 8))
    hidden = (np.arange(length) >= [[length], [length - 1]]).astype(int)
    expected = net.predict((words, source, hidden))
    first, state = net.step((words[:, :4], source, hidden))
    parts = [first]
    for t in range(4, 9):
        y, state = net.step((words[:, t], None, None), state)
        parts.append(tuple(part[:, None] for part in y))
    for i, wanted in enumerate(expected):
        np.testing.assert_allclose(np.concatenate([p[i] for p in parts], axis=1), wanted, rtol=1e-10, atol=1e-12)
    other, _ = net.step((words[:, 0], -source, hidden), state)
    assert not np.allclose(other[0], net.step((words[:, 0], None, None), state)[0][0])


def test_what_does_not_fit_a_memory() -> None:
    net = translator("reference")
    word, source, hidden = np.zeros((2, 8)), np.zeros((2, 6, 8)), np.zeros((2, 6), int)
    with pytest.raises(ValueError, match=r"x\[1\] is None; expected an array at the first step"):
        net.step((word, None, None))
    _, state = net.step((word, source, hidden))
    with pytest.raises(ValueError, match="None for all that each step sees"):
        net.step((word, None, hidden), state)
    with pytest.raises(ValueError, match="x has 3 rows; expected 2"):
        net.step((np.zeros((3, 8)), None, None), state)
    with pytest.raises(ValueError, match="rows"):
        net.step((word, source[:1], hidden), state)
    a = fb.Input(9, 8)
    itself = fb.Network(a, fb.MultiHeadAttention(8, 2)(a, fb.Linear(8, 8)(a)), seed=0)
    with pytest.raises(ValueError, match="looks at the whole of what comes step by step"):
        itself.step(word)
