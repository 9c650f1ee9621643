"""The rows of functions in fastbp: networks, and losses as plain NumPy functions."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastbp as fb
from harness.function_rows import FunctionRow

ACTIVATIONS = {"relu": fb.ReLU, "tanh": fb.Tanh, "silu": fb.SiLU}


def _chain(x: Any, widths: tuple[int, ...], activation: str, *, trainable: bool = True) -> Any:
    for i, width in enumerate(widths[1:]):
        x = fb.Linear(None, width, trainable=trainable)(ACTIVATIONS[activation]()(x) if i else x)
    return x


def ppo(logits: Any, value: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
    logp = fb.special.log_softmax(logits)
    ratio = np.exp(np.take_along_axis(logp, action[:, None], axis=-1)[:, 0] - old_logp)
    policy = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    entropy = -(np.exp(logp) * logp).sum(axis=-1)
    return -policy.mean() + 0.5 * np.mean((value[:, 0] - returns) ** 2) - 0.01 * entropy.mean()


def dqn(q: Any, next_q: Any, action: Any, reward: Any) -> Any:
    target = reward + 0.99 * fb.stop_gradient(next_q.max(axis=1))
    size = np.abs(np.take_along_axis(q, action[:, None], axis=1)[:, 0] - target)
    near = np.minimum(size, 1.0)
    return np.mean(near * (size - 0.5 * near))


def vae(logits: Any, mean: Any, log_variance: Any, x: Any) -> Any:
    likelihood = np.sum(fb.special.softplus(logits) - x * logits, axis=1)
    divergence = -0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1)
    return np.mean(likelihood + divergence)


def pinn(u: Any, u_t: Any, u_x: Any, u_xx: Any) -> Any:
    return np.mean(np.square(u_t + u * u_x - 0.01 / np.pi * u_xx))


def force(energy: Any, slope: Any, known_energy: Any, known_force: Any) -> Any:
    return np.mean(np.square(energy[:, 0] - known_energy)) + np.mean(np.square(slope + known_force))


def network(row: FunctionRow, backend: Any, dtype: str) -> tuple[fb.Network, Any]:
    """Return a row's network, and its loss."""
    options: dict[str, Any] = {"seed": 0, "backend": backend, "dtype": dtype}
    chains, act = row.chains, row.activation
    if row.name == "ppo":
        x = fb.Input(8)
        return fb.Network(x, (_chain(x, chains[0], act), _chain(x, chains[1], act)), **options), ppo
    if row.name == "dqn":
        x, then = fb.Input(8), fb.Input(8)
        outputs = _chain(x, chains[0], act), _chain(then, chains[1], act, trainable=False)
        return fb.Network((x, then), outputs, **options), dqn
    if row.name == "vae":
        x, noise = fb.Input(784), fb.Input(20)
        h = fb.ReLU()(_chain(x, chains[0], act))
        mean, log_variance = _chain(h, chains[1], act), _chain(h, chains[2], act)
        logits = _chain(mean + np.exp(0.5 * log_variance) * noise, chains[3], act)
        return fb.Network((x, noise), (logits, mean, log_variance, x * 1.0), **options), lambda *outputs: vae(*outputs)
    x = fb.Input(chains[0][0])
    u = _chain(x, chains[0], act)
    if row.name == "force":
        return fb.Network(x, (u, fb.grad(u, x)), **options), force
    along_t, along_x = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    u_x = fb.jvp(u, x, along_x)
    return fb.Network(x, (u, fb.jvp(u, x, along_t), u_x, fb.jvp(u_x, x, along_x)), **options), pinn
