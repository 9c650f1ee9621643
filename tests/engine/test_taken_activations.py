"""Activations that other ops apply and go back through, and derivatives that forward keeps: against NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.engine.lowering import Lowering
from fastbp.engine.native import op_phases
from fastbp.engine.plan_parts import Purpose

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "relu": fb.ReLU, "leaky relu": lambda: fb.LeakyReLU(0.2), "elu": lambda: fb.ELU(1.3), "selu": fb.SELU,
    "gelu": fb.GELU, "gelu, tanh": lambda: fb.GELU("tanh"), "silu": fb.SiLU, "mish": fb.Mish, "sigmoid": fb.Sigmoid,
    "tanh": fb.Tanh, "softplus": fb.Softplus, "hard swish": fb.HardSwish, "identity": fb.Identity,
}
Layers = Callable[[Callable[[], Any]], list[Any]]
PLACES: dict[str, tuple[tuple[int, ...], Layers]] = {
    "linear, linear": ((7,), lambda act: [fb.Linear(7, 21), act(), fb.Linear(21, 4)]),
    "one input, one output": ((1,), lambda act: [fb.Linear(1, 19), act(), fb.Linear(19, 1), act()]),
    "steps": ((3, 5), lambda act: [fb.Linear(5, 18), act(), fb.Linear(18, 2)]),
    "input": ((37,), lambda act: [act(), fb.Linear(37, 4)]),
    "two in a row": ((7,), lambda act: [fb.Linear(7, 21), act(), act(), fb.Linear(21, 4)]),
    "last": ((7,), lambda act: [fb.Linear(7, 21), act()]),
    "convolution, pooling": ((7, 6, 2), lambda act: [fb.Conv2d(2, 5, 3), act(), fb.MaxPool2d(2), fb.Flatten(),
                                                     fb.Linear(None, 3)]),
    "convolution, convolution": ((9, 3), lambda act: [fb.Conv1d(3, 6, 3), act(), fb.Conv1d(6, 17, 2), act(),
                                                      fb.GlobalAvgPool()]),
    "layer norm, linear": ((7,), lambda act: [fb.Linear(7, 21), fb.LayerNorm(), act(), fb.Linear(21, 4)]),
    "layer norm of long rows": ((5,), lambda act: [fb.Linear(5, 1500), fb.LayerNorm(), act(), fb.Linear(1500, 2)]),
    "layer norm of steps": ((3, 5), lambda act: [fb.Linear(5, 18), fb.LayerNorm(), act(), fb.Linear(18, 2)]),
    "RMS norm, linear": ((7,), lambda act: [fb.Linear(7, 21), fb.RMSNorm(21), act(), fb.Linear(21, 4)]),
    "batch norm, linear": ((7,), lambda act: [fb.Linear(7, 21), fb.BatchNorm(), act(), fb.Linear(21, 4)]),
    "batch norm first": ((70,), lambda act: [fb.BatchNorm(70), act(), fb.Linear(70, 4)]),
    "linear, norms": ((7,), lambda act: [fb.Linear(7, 21), act(), fb.BatchNorm(), act(), fb.LayerNorm(),
                                         fb.Linear(21, 4)]),
    "linear, dropout": ((7,), lambda act: [fb.Linear(7, 21), act(), fb.Dropout(0.3), fb.Linear(21, 4)]),
    "no dropout": ((7,), lambda act: [fb.Linear(7, 21), act(), fb.Dropout(0.0), fb.Linear(21, 4)]),
    "batch norm, dropout": ((7,), lambda act: [fb.Linear(7, 21), fb.BatchNorm(), act(), fb.Dropout(0.4),
                                               fb.Linear(21, 4)]),
    "layer norm, dropout, layer norm": ((7,), lambda act: [fb.LayerNorm(7), act(), fb.Dropout(0.4), fb.LayerNorm(7)]),
}


def network(place: str, activation: str, dtype: Any) -> fb.Network:
    shape, layers = PLACES[place]
    net = fb.Sequential(fb.Input(*shape), *layers(ACTIVATIONS[activation]), dtype=dtype, seed=2)
    rng = np.random.default_rng(1)
    for values in net.params.values():
        values[...] += 0.3 * rng.standard_normal(values.shape)
    return net


def check_gradients(place: str, activation: str, dtype: Any, rows: int = 13) -> None:
    net = network(place, activation, dtype)
    other = net.copy(dtype="float64", backend="reference")
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((rows, *PLACES[place][0]))

    def close(found: Any, should: Any, what: str) -> None:
        scale, atol = max(1.0, float(np.abs(should).max())), 1e-3 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(found / scale, should / scale, rtol=0, atol=atol,
                                   err_msg=f"{place}, {activation}: {what}")

    should = other.forward(x, training=True)
    close(net.forward(x.astype(dtype), training=True), should, "output")
    dy = rng.standard_normal(np.shape(should))
    close(net.backward(dy.astype(dtype)), other.backward(dy), "input gradient")
    for name, grad in other.grads.items():
        close(net.grads[name], grad, name)
    close(net.predict(x), other.predict(x), "prediction")


def check_bits(place: str, activation: str, dtype: Any) -> None:
    """Forward gives the same bits whether it keeps derivatives or not."""
    net = network(place, activation, dtype)
    x = np.random.default_rng(0).standard_normal((29, *PLACES[place][0])).astype(dtype)
    if not any(isinstance(layer, fb.BatchNorm | fb.Dropout) for layer in net.layers):
        np.testing.assert_array_equal(net.forward(x, training=True), net.predict(x), err_msg=f"{place}, {activation}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("place", PLACES)
def test_gradients_are_those_in_numpy(place: str, activation: str, dtype: Any) -> None:
    check_gradients(place, activation, dtype)
    check_bits(place, activation, dtype)


@pytest.mark.parametrize("isa", [i for i in fb.cpu_info().isas if i != fb.cpu_info().isa])
def test_each_instruction_set(isa: str) -> None:
    code = ("import test_taken_activations as t\n"
            "for place in t.PLACES:\n"
            "    for activation in t.ACTIVATIONS:\n"
            "        for dtype in ('float32', 'float64'):\n"
            "            t.check_gradients(place, activation, dtype, rows=5)\n"
            "            t.check_bits(place, activation, dtype)\n")
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTBP_ISA": isa, "PYTHONPATH": path}, check=True)


def steps(net: fb.Network, phase: str, **purpose: Any) -> list[str]:
    low = Lowering(net.graph, Purpose(**purpose), op_phases)
    return [s.node.op for s in getattr(low, phase)]


@pytest.mark.parametrize("place", ["linear, linear", "convolution, pooling"])
def test_one_pass_each_way(place: str) -> None:
    """The activation is a step of its own neither forwards nor backwards, and its input is kept nowhere."""
    net = network(place, "gelu", "float32")
    for phase in ("forward", "backward"):
        assert "gelu" not in steps(net, phase, backward=True)


@pytest.mark.parametrize("norm", [fb.BatchNorm, fb.LayerNorm])
def test_normalisation_takes_in_activations_but_in_numpy(norm: Callable[[], fb.Layer]) -> None:
    """Where ranks share a batch, batch normalisation is done in NumPy."""
    net = fb.Sequential(fb.Linear(7, 9), fb.ReLU(), norm(), fb.GELU(), fb.Linear(9, 4))
    for shared in (False, True):
        apart = shared and norm is fb.BatchNorm
        assert ("gelu" in steps(net, "forward", backward=True, shared=shared)) is apart
        assert ("relu" in steps(net, "backward", backward=True, shared=shared)) is apart


def test_predictions_keep_no_derivatives() -> None:
    net = network("linear, linear", "gelu", "float32")
    for purpose, kept in ((Purpose(), 0), (Purpose(backward=True), 1)):
        low = Lowering(net.graph, purpose, op_phases)
        assert sum(s.node.slope is not None for s in low.forward) == kept


def test_frozen_layers_keep_no_derivatives() -> None:
    net = fb.Sequential(fb.Linear(7, 9, trainable=False), fb.GELU(), fb.Linear(9, 9), fb.GELU(), fb.Linear(9, 4))
    low = Lowering(net.graph, Purpose(backward=True), op_phases)
    assert sum(s.node.slope is not None for s in low.forward) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_behind_relu_goes_back_by_its_output_with_the_bits_of_both_one_by_one(dtype: Any) -> None:
    x = fb.Input(13)
    h = fb.ReLU()(fb.Linear(13, 37)(x))
    y = fb.Dropout(0.3)(h)
    by_output, apart = (fb.Network(x, outputs, dtype=dtype, seed=0) for outputs in (y, [y, h]))
    rng = np.random.default_rng(0)
    values, dy = rng.standard_normal((23, 13)).astype(dtype), rng.standard_normal((23, 37)).astype(dtype)
    dy[0, :9], dy[1, 9:20] = np.inf, np.nan
    np.testing.assert_array_equal(by_output.forward(values, training=True), apart.forward(values, training=True)[0])
    by_output.backward(dy)
    apart.backward([dy, np.zeros_like(dy)])
    assert np.isfinite(by_output.grads["0.bias"][20:]).all()
    for name, grad in apart.grads.items():
        np.testing.assert_array_equal(by_output.grads[name], grad, err_msg=name)
