"""Batches of another size than the network's inputs: sequences of another length, larger images."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

ROWS = 4


def sequence_net(steps: int, backend: Any = "native") -> fb.Network:
    return fb.Sequential(fb.Input(steps, 3), fb.Linear(3, 8), fb.Positions(16),
                         fb.TransformerEncoderLayer(8, 2, 16, 0.1), fb.LSTM(8, 5, 2, bidirectional=True, dropout=0.2),
                         fb.Lambda(lambda x: x.sum(axis=1) / x.shape[1]), fb.Linear(10, 2), seed=0, backend=backend)


def batch(steps: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(steps)
    return rng.standard_normal((ROWS, steps, 3), dtype=np.float32), rng.integers(0, 2, ROWS)


@pytest.mark.parametrize("backend", backends())
def test_a_batch_of_another_length_is_run_as_by_a_network_for_it(backend: Any) -> None:
    net, loss = sequence_net(7, backend), fb.CrossEntropy()
    for steps in (7, 9, 3, 9):
        own = sequence_net(steps, backend)
        own.load_state_dict(net.state_dict())
        x, y = batch(steps)
        np.testing.assert_array_equal(net.predict(x), own.predict(x))
        np.testing.assert_array_equal(net.predict(x, batch_size=3), own.predict(x, batch_size=3))
        assert net.loss(x, y, loss) == own.loss(x, y, loss)
        own.memory.go_on_from(net.memory)
        assert net.loss_and_grad(x, y, loss) == own.loss_and_grad(x, y, loss)
        np.testing.assert_array_equal(net.grads.flat, own.grads.flat)
        np.testing.assert_array_equal(net.input_grads[0], own.input_grads[0])
        np.testing.assert_array_equal(net.forward(x, training=True), own.forward(x, training=True))
        dy = np.ones((ROWS, 2))
        np.testing.assert_array_equal(net.backward(dy), own.backward(dy))
        np.testing.assert_array_equal(net.grads.flat, own.grads.flat)
        net.params.flat += 0.01


@pytest.mark.parametrize("backend", backends())
def test_lengths_may_change_from_step_to_step_and_from_fit_to_evaluation(backend: Any) -> None:
    net = sequence_net(7, backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
    for steps in (7, 9, 7, 3):
        before, (x, y) = net.copy(), batch(steps)
        own = sequence_net(steps, backend)
        own.load_state_dict(before.state_dict())
        own.memory.go_on_from(before.memory)
        assert trainer.step(x, y) == fb.Trainer(own, fb.CrossEntropy(), fb.Adam(0.01)).step(x, y)
    trainer.fit(*batch(5), epochs=2, batch_size=3, validation_data=batch(6))
    assert np.isfinite(trainer.evaluate(*batch(8))["loss"])
    assert net.verify(*batch(8), fb.CrossEntropy()).ok


def test_images_of_another_size_where_the_layers_take_them() -> None:
    net = fb.Sequential(fb.Input(8, 8, 1), fb.Conv2d(1, 4, 3), fb.BatchNorm(), fb.ReLU(), fb.GlobalAvgPool(),
                        fb.Linear(4, 2), dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((2, 11, 6, 1))
    assert fb.gradcheck(net, x, [0, 1], fb.CrossEntropy()).ok
    assert net.predict(x).shape == (2, 2)
    assert net.activations(x)["3.relu" if "3.relu" in net.activations(x) else "2.relu"].shape == (2, 9, 4, 4)
    assert "gradient" in str(net.explain(x, [0, 1], fb.CrossEntropy(), weight="4.weight[0, 0]"))


def test_masks_and_lengths_of_another_size() -> None:
    x, mask = fb.Input(5, 8), fb.Input(5, dtype="int64")
    net = fb.Network([x, mask], fb.MultiHeadAttention(8, 2, key_padding_mask=True)(x, mask), seed=0)
    values = np.random.default_rng(0).standard_normal((2, 7, 8))
    hidden = np.zeros((2, 7), int)
    hidden[:, 5:] = 1
    np.testing.assert_allclose(net.predict((values, hidden))[:, :5], net.predict((values[:, :5], hidden[:, :5])),
                               rtol=1e-5)
    with pytest.raises(ValueError, match=re.escape("x[0] has shape (2, 7, 8); expected (B, 5, 8)")):
        net.predict((values, hidden[:, :5]))
    x, lengths = fb.Input(5, 8), fb.Input(1, dtype="int64")
    net = fb.Network([x, lengths], fb.GRU(8, 3, return_sequences=False, lengths=True)(x, lengths), seed=0)
    np.testing.assert_array_equal(net.predict((values, [6, 2])), net.predict((values[:, :6], [6, 2])))
    with pytest.raises(ValueError, match=re.escape("x[1] has 7 in row 1; expected integers from 1 to 6")):
        net.predict((values[:, :6], [6, 7]))


@pytest.mark.parametrize(("layers", "shape", "message"), [
    ([fb.Input(5, 4), fb.Flatten(), fb.Linear(20, 2)], (2, 6, 4), "expected (B, 5, 4)"),
    ([fb.Input(6, 4, 1), fb.Flatten(), fb.Linear(24, 2)], (2, 4, 6, 1), "expected (B, 6, 4, 1)"),
    ([fb.Input(5, 4), fb.Linear(None, 2)], (2, 5, 3), "expected (B, 5, 4)"),
    ([fb.Input(5, 4), fb.LSTM(4, 2)], (2, 0, 4), "expected (B, 5, 4)"),
    ([fb.Input(5, 4), fb.LSTM(4, 2)], (2, 3, 5, 4), "expected (B, 5, 4)"),
    ([fb.Input(5, 4), fb.LSTM(4, 2)], (5, 4), "for a single sample give x[None]"),
    ([fb.Input(5, 4), fb.Positions(5)], (2, 6, 4), "expected (B, 5, 4)"),
    ([fb.Input(5, 4), fb.LSTM(4, 2)], (2, 4, 5), "time comes last: bring features there with x.transpose(0, 2, 1)"),
    ([fb.Input(8, 8, 3), fb.Conv2d(3, 2, 3), fb.GlobalAvgPool()], (2, 3, 9, 9), "channels come first: bring them to "
     "the end with x.transpose(0, 2, 3, 1)"),
    ([fb.Input(8, 8, 1), fb.Conv2d(1, 2, 3)], (2, 8, 8), "add the axis of its one channel with x[..., None]"),
    ([fb.Input(8, 8, 1), fb.Conv2d(1, 2, 3)], (2, 64), "cut its rows with x.reshape(-1, 8, 8, 1)"),
    ([fb.Input(8, 8, 1), fb.Conv2d(1, 2, 3), fb.GlobalAvgPool()], (2, 2, 8, 1), "expected (B, 8, 8, 1)"),
])
def test_sizes_that_the_layers_do_not_take(layers: Any, shape: Any, message: str) -> None:
    net = fb.Sequential(*layers, seed=0)
    with pytest.raises(ValueError, match=re.escape(f"x has shape {shape}; ")) as error:
        net.predict(np.zeros(shape))
    assert message in str(error.value)


def test_operations_outside_of_layers_are_done_again_where_no_size_stands_in_them() -> None:
    ids = fb.Input(5, dtype="int64")
    found = fb.Embedding(10, 4)(ids)
    net = fb.Network(ids, np.tanh(found).mean(axis=1) + found.max(axis=1), seed=0)
    given = np.array([[1, 2, 2]])
    rows = net.params["0.weight"][given[0]]
    np.testing.assert_allclose(net.predict(given)[0], np.tanh(rows).mean(axis=0) + rows.max(axis=0), rtol=1e-6)
    net = fb.Network(ids, fb.Embedding(10, 4)(ids).sum(axis=1) / 5, seed=0)
    with pytest.raises(ValueError, match=re.escape("x has shape (1, 3); expected (B, 5)")) as error:
        net.predict(given)
    assert "make it in an fb.Lambda" in str(error.value.__cause__)


def test_a_copy_from_a_pickle_takes_other_sizes_and_so_does_a_part() -> None:
    x = fb.Input(5, 3)
    code = fb.LSTM(3, 4)(x)
    net = fb.Network(x, fb.Linear(4, 2)(code), seed=0)
    given = np.random.default_rng(0).standard_normal((2, 8, 3))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict(given), net.predict(given))
    part = net.part(x, code)
    assert part.predict(given).shape == (2, 8, 4)
    np.testing.assert_array_equal(net.part(code, net.graph.outputs[0]).predict(part.predict(given)), net.predict(given))


def test_of_many_sizes_the_last_ones_are_kept() -> None:
    net = fb.Sequential(fb.Input(5, 3), fb.LSTM(3, 4, return_sequences=False), seed=0)
    for steps in range(1, 40):
        assert net.predict(np.zeros((1, steps, 3))).shape == (1, 4)
    assert len(net._resized) == 16
