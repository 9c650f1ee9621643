"""The worked example, with the numbers it must reach, in both backends."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.chainrule import worked_example

LIMIT = 1e-12


@pytest.fixture(params=["reference", "native"])
def example(request):
    return worked_example(request.param)


def explained(example, weight):
    return example.net.explain(example.x, example.y, example.loss, weight=weight, lr=example.lr)


def step_weights(example):
    """One step with the biases left alone: first all gradients, then all updates."""
    example.net.loss_and_grad(example.x, example.y, example.loss)
    for name in ("0.weight", "2.weight"):
        example.net.params[name][...] -= example.lr * example.net.grads[name]


def test_outputs_and_error(example):
    outputs = [[0.7513650695523157, 0.7729284653214625]]
    np.testing.assert_allclose(example.net.predict(example.x), outputs, rtol=0, atol=LIMIT)
    assert example.net.loss(example.x, example.y, example.loss) == pytest.approx(0.2983711087600027, abs=LIMIT)


@pytest.mark.parametrize(("weight", "factors", "gradient", "updated"), [
    ("w7", (-0.21707153467853746, 0.17551005281727122, 0.5932699921071872), -0.022602540477475067, 0.5113012702387375),
    ("w5", (0.7413650695523157, 0.18681560180895948, 0.5932699921071872), 0.08216704056423078, 0.35891647971788465),
])
def test_weights_of_the_output_layer(example, weight, factors, gradient, updated):
    e = explained(example, weight)
    (path,) = e.paths
    assert [f.value for f in path.factors] == pytest.approx(factors, abs=LIMIT)
    assert e.gradient == pytest.approx(gradient, abs=LIMIT)
    assert path.value == pytest.approx(gradient, abs=LIMIT)
    assert e.updated == pytest.approx(updated, abs=LIMIT)
    assert e.check.backward == pytest.approx(gradient, abs=LIMIT)
    assert e.relative_difference < 1e-6


def test_a_weight_of_the_hidden_layer(example):
    e = explained(example, "w1")
    assert len(e.paths) == e.path_count == 2
    assert sum(p.value for p in e.paths) == pytest.approx(0.00043856773447434685, abs=LIMIT)
    assert e.gradient == pytest.approx(0.00043856773447434685, abs=LIMIT)
    assert e.updated == pytest.approx(0.1497807161327628, abs=LIMIT)


def test_training_with_the_biases_left_alone(example):
    step_weights(example)
    assert example.net.loss(example.x, example.y, example.loss) == pytest.approx(0.29102777369359933, abs=LIMIT)
    for _ in range(9999):
        step_weights(example)
    assert example.net.loss(example.x, example.y, example.loss) == pytest.approx(3.510187782978859e-05, abs=LIMIT)


def test_updates_come_after_all_gradients(example):
    """Updating the output layer before going back through it gives 0.291027924 after one step: not what we do."""
    step_weights(example)
    error = example.net.loss(example.x, example.y, example.loss)
    assert abs(error - 0.291027924) > 1e-7
    assert error == pytest.approx(0.291027773693599, abs=LIMIT)


def test_an_explanation_is_of_one_point(example):
    before = {w: explained(example, w).gradient for w in ("w1", "w2", "w5", "w7")}
    example.net.loss_and_grad(example.x, example.y, example.loss)
    grads = example.net.grads
    after = {"w1": grads["0.weight"][0, 0], "w2": grads["0.weight"][1, 0], "w5": grads["2.weight"][0, 0],
             "w7": grads["2.weight"][0, 1]}
    assert before == pytest.approx(after, abs=LIMIT)
