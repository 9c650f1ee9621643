"""Initial weights by the rows that they will meet."""

from __future__ import annotations

import numpy as np

from fastbp.ops.base import Array

NEAR_CONSTANT = 1e-3
ROWS_A_BIAS = 5


def data_driven(x: Array, drawn: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    r"""Return a weight and a bias for a linear layer, z = x W + b, by some of its inputs.

    .. math:: W_{\cdot o} = \frac{V_{\cdot o}}{\operatorname{std}(x V_{\cdot o})}, \qquad
        b_o = -\sum_{k=1}^5 c_{ko}\, (x_{r_{ko}} W)_o

    So each output has variance 1 over the rows, and its zero lies among them: r are rows drawn at random, c weights of
    an exponential distribution that add up to 1. An output that hardly varies is divided by its size instead.
    Holzmüller, Grinsztajn and Steinwart (2024), https://arxiv.org/abs/2407.04491.

    Parameters
    ----------
    x : array (N, I)
    drawn : array (I, O)
        V, normal as a rule.
    rng : Generator

    Returns
    -------
    weight : array (I, O)
    bias : array (O,)
    z : array (N, O)
        x W.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(100, 101, (500, 3))
    >>> weight, bias, z = data_driven(x, rng.normal(size=(3, 2)), rng)
    >>> z = z + bias
    >>> z.std(axis=0).round(6).tolist(), bool((z.min(axis=0) < 0).all() and (z.max(axis=0) > 0).all())
    ([1.0, 1.0], True)
    """
    z = x @ drawn
    spread = _spread(z)
    z /= spread
    share = rng.exponential(size=(ROWS_A_BIAS, z.shape[1]))
    picked = z[rng.integers(0, len(z), (ROWS_A_BIAS, z.shape[1])), np.arange(z.shape[1])]
    return drawn / spread, -(picked * share).sum(axis=0) / share.sum(axis=0), z


def _spread(z: Array) -> Array:
    """Return the standard deviation of each column, or its size where it hardly varies."""
    spread, size = z.std(axis=0), np.sqrt(np.mean(z**2, axis=0))
    found = np.where(spread > NEAR_CONSTANT * size, spread, size)
    return np.asarray(np.where(found > 0, found, 1.0))
