"""Steps: what a trainer does with one mini-batch, or with many that are checked; alone, or as one of several ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Data, Progress
from fastbp.engine.ranks import Ranks
from fastbp.network import Network
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Optimizer, Update
from fastbp.training import accumulation
from fastbp.training.divergence import divergence
from fastbp.training.shares import RowWeights, share_of_arrays, share_of_batch


class Steps:
    """What a trainer has below its epochs."""

    net: Network
    loss: Any
    loss_weights: tuple[float, ...] | None
    optimizer: Optimizer
    clip_norm: float | None
    clip_value: float | None
    _update: Update
    _ranks: Ranks | None
    _weights: RowWeights
    _apart: bool

    def _next_rate(self) -> float:
        """Return the learning rate of the next update, and set this trainer's limits: another may have other ones."""
        update = self._update
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        return self.optimizer._lr.rate(update.step)

    def _checked_step(self, x: Any, y: Any, sample_weight: Any, lr: float, tally: Array | None) -> float:
        """Train on one mini-batch that may be anything, and fill a tally (losses, 2)."""
        data, losses = self._data(x, y, sample_weight), np.empty(1)
        try:
            self.net._train(data, self._update, None, data.rows, np.array([lr], np.float64), losses,
                            tally=None if tally is None else tally[None])
        finally:
            self.net._release()
        return float(losses[0])

    def _step(self, x: Any, y: Any, sample_weight: Any, tally: Array | None) -> tuple[float, float]:
        """Train on one mini-batch as it comes: return the loss and the learning rate."""
        lr, quick = self._next_rate(), None
        if sample_weight is None and tally is None:
            quick = self.net._quick_step(x, y, self.loss, self._update, lr)
        return self._checked_step(x, y, sample_weight, lr, tally) if quick is None else quick, lr

    def _shared_step(self, x: Any, y: Any, sample_weight: Any, tally: Array | None) -> tuple[float, float]:
        """Train on a mini-batch of which this rank has some rows: return the loss of all and the learning rate."""
        lr = self._next_rate()
        return self._step_in_ranks(x, y, sample_weight, lr, tally), lr

    def _step_in_ranks(self, x: Any, y: Any, sample_weight: Any, lr: float, tally: Array | None = None) -> float:
        """Train on a mini-batch of which this rank has some rows, and others have the rest."""
        assert self._ranks is not None
        with self._failing_together():
            with self._ranks.together():
                data, losses = self._data(x, y, sample_weight), np.empty(1)
                totals = RowWeights().totals(data)
            share = share_of_batch(self._ranks, data, totals, self._apart)
            try:
                self.net._train(data, self._update, None, data.rows, np.array([lr], np.float64), losses, None, share,
                                None if tally is None else tally[None])
            except NonFiniteError as error:
                self._ranks.settle(error)
                raise
            finally:
                self.net._release()
            if tally is not None:
                tally[...] = self._ranks.sum(tally)
        return float(losses[0])

    def _train(self, data: Data, order: Array | None, batch_size: int, rates: Array, losses: Array,
               on_progress: Progress | None, tally: Array | None) -> None:
        """Train on mini-batches of checked data."""
        update = self._update
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        share = None if self._ranks is None else share_of_arrays(
            self._ranks, data, self._weights.of(data), order, batch_size, len(rates), self._apart)
        self.net._train(data, update, order, batch_size, rates, losses, on_progress, share, tally)
        if tally is not None and self._ranks is not None:
            tally[...] = self._ranks.sum(tally)         # each rank has counted its own rows

    def _train_together(self, size: int, data: Data, order: Array | None, batch_size: int, rates: Array,
                        losses: Array, on_progress: Progress | None, tally: Array | None) -> None:
        """Train on several mini-batches for each update."""
        update = self._update
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        accumulation.train(self.net, size, data, update, order, batch_size, rates, losses, on_progress)

    def _step_of_several(self, batches: Sequence[tuple[Any, Any, Any]]) -> tuple[float, float]:
        """Take one step from several batches as they come: return the loss and the learning rate."""
        lr = self._next_rate()
        return accumulation.step(self.net, [self._data(*batch) for batch in batches], self._update, lr), lr

    def _data(self, X: Any, y: Any, sample_weight: Any) -> Data:
        return self._scaled(self.net._data(X, y, self.loss, sample_weight))

    def _scaled(self, data: Data) -> Data:
        return data if self.loss_weights is None else replace(data, scales=self.loss_weights)

    @contextmanager
    def _failing_together(self) -> Iterator[None]:
        """Tell the other ranks of what is raised here."""
        try:
            yield
        except DivergenceError:
            raise               # of the whole batch: all ranks have met it
        except BaseException as error:
            if self._ranks is not None:
                self._ranks.fail(error)
            raise

    def _diverged(self, error: NonFiniteError, epoch: int, batch: int) -> DivergenceError:
        return divergence(self.net, error, self.clip_norm is not None, epoch, batch, self._update.step)
