"""Probabilities that are as often right as they say: one temperature, from predictions for rows held out."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from fastbp.ops.base import Array

LEAST = 1e-12
PRIOR = 0.3
"""How far log T is thought to be from 0 before rows are seen: its standard deviation."""
MOST = np.log(20.0)


def cooled(p: Array, temperature: float) -> Array:
    r"""Return probabilities (N, K) at another temperature: :math:`p_k^{1/T} / \sum_j p_j^{1/T}`.

    >>> cooled(np.array([[0.5, 0.25, 0.25]]), 0.5).round(3).tolist()
    [[0.667, 0.167, 0.167]]
    """
    if temperature == 1:
        return p
    z = np.log(np.maximum(p, LEAST)) / temperature
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def temperature_of(p: Array, labels: Array, weights: Array | None = None) -> float:
    r"""Return the temperature T at which probabilities have the smallest log loss.

    .. math:: \min_T\; -\sum_i w_i \log \frac{p_{i y_i}^{1/T}}{\sum_k p_{ik}^{1/T}} + \frac{(\log T)^2}{2 \cdot 0.3^2}

    The second term, a normal prior of log T, keeps T near 1 where there are few rows. Guo, Pleiss, Sun and Weinberger
    (2017), https://arxiv.org/abs/1706.04599.

    Parameters
    ----------
    p : array (N, K)
        Of rows that were not trained on.
    labels : array of int (N,)
    weights : array (N,), optional
    """
    at = np.arange(len(labels)), labels
    each = np.ones(len(labels)) if weights is None else weights * (len(weights) / weights.sum())

    def cost(log_t: float) -> float:
        likely = np.maximum(cooled(p, float(np.exp(log_t)))[at], LEAST)
        return float(-(each * np.log(likely)).sum() + log_t**2 / (2 * PRIOR**2))
    return float(np.exp(minimize_scalar(cost, bounds=(-MOST, MOST), method="bounded").x))
