"""Normalisation by running statistics is done by the layer before it: predictions are what they are in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.engine.lowering import Lowering
from fastbp.engine.native import has_bfloat16, op_phases
from fastbp.engine.plan_parts import Purpose

LAYERS: dict[str, tuple[tuple[int, ...], Any]] = {
    "convolution": ((9, 8, 3), lambda bias: [fb.Conv2d(3, 21, (3, 2), padding="same", bias=bias)]),
    "one channel": ((9, 8, 1), lambda bias: [fb.Conv2d(1, 5, 3, bias=bias)]),
    "one tap": ((6, 5, 1), lambda bias: [fb.Conv2d(1, 18, 1, bias=bias)]),
    "groups": ((9, 8, 6), lambda bias: [fb.Conv2d(6, 10, 3, stride=2, dilation=2, groups=2, bias=bias)]),
    "deep": ((4, 4, 90), lambda bias: [fb.Conv2d(90, 17, 3, padding=1, bias=bias)]),
    "depthwise": ((9, 8, 19), lambda bias: [fb.Conv2d(19, 19, 3, groups=19, bias=bias)]),
    "sequences": ((11, 3), lambda bias: [fb.Conv1d(3, 20, 4, bias=bias)]),
    "dense": ((7,), lambda bias: [fb.Linear(7, 37, bias=bias)]),
    "dense, few outputs": ((70,), lambda bias: [fb.Linear(70, 3, bias=bias)]),
    "dense, one input": ((1,), lambda bias: [fb.Linear(1, 33, bias=bias)]),
    "dense, steps": ((5, 7), lambda bias: [fb.Linear(7, 18, bias=bias)]),
    "dense, large": ((600,), lambda bias: [fb.Linear(600, 70, bias=bias)]),
}
ACTIVATIONS: dict[str, Any] = {"none": list, "relu": lambda: [fb.ReLU()], "gelu": lambda: [fb.GELU()]}


def trained(layers: list[fb.Layer], shape: tuple[int, ...], dtype: Any, seed: int) -> fb.Network:
    """Return a network whose running statistics and parameters are none of the first."""
    net = fb.Sequential(fb.Input(*shape), *layers, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    for name, values in (*net.params.items(), *net.buffers.items()):
        values[...] = rng.uniform(0.5, 3, values.shape) if name.endswith("var") else rng.standard_normal(values.shape)
    return net


def in_numpy(net: fb.Network) -> fb.Network:
    other = net.copy(backend="reference")
    assert other.backend == "reference"
    return other


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_predictions_are_those_in_numpy(name: str, bias: bool, activation: str, dtype: Any) -> None:
    shape, make = LAYERS[name]
    net = trained([*make(bias), fb.BatchNorm(eps=1e-3), *ACTIVATIONS[activation]()], shape, dtype, seed=3)
    before = {n: v.copy() for n, v in (*net.params.items(), *net.buffers.items())}
    other = in_numpy(net)
    x = np.random.default_rng(0).standard_normal((33, *shape)).astype(dtype)
    for rows in (33, 1):
        expected = other.predict(x[:rows])
        largest = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(net.predict(x[:rows]), expected, rtol=0,
                                   atol=largest * (2e-5 if dtype == "float32" else 1e-13))
    assert np.array_equal(net.predict(x)[:1], net.predict(x[:1])), "bits do not depend on the batch"
    for n, v in (*net.params.items(), *net.buffers.items()):
        assert np.array_equal(v, before[n]), n


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512_BF16")
def test_products_in_bfloat16() -> None:
    net = trained([fb.Linear(40, 37), fb.BatchNorm(), fb.ReLU()], (40,), "float32", seed=0)
    x = np.random.default_rng(0).standard_normal((33, 40)).astype("f")
    rounded = net.copy(compute_dtype="bfloat16")
    np.testing.assert_allclose(rounded.predict(x), in_numpy(rounded).predict(x), rtol=1e-5, atol=1e-4)
    assert np.abs(rounded.predict(x) - net.predict(x)).max() > 1e-3, "the products are in bfloat16"


def test_parameters_changed_between_predictions_count() -> None:
    net = trained([fb.Linear(4, 6), fb.BatchNorm(), fb.ReLU(), fb.Linear(6, 2)], (4,), "float64", seed=0)
    x = np.random.default_rng(0).standard_normal((5, 4))
    net.predict(x)
    for name, values in (*net.params.items(), *net.buffers.items()):
        values *= 1.5
        np.testing.assert_allclose(net.predict(x), in_numpy(net).predict(x), rtol=1e-12, err_msg=name)


def test_training_and_validation_between_predictions() -> None:
    """Training has statistics of its own, and validation those that it left."""
    def make(backend: Any) -> fb.Network:
        return fb.Sequential(fb.Input(6, 6, 2), fb.Conv2d(2, 5, 3), fb.BatchNorm(), fb.ReLU(), fb.MaxPool2d(2),
                             fb.Flatten(), fb.Linear(None, 3), fb.BatchNorm(), dtype="float64", seed=1, backend=backend)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6, 6, 2)), rng.integers(0, 3, 40)
    curves = []
    for backend in ("native", "reference"):
        net = make(backend)
        trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
        trainer.fit(x, y, epochs=3, batch_size=8, validation_data=(x[:9], y[:9]), progress=False)
        curves.append((trainer.history["loss"], trainer.history["val_loss"], net.predict(x),
                       net.loss(x, y, fb.CrossEntropy())))
    for ours, theirs in zip(*curves, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8)


def test_what_else_uses_the_values_before_normalisation_gets_them() -> None:
    x = fb.Input(4)
    h = fb.Linear(4, 5)(x)
    nets = fb.Network(x, [fb.BatchNorm()(h), h], dtype="float64", seed=0), fb.Network(
        x, fb.Add()(fb.ReLU()(fb.BatchNorm()(h)), h), dtype="float64", seed=0)
    values = np.random.default_rng(0).standard_normal((7, 4))
    for net in nets:
        for name, buffer in net.buffers.items():
            buffer[...] = 2 if name.endswith("var") else 0.5
        ours, theirs = (n.predict(values) for n in (net, in_numpy(net)))
        for a, b in zip(ours, theirs, strict=True):     # of two outputs, or of the rows of one
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_no_step_of_a_prediction_is_one_of_normalisation() -> None:
    net = fb.Sequential(fb.Input(6, 6, 2), fb.Conv2d(2, 5, 3), fb.BatchNorm(), fb.ReLU(), fb.BatchNorm(), fb.Flatten(),
                        fb.Linear(None, 3), fb.BatchNorm(), fb.Tanh())
    for training, expected in ((False, ["conv", "batch_norm", "linear"]),
                               (True, ["conv", "batch_norm", "batch_norm", "linear", "batch_norm"])):
        low = Lowering(net.graph, Purpose(training=training), op_phases)
        assert [s.node.op for s in low.forward if s.phase == "forward"] == expected
        assert [s.node.op for s in low.constants] == ["batch_norm"] * (0 if training else 3)
