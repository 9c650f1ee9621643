"""Initial weights by rows: every layer's outputs have variance 1 there and change their sign, however the rows lie."""

import numpy as np
import pytest

import fastbp as fb


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return np.array([1e3, -1, 0, 1e-3]) + np.array([1.0, 5.0, 0.1, 1e-5]) * rng.normal(size=(400, 4))


def linear(net, rows):
    return {name: values for name, values in net.activations(rows).items() if name.endswith(".linear")}


def test_outputs_have_variance_1_and_change_their_sign(rows):
    net = fb.Sequential(fb.Linear(4, 16), fb.SELU(), fb.LayerNorm(16), fb.Linear(16, 8), fb.Mish(), fb.Linear(8, 2),
                        seed=0, dtype="float64")
    before = net.params["5.weight"].copy()
    assert linear(net, rows)["0.linear"].std(axis=0).max() > 2
    assert fb.init_by_data(net, rows, seed=3) is net
    for z in [*linear(net, rows).values()][:-1]:
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-6)
        assert (z.min(axis=0) < 0).all()
        assert (z.max(axis=0) > 0).all()
    np.testing.assert_array_equal(net.params["5.weight"], before)
    again = fb.init_by_data(fb.Sequential(fb.Linear(4, 16), fb.SELU(), fb.Linear(16, 2), dtype="float64"), rows, seed=3)
    np.testing.assert_array_equal(again.params["0.weight"], net.params["0.weight"])


def test_layers_of_no_bias_shared_frozen_and_of_several_inputs(rows):
    a, b = fb.Input(4), fb.Input(4)
    shared, frozen = fb.Linear(4, 4, bias=False), fb.Linear(4, 3, trainable=False, name="frozen")
    y = fb.Linear(None, 1)(fb.Concat()(shared(a), fb.Tanh()(shared(shared(b))), frozen(a)))
    net = fb.Network((a, b), y, seed=0, dtype="float64")
    kept = net.params["frozen.weight"].copy()
    fb.init_by_data(net, (rows, rows[::-1]))
    np.testing.assert_array_equal(net.params["frozen.weight"], kept)
    assert next(iter(linear(net, (rows, rows)).values())).std(axis=0) == pytest.approx(1)


def test_rows_that_are_all_the_same_are_no_harm():
    net = fb.init_by_data(fb.Sequential(fb.Linear(3, 4), fb.ReLU(), fb.Linear(4, 1)), np.zeros((10, 3)))
    assert np.isfinite(net.params.flat).all()
    net = fb.init_by_data(fb.Sequential(fb.Linear(3, 4), fb.ReLU(), fb.Linear(4, 1)), np.full((10, 3), 1e4))
    assert np.abs(net.activations(np.full((1, 3), 1e4))["0.linear"]).max() < 10


def test_what_is_no_network_is_named():
    with pytest.raises(TypeError, match="net is 3; expected a network"):
        fb.init_by_data(3, np.zeros((2, 2)))
