"""Training in ranks: which rows of a mini-batch are whose, and what rank 0 decides for all.

n ranks do what one process does with the whole mini-batch. Every rank holds the same network and takes the same steps,
from losses and gradients that are added up over all (:mod:`fastbp.engine.ranks`). Rank 0 calls the callbacks; what they
change (the learning rate, ``trainer.stop``, the parameters) the other ranks follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from fastbp.engine.backend import Data
from fastbp.engine.ranks import Ranks, Share
from fastbp.objectives.functions import FunctionLoss
from fastbp.ops.base import Array
from fastbp.training.callback import Training
from fastbp.training.sources import BatchSource, Source, Step


def align(ranks: Ranks, trainer: Training) -> None:
    """Give every rank the network of rank 0 with its seed, and the state of its optimizer."""
    net, update = trainer.net, trainer.update
    sizes = np.array([net.params.flat.size, net.buffers.flat.size, len(net.graph.tensors), len(update.state)], float)
    if not (ranks.sum(sizes.copy()) == ranks.size * sizes).all():
        raise ValueError(f"Trainer: comm joins ranks with different networks; this one, {ranks.rank}, has {net!r}")
    seed, update.step, net.memory.step, net.memory.draws = ranks.share(
        (net.seed, update.step, net.memory.step, net.memory.draws))
    if seed != net.seed:
        net.seed = net.memory.seed = seed
        net._start()
    for array in (net.params.flat, net.buffers.flat, *update.state):
        ranks.broadcast(array)


def agree(ranks: Ranks, trainer: Training, source: Source, epochs: int, validation: Data | None) -> None:
    """Refuse what differs between ranks: they would wait for each other in different places, or train on other data."""
    losses = trainer.loss if isinstance(trainer.loss, tuple) else (trainer.loss,)
    mine = {**source.given(), "epochs": epochs, "rows of validation data": validation and validation.rows,
            "loss": [type(loss).__name__ for loss in losses], "optimizer": type(trainer.optimizer).__name__,
            "learning rate": float(trainer.optimizer.lr(trainer.update.step))}
    first = ranks.share(mine)
    with ranks.together():
        for name in mine | first:
            if mine.get(name) != first.get(name):
                raise ValueError(f"fit: {name}: {mine.get(name)!r} on rank {ranks.rank}, {first.get(name)!r} on "
                                 "rank 0; give all ranks the same arguments and arrays, or batches of its own each")


class RowWeights:
    """The weight of each row of a data set in each loss, as losses average over mini-batches.

    Those of one data set are remembered.
    """

    def __init__(self) -> None:
        self._data: Data | None = None
        self._weights: list[Array | float] = []

    def of(self, data: Data) -> list[Array | float]:
        """Return for each loss an array (N,), or one number where all rows weigh alike."""
        if self._data is not data:
            self._data, self._weights = data, [self._of(data, i) for i in range(len(data.losses))]
        return self._weights

    @staticmethod
    def _of(data: Data, i: int) -> Array | float:
        loss, target = data.losses[i], data.targets[min(i, len(data.targets) - 1)] if data.targets else None
        if isinstance(loss, FunctionLoss) or target is None:
            return 1.0                          # the function itself averages
        each = loss.unnormalized_weights(target, data.sample_weight)
        rows = each.reshape(data.rows, -1).sum(axis=1)
        return float(rows[0]) if (rows == rows[0]).all() else rows

    def totals(self, data: Data) -> Array:
        """Return the sum of all of them, one for each loss."""
        return np.array([w * data.rows if isinstance(w, float) else w.sum() for w in self.of(data)])


def share_of_arrays(ranks: Ranks, data: Data, weights: Sequence[Array | float], order: Array | None, batch_size: int,
                    updates: int, apart: bool) -> Share:
    """Return this rank's part of each mini-batch of arrays that every rank has: neighbouring rows of it."""
    n_rows = data.rows if order is None else order.shape[1]
    per_epoch = -(-n_rows // batch_size)
    epoch, batch = np.divmod(np.arange(updates), per_epoch)
    at = batch * batch_size
    whole = np.minimum(batch_size, n_rows - at)
    low, high = (-(-(ranks.rank + i) * whole // ranks.size) for i in (0, 1))    # rank 0 has the most
    first = at + low + (0 if order is None else epoch * n_rows)
    parts = np.ascontiguousarray(np.stack([first, high - low, low, whole], axis=1), np.int64)
    totals = [whole * w if isinstance(w, float) else _sums(w, order, at, updates, per_epoch) for w in weights]
    return Share(ranks, parts, np.ascontiguousarray(np.stack(totals, axis=1), np.float64), apart)


def _sums(weights: Array, order: Array | None, at: Array, updates: int, per_epoch: int) -> Array:
    """Return the sum of the weights of each mini-batch."""
    starts = at[:min(per_epoch, updates)]
    epochs = -(-updates // per_epoch)
    each = np.tile(weights, (epochs, 1)) if order is None else weights[order]
    return np.add.reduceat(each, starts, axis=1).ravel()[:updates]


def share_of_batch(ranks: Ranks, data: Data, totals: Array, apart: bool) -> Share:
    """Return this rank's part of a mini-batch of which every rank has its own rows; they follow by rank."""
    sums = np.zeros(ranks.size + len(totals))
    sums[ranks.rank], sums[ranks.size:] = data.rows, totals
    ranks.sum(sums)
    rows = sums[:ranks.size].astype(np.int64)
    part = [0, data.rows, rows[:ranks.rank].sum(), rows.sum()]
    return Share(ranks, np.array([part], np.int64), sums[None, ranks.size:].copy(), apart, is_local=True)


class Lead:
    """Lets rank 0 act for all: ``with lead(): …``, in which the other ranks do nothing, and after which they follow.

    Without ranks it does nothing.
    """

    def __init__(self, trainer: Training, ranks: Ranks | None) -> None:
        self._trainer, self._ranks = trainer, ranks

    @property
    def is_alone(self) -> bool:
        """Whether there are no other ranks."""
        return self._ranks is None

    @contextmanager
    def __call__(self, parameters: bool = False) -> Iterator[None]:
        """Follow what is done within: errors, the learning rate, whether to stop; and the parameters, if so wished."""
        if self._ranks is None:
            yield
            return
        trainer, ranks, before = self._trainer, self._ranks, self._trainer.optimizer.lr
        with ranks.together():
            yield
        changed = None if trainer.optimizer.lr is before else trainer.optimizer.lr
        stop, lr = ranks.share((trainer.stop, changed))
        trainer.stop = stop
        if lr is not None and not ranks.leads:
            trainer.optimizer.lr = lr
        if parameters:
            for array in (trainer.net.params.flat, trainer.net.buffers.flat):
                ranks.broadcast(array)

    def together(self) -> AbstractContextManager[None]:
        """Do what may fail on any rank."""
        return nullcontext() if self._ranks is None else self._ranks.together()

    def any(self, value: bool) -> bool:
        """Whether it is so on any rank."""
        return value if self._ranks is None else self._ranks.any(value)

    def share(self, value: Any) -> Any:
        """Return what rank 0 has."""
        return value if self._ranks is None else self._ranks.share(value)


class RankBatches(BatchSource):
    """Batches of which each rank has an iterable of its own: the batches of one turn are one mini-batch.

    Raises
    ------
    ValueError
        While training, on all ranks, if some have fewer batches than others.
    """

    def __init__(self, batches: Any, several: Callable[[str, Any], Sequence[Any]], step: Step,
                 tally_shape: tuple[int, int] | None, ranks: Ranks) -> None:
        super().__init__(batches, several, step, tally_shape)
        self._ranks = ranks

    def _at_end(self) -> bool:
        if self._waits:
            return False
        with self._ranks.together():
            ended = super()._at_end()
        count = int(self._ranks.sum(np.array([float(ended)]))[0])
        if 0 < count < self._ranks.size:
            error = ValueError(f"fit: X has run out of batches on {count} of {self._ranks.size} ranks; give every rank "
                               "as many")
            self._ranks.settle(error)
            raise error
        return ended

    def _count(self, items: Sequence[tuple[Any, Any, Any]]) -> None:
        ((x, _, weight),) = items
        rows, total = self._measure(x, weight)
        sums = self._ranks.sum(np.array([float(rows), total]))
        self._rows += int(sums[0])
        self._weights.append(float(sums[1]))
