"""Training by single rows: gradients come from W itself, and what serves many rows is not kept up."""

import numpy as np
import pytest

import fastbp as fb


def nets(dtype):
    """Return the same network twice: native and reference."""
    return [fb.Sequential(fb.Linear(5, 24), fb.Tanh(), fb.Linear(24, 17), fb.ReLU(), fb.Linear(17, 9), fb.Sigmoid(),
                          fb.Linear(9, 3), seed=3, dtype=dtype, backend=backend) for backend in ("native", "reference")]


def rows(n):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 5)), rng.normal(size=(n, 3))


TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_of_one_row_are_the_references(dtype):
    found, expected = nets(dtype)
    for net in (found, expected):
        net.loss_and_grad(*rows(1), fb.MSE(), input_grads=True)
    np.testing.assert_allclose(found.grads.flat, expected.grads.flat, rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(found.input_grads[0], expected.input_grads[0], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_batches_follow_single_rows_and_the_other_way_round(dtype):
    trainers = [fb.Trainer(net, fb.MSE(), fb.Adam(1e-2)) for net in nets(dtype)]
    for batch_size in (1, 4, 1, 7, 1):
        for t in trainers:
            t.fit(*rows(7), epochs=2, batch_size=batch_size, shuffle=False, progress=False)
    for n in (1, 3, 1, 1, 5, 1):
        for t in trainers:
            t.step(*rows(n))
    found, expected = (t.net for t in trainers)
    np.testing.assert_allclose(found.params.flat, expected.params.flat, rtol=0, atol=50 * TOLERANCE[dtype])
    np.testing.assert_allclose(*(net.loss_and_grad(*rows(3), fb.MSE()) for net in (found, expected)),
                               rtol=50 * TOLERANCE[dtype])


def test_a_step_by_hand_after_single_rows_sees_the_parameters_of_now():
    x, y = rows(6)
    found, expected = nets("float64")
    for net in (found, expected):
        fb.Trainer(net, fb.MSE(), fb.Adam(1e-2)).fit(x, y, epochs=3, batch_size=1, shuffle=False, progress=False)
        net.backward(net.forward(x, training=True) - y)
    np.testing.assert_allclose(found.grads.flat, expected.grads.flat, rtol=0, atol=1e-12)
