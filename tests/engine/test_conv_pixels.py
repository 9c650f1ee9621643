"""Convolutions of one channel with few outputs, whose vectors are pixels: as in NumPy, in every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

LAYERS: dict[str, tuple[tuple[int, ...], Any]] = {
    "six outputs": ((28, 28, 1), lambda: [fb.Conv2d(1, 6, 5), fb.ReLU()]),
    "one output, padding": ((9, 33, 1), lambda: [fb.Conv2d(1, 1, (2, 3), padding="same", bias=False)]),
    "seven outputs, stride": ((11, 64, 1), lambda: [fb.Conv2d(1, 7, (3, 4), stride=(2, 1), padding=((0, 2), (1, 0)))]),
    "eight outputs, dilation": ((8, 40, 1), lambda: [fb.Conv2d(1, 8, 3, dilation=2), fb.Tanh()]),
    "four outputs, wider than a patch": ((5, 300, 1), lambda: [fb.Conv2d(1, 4, 3, padding=1), fb.ReLU()]),
    "two outputs, higher than a patch": ((300, 70, 1), lambda: [fb.Conv2d(1, 2, 3)]),
    "sequence": ((500, 1), lambda: [fb.Conv1d(1, 3, 9, padding=((8, 0),)), fb.ReLU()]),
    "normalised": ((12, 32, 1), lambda: [fb.Conv2d(1, 5, 3, bias=False), fb.BatchNorm(), fb.ReLU()]),
}


def both(name: str, dtype: Any, seed: int = 0) -> list[fb.Network]:
    shape, make = LAYERS[name]
    backends: tuple[Any, ...] = ("native", "reference")
    return [fb.Sequential(fb.Input(*shape), *make(), dtype=dtype, backend=b, seed=seed) for b in backends]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_as_in_numpy(name: str, dtype: Any) -> None:
    nets, rng = both(name, dtype), np.random.default_rng(0)
    x = rng.standard_normal((5, *LAYERS[name][0])).astype(dtype)
    ys = [net.forward(x, training=True) for net in nets]
    dy = rng.standard_normal(ys[0].shape).astype(dtype)
    for net in nets:
        net.backward(dy)
    tolerance = 3e-5 if dtype == "float32" else 1e-13
    pairs = {"y": ys, "predictions": [net.predict(x) for net in nets],
             **{n: [net.grads[n] for net in nets] for n in nets[0].grads}}
    for what, (ours, theirs) in pairs.items():
        largest = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * largest, err_msg=what)


@pytest.mark.parametrize("name", LAYERS)
def test_bits_depend_on_neither_batch_nor_threads(name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, *LAYERS[name][0])).astype("f")
    made, before = [], fb.get_num_threads()
    try:
        for threads in (1, 2):
            fb.set_num_threads(threads)
            net, _ = both(name, "float32")
            y = net.forward(x, training=True)
            net.backward(np.ones_like(y))
            made.append((y, net.predict(x), net.grads.flat.copy()))
            assert np.array_equal(net.predict(x)[3:4], net.predict(x[3:4]))
    finally:
        fb.set_num_threads(before)
    for one, two in zip(*made, strict=True):
        assert np.array_equal(one, two)


def test_infinite_pixels_stay_among_the_windows_that_see_them() -> None:
    """Lanes behind the last window see pixels as well; nothing comes of them."""
    net = both("six outputs", "float32")[0]
    x = np.random.default_rng(0).standard_normal((2, 28, 28, 1)).astype("f")
    x[0, 0, 27] = np.inf
    y = net.forward(x, training=True)
    assert np.isfinite(y[0, :, :23]).all()
    assert np.isfinite(y[1]).all()
    net.backward(np.ones_like(y))
    assert np.isfinite(net.grads["0.weight"][:, :4]).all(), "the first four taps of a line do not reach the last column"


@pytest.mark.parametrize("isa", [i for i in fb.cpu_info().isas if i != fb.cpu_info().isa])
def test_each_instruction_set(isa: str) -> None:
    environment = {**os.environ, "FASTBP_ISA": isa,
                   "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path))}
    script = ("import test_conv_pixels as t, test_folding as f\n"
              "for dtype in ('float32', 'float64'):\n"
              "    for name in t.LAYERS: t.test_it_is_as_in_numpy(name, dtype)\n"
              "    for name in f.LAYERS: f.test_predictions_are_those_in_numpy(name, True, 'relu', dtype)\n")
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
