"""Networks called on tensors, parts of networks, and target networks: one memory, several graphs over it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", ["reference", "native"])
X = np.random.default_rng(0).standard_normal((24, 4))


def body(**options: Any) -> fb.Network:
    return fb.Sequential(fb.Linear(4, 8), fb.BatchNorm(), fb.Tanh(), **{"seed": 0, "dtype": "float64", **options})


@each_backend
def test_a_network_within_another_is_trained_with_it(backend: str) -> None:
    inner = body(backend=backend)
    before = inner.predict(X)
    x = fb.Input(4)
    net = fb.Network(x, fb.Linear(8, 1)(inner(x)), seed=1, dtype="float64", backend=backend)
    np.testing.assert_array_equal(inner.predict(X), before)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.01))
    trainer.fit(X, X[:, :1], epochs=3, progress=False)
    assert np.shares_memory(inner.params.flat, net.params.flat)
    assert not np.allclose(inner.predict(X), before)
    alone = fb.Sequential(fb.Linear(4, 8), fb.BatchNorm(), fb.Tanh(), fb.Linear(8, 1), seed=1, dtype="float64",
                          backend=backend)
    alone.load_state_dict(dict(zip(alone.state_dict(), net.state_dict().values(), strict=True)))
    np.testing.assert_allclose(alone.predict(X), net.predict(X))
    np.testing.assert_array_equal(net.part(net.graph.inputs[0], net.graph.tensors[3]).predict(X), inner.predict(X))


@each_backend
def test_a_network_used_twice_adds_up_its_gradients(backend: str) -> None:
    inner = body(backend=backend)
    a, b = fb.Input(4), fb.Input(4)
    net = fb.Network((a, b), np.sum(inner(a) * inner(b), axis=1)[:, None], dtype="float64", backend=backend)
    assert net.params.flat.size == inner.params.flat.size
    assert fb.gradcheck(net, (X, X[::-1].copy()), X[:, :1], fb.MSE()).ok


def test_a_network_of_several_inputs_and_outputs_within_a_function() -> None:
    a, b = fb.Input(2), fb.Input(2)
    inner = fb.Network((a, b), (a * b, a + b), dtype="float64")
    c = fb.Input(2)
    net = fb.Network(c, fb.Lambda(lambda c: inner((c, 2 * c))[0] - inner((c, c))[1])(c), dtype="float64")
    np.testing.assert_allclose(net.predict(X[:, :2]), 2 * X[:, :2] ** 2 - 2 * X[:, :2])
    inner = inner.copy()
    apart = fb.Network(c, [inner(c, 2 * c)[0], inner(c, c)[1]], dtype="float64")
    np.testing.assert_allclose(np.subtract(*apart.predict(X[:, :2])), 2 * X[:, :2] ** 2 - 2 * X[:, :2])
    for ours, theirs in zip(inner(X[:, :2], X[:, 2:4]), inner((X[:, :2], X[:, 2:4]), True), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(TypeError, match="called on 1 tensors; expected 2"):
        inner(c)
    with pytest.raises(TypeError, match="called on 3 tensors; expected 2"):
        inner(c, c, c)
    with pytest.raises(TypeError, match="1 of 2 inputs are no tensors; expected 2"):
        inner(c, X[:, :2])
    with pytest.raises(ValueError, match="expected the shape"):
        inner((c, fb.Input(3)))


def test_a_network_is_at_home_in_one_other() -> None:
    inner, x = body(), fb.Input(4)
    fb.Network(x, inner(x), dtype="float64")
    with pytest.raises(ValueError, match=r"part of another network already.*net\.copy"):
        fb.Network(x, inner(x) * 2, dtype="float64")
    with pytest.raises(ValueError, match=r'of dtype float64; expected float32.*dtype="float32"'):
        fb.Network(x, body()(x))


@each_backend
def test_parts_share_their_memory(backend: str) -> None:
    x = fb.Input(4)
    code = fb.Tanh()(fb.Linear(4, 2)(x))
    net = fb.Network(x, fb.Linear(2, 4)(code), seed=0, dtype="float64", backend=backend)
    encoder, decoder = net.part(x, code), net.part(code, net.graph.outputs[0])
    fb.Trainer(net, fb.MSE(), fb.Adam(0.05)).fit(X, X, epochs=5, progress=False)
    np.testing.assert_array_equal(decoder.predict(encoder.predict(X)), net.predict(X))
    before = net.params["0.weight"].copy()
    fb.Trainer(decoder, fb.MSE(), fb.Adam(0.05)).fit(encoder.predict(X), X, epochs=2, progress=False)
    np.testing.assert_array_equal(before, net.params["0.weight"])
    np.testing.assert_array_equal(decoder.predict(encoder.predict(X)), net.predict(X))
    with pytest.raises(ValueError, match="not of the network's graph"):
        net.part(fb.Input(4), code)
    with pytest.raises(ValueError, match="depends on more than the inputs"):
        net.part(code, x)


def test_a_part_can_be_copied_and_pickled() -> None:
    x = fb.Input(4)
    code = fb.Linear(4, 2)(x)
    net = fb.Network(x, fb.Linear(2, 4)(code), seed=0)
    part = net.part(code, net.graph.outputs[0])
    z = np.ones((3, 2))
    for other in (part.copy(), copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        np.testing.assert_array_equal(other.predict(z), part.predict(z))
        assert not np.shares_memory(other.params.flat, net.params.flat)
    pickle.loads(pickle.dumps(net))


def test_blend_moves_towards_another_network() -> None:
    net, other = body(seed=0), body(seed=1)
    other.buffers.flat[...] = 3.0
    expected = 0.9 * net.params.flat + 0.1 * other.params.flat
    net.blend(other, 0.1)
    np.testing.assert_allclose(net.params.flat, expected)
    net.blend(other, 1.0)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    with pytest.raises(ValueError, match="tau is 2"):
        net.blend(other, 2)
    with pytest.raises(ValueError, match="different parameters"):
        net.blend(fb.Sequential(fb.Linear(2, 1)), 0.5)
