"""The rows of functions in JAX: objectives of (parameters, arrays of a mini-batch)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from harness.function_rows import FunctionRow


def _split(row: FunctionRow, parameters: Any) -> list[Any]:
    chains, start = [], 0
    for widths in row.chains:
        count = len(list(pairwise(widths)))
        chains.append(parameters[start:start + count])
        start += count
    return chains


def _chain(x: Any, layers: Any, activation: Any) -> Any:
    for i, (weight, bias) in enumerate(layers):
        x = (activation(x) if i else x) @ weight + bias
    return x


def objective(row: FunctionRow) -> Any:
    """Return ``objective(parameters, *arrays)``."""
    act = {"relu": jax.nn.relu, "tanh": jnp.tanh, "silu": jax.nn.silu}[row.activation]

    def picked(z: Any, action: Any) -> Any:
        return jnp.sum(jnp.where(action[:, None] == jnp.arange(z.shape[1], dtype=action.dtype), z, 0), axis=1)

    def ppo(parameters: Any, x: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
        actor, critic = _split(row, parameters)
        logp = jax.nn.log_softmax(_chain(x, actor, act))
        value = _chain(x, critic, act)
        ratio = jnp.exp(picked(logp, action) - old_logp)
        policy = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
        entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
        return -policy.mean() + 0.5 * jnp.mean((value[:, 0] - returns) ** 2) - 0.01 * entropy.mean()

    def dqn(parameters: Any, x: Any, then: Any, action: Any, reward: Any) -> Any:
        online, fixed = _split(row, parameters)
        target = reward + 0.99 * jax.lax.stop_gradient(_chain(then, fixed, act)).max(axis=1)
        size = jnp.abs(picked(_chain(x, online, act), action) - target)
        near = jnp.minimum(size, 1.0)
        return jnp.mean(near * (size - 0.5 * near))

    def vae(parameters: Any, x: Any, noise: Any) -> Any:
        first, means, variances, decoder = _split(row, parameters)
        h = act(_chain(x, first, act))
        mean, log_variance = _chain(h, means, act), _chain(h, variances, act)
        logits = _chain(mean + jnp.exp(0.5 * log_variance) * noise, decoder, act)
        likelihood = jnp.sum(jax.nn.softplus(logits) - x * logits, axis=1)
        return jnp.mean(likelihood - 0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), axis=1))

    def pinn(parameters: Any, points: Any) -> Any:
        (layers,) = _split(row, parameters)

        def u(point: Any) -> Any:
            return _chain(point, layers, act)[0]

        def along(f: Any, direction: Any) -> Any:
            return lambda point: jax.jvp(f, (point,), (direction,))[1]
        t, x = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])

        def residual(point: Any) -> Any:
            return along(u, t)(point) + u(point) * along(u, x)(point) - 0.01 / jnp.pi * along(along(u, x), x)(point)
        return jnp.mean(jax.vmap(residual)(points) ** 2)

    def force(parameters: Any, x: Any, known_energy: Any, known_force: Any) -> Any:
        (layers,) = _split(row, parameters)
        energy, back = jax.vjp(lambda x: _chain(x, layers, act), x)
        slope = back(jnp.ones_like(energy))[0]
        return jnp.mean((energy[:, 0] - known_energy) ** 2) + jnp.mean((slope + known_force) ** 2)

    return {"ppo": ppo, "dqn": dqn, "vae": vae, "pinn": pinn, "force": force}[row.name]
