"""Gradients of several mini-batches added up for one update: what ``trainer.fit(…, accumulate=4)`` does."""

from __future__ import annotations

from math import isfinite

import numpy as np

from fastbp.core.errors import NonFiniteError
from fastbp.engine.backend import Data, Progress
from fastbp.engine.executable import Executable
from fastbp.engine.reference import mini_batch
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Update

# More than one update has of mini-batches: what tells their random numbers apart.
_MOST = 1 << 20


def step(net: Executable, batches: list[Data], update: Update, lr: float) -> float:
    """Take one step from the mean gradient of mini-batches, weighted by their rows or sample weights; return the loss.

    Raises
    ------
    NonFiniteError
        If something stops being finite; nothing is changed then.
    """
    weights = np.array([b.rows if b.sample_weight is None else float(b.sample_weight.sum()) for b in batches])
    shares = weights / weights.sum() if weights.any() else weights
    buffers, total, loss = net.buffers.flat.copy(), np.zeros_like(net.grads.flat), 0.0
    try:
        for i, (batch, share) in enumerate(zip(batches, shares.tolist(), strict=True)):
            net._check_training(batch.rows)
            with net.memory.held(update.step * _MOST + i):
                value = net._run_back(batch)
            if not isfinite(value):
                raise NonFiniteError(0, "the loss", batch, lr)
            loss += share * value
            total += total.dtype.type(share) * net.grads.flat
        net.grads.flat = total
        try:
            net._apply_update(update, lr)
        except NonFiniteError as error:
            raise NonFiniteError(0, error.tensor, batches[0], lr) from None
    except BaseException:
        net.buffers.flat = buffers
        raise
    return loss


def train(net: Executable, size: int, data: Data, update: Update, order: Array | None, batch_size: int, rates: Array,
          losses: Array, on_progress: Progress | None) -> None:
    """Take a step per `batch_size` rows, each from mini-batches of `size` rows; otherwise as a backend's `train`."""
    for i, lr in enumerate(rates.tolist()):
        rows = data.take(mini_batch(i, data.rows, order, batch_size))
        parts = [rows.take(slice(first, first + size)) for first in range(0, rows.rows, size)]
        try:
            losses[i] = step(net, parts, update, lr)
        except NonFiniteError as error:
            error.batch = i
            raise
        if on_progress is not None:
            on_progress(i + 1)
