"""The rows of layers in JAX: objectives of (parameters, arrays of a mini-batch)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from harness.layer_rows import LayerRow


def objective(row: LayerRow) -> Any:
    """Return ``objective(parameters, x, y)``."""
    forward = {"lenet": _lenet, "vgg": _vgg, "lstm": _lstm, "gru": _gru, "block": _block,
               "embeddings": _embeddings}[row.name]

    def value(parameters: Any, x: Any, y: Any) -> Any:
        z = forward([a for (a,) in parameters], x)
        if row.targets:
            return jnp.mean((z - y) ** 2)
        chosen = y[:, None] == jnp.arange(z.shape[1], dtype=y.dtype)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(jnp.where(chosen, z, 0), axis=1))
    return value


def _convolve(x: Any, parameters: Any, padding: str) -> Any:
    weight, bias = parameters
    return jax.nn.relu(lax.conv_general_dilated(x, weight, (1, 1), padding,
                                                dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias)


def _pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _dense(x: Any, parameters: Any) -> Any:
    for i in range(0, len(parameters), 2):
        x = (jax.nn.relu(x) if i else x) @ parameters[i] + parameters[i + 1]
    return x


def _lenet(p: Any, x: Any) -> Any:
    x = _pool(_convolve(_pool(_convolve(x, p[:2], "VALID")), p[2:4], "VALID"))
    return _dense(x.reshape(len(x), -1), p[4:])


def _vgg(p: Any, x: Any) -> Any:
    for i in (0, 4):
        x = _pool(_convolve(_convolve(x, p[i:i + 2], "SAME"), p[i + 2:i + 4], "SAME"))
    return _dense(x.reshape(len(x), -1), p[8:])


def _lstm(p: Any, x: Any) -> Any:
    weight_ih, bias, weight_hh, weight, last = p

    def step(state: Any, z: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(z + h @ weight_hh, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
    zero = jnp.zeros((len(x), 64))
    (h, _), _ = lax.scan(step, (zero, zero), jnp.swapaxes(x @ weight_ih + bias, 0, 1))
    return h @ weight + last


def _gru(p: Any, x: Any) -> Any:
    weight_ih, bias, weight_hh, bias_n, weight, last = p

    def step(h: Any, z: Any) -> Any:
        zr, zs, zn = jnp.split(z, 3, axis=1)
        ur, us, un = jnp.split(h @ weight_hh, 3, axis=1)
        s = jax.nn.sigmoid(zs + us)
        n = jnp.tanh(zn + jax.nn.sigmoid(zr + ur) * (un + bias_n))
        return (1 - s) * n + s * h, None
    h, _ = lax.scan(step, jnp.zeros((len(x), 64)), jnp.swapaxes(x @ weight_ih + bias, 0, 1))
    return h @ weight + last


def _norm(x: Any, weight: Any, bias: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5) * weight + bias


def _block(p: Any, x: Any) -> Any:
    w_in, b_in, w_out, b_out, scale1, shift1, w1, b1, w2, b2, scale2, shift2 = p
    q, k, v = (a.reshape(*a.shape[:2], 4, 16) for a in jnp.split(x @ w_in + b_in, 3, axis=-1))
    shares = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 4, axis=-1)
    y = jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(x.shape) @ w_out + b_out
    h = _norm(x + y, scale1, shift1)
    return _norm(h + jax.nn.relu(h @ w1 + b1) @ w2 + b2, scale2, shift2)


def _embeddings(p: Any, ids: Any) -> Any:
    table, *dense = p
    return _dense(table[ids + jnp.arange(8, dtype=ids.dtype) * 1000].reshape(len(ids), -1), dense)
