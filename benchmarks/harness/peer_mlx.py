"""MLX, on the CPU: steps compiled with ``mx.compile``."""

from __future__ import annotations

from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, MINI_BATCHES, Problem, Row


def _objective(row: Row) -> Any:
    activation = {"relu": nn.relu, "tanh": mx.tanh}[row.activation]

    def objective(parameters: Any, x: Any, y: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = activation(mx.addmm(bias, x, weight))
        weight, bias = parameters[-1]
        z = mx.addmm(bias, x, weight)
        if row.loss == "mse":
            return mx.mean((z - y) ** 2)
        chosen = mx.take_along_axis(z, y[:, None], axis=1)
        return mx.mean(mx.logsumexp(z, axis=1) - mx.squeeze(chosen, 1))

    return objective


def _adam(gradients: Any, state: Any) -> Any:
    parameters, first, second, power1, power2 = state
    power1, power2 = power1 * BETA1, power2 * BETA2
    rate, root = LEARNING_RATE / (1 - power1), mx.sqrt(1 - power2)
    new: Any = ([], [], [])
    for layers in zip(parameters, first, second, gradients, strict=True):
        m = [BETA1 * m + (1 - BETA1) * g for m, g in zip(layers[1], layers[3], strict=True)]
        v = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(layers[2], layers[3], strict=True)]
        p = [p - rate * m / (mx.sqrt(v) / root + EPSILON) for p, m, v in zip(layers[0], m, v, strict=True)]
        for part, values in zip(new, (p, m, v), strict=True):
            part.append(values)
    return [*new, power1, power2]


class Steps:
    """Some steps in one compiled function, evaluated once a call."""

    several: ClassVar[int] = 1

    def __init__(self, problem: Problem, threads: int) -> None:
        mx.set_default_device(mx.cpu)
        self._problem = problem
        x, y = (mx.array(a.astype(np.int32 if a.dtype.kind == "i" else np.float32)) for a in problem.batches)
        groups = range(0, MINI_BATCHES, self.several)
        self._batches = [([x[i + j] for j in range(self.several)], [y[i + j] for j in range(self.several)])
                         for i in groups]
        mx.eval(self._batches)
        gradient = mx.value_and_grad(_objective(problem.row))

        def steps(state: Any, x: Any, y: Any) -> Any:
            losses = []
            for one_x, one_y in zip(x, y, strict=True):
                loss, gradients = gradient(state[0], one_x, one_y)
                state = _adam(gradients, state)
                losses.append(loss)
            return state, losses

        self._steps = mx.compile(steps)
        self.reset()

    def reset(self) -> None:
        def copies(change: Any) -> Any:
            return [[mx.array(change(array)) for array in pair] for pair in self._problem.parameters]
        self._state = [copies(np.copy), copies(np.zeros_like), copies(np.zeros_like), mx.array(1.0), mx.array(1.0)]
        mx.eval(self._state)

    def losses(self) -> NDArray[Any]:
        losses = []
        for x, y in self._batches:
            self._state, some = self._steps(self._state, x, y)
            mx.eval(self._state, some)
            losses += [loss.item() for loss in some]
        return np.array(losses)

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self._batches:
                self._state, _ = self._steps(self._state, x, y)
                mx.eval(self._state)


class FourSteps(Steps):
    """Four steps in one compiled function."""

    several = 4


class Epoch(Steps):
    """All steps of an epoch in one compiled function."""

    several = MINI_BATCHES
