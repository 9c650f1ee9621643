"""TensorFlow: an epoch of 16 steps as one function, compiled by XLA."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, MINI_BATCHES, Problem, Row


def _objective(row: Row, parameters: Any, x: Any, y: Any) -> Any:
    activation = {"relu": tf.nn.relu, "tanh": tf.tanh}[row.activation]
    for weight, bias in parameters[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = parameters[-1]
    z = x @ weight + bias
    if row.loss == "mse":
        return tf.reduce_mean((z - y) ** 2)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z))


def _adam(gradients: Any, state: Any) -> Any:
    parameters, first, second, power1, power2 = state
    power1, power2 = power1 * BETA1, power2 * BETA2
    each = tf.nest.map_structure
    first = each(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = each(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
    rate, root = LEARNING_RATE / (1 - power1), tf.sqrt(1 - power2)
    parameters = each(lambda p, m, v: p - rate * m / (tf.sqrt(v) / root + EPSILON), parameters, first, second)
    return parameters, first, second, power1, power2


class Epoch:
    """One call an epoch, a loop of 16 steps: the state goes in as variables and is assigned at the end."""

    def __init__(self, problem: Problem, threads: int) -> None:
        if not tf.executing_eagerly():
            raise RuntimeError("TensorFlow must execute eagerly")
        for name in ("intra", "inter"):
            setting = getattr(tf.config.threading, f"set_{name}_op_parallelism_threads")
            if getattr(tf.config.threading, f"get_{name}_op_parallelism_threads")() != threads:
                setting(threads)
        self._problem = problem
        self._data = [tf.constant(a, tf.int32 if a.dtype.kind == "i" else tf.float32) for a in problem.batches]
        self._variables = tf.nest.map_structure(tf.Variable, self._start())

        def epoch(x: Any, y: Any) -> Any:
            state, losses = self._steps(tf.nest.map_structure(tf.convert_to_tensor, self._variables), x, y)
            tf.nest.map_structure(lambda variable, value: variable.assign(value), self._variables, state)
            return losses

        self._epoch = tf.function(epoch, jit_compile=True, autograph=False)

    def _start(self) -> Any:
        def copies(change: Any) -> Any:
            return [tuple(change(array) for array in pair) for pair in self._problem.parameters]
        return copies(np.copy), copies(np.zeros_like), copies(np.zeros_like), np.float32(1), np.float32(1)

    def _step(self, state: Any, x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(state[0])
            loss = _objective(self._problem.row, state[0], x, y)
        return _adam(tape.gradient(loss, state[0]), state), loss

    def _steps(self, state: Any, x: Any, y: Any) -> Any:
        def body(i: Any, state: Any, losses: Any) -> Any:
            state, loss = self._step(state, x[i], y[i])
            return i + 1, state, tf.tensor_scatter_nd_update(losses, [[i]], [loss])
        _, state, losses = tf.while_loop(lambda i, *_: i < MINI_BATCHES, body,
                                         (tf.constant(0), state, tf.zeros(MINI_BATCHES)),
                                         maximum_iterations=MINI_BATCHES)
        return state, losses

    def reset(self) -> None:
        tf.nest.map_structure(lambda variable, value: variable.assign(value), self._variables, self._start())

    def losses(self) -> NDArray[Any]:
        return np.asarray(self._epoch(*self._data))

    def run(self, epochs: int) -> None:
        losses = None
        for _ in range(epochs):
            losses = self._epoch(*self._data)
        if losses is not None:
            losses.numpy()
