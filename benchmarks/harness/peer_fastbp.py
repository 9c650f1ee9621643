"""fastbp itself: through ``Trainer.fit``, through ``Trainer.step``, and on the NumPy reference."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

import fastbp as fb
from harness import functions_fastbp, layers_fastbp
from harness.function_rows import FunctionProblem, FunctionRow
from harness.layer_rows import LayerRow
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

    _net: fb.Network
    _loss: Any
    _clip_norm: float | None
    _x: Any
    _y: Any

    def __init__(self, problem: Problem, threads: int) -> None:
        if self.backend == "native":
            fb.set_num_threads(threads)
        self._problem, self._clip_norm = problem, None
        if isinstance(problem, FunctionProblem) and isinstance(problem.row, LayerRow):
            name = problem.row.name
            self._net, self._loss = layers_fastbp.network(name, self.backend, self.dtype), layers_fastbp.loss(name)
            (self._x,), (self._y,) = problem.inputs, problem.targets
        elif isinstance(problem, FunctionProblem):
            row = cast("FunctionRow", problem.row)
            self._net, self._loss = functions_fastbp.network(row, self.backend, self.dtype)
            self._x = problem.inputs if len(problem.inputs) > 1 else problem.inputs[0]
            self._y = problem.targets
            self._clip_norm = row.clip_norm
        else:
            self._net = network(problem.row, self.backend, self.dtype)
            self._loss = fb.MSE() if problem.row.loss == "mse" else fb.CrossEntropy()
            self._x, self._y = problem.x, problem.y
        self.reset()

    def reset(self) -> None:
        parts = [array.ravel() for pair in self._problem.parameters for array in pair]
        self._net.params.flat[...] = np.concatenate(parts)
        optimizer: fb.Optimizer = fb.SGD(LEARNING_RATE) if self._problem.row.optimizer == "sgd" else \
            fb.Adam(LEARNING_RATE, BETA1, BETA2, EPSILON)
        self._trainer = fb.Trainer(self._net, self._loss, optimizer, clip_norm=self._clip_norm)

    def losses(self) -> NDArray[Any]:
        batch = self._net._data(self._x, self._y, self._trainer.loss)
        rates = np.full(MINI_BATCHES, LEARNING_RATE)
        losses = np.empty(len(rates))
        update = self._trainer.update
        update.clip_norm = self._trainer.clip_norm
        self._net._train(batch, update, None, self._problem.row.batch, rates, losses)
        return losses

    def run(self, epochs: int) -> None:
        self._trainer.fit(self._x, self._y, epochs=epochs, batch_size=self._problem.row.batch,
                          shuffle=False, progress=False)


class Step(Fit):
    """A call of ``Trainer.step`` for each mini-batch."""

    def losses(self) -> NDArray[Any]:
        return np.array([self._trainer.step(x, y) for x, y in self._batches()])

    def run(self, epochs: int) -> None:
        step, batches = self._trainer.step, self._batches()
        for _ in range(epochs):
            for x, y in batches:
                step(x, y)

    def _batches(self) -> list[Any]:
        if not isinstance(self._problem, FunctionProblem):
            return list(zip(*self._problem.batches, strict=True))
        arrays, n = self._problem.mini_batches, len(self._problem.inputs)
        if isinstance(self._problem.row, LayerRow):
            return list(zip(*arrays, strict=True))
        return [(tuple(a[i] for a in arrays[:n]) if n > 1 else arrays[0][i], tuple(a[i] for a in arrays[n:]))
                for i in range(MINI_BATCHES)]


class Reference(Fit):
    """The NumPy ops, with whatever BLAS NumPy has."""

    backend = "reference"


class Exact(Reference):
    """The NumPy ops in float64: what the losses of all others are checked against."""

    dtype = "float64"
