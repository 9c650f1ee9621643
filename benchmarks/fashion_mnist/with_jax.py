"""784-256-128-10 on Fashion-MNIST with JAX: an epoch is one compiled scan.

The last 96 rows of each epoch are left out, in favour of JAX: another batch size would have to be compiled as well.
"""

import sys
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from fashion_data import BATCH, EPOCHS, LEARNING_RATE, WIDTHS, load, report
from jax import lax

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def logits(parameters, x):
    for weight, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def objective(parameters, x, y):
    z = logits(parameters, x)
    chosen = y[:, None] == jnp.arange(z.shape[1])
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(jnp.where(chosen, z, 0), axis=1))


def step(state, rows, x, y):
    parameters, first, second, power1, power2 = state
    gradients = jax.grad(objective)(parameters, x[rows], y[rows])
    power1, power2 = power1 * BETA1, power2 * BETA2
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
    rate, root = LEARNING_RATE / (1 - power1), jnp.sqrt(1 - power2)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + EPSILON), parameters, first, second)
    return (parameters, first, second, power1, power2), None


@partial(jax.jit, donate_argnums=0)
def epoch(state, order, x, y):
    return lax.scan(partial(step, x=x, y=y), state, order)[0]


rng = np.random.default_rng(int(sys.argv[1]))
x_train, y_train, x_test, y_test = load()
x, y = jnp.asarray(x_train), jnp.asarray(y_train, dtype=jnp.int32)


def parameters(scale):
    return [(jnp.asarray(scale * rng.uniform(-1, 1, (i, o)) * np.sqrt(6 / i), dtype=jnp.float32), jnp.zeros(o))
            for i, o in pairwise(WIDTHS)]


state = parameters(1), parameters(0), parameters(0), jnp.float32(1), jnp.float32(1)
batches = len(x_train) // BATCH
for _ in range(EPOCHS):
    order = rng.permutation(len(x_train))[:batches * BATCH].reshape(batches, BATCH)
    state = epoch(state, jnp.asarray(order, dtype=jnp.int32), x, y)
predicted = np.asarray(logits(state[0], jnp.asarray(x_test))).argmax(axis=1)
report("JAX", np.mean(predicted == y_test))
