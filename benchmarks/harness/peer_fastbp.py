"""fastbp itself: through ``Trainer.fit``, through ``Trainer.step``, and on the NumPy reference."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import fastbp as fb
from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, MINI_BATCHES, Problem, Row

if TYPE_CHECKING:
    from fastbp.engine.executable import BackendName


def network(row: Row, backend: BackendName = "native", dtype: str = "float32") -> fb.Sequential:
    """Return a row's network. Public names alone: compare_builds.py runs this on older builds too."""
    activation = {"relu": fb.ReLU, "tanh": fb.Tanh}[row.activation]
    layers: list[fb.Layer] = []
    for sizes in pairwise(row.widths):
        layers += [fb.Linear(*sizes), activation()]
    return fb.Sequential(*layers[:-1], seed=0, backend=backend, dtype=dtype)


class Fit:
    """All epochs in one call of ``Trainer.fit``."""

    backend: ClassVar[BackendName] = "native"
    dtype = "float32"

    def __init__(self, problem: Problem, threads: int) -> None:
        if self.backend == "native":
            fb.set_num_threads(threads)
        self._problem = problem
        self._net = network(problem.row, self.backend, self.dtype)
        self.reset()

    def reset(self) -> None:
        parts = [array.ravel() for pair in self._problem.parameters for array in pair]
        self._net.params.flat[...] = np.concatenate(parts)
        loss = fb.MSE() if self._problem.row.loss == "mse" else fb.CrossEntropy()
        self._trainer = fb.Trainer(self._net, loss, fb.Adam(LEARNING_RATE, BETA1, BETA2, EPSILON))

    def losses(self) -> NDArray[Any]:
        batch = self._net._data(self._problem.x, self._problem.y, self._trainer.loss)
        rates = np.full(MINI_BATCHES, LEARNING_RATE)
        losses = np.empty(len(rates))
        self._net._train(batch, self._trainer.update, None, self._problem.row.batch, rates, losses)
        return losses

    def run(self, epochs: int) -> None:
        self._trainer.fit(self._problem.x, self._problem.y, epochs=epochs, batch_size=self._problem.row.batch,
                          shuffle=False, progress=False)


class Step(Fit):
    """A call of ``Trainer.step`` for each mini-batch."""

    def losses(self) -> NDArray[Any]:
        x, y = self._problem.batches
        return np.array([self._trainer.step(x[i], y[i]) for i in range(MINI_BATCHES)])

    def run(self, epochs: int) -> None:
        step, batches = self._trainer.step, list(zip(*self._problem.batches, strict=True))
        for _ in range(epochs):
            for x, y in batches:
                step(x, y)


class Reference(Fit):
    """The NumPy ops, with whatever BLAS NumPy has."""

    backend = "reference"


class Exact(Reference):
    """The NumPy ops in float64: what the losses of all others are checked against."""

    dtype = "float64"
