"""A whole training step (forward, loss, backward, Adam), native against reference: ``pytest benchmarks/test_step.py``.

The nets are those of docs/performance.md. That both backends take the same steps is checked before anything is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fastbp as fb


@dataclass(frozen=True)
class Net:
    """A net of linear layers, and the mini-batch it is trained on."""

    widths: tuple[int, ...]
    batch: int
    activation: type[fb.Layer]
    loss: fb.Loss

    def trainer(self, backend: Any) -> fb.Trainer:
        layers = [layer for pair in pairwise(self.widths[:-1]) for layer in (fb.Linear(*pair), self.activation())]
        net = fb.Sequential(*layers, fb.Linear(*self.widths[-2:]), seed=0, backend=backend)
        return fb.Trainer(net, self.loss, fb.Adam(lr=1e-3))

    def data(self, batches: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        rows = batches * self.batch
        x = rng.standard_normal((rows, self.widths[0])).astype(np.float32)
        if isinstance(self.loss, fb.CrossEntropy):
            return x, rng.integers(0, self.widths[-1], rows)
        return x, rng.standard_normal((rows, self.widths[-1])).astype(np.float32)


NETS = {
    "b1": Net((16, 32, 32, 1), 1, fb.Tanh, fb.MSE()),
    "rl": Net((4, 64, 64, 2), 32, fb.Tanh, fb.MSE()),
    "deep": Net((64, *[64] * 8, 10), 64, fb.ReLU, fb.CrossEntropy()),
    "tab": Net((32, 128, 128, 1), 256, fb.ReLU, fb.MSE()),
    "mnist": Net((784, 256, 128, 10), 128, fb.ReLU, fb.CrossEntropy()),
}


def _check(net: Net) -> None:
    x, y = net.data(1)
    native, reference = net.trainer("native"), net.trainer("reference")
    ours, theirs = ([t.step(x, y) for _ in range(5)] for t in (native, reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", NETS)
def test_step(benchmark: Any, name: str, backend: str) -> None:
    """One call of trainer.step from Python."""
    net = NETS[name]
    _check(net)
    trainer, (x, y) = net.trainer(backend), net.data(1)
    benchmark.group = f"step, {name}"
    benchmark(trainer.step, x, y)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", NETS)
def test_epoch(benchmark: Any, name: str, backend: str) -> None:
    """One epoch of 16 mini-batches."""
    net = NETS[name]
    _check(net)
    trainer, (x, y) = net.trainer(backend), net.data(16)
    benchmark.group = f"epoch of 16 steps, {name}"
    benchmark(trainer.fit, x, y, epochs=1, batch_size=net.batch, progress=False)
