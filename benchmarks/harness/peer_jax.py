"""JAX: a step as one compiled function, or an epoch, or all of them, as one ``lax.scan``; with donated buffers."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from harness import functions_jax, layers_jax
from harness.function_rows import FunctionProblem, FunctionRow
from harness.layer_rows import LayerRow
from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, MINI_BATCHES, Problem, Row

_CONVOLUTIONS = ("lenet", "vgg")
_wait: Any = jax.block_until_ready


def _objective(parameters: Any, x: Any, y: Any, activation: Any, classes: bool) -> Any:
    for weight, bias in parameters[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = parameters[-1]
    z = x @ weight + bias
    if not classes:
        return jnp.mean((z - y) ** 2)
    # a comparison instead of an index: XLA fuses it, and has no slow scatter on the way back
    chosen = y[:, None] == jnp.arange(z.shape[1], dtype=y.dtype)
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(jnp.where(chosen, z, 0), axis=1))


def _adam(gradients: Any, state: Any) -> Any:
    parameters, first, second, power1, power2 = state
    power1, power2 = power1 * BETA1, power2 * BETA2
    each = jax.tree.map
    first = each(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = each(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
    rate, root = LEARNING_RATE / (1 - power1), jnp.sqrt(1 - power2)
    parameters = each(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + EPSILON), parameters, first, second)
    return parameters, first, second, power1, power2


class Epoch:
    """One call an epoch."""

    unroll: ClassVar[int] = 1
    loops: ClassVar[bool] = True

    def __init__(self, problem: Problem, threads: int) -> None:
        row = problem.row
        if self.loops and row.name in _CONVOLUTIONS:
            raise NotImplementedError("inside a loop XLA convolves without its library, many times as slowly")
        self._problem = problem
        arrays: Any = problem.mini_batches if isinstance(problem, FunctionProblem) else problem.batches
        self._data = tuple(jnp.asarray(a, dtype=jnp.int32 if a.dtype.kind == "i" else jnp.float32) for a in arrays)
        gradient = jax.value_and_grad(self._objective(row))
        clip_norm = row.clip_norm if isinstance(row, FunctionRow) else None

        def step(state: Any, batch: Any) -> Any:
            loss, gradients = gradient(state[0], *batch)
            if clip_norm is not None:
                norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
                gradients = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip_norm / norm), gradients)
            return _adam(gradients, state), loss

        def epoch(state: Any, data: Any) -> Any:
            return lax.scan(step, state, data, unroll=self.unroll)

        def epochs(number: Any, state: Any, data: Any) -> Any:
            return lax.fori_loop(0, number, lambda _, s: epoch(s, data)[0], state)

        self._step = jax.jit(step, donate_argnums=0)
        self._epoch = jax.jit(epoch, donate_argnums=0)
        self._epochs = jax.jit(epochs, donate_argnums=1)
        self.reset()

    def _objective(self, row: Row) -> Any:
        if not isinstance(row, FunctionRow):
            activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[row.activation]
            return partial(_objective, activation=activation, classes=row.loss != "mse")
        if isinstance(row, LayerRow):
            return layers_jax.objective(row)
        whole, trained = functions_jax.objective(row), len(self._problem.parameters) - row.fixed
        fixed = [tuple(jnp.array(array) for array in pair) for pair in self._problem.parameters[trained:]]
        return lambda parameters, *batch: whole([*parameters, *fixed], *batch)

    def reset(self) -> None:
        row, pairs = self._problem.row, self._problem.parameters
        pairs = pairs[:len(pairs) - row.fixed] if isinstance(row, FunctionRow) else pairs

        def copies(change: Any = np.copy) -> Any:
            return [tuple(jnp.array(change(array)) for array in pair) for pair in pairs]
        self._state = copies(), copies(np.zeros_like), copies(np.zeros_like), jnp.float32(1), jnp.float32(1)

    def losses(self) -> NDArray[Any]:
        self._state, losses = self._epoch(self._state, self._data)
        assert losses.shape == (MINI_BATCHES,)
        return np.asarray(losses)

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self._state, _ = self._epoch(self._state, self._data)
        _wait(self._state)


class Step(Epoch):
    """One call a step."""

    loops = False

    def __init__(self, problem: Problem, threads: int) -> None:
        super().__init__(problem, threads)
        self._batches = [tuple(a[i] for a in self._data) for i in range(MINI_BATCHES)]

    def losses(self) -> NDArray[Any]:
        losses = []
        for batch in self._batches:
            self._state, loss = self._step(self._state, batch)
            losses.append(float(loss))
        return np.array(losses)

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for batch in self._batches:
                self._state, _ = self._step(self._state, batch)
        _wait(self._state)


class Epochs(Epoch):
    """One call for all epochs."""

    def run(self, epochs: int) -> None:
        self._state = _wait(self._epochs(epochs, self._state, self._data))


class Unrolled(Epochs):
    """One call for all epochs, with the bodies of four steps in a row."""

    unroll = 4
